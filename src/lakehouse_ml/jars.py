"""Delta's jars for the engine `spark`, by their Maven coordinates, in a folder of the project.

    python -m lakehouse_ml.jars      # what `make jars` runs

Maven fetches them where it is installed, else Ivy, which Spark brings along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lakehouse_ml.errors import EngineError

FOLDER = Path(__file__).resolve().parents[2] / ".jars"
# Delta 4.4 is built for each Spark: the version in the name is Spark's, and it has to be that of pyspark.
SPARK = "4.1"
COORDINATES = (f"io.delta:delta-spark_{SPARK}_2.13:4.4.0", "io.delta:delta-storage:4.4.0")
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


def class_path() -> str:
    """What the JVM is to load, as it reads it."""
    return f"{FOLDER}/*"


def check_machine() -> None:
    """Make sure that Apache Spark can start here: itself, its jars and Java.

    Raises:
        EngineError: What is missing, and how to get it.
    """
    import pyspark

    if not (Path(pyspark.__file__).parent / "jars").is_dir():
        raise EngineError("engine: spark needs Apache Spark itself; only its client is installed here. make jars")
    check()
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise EngineError("engine: spark needs Java 17 or newer, and there is none on PATH nor in JAVA_HOME.")


def check() -> None:
    """Make sure that all jars are there and fit the installed Spark.

    Raises:
        EngineError: Names what is missing, or both versions, and how to mend it.
    """
    import pyspark

    missing = [_file(one) for one in COORDINATES if not (FOLDER / _file(one)).is_file()]
    if missing:
        raise EngineError(f"engine: spark needs {' and '.join(missing)} in {FOLDER}: make jars")
    if not pyspark.__version__.startswith(f"{SPARK}."):
        raise EngineError(
            f"Delta's jars are for Spark {SPARK}, and pyspark is {pyspark.__version__}: install pyspark {SPARK}."
        )


def fetch() -> None:
    """Fetch the jars that aren't there yet.

    Raises:
        EngineError: Neither Maven nor Ivy got them; with their last words.
    """
    FOLDER.mkdir(exist_ok=True)
    for coordinates in COORDINATES:
        if not (FOLDER / _file(coordinates)).is_file():
            _by_maven(coordinates) if shutil.which("mvn") else _by_ivy(coordinates)


def _file(coordinates: str) -> str:
    _, artifact, version = coordinates.split(":")
    return f"{artifact}-{version}.jar"


def _by_maven(coordinates: str) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as fetched:
        _call(["mvn", "-q", "-B", _COPY, f"-Dartifact={coordinates}", f"-DoutputDirectory={fetched}"], coordinates)
        (Path(fetched) / _file(coordinates)).rename(FOLDER / _file(coordinates))


def _by_ivy(coordinates: str) -> None:
    """Ivy resolves what a session asks for and keeps it under a name that begins with the group."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as fetched:
        asked = (
            "import sys; from pyspark.sql import SparkSession; SparkSession.builder.master('local[1]')"
            ".config('spark.jars.packages', sys.argv[1]).config('spark.jars.ivy', sys.argv[2])"
            ".config('spark.ui.enabled', 'false').getOrCreate().stop()"
        )
        _call([sys.executable, "-c", asked, coordinates, fetched], coordinates)
        group = coordinates.split(":", maxsplit=1)[0]
        (Path(fetched) / "jars" / f"{group}_{_file(coordinates)}").rename(FOLDER / _file(coordinates))


def _call(command: list[str], coordinates: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = f"{getattr(error, 'stdout', '')}{getattr(error, 'stderr', '')}".strip() or str(error)
        raise EngineError(f"{coordinates} could not be fetched by {command[0]}: {said[-500:]}") from error


if __name__ == "__main__":
    try:
        fetch()
    except EngineError as error:
        sys.exit(f"Error: {error}")
    print(f"Delta's jars are in {FOLDER}.")  # noqa: T201 - this is its output
