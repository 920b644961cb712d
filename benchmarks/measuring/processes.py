"""How long a command takes, and how much memory it and everything that it starts hold at once (Linux, by `/proc`)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_EVERY_SECONDS = 0.05
_KIB = 1024


@dataclass(frozen=True)
class Usage:
    """Time, memory and output of one command.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Of all its processes together, in user and kernel; hardly moved by what else the machine does.
        peak_bytes: Upper bound of the memory of all processes at one time: the greatest sum of their resident sets
            that was seen, or the greatest resident set that one of them ever had (`VmHWM`) where that is more. Pages
            that several processes share count for each.
        output: What it printed to stdout.
        errors: What it printed to stderr.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str
    errors: str


class CommandError(RuntimeError):
    """A measured command failed; the message holds the end of what it printed."""


def measure(command: Sequence[str], folder: Path) -> Usage:
    """Run a command in a folder and watch it until it ends.

    Raises:
        CommandError: It ended with another exit code than 0.
    """
    with (folder / "stdout").open("w+") as output, (folder / "stderr").open("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=_project(), stdout=output, stderr=errors, env=_environment())
        peak, usage = _watch(process)
        seconds = time.perf_counter() - started
        written = [stream.seek(0) or stream.read() for stream in (output, errors)]
    if process.returncode:
        raise CommandError(f"{' '.join(command)} ended with exit code {process.returncode}:\n{written[1][-2000:]}")
    return Usage(seconds, usage, peak, *written)


def kedro(*arguments: str, python: str = sys.executable) -> list[str]:
    """The command `kedro …` of an interpreter, the one that runs the benchmark if no other is named."""
    return [python, "-m", "kedro", *arguments]


def seconds_in_nodes(stage: str, usage: Usage) -> float:
    """Seconds of a stage, as the summary of a `kedro run` prints them.

    Raises:
        ValueError: The summary has none.
    """
    match = re.search(rf"{stage} ([\d.]+) s", usage.output)
    if not match:
        raise ValueError(f"The run printed no seconds for {stage}: {usage.output[-500:]}")
    return float(match.group(1))


def gib(size: int) -> str:
    """Bytes as GiB."""
    return f"{size / 2**30:.2f}"


def _project() -> Path:
    return Path(__file__).resolve().parents[2]


def _environment() -> dict[str, str]:
    # Compiled modules are kept, as `make` keeps them: otherwise compiling them again would be measured.
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _watch(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Sample until the process has ended; its peak in bytes, and the CPU seconds of it and its waited-for children."""
    peak = 0
    while True:
        resident = [_memory(pid) for pid in _family(process.pid)]
        peak = max(peak, sum(now for now, _ in resident), *(highest for _, highest in resident), 0)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)
            return peak, used.ru_utime + used.ru_stime
        time.sleep(_EVERY_SECONDS)


def _family(pid: int) -> list[int]:
    """A process and all its descendants, without those that end during the search."""
    family, open_ = [], [pid]
    while open_:
        parent = open_.pop()
        family.append(parent)
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                open_ += map(int, children.read_text().split())
            except OSError:
                continue
    return family


def _memory(pid: int) -> tuple[int, int]:
    """Resident set now and at its highest, in bytes; nothing of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    status = dict(line.split(":", 1) for line in lines)
    now, highest = (int(status[name].split()[0]) * _KIB if name in status else 0 for name in ("VmRSS", "VmHWM"))
    return now, highest
