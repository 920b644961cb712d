"""Apache Spark as it is quickest on few rows: nearly all of its time there is its own preparation."""

from __future__ import annotations

# Of a few rows a task each: Delta's defaults, 50 and 10,000, take seconds a table and minutes a vacuum.
TASKS: dict[str, str] = {
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "1",
    "spark.ui.enabled": "false",
}
# Nothing runs long enough to be worth the second compiler of the JVM, or several threads that collect garbage. Without
# that compiler the JVM reserves only 48 MiB for code, which many tests fill: it would remove code and compile it again.
JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:ReservedCodeCacheSize=240m"
# Code that is generated, compiled and loaded for each plan is worth it for millions of rows, and so is planning anew
# while a query runs.
INTERPRETED: dict[str, str] = {
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.adaptive.enabled": "false",
}
SETTINGS: dict[str, str] = {
    "spark.driver.memory": "2g", **TASKS, **INTERPRETED, "spark.driver.extraJavaOptions": JVM,
}  # fmt: skip


def told_in_conf(text: str) -> str:
    """`conf/spark/spark.yml` with these settings in place of its own."""
    head, _, _ = text.partition("settings:")
    return head + "settings:\n" + "".join(f'  {name}: "{value}"\n' for name, value in SETTINGS.items())
