"""Jars for the engine `spark` (Delta and S3) by their Maven coordinates, in a folder of the project.

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
# Delta 4.4 is built for each Spark version: the one in the name must equal that of pyspark.
SPARK = "4.1"
DELTA = (f"io.delta:delta-spark_{SPARK}_2.13:4.4.0", "io.delta:delta-storage:4.4.0")
# The parts of Amazon's SDK that Hadoop's S3 client needs: 16 MB instead of the 640 MB of the bundle that it names.
# Spark itself has the other dependencies.
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
    """Class path for the JVM."""
    return f"{FOLDER}/*"


def find_missing() -> list[str]:
    """List what Apache Spark lacks here (itself, its jars, Java), each with its remedy."""
    spark = find_spec("pyspark")
    if spark is None or not (Path(str(spark.origin)).parent / "jars").is_dir():
        return ["engine: spark needs Apache Spark itself, and only its client is installed: make jars"]
    faults = []
    try:
        check_jars()
    except EngineError as error:
        faults.append(str(error))
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        faults.append("engine: spark needs Java 17 or newer: not found on PATH or in JAVA_HOME.")
    return faults


def check_jars() -> None:
    """Check that all jars exist and fit the installed Spark.

    Raises:
        EngineError: Names the missing jars or both versions, and the remedy.
    """
    import pyspark

    missing = _list_missing((*DELTA, *S3))
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise EngineError(f"engine: spark needs {_file_name(missing[0])}{more} in {FOLDER}: make jars")
    if not pyspark.__version__.startswith(f"{SPARK}."):
        raise EngineError(
            f"Delta's jars are for Spark {SPARK}, and pyspark is {pyspark.__version__}: install pyspark {SPARK}."
        )


def fetch_jars() -> None:
    """Download the missing jars, all in one call of Maven or Ivy.

    Raises:
        EngineError: The download failed; with the end of the tool's output.
    """
    FOLDER.mkdir(exist_ok=True)
    missing = _list_missing((*DELTA, *S3))
    if missing:
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            source = (_fetch_by_maven if shutil.which("mvn") else _fetch_by_ivy)(missing, Path(folder))
            for coordinates in missing:
                (source / _file_name(coordinates)).rename(FOLDER / _file_name(coordinates))


def _list_missing(jars: Sequence[str]) -> list[str]:
    return [one for one in jars if not (FOLDER / _file_name(one)).is_file()]


def _file_name(coordinates: str) -> str:
    _, artifact, version = coordinates.split(":")
    return f"{artifact}-{version}.jar"


def _fetch_by_maven(jars: Sequence[str], folder: Path) -> Path:
    """Download these jars without their dependencies."""
    items = "\n".join(_ITEM.format(*one.split(":")) for one in jars)
    (folder / "pom.xml").write_text(_PROJECT.format(plugin=_PLUGIN, items=items), encoding="utf-8")
    _run_command(
        ["mvn", "-q", "-B", "-f", str(folder / "pom.xml"), "dependency:copy", f"-DoutputDirectory={folder}"], jars
    )
    return folder


def _fetch_by_ivy(jars: Sequence[str], folder: Path) -> Path:
    """Download by a Spark session, whose Ivy stores a jar under a name that begins with its group."""
    code = (
        "import sys; from pyspark.sql import SparkSession; SparkSession.builder.master('local[1]')"
        ".config('spark.jars.packages', sys.argv[1]).config('spark.jars.ivy', sys.argv[2])"
        ".config('spark.jars.excludes', 'software.amazon.awssdk:bundle')"
        ".config('spark.ui.enabled', 'false').getOrCreate().stop()"
    )
    _run_command([sys.executable, "-c", code, ",".join(jars), str(folder)], jars)
    for one in jars:
        (folder / "jars" / f"{one.split(':')[0]}_{_file_name(one)}").rename(folder / _file_name(one))
    return folder


def _run_command(command: list[str], jars: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        output = f"{getattr(error, 'stdout', '')}{getattr(error, 'stderr', '')}".strip() or str(error)
        raise EngineError(f"{', '.join(jars)} could not be fetched by {command[0]}: {output[-500:]}") from error


if __name__ == "__main__":
    try:
        fetch_jars()
    except EngineError as error:
        sys.exit(f"Error: {error}")
    print(f"The jars of Delta and S3 are in {FOLDER}.")  # noqa: T201 - this is its output
