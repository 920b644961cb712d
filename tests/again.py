"""Run pytest with these arguments, then each failed test once more, alone: `python tests/again.py -m slow`.

A test that passes then has failed by chance, of a machine under load, say. The run ends well and names it as FLAKY, for
its cause is the next thing to mend; a test that fails again has failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# What fails by chance is one test or two; of more, something is broken, and each would cost its minutes again.
MOST = 4
SOME_FAILED = 1


def main(arguments: list[str]) -> int:
    """Pytest's exit code, or 0 if whatever failed passed when it was run again."""
    call = [sys.executable, "-m", "pytest"]
    failed = Path(".pytest_cache", "v", "cache", "lastfailed")
    failed.unlink(missing_ok=True)
    code = subprocess.run([*call, *arguments], check=False).returncode
    names = list(json.loads(failed.read_text(encoding="utf-8"))) if failed.exists() else []
    if code != SOME_FAILED or not 0 < len(names) <= MOST:
        return code
    for name in names:
        print(f"\nOnce more, alone: {name}", flush=True)
        again = subprocess.run([*call, *_alone(arguments), name], check=False).returncode
        if again:
            return again
    print("\n".join(["", *(f"FLAKY: {name} failed, and passed when it was run again." for name in names)]), flush=True)
    return 0


def _alone(arguments: list[str]) -> list[str]:
    """The arguments that say how, without the paths that say what, in one process."""
    return [*(argument for argument in arguments if not Path(argument).exists()), "-n", "0"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
