"""Commands that a message proposes, with the values of the run, quoted for the shell."""

from __future__ import annotations

from lakehouse_ml.errors import shell_word
from lakehouse_ml.project import INSTALLED


def run_all(use_case: str, *, landing: str | None = None, lake: str | None = None, env: str | None = None) -> str:
    """Return the command that runs all stages of a use case; an installed package has no make.

    Args:
        use_case: Its name, or `all`.
        landing: Folder of files, if it isn't that of conf.
        lake: Folder or address of a lake, if it isn't that of conf.
        env: Environment, if it isn't the usual one.
    """
    if not INSTALLED:
        named = None if use_case == "churn" else use_case
        return make("run", USE_CASE=named, LANDING=landing, LAKE=lake, ENV=env)
    params = ",".join(f"{name}={value}" for name, value in (("landing", landing), ("lake", lake)) if value)
    options = {"--env": env, "--namespaces": None if use_case == "all" else use_case, "--params": params}
    words = [word for name, value in options.items() if value for word in (name, value)]
    return " ".join(map(shell_word, ["lakehouse-ml", *words]))


def make(target: str, **variables: str | None) -> str:
    """Return the command for a target of make, with those variables that have a value."""
    words = (f"{name}={_quote(value)}" for name, value in variables.items() if value)
    return " ".join(["make", target, *words])


def _quote(value: str) -> str:
    # make itself reads a $ before the shell of a recipe does.
    return value if value == "<folder>" else shell_word(value.replace("$", "$$"))
