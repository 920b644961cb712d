"""Adds to the wheel what pyproject.toml can't say: the shipped conf, and what the wheel was built of."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROJECT = Path(__file__).resolve().parent


class BuildPy(build_py):
    """Copies the package's files, then conf beside them; an editable install leaves both where they are edited."""

    def run(self) -> None:
        """Build anew: what lies in build/ from another time would go into the wheel as well."""
        if self.editable_mode:
            super().run()
            return
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        package = Path(self.build_lib) / "lakehouse_ml"
        for name in _shipped():
            (package / "shipped_conf" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / "conf" / name, package / "shipped_conf" / name)
        build = {"git_sha": _commit(), "sha256": _content_hash(package)}
        (package / "build.json").write_text(json.dumps(build) + "\n", encoding="utf-8")


def _shipped() -> Iterator[str]:
    """Files of conf that the wheel carries, by names that are on a list: whatever else lies there stays at home."""
    told = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["lakehouse_ml"]["wheel"]
    use_cases = {folder.name for folder in (PROJECT / "src" / "lakehouse_ml" / "use_cases").iterdir()}
    yield "logging.yml"
    for environment in told["environments"]:
        for file in sorted((PROJECT / "conf" / environment).rglob("*.yml")):
            path = file.relative_to(PROJECT / "conf")
            if path.stem in told["files"] and use_cases.issuperset(path.parts[1:-1]):
                yield path.as_posix()


def _content_hash(package: Path) -> str:
    """SHA-256 over names and contents of the package's files."""
    digest = hashlib.sha256()
    for file in sorted(path for path in package.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(package).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _commit() -> str:
    """The commit of the checkout, with `-dirty` where files differ from it; `unknown` outside of git."""
    try:
        commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(*words: str) -> str:
    call = ["git", "-C", str(PROJECT), *words]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()


# Not build/, where `kedro viz build` writes: `make docs` publishes that folder.
setup(cmdclass={"build_py": BuildPy}, options={"build": {"build_base": ".make/wheel"}})
