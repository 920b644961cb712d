"""Delta's jars and those of S3: fetched once, whole or not at all, and of the version that Spark has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lakehouse_ml.engine import jars
from lakehouse_ml.errors import EngineError

NAMES = ["delta-spark_4.1_2.13-4.4.0.jar", "delta-storage-4.4.0.jar"]
# Maven as far as it is used here: it writes the files that its project lists, and into which folder.
MAVEN = r"""#!/bin/sh
while [ $# -gt 0 ]; do case $1 in
  -f) project=$2; shift;;
  -DoutputDirectory=*) folder=${1#*=};;
esac; shift; done
sed -n 's#.*<artifactId>\(.*\)</artifactId><version>\(.*\)</version></artifactItem>#\1-\2#p' "$project" |
while read jar; do echo "$jar" >> "$SEEN"; echo jar > "$folder/$jar.jar"; done
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the jars, and a Maven on PATH that writes down what it was asked."""
    monkeypatch.setattr(jars, "FOLDER", tmp_path / "jars")
    _maven(tmp_path, MAVEN)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    return tmp_path


def _maven(folder: Path, script: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "mvn").write_text(script, encoding="utf-8")
    (folder / "bin" / "mvn").chmod(0o755)


def test_what_is_missing_is_fetched_and_nothing_is_fetched_twice(folder: Path) -> None:
    jars.fetch_jars()
    fetched = sorted(path.name for path in (folder / "jars").iterdir())
    assert {*NAMES, "hadoop-aws-3.4.2.jar", "s3-2.29.52.jar"} < set(fetched)
    (folder / "seen").unlink()
    (folder / "jars" / NAMES[1]).unlink()
    jars.fetch_jars()
    assert sorted(path.name for path in (folder / "jars").iterdir()) == fetched
    assert (folder / "seen").read_text().split() == ["delta-storage-4.4.0"]


def test_a_jar_that_can_not_be_fetched_is_told_with_mavens_last_words(folder: Path) -> None:
    _maven(folder, "#!/bin/sh\necho 'no such host'\nexit 1\n")
    with pytest.raises(
        EngineError, match=r"io\.delta:delta-spark_4\.1_2\.13:4\.4\.0, .+ could not be fetched by mvn: no such"
    ):
        jars.fetch_jars()
    assert list((folder / "jars").iterdir()) == []


def test_a_missing_jar_is_named_with_the_way_to_get_it(folder: Path) -> None:
    jars.fetch_jars()
    jars.check_jars()
    (folder / "jars" / NAMES[0]).unlink()
    with pytest.raises(EngineError, match=rf"{NAMES[0]} in .+: make jars"):
        jars.check_jars()


def test_of_many_missing_jars_one_is_named_and_the_others_are_counted(folder: Path) -> None:
    jars.fetch_jars()
    for name in ("hadoop-aws-3.4.2.jar", "s3-2.29.52.jar", "sts-2.29.52.jar"):
        (folder / "jars" / name).unlink()
    with pytest.raises(EngineError, match=r"engine: spark needs hadoop-aws-3\.4\.2\.jar and 2 more in .+: make jars"):
        jars.check_jars()


def test_jars_of_another_spark_are_refused_with_both_versions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jars.fetch_jars()
    monkeypatch.setattr("pyspark.__version__", "4.2.0")
    with pytest.raises(EngineError, match=r"Delta's jars are for Spark 4\.1, and pyspark is 4\.2\.0"):
        jars.check_jars()


def test_spark_and_its_client_are_locked_in_the_same_version() -> None:
    locks = Path(__file__).resolve().parents[3] / "requirements"
    client = next(line for line in (locks / "run.lock").read_text().splitlines() if line.startswith("pyspark-client=="))
    assert client.replace("pyspark-client", "pyspark") in (locks / "spark.lock").read_text().splitlines()
