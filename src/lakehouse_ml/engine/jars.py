"""Jars for the engine `spark`, Delta's and those of S3, by their Maven coordinates, in a folder of the project.

    python -m lakehouse_ml.engine.jars      # what `make jars` runs

Maven fetches them where it is installed, else Ivy, which Spark brings along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lakehouse_ml.errors import EngineError
from lakehouse_ml.project import PROJECT

FOLDER = PROJECT / ".jars"
# Delta 4.4 is built for each Spark: the version in the name is Spark's, and it has to be that of pyspark.
SPARK = "4.1"
DELTA = (f"io.delta:delta-spark_{SPARK}_2.13:4.4.0", "io.delta:delta-storage:4.4.0")
# What Hadoop's S3 needs of Amazon's SDK, 16 MB: the bundle that it names has 640. The rest of it Spark has itself.
_SDK = """
    annotations apache-client arns auth aws-core aws-json-protocol aws-query-protocol aws-xml-protocol checksums
    checksums-spi crt-core endpoints-spi http-auth http-auth-aws http-auth-aws-eventstream http-auth-spi
    http-client-spi identity-spi json-utils kms metrics-spi netty-nio-client profiles protocol-core regions retries
    retries-spi s3 s3-transfer-manager sdk-core sts third-party-jackson-core utils
"""
S3 = (
    "org.apache.hadoop:hadoop-aws:3.4.2",
    "software.amazon.s3.analyticsaccelerator:analyticsaccelerator-s3:1.2.1",
    "software.amazon.eventstream:eventstream:1.0.1",
    "org.reactivestreams:reactive-streams:1.0.4",
    *(f"software.amazon.awssdk:{name}:2.29.52" for name in _SDK.split()),
)
_PLUGIN = "maven-dependency-plugin"
_PROJECT = """\
<project>
  <modelVersion>4.0.0</modelVersion><groupId>jars</groupId><artifactId>jars</artifactId><version>1</version>
  <build><plugins><plugin>
    <artifactId>{plugin}</artifactId><version>3.8.1</version>
    <configuration><artifactItems>
{items}
    </artifactItems></configuration>
  </plugin></plugins></build>
</project>
"""
_ITEM = "<artifactItem><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></artifactItem>"


def class_path() -> str:
    """What the JVM is to load, as it reads it."""
    return f"{FOLDER}/*"


def missing() -> list[str]:
    """What keeps Apache Spark from starting here (itself, its jars, Java), each with the way to get it."""
    spark = find_spec("pyspark")
    if spark is None or not (Path(str(spark.origin)).parent / "jars").is_dir():
        return ["engine: spark needs Apache Spark itself, and only its client is installed here. make jars"]
    faults = []
    try:
        check()
    except EngineError as error:
        faults.append(str(error))
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        faults.append("engine: spark needs Java 17 or newer, and there is none on PATH nor in JAVA_HOME.")
    return faults


def check() -> None:
    """Make sure that all jars are there and fit the installed Spark.

    Raises:
        EngineError: Names what is missing, or both versions, and how to mend it.
    """
    import pyspark

    missing = _missing((*DELTA, *S3))
    if missing:
        others = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise EngineError(f"engine: spark needs {_file(missing[0])}{others} in {FOLDER}: make jars")
    if not pyspark.__version__.startswith(f"{SPARK}."):
        raise EngineError(
            f"Delta's jars are for Spark {SPARK}, and pyspark is {pyspark.__version__}: install pyspark {SPARK}."
        )


def fetch() -> None:
    """Fetch the jars that aren't there yet, in one go.

    Raises:
        EngineError: Neither Maven nor Ivy got them; with their last words.
    """
    FOLDER.mkdir(exist_ok=True)
    missing = _missing((*DELTA, *S3))
    if missing:
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            fetched = (_by_maven if shutil.which("mvn") else _by_ivy)(missing, Path(folder))
            for coordinates in missing:
                (fetched / _file(coordinates)).rename(FOLDER / _file(coordinates))


def _missing(wanted: Sequence[str]) -> list[str]:
    return [one for one in wanted if not (FOLDER / _file(one)).is_file()]


def _file(coordinates: str) -> str:
    _, artifact, version = coordinates.split(":")
    return f"{artifact}-{version}.jar"


def _by_maven(wanted: Sequence[str], folder: Path) -> Path:
    """Just these, without what they name themselves."""
    items = "\n".join(_ITEM.format(*one.split(":")) for one in wanted)
    (folder / "pom.xml").write_text(_PROJECT.format(plugin=_PLUGIN, items=items), encoding="utf-8")
    _call(["mvn", "-q", "-B", "-f", str(folder / "pom.xml"), "dependency:copy", f"-DoutputDirectory={folder}"], wanted)
    return folder


def _by_ivy(wanted: Sequence[str], folder: Path) -> Path:
    """Ivy resolves what a session asks for and keeps it under a name that begins with the group."""
    asked = (
        "import sys; from pyspark.sql import SparkSession; SparkSession.builder.master('local[1]')"
        ".config('spark.jars.packages', sys.argv[1]).config('spark.jars.ivy', sys.argv[2])"
        ".config('spark.jars.excludes', 'software.amazon.awssdk:bundle')"
        ".config('spark.ui.enabled', 'false').getOrCreate().stop()"
    )
    _call([sys.executable, "-c", asked, ",".join(wanted), str(folder)], wanted)
    for one in wanted:
        (folder / "jars" / f"{one.split(':')[0]}_{_file(one)}").rename(folder / _file(one))
    return folder


def _call(command: list[str], wanted: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = f"{getattr(error, 'stdout', '')}{getattr(error, 'stderr', '')}".strip() or str(error)
        raise EngineError(f"{', '.join(wanted)} could not be fetched by {command[0]}: {said[-500:]}") from error


if __name__ == "__main__":
    try:
        fetch()
    except EngineError as error:
        sys.exit(f"Error: {error}")
    print(f"Delta's jars and those of S3 are in {FOLDER}.")  # noqa: T201 - this is its output
