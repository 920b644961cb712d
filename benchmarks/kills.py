"""Kill runs at random moments, let the next run end, and compare its lake with one that nobody disturbed.

    .venv/bin/python benchmarks/kills.py [--first 200] [--second 100] [--seed 1]

A first life begins in an empty folder; a second one on a lake with a month in it and the file of the next. Each is
killed (SIGKILL) again and again, at moments drawn from the seconds that an undisturbed run takes, until a run ends
before it is killed. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from measuring.processes import kedro
from measuring.tables import markdown

from lakehouse_ml.storage.delta import reading
from lakehouse_ml.use_cases.churn.synthetic import write_csv

PROJECT = Path(__file__).resolve().parents[1]
CUSTOMERS = 1_000
# Two trials, so that processes share the search.
TRIALS = """\
churn:
  training:
    trials:
      - {estimator: logistic_regression, params: {C: 1.0}}
      - {estimator: gradient_boosting, params: {learning_rate: 0.1, max_iter: 20, max_depth: 3, min_samples_leaf: 20}}
"""
# What differs between two undisturbed lives: clocks, and ids that are drawn.
_OF_A_RUN = frozenset({"ingested_at", "scored_at", "judged_at", "fit_seconds", "made_of", "sha256"})
_TAGS_OF_A_RUN = ("sha256", "input.", "fingerprint", "promotion_fingerprint", "evidence")
_SHARED_MEMORY = Path("/dev/shm")
_LONGEST_SECONDS = 300


@dataclass(frozen=True)
class Remains:
    """Results of a life that must not depend on how often it was killed.

    Attributes:
        tables: Rows of each table as sorted texts, by its path in the lake, without clocks and drawn ids.
        files: Other files, by their path in the lake; those of MLflow's runs and models by their name alone.
        registry: Versions with their tags, and aliases.
        logged: Names of the metrics that some run has, killed ones included.
        failed: How many runs neither finished nor were killed. (A run that is killed after its last step leaves the
            next one nothing to do, and so none that finished.)
    """

    tables: Mapping[str, Sequence[str]]
    files: Sequence[str]
    registry: Sequence[str]
    logged: Sequence[str]
    failed: int

    def differences(self, other: Remains) -> list[str]:
        """Names of the results that differ."""
        names = sorted({*self.tables, *other.tables})
        tables = [f"table {name}" for name in names if self.tables.get(name) != other.tables.get(name)]
        files = [f"file {name}" for name in sorted({*self.files} ^ {*other.files})]
        registry = [f"registry: {entry}" for entry in sorted({*self.registry} ^ {*other.registry})]
        doubled = ["registry: a version twice"] if len(self.registry) != len(other.registry) and not registry else []
        logged = [f"metric {name}" for name in sorted({*self.logged} ^ {*other.logged})]
        failed = [f"runs that failed or go on: {self.failed}"] if self.failed != other.failed else []
        return tables + files + registry + doubled + logged + failed


@dataclass
class Campaign:
    """Lives of one kind: where their kills hit, and what was different afterwards."""

    name: str
    kills: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    differences: list[str] = field(default_factory=list)
    unused_files: int = 0

    def row(self) -> dict[str, str]:
        """Its line of the table."""
        return {
            "life": self.name,
            "kills": str(self.kills.total()),
            "lives": str(self.lives),
            "different afterwards": str(len(self.differences)),
            "files of no commit": str(self.unused_files),
            "killed in": ", ".join(f"{stage} {n}" for stage, n in sorted(self.kills.items())),
        }


Start = Callable[[Sequence[str]], Sequence[str]]


class Lives:
    """Lives in one folder, with the landing files and the conf of all of them.

    Attributes:
        command: Turns a call of Python into what is started; tests let a process answer that has imported already.
    """

    def __init__(self, folder: Path, command: Start = lambda call: call) -> None:
        self.folder, self.command = folder, command
        self.landing = folder / "landing"
        self.land("2024-11-30", seed=1)
        self.conf = Path(shutil.copytree(PROJECT / "conf", folder / "conf"))
        local = self.conf / "local"
        local.mkdir(exist_ok=True)
        (local / "parameters.yml").write_text(TRIALS, encoding="utf-8")
        self.temporary = folder / "tmp"
        self.temporary.mkdir()

    def land(self, day: str, seed: int) -> None:
        """Land the file of a month."""
        write_csv(self.landing / f"customers_{day}.csv", n=CUSTOMERS, seed=seed)

    def run(self, lake: Path) -> subprocess.Popen[str]:
        """Start an end-to-end run."""
        call = kedro("run", "--conf-source", str(self.conf), "--namespaces", "churn")
        call += ["--params", f"landing={self.landing},lake={lake}"]
        # What comes on stderr must not fill a pipe that nobody reads.
        with self._stderr_file(lake).open("w") as stderr:
            return subprocess.Popen(
                self.command(call),
                cwd=PROJECT,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                text=True,
                env={**os.environ, "TMPDIR": str(self.temporary)},
            )

    def finish(self, lake: Path) -> float:
        """Run to the end, and return the seconds that it took.

        Raises:
            RuntimeError: The run failed, with what it said.
        """
        started = time.monotonic()
        code = self.run(lake).wait(_LONGEST_SECONDS)
        if code:
            raise RuntimeError(f"A run after a kill ended with exit code {code}: {self.stderr(lake)[-2000:]}")
        return time.monotonic() - started

    def stderr(self, lake: Path) -> str:
        """The stderr of the newest run of a lake."""
        return self._stderr_file(lake).read_text()

    def _stderr_file(self, lake: Path) -> Path:
        return self.folder / f"{lake.name}.stderr"

    def interrupt(self, campaign: Campaign, lake: Path, within: float, moments: random.Random) -> bool:
        """Kill a run at a random moment; False if it ended before, as it should."""
        process = self.run(lake)
        try:
            code = process.wait(moments.uniform(0, within))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            stages = re.findall(r"churn\.(\w+)\.\w+$", self.stderr(lake), re.MULTILINE)
            campaign.kills[stages[-1] if stages else "start-up"] += 1
            return True
        if code:
            campaign.differences.append(f"exit code {code}: {self.stderr(lake)[-500:]}")
        return False

    def run_campaign(self, campaign: Campaign, kills: int, before: Path | None, moments: random.Random) -> Campaign:
        """Lives with so many kills in all, each compared with an undisturbed one."""
        lake = self.folder / f"undisturbed {campaign.name} life"
        self._begin(lake, before)
        seconds = self.finish(lake)
        expected = remains(lake)
        while campaign.kills.total() < kills:
            campaign.lives += 1
            lake = self.folder / f"{campaign.name} life {campaign.lives}"
            self._begin(lake, before)
            owners: set[str] = set()
            while self.interrupt(campaign, lake, seconds, moments):
                owners |= _owner(lake)
                if campaign.kills.total() >= kills:
                    break
            self.finish(lake)
            campaign.differences += [f"life {campaign.lives}: {one}" for one in remains(lake).differences(expected)]
            campaign.differences += [f"life {campaign.lives}: left {name}" for name in self._leftovers(owners)]
            campaign.unused_files += unused_files(lake)
            print(
                f"{campaign.name} life {campaign.lives}: {campaign.kills.total()} of {kills} kills, "
                f"{len(campaign.differences)} differences",
                file=sys.stderr,
            )
            shutil.rmtree(lake)
        return campaign

    @staticmethod
    def _begin(lake: Path, before: Path | None) -> None:
        if before:
            shutil.copytree(before, lake)

    def _leftovers(self, owners: set[str]) -> list[str]:
        """Names in the temporary folder, and in shared memory those of processes that were killed."""
        shared = [path.name for path in _SHARED_MEMORY.iterdir()] if _SHARED_MEMORY.is_dir() else []
        own = [name for name in shared if set(re.findall(r"\d+", name)) & owners]
        return own + [path.name for path in self.temporary.iterdir()]


def campaigns(lives: Lives, first: int, second: int, seed: int) -> list[Campaign]:
    """Both campaigns: so many kills in first lives, so many in second ones."""
    moments = random.Random(seed)
    results = [lives.run_campaign(Campaign("first"), first, None, moments)]
    lives.land("2024-12-31", seed=2)
    before = lives.folder / "undisturbed first life"
    return [*results, lives.run_campaign(Campaign("second"), second, before, moments)]


def remains(lake: Path) -> Remains:
    """Results of a life, read from its lake."""
    folders = sorted(log.parent for log in lake.glob("*/*/*/_delta_log"))
    others = [path for path in lake.rglob("*") if path.is_file() and not any(map(path.is_relative_to, folders))]
    with closing(sqlite3.connect(lake / "mlflow.db")) as store:
        versions = store.execute(
            "select name, version from model_versions where current_stage != 'Deleted_Internal' order by version"
        ).fetchall()
        tags = store.execute("select name, version, key, value from model_version_tags").fetchall()
        aliases = store.execute("select name, alias, version from registered_model_aliases").fetchall()
        runs = store.execute("select status from runs where lifecycle_stage = 'active'").fetchall()
        metrics = store.execute("select distinct key from metrics").fetchall()
    # A version that was half registered when its run was killed is deleted, and MLflow gives its number to no other.
    order = {str(version): str(position) for position, (_, version) in enumerate(versions, 1)}
    lasting = [
        (name, order[str(version)], key, order.get(value, value))
        for name, version, key, value in tags
        if str(version) in order and not key.startswith(_TAGS_OF_A_RUN)
    ]
    return Remains(
        tables={folder.relative_to(lake).as_posix(): _rows(folder, order) for folder in folders},
        files=sorted({_name(path.relative_to(lake)) for path in others}),
        registry=sorted(
            json.dumps(entry)
            for entry in (
                *((name, order[str(version)]) for name, version in versions),
                *lasting,
                *((name, alias, order[str(version)]) for name, alias, version in aliases),
            )
        ),
        logged=sorted(name for (name,) in metrics),
        failed=sum(status not in ("FINISHED", "KILLED") for (status,) in runs),
    )


def unused_files(lake: Path) -> int:
    """Files of tables that no commit names: a killed writer's, which a vacuum removes."""
    unused = 0
    for log in lake.glob("*/*/*/_delta_log"):
        unused += len(DeltaTable(str(log.parent)).vacuum(0, enforce_retention_duration=False, dry_run=True))
    return unused


def _rows(folder: Path, order: Mapping[str, str]) -> list[str]:
    """Rows as sorted texts, with versions counted in `order`; the digest of a deleted version is left out."""
    stored = reading.read_rows(DeltaTable(str(folder))).read_all()
    kept: Any = stored.drop_columns([name for name in stored.column_names if name in _OF_A_RUN])
    rows = [row for row in kept.to_pylist() if folder.name != "digests" or row["version"] in order]
    return sorted(_text(_in_order(row, order)) for row in rows)


def _in_order(row: Mapping[str, Any], order: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: order.get(value, value) if name.endswith("version") and value else value for name, value in row.items()
    }


def _text(row: Any) -> str:
    """A row as text; of numbers nine digits, for an engine sums up in any order."""
    text = json.dumps(row, default=str, sort_keys=True)
    return json.dumps(json.loads(text, parse_float=lambda number: f"{float(number):.9g}"))


def _name(path: Path) -> str:
    return f"{path.parts[0]}/…/{path.name}" if path.parts[0] == "mlflow-artifacts" else path.as_posix()


def _owner(lake: Path) -> set[str]:
    """The id of the process that locked the lake last, if any did."""
    lock = lake / ".lock"
    return set(re.findall(r"process (\d+)", lock.read_text())) if lock.exists() else set()


def main() -> int:
    """Print the table; exit code 1 if a life left something else than an undisturbed one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=200, help="kills of first lives")
    parser.add_argument("--second", type=int, default=100, help="kills of second lives")
    parser.add_argument("--seed", type=int, default=1, help="draws the moments")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lakehouse-ml-bench-") as folder:
        results = campaigns(Lives(Path(folder)), wanted.first, wanted.second, wanted.seed)
    print(markdown([campaign.row() for campaign in results]))
    for campaign in results:
        for difference in campaign.differences:
            print(f"{campaign.name} life: {difference}", file=sys.stderr)
    return int(any(campaign.differences for campaign in results))


if __name__ == "__main__":
    sys.exit(main())
