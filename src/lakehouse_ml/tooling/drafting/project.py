"""A draft put into a checkout: code, conf, jobs, the line in the list of use cases, and the file; all or nothing."""

from __future__ import annotations

import ast
import importlib
import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lakehouse_ml.errors import ConfError, LakehouseError, first_line
from lakehouse_ml.pipelines import STAGES
from lakehouse_ml.tooling.drafting.landing_file import read_landing_file
from lakehouse_ml.tooling.drafting.plan import DraftPlan, DraftRequest, describe_plan, plan_draft
from lakehouse_ml.tooling.drafting.templates import render_draft

_PACKAGE = "src/lakehouse_ml/use_cases"
_GLOBALS = "conf/base/globals.yml"
_WIDTH = 120
# Names that conf's loader, the command line, or this package take for something else.
_RESERVED_NAMES = {"all", "use_cases", *STAGES}
_RESERVED_STARTS = ("catalog", "parameters", "globals", "spark", "mlflow", "logging", "credentials")


def draft_use_case(project: Path, request: DraftRequest, file: Path) -> list[str]:
    """Draft a use case and put it into a checkout.

    All of it or, if anything is in the way or fails, nothing.

    Returns:
        What was decided and written, in sentences.

    Raises:
        LakehouseError: See `read_landing_file` and `plan_draft`; or something of that name is there already, the list
            of use cases isn't written as it was, or the draft can't be loaded.
    """
    listing = project / _PACKAGE / "__init__.py"
    check_name(request.name, project)
    listing_text = add_to_listing(listing.read_text(encoding="utf-8"), request.name)
    landing = f"data/landing/{request.name}"
    paths = [f"{_PACKAGE}/{request.name}", f"conf/base/{request.name}", f"resources/{request.name}.yml", landing]
    for path in paths:
        if (project / path).exists():
            raise ConfError(f"{path} is there already. Choose another name, or remove what is of that name.")
    records = read_landing_file(file)
    plan = plan_draft(request, records, _read_globals(project).get("missing_words", ()))
    (project / "data").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=project / "data", prefix=".draft-") as temporary:
        draft = Path(temporary)
        for path, text in render_draft(request.name, plan, records.delimiter).items():
            _write_text(draft / path, text)
        _check_draft(draft, request.name, plan)
        landed = draft / landing / file.name
        landed.parent.mkdir(parents=True)
        shutil.copyfile(file, landed)
        _write_text(draft / "listing", listing_text)
        _move(draft, project, paths, listing)
    return [
        *describe_plan(plan, file.name),
        f"Written: {', '.join(paths[:3])}, the line in "
        f"{listing.relative_to(project)}; {file.name} was copied into {landing}.",
    ]


def check_name(name: str, project: Path) -> None:
    """Refuse an invalid name of a use case.

    Raises:
        ConfError: Says what is wrong with it.
    """
    from lakehouse_ml.preflight.conf import RUNTIME

    if not re.fullmatch(r"[a-z][a-z0-9_]{0,28}[a-z0-9]", name):
        raise ConfError(
            f"Invalid name {name}: use lower-case letters, digits and underscores (2-30), with a letter first"
        )
    # YAML reads a bare on, no or null as something else than this word.
    is_reserved = (
        keyword.iskeyword(name)
        or name in _RESERVED_NAMES
        or name in RUNTIME
        or name in _read_globals(project)
        or name.startswith(_RESERVED_STARTS)
        or yaml.safe_load(name) != name
        or (project / _PACKAGE / f"{name}.py").exists()
    )
    if is_reserved:
        raise ConfError(f"Invalid name {name}: it is reserved. Choose another.")


def add_to_listing(source: str, name: str) -> str:
    """The list of use cases with one more at its end.

    Raises:
        ConfError: The text is not a docstring, imports of use cases and USE_CASES alone; or has that name already.
    """
    module = ast.parse(source)
    docstring, *imports, listing = module.body or [ast.Pass()]
    modules = {
        statement.module: statement.names[0].name
        for statement in imports
        if isinstance(statement, ast.ImportFrom) and statement.module and len(statement.names) == 1
    }
    match listing:
        case ast.Assign(targets=[ast.Name(id="USE_CASES")], value=ast.Tuple(elts=elements)):
            names = [element.id for element in elements if isinstance(element, ast.Name)]
        case _:
            names = []
    plain = isinstance(docstring, ast.Expr) and len(modules) == len(imports) and set(names) == set(modules.values())
    if not plain or "#" in source:
        raise ConfError(
            "src/lakehouse_ml/use_cases/__init__.py is not the plain list of use cases any more, so nothing is added "
            "to it: write the import and the entry of USE_CASES by hand, or restore it."
        )
    path = f"lakehouse_ml.use_cases.{name}"
    if path in modules or name.upper() in names:
        raise ConfError(f"There is a use case {name} already. Choose another name.")
    modules[path] = name.upper()
    head = source[: source.index("from lakehouse_ml")]
    lines = [f"from {module} import {constant}\n" for module, constant in sorted(modules.items())]
    entries = f"USE_CASES = ({', '.join([*names, name.upper()])})\n"
    if len(entries) > _WIDTH:
        entries = "".join(["USE_CASES = (\n", *(f"    {entry},\n" for entry in [*names, name.upper()]), ")\n"])
    return f"{head}{''.join(lines)}\n{entries}"


def _read_globals(project: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((project / _GLOBALS).read_text(encoding="utf-8"))
    return values


def _check_draft(draft: Path, name: str, plan: DraftPlan) -> None:
    """Load a draft as a run would, before it is put in place.

    Raises:
        LakehouseError: A name or a value of the file became something else in code or conf.
    """
    from omegaconf import OmegaConf

    from lakehouse_ml.pipelines.data_quality.rules import QualitySpec

    conf = draft / f"conf/base/{name}"
    try:
        with _import_draft(draft, name) as use_case:
            sources = [column.landing_name for column in use_case.sources["rows"].columns]
        OmegaConf.load(conf / "catalog.yml")
        # What else is interpolated is in files of conf that aren't loaded here.
        quality = OmegaConf.select(OmegaConf.load(conf / "parameters.yml"), f"{name}.data_quality")
        QualitySpec.model_validate(OmegaConf.to_container(quality, resolve=True))
        if sources != [column.source for column in plan.columns]:
            raise ConfError("columns have other names than in the file")
    except Exception as error:
        raise LakehouseError(
            f"The draft can't be loaded, so nothing was written ({type(error).__name__}: {first_line(error)}). Names "
            f"of columns or values of the label are likely causes: simplify them in the file."
        ) from error


@contextmanager
def _import_draft(draft: Path, name: str) -> Iterator[Any]:
    """The use case of a draft, imported from where it lies and forgotten again."""
    import lakehouse_ml.use_cases as package

    module = f"{package.__name__}.{name}"
    path, writes = str(draft / _PACKAGE), sys.dont_write_bytecode
    package.__path__.append(path)
    sys.dont_write_bytecode = True
    try:
        importlib.invalidate_caches()
        yield getattr(importlib.import_module(module), name.upper())
    finally:
        sys.dont_write_bytecode = writes
        package.__path__.remove(path)
        for loaded in [other for other in sys.modules if other == module or other.startswith(f"{module}.")]:
            del sys.modules[loaded]
        package.__dict__.pop(name, None)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _move(draft: Path, project: Path, paths: Sequence[str], listing: Path) -> None:
    """Put a draft in its place, the list last: what isn't listed is no use case."""
    targets: list[Path] = []
    try:
        for path in paths:
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (draft / path).rename(project / path)
            targets.append(project / path)
        (draft / "listing").replace(listing)
    except BaseException:
        for target in targets:
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        raise
