"""Check conf, and name the file and the line of each mistake."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError, field_validator

from lakehouse_ml.config import results
from lakehouse_ml.config.lake import LakeKind, find_unset, is_local, is_schema_name
from lakehouse_ml.config.spec import Spec
from lakehouse_ml.engine.spec import EngineSpec
from lakehouse_ml.errors import ConfError, chain, suggest_name
from lakehouse_ml.modelling.card import LibraryName
from lakehouse_ml.modelling.estimators.base import estimator_backend
from lakehouse_ml.pipelines import STAGES

if TYPE_CHECKING:
    from lakehouse_ml.config.loader import ProjectConfigLoader

_Model = TypeVar("_Model", bound=BaseModel)
Key = Sequence[str | int]
# Safe, and where PyYAML has it, in C.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Runtime parameters that say where a stage reads and writes.
ADDRESSES = ("lake", "models", "volume", "landing", "experiment")
# Runtime parameters that aren't parameters of nodes: `kedro run --params landing=…,lake=…`.
RUNTIME = frozenset({*ADDRESSES, "results_table", "job_run"})
# Null in the environments of a workspace: the bundle decides them, and a job passes them on.
OF_JOB = ("lake", "landing", "experiment")

# Spark's settings that hold credentials.
_SECRET = re.compile(r"secret|access\.key|session\.token|password", re.IGNORECASE)


class Globals(Spec):
    """`conf/<env>/globals.yml`."""

    lake_kind: LakeKind
    lake: str | None
    landing: str | None
    results_table: str
    other_versions: Literal["warn", "refuse"]
    volume: str
    tracking: str
    experiment: str | None
    models: str
    s3_endpoint: str | None
    s3_encryption: Literal["aws:kms", "AES256"] | None
    s3_kms_key: str | None
    missing_words: tuple[str, ...]

    @field_validator("results_table")
    @classmethod
    def _can_be_a_table(cls, name: str) -> str:
        fault = results.fault_of_usual(name)
        if fault:
            raise ValueError(fault)
        return name


@dataclass(frozen=True)
class Conf:
    """The files of a run's conf.

    Attributes:
        folders: Folders, that of highest precedence first.
        typed: Values typed for this run, which replace theirs: --params, `params` of --config, LAKE= and LANDING=; or
            those that a job passes on.
        typed_at: Where those were typed, for messages.
    """

    folders: tuple[Path, ...]
    typed: Mapping[str, Any] = field(default_factory=dict)
    typed_at: str = "--params"

    def check(self, loader: ProjectConfigLoader) -> None:
        """Refuse mistakes before anything is opened; the types of parameters check what is within them.

        Raises:
            ConfError: Names file, line, key and what is wrong with it.
        """
        for fault in self.faults(loader):
            raise ConfError(fault)

    def faults(self, loader: ProjectConfigLoader) -> Iterator[str]:
        """Find mistakes, a sentence each: unset values, unknown keys, types, and values that don't fit each other.

        Raises:
            ConfError: An address has a secret inside.
        """
        from kedro_mlflow.config.kedro_mlflow_config import KedroMlflowConfig

        yield from self._check_no_credentials(loader)
        # Read by now, an address with a secret is refused before a message can show it.
        for kind in ("mlflow", "catalog"):
            loader[kind]
        kinds: dict[str, type[BaseModel]] = {"globals": Globals, "spark": EngineSpec, "mlflow": KedroMlflowConfig}
        built: dict[str, Any] = {}
        named: set[str] = set()
        yield from self.unset_addresses(loader, named)
        for kind, model in kinds.items():
            yield from self.unset_variables(kind, loader[kind], named)
            try:
                built[kind] = self.parse(kind, model, loader)
            except ConfError as error:
                yield str(error)
                return  # what follows is composed of it
        yield from self._check_combinations(built["spark"], built["mlflow"], loader)
        yield from self._check_results_table(loader)
        yield from self._check_parameters(loader["parameters"])
        yield from self._check_libraries(loader["parameters"], built["spark"].engine)
        yield from self._check_predicates(loader["parameters"])

    def parse(self, kind: str, model: type[_Model], loader: ProjectConfigLoader) -> _Model:
        """Read one kind of conf as a typed value.

        Raises:
            ConfError: Names file, line, key and what is wrong with it.
        """
        values = loader[kind]
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise ConfError(self._describe_faults(kind, (), error)) from error

    def _check_no_credentials(self, loader: ProjectConfigLoader) -> Iterator[str]:
        """Find credentials in conf; the message doesn't repeat them."""
        endpoint = loader["globals"].get("s3_endpoint") or ""
        secrets: list[tuple[str, Key]] = [("globals", ("s3_endpoint",))] if "@" in str(endpoint) else []
        settings = loader["spark"].get("settings") or {}
        secrets += [("spark", ("settings", name)) for name in settings if _SECRET.search(name)]
        for kind, key in secrets:
            yield (
                f"{self.where(kind, key)}: {'.'.join(map(str, key))} holds credentials, which don't belong in "
                f"conf. They are taken from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from the machine's role."
            )

    def explain(self, error: BaseException) -> str | None:
        """Return the sentence for an error of Kedro, OmegaConf or YAML about conf; None for any other error."""
        from kedro.io import DatasetError
        from kedro.validation.exceptions import ParameterValidationError
        from omegaconf.errors import OmegaConfBaseException

        for one in chain(error):
            if isinstance(one, yaml.YAMLError):
                return self._find_invalid_yaml() or _sentence(str(one))
            if isinstance(one, OmegaConfBaseException):
                return self._find_invalid_yaml() or self._explain_interpolation(str(one))
            if isinstance(one, ParameterValidationError):
                return self._explain_parameters(str(one))
            entry = re.search(r"[Dd]ataset '([\w.]+)'", str(one))
            if entry and isinstance(one, DatasetError) and _CATALOG.search(str(one)):
                causes = [cause for cause in chain(one) if isinstance(cause, ValidationError)]
                pattern = self._find_entry(entry[1])
                if causes:
                    return self._describe_faults("catalog", (pattern,), causes[0])
                what = str(one).strip().replace("An exception occurred when parsing config for dataset", "Dataset")
                return f"{self.where('catalog', (pattern,))}: {_sentence(what.split('Hint')[0])}"
        return None

    def where(self, kind: str, key: Key) -> str:
        """Find the file and line of a key of one kind of conf, or of as much of the key as exists.

        A parameter that was typed for this run is in no file: its place is `typed_at`.
        """
        if kind == "parameters" and _is_typed(key, self.typed):
            return self.typed_at
        for length in range(len(key), 0, -1):
            for file in self._files(kind):
                line = line_of(file, key[:length])
                if line:
                    return f"{file}, line {line}"
        return " or ".join(map(str, self._files(kind))) or str(self.folders[-1] / f"{kind}.yml")

    def _files(self, kind: str) -> Iterator[Path]:
        for folder in dict.fromkeys(self.folders):
            yield from (
                file
                for file in sorted(folder.rglob("*.yml"))
                if any(part.startswith(kind) for part in file.relative_to(folder).parts)
            )

    def _describe_faults(self, kind: str, above: Key, error: ValidationError) -> str:
        """Return one clause for each fault, in pydantic's order."""
        clauses = []
        for fault in error.errors():
            key = (*above, *(part for part in fault["loc"] if part not in ("self",)))
            name = ".".join(map(str, key))
            clause = {
                "extra_forbidden": f"{name} is not a known key",
                "unexpected_keyword_argument": f"{name} is not a known key",
                "missing": f"{name} is missing",
                "missing_keyword_only_argument": f"{name} is missing",
            }.get(fault["type"], f"{name} can't be {fault['input']!r}: {_sentence(fault['msg']).rstrip('.').lower()}")
            clauses.append(f"{self.where(kind, key)}: {clause}")
        return "; ".join(clauses) + "."

    def unset_addresses(self, loader: ProjectConfigLoader, named: set[str]) -> Iterator[str]:
        """Find addresses that conf leaves to a job and this run does not name; `named` gets their names."""
        for name in OF_JOB:
            if find_unset(loader.named(name)) == [name]:
                named.add(name)
                yield (
                    f"{self.where('globals', (name,))}: {name} is not set. In this environment it is a parameter of "
                    f"the job, which databricks.yml sets; in other runs, name it: --params {name}=<{name}>."
                )

    def unset_variables(self, kind: str, values: Mapping[str, Any], named: set[str]) -> Iterator[str]:
        """Find variables that conf names and nobody has set; those in `named`, which grows, are left out."""
        for key, value in leaves(values):
            for name in find_unset(value):
                if name not in named:
                    named.add(name)
                    yield (
                        f"{self.where(kind, key)}: {'.'.join(map(str, key))}: {name} is not set. Set this "
                        f"environment variable, or write the value in its place."
                    )

    def _check_combinations(self, engine: EngineSpec, mlflow: Any, loader: ProjectConfigLoader) -> Iterator[str]:
        """Find lakes, engines and registries that don't fit each other."""
        lake, landing, experiment = loader.lake, loader.named("landing"), loader.named("experiment")
        tracking, registry = mlflow.server.mlflow_tracking_uri or "", mlflow.server.mlflow_registry_uri or ""
        at_lake, at_landing = self.where_address("lake"), self.where_address("landing")
        if lake.is_schema and engine.engine == "sail":
            yield (
                f"{self.where('globals', ('lake_kind',))}: lake_kind schema means tables of a catalog, which the "
                f"engine sail doesn't reach: connect and databricks do."
            )
        if lake.is_schema and not find_unset(lake.root) and not is_schema_name(lake.root):
            yield (
                f"{at_lake}: with lake_kind schema, lake is catalog.schema, and {lake.root!r} can't be that in Unity "
                f"Catalog."
            )
        if not lake.is_schema and engine.is_in_workspace and is_local(lake.root):
            yield (
                f"{at_lake}: lake is {lake.root!r}, a folder of one machine: other tasks and the cluster don't see it."
            )
        if not lake.is_schema and not is_local(lake.root) and tracking.startswith("sqlite:"):
            yield (
                f"{self._where_tracking()}: the tracking store of a lake at an address is a server, and {tracking} is "
                f"a file: name the server's, MLFLOW_TRACKING_URI=http://…, and an environment that asks for it "
                f"(--env s3)."
            )
        if engine.is_in_workspace and is_local(landing) and not find_unset(landing):
            yield (
                f"{at_landing}: landing is {landing!r}, a folder of one machine: name a "
                f"Volume's (/Volumes/…) or an address."
            )
        if engine.is_in_workspace and (tracking.split(":")[0], registry.split(":")[0]) != (
            "databricks",
            "databricks-uc",
        ):
            yield (
                f"{self._where_tracking()}: in a workspace runs and models are recorded there (tracking: workspace), "
                f"and here in {tracking!r}" + (f" and {registry!r}." if registry else ".")
            )
        if tracking.startswith("databricks") and not experiment.startswith(("/", "<")):
            yield (
                f"{self.where_address('experiment')}: experiment is {experiment!r}, and in a workspace it "
                f"is an absolute path: /Users/<you>/…, /Shared/…."
            )
        models = lake.model_schema
        if registry.startswith("databricks-uc") and not find_unset(models) and not is_schema_name(models):
            yield f"{self.where_address('models')}: models is {models!r}: Unity Catalog takes catalog.schema."

    def where_address(self, name: str) -> str:
        """Find where an address is named: on the command line or by a job, else in globals.yml."""
        return self.typed_at if name in self.typed else self.where("globals", (name,))

    def _where_tracking(self) -> str:
        """Find where the tracking store is named: an environment's mlflow.yml, or globals.yml."""
        named = ("server", "mlflow_tracking_uri")
        own = [file for file in self._files("mlflow") if file.parent != self.folders[-1] and line_of(file, named)]
        return self.where("mlflow", named) if own else self.where("globals", ("tracking",))

    def _check_parameters(self, parameters: Mapping[str, Any]) -> Iterator[str]:
        valid = {tuple(name.split(".")) for name in _list_parameters()}
        for key in _find_unknown_keys((), parameters, valid):
            if key[0] not in RUNTIME:
                siblings = {".".join(name[: len(key)]) for name in valid if name[: len(key) - 1] == key[:-1]}
                siblings |= RUNTIME if len(key) == 1 and _is_typed(key, self.typed) else set()
                name = ".".join(map(str, key))
                yield f"{self.where('parameters', key)}: {name} is not a known key. {suggest_name(name, siblings)}"
        for key in sorted(valid):
            value: Any = parameters
            for part in key:
                value = value.get(part) if isinstance(value, Mapping) else None
            if value is None and not _may_be_absent(parameters, key):
                yield f"{self.where('parameters', key[:-1])}: {'.'.join(key)} is missing."

    def _check_libraries(self, parameters: Mapping[str, Any], engine: str) -> Iterator[str]:
        """Find a library of estimators that the environment's engine can't run."""
        for use_case, of_use_case in parameters.items():
            training = of_use_case.get("training") if isinstance(of_use_case, Mapping) else None
            name = training.get("library") if isinstance(training, Mapping) else None
            if name not in get_args(LibraryName):
                continue  # its type refuses it
            engines = estimator_backend(cast("LibraryName", name)).ENGINES
            if engine not in engines:
                key = (use_case, "training", "library")
                yield (
                    f"{self.where('parameters', key)}: {'.'.join(key)} is {name}, which computes with the engine "
                    f"{' or '.join(engines)}, and this environment's is {engine}: use --env spark."
                )

    def _check_results_table(self, loader: ProjectConfigLoader) -> Iterator[str]:
        from lakehouse_ml.use_cases import USE_CASES

        runtime_parameters = loader.runtime_params or {}
        if "results_table" not in runtime_parameters:
            return
        table, conf = runtime_parameters["results_table"], loader["globals"]
        fault = results.fault(table, conf["results_table"], [use_case.entity_plural for use_case in USE_CASES])
        if not fault and loader.lake.is_schema and not table.startswith("score_"):
            fault = "in a schema the tables of all layers lie side by side, so its name begins with score_"
        if fault:
            yield f"{self.typed_at}: results_table can't be {table!r}: {fault}."

    def _check_predicates(self, parameters: Mapping[str, Any]) -> Iterator[str]:
        """Find predicates of rules that name a column which the table doesn't have."""
        from lakehouse_ml.use_cases import USE_CASES
        from lakehouse_ml.use_cases.columns import AUDIT

        for use_case in USE_CASES:
            tables = ((parameters.get(use_case.name) or {}).get("data_quality") or {}).get("tables") or {}
            for table, contract in use_case.sources.items():
                columns = [*contract.names, *(column.name for column in AUDIT)]
                rules = (tables.get(table) or {}).get("rules") or ()
                for number, rule in enumerate(rules):
                    for fault in _find_unknown_columns(rule, columns):
                        key = (use_case.name, "data_quality", "tables", table, "rules", number, "predicate")
                        yield f"{self.where('parameters', key)}: rule {rule.get('name')} of {table} {fault}"

    def _explain_parameters(self, text: str) -> str:
        """Rebuild the faults from Kedro's text: it keeps nothing else of what pydantic found."""
        clauses = []
        for part in text.split("\n- Parameter ")[1:]:
            name = part.split("'")[1]
            for loc, message, kind, value in _FAULT.findall(part):
                key = (*name.split("."), *(int(word) if word.isdigit() else word for word in loc.split(".")))
                explanation = {
                    "extra_forbidden": f"is not a known key. {self._suggest_key(key)}",
                    "missing": "is missing",
                }.get(kind, f"can't be {value}: {_sentence(message).rstrip('.').lower()}")
                clauses.append(f"{self.where('parameters', key)}: {name}.{loc} {explanation}")
            flat = _FLAT.search(part)
            if flat:
                clauses.append(f"{self.where('parameters', name.split('.'))}: {name} can't be {flat[1]}: it has keys")
            elif not _FAULT.search(part):
                clauses.append(f"{self.where('parameters', name.split('.'))}: {_sentence(part)}".rstrip("."))
        return " ".join(clause if clause.endswith(("?", ".")) else f"{clause}." for clause in clauses)

    def _suggest_key(self, key: Key) -> str:
        """Return a hint at the key that the files of parameters have in its place."""
        siblings: set[str] = set()
        for file in self._files("parameters"):
            value = yaml.safe_load(file.read_text(encoding="utf-8"))
            for part in key[:-1]:
                value = value.get(part) if isinstance(value, Mapping) else None
            siblings |= set(map(str, value)) if isinstance(value, Mapping) else set()
        above = [*map(str, key[:-1])]
        full = {".".join([*above, name]) for name in siblings - {str(key[-1])}}
        return suggest_name(".".join([*above, str(key[-1])]), full)

    def _find_invalid_yaml(self) -> str | None:
        """Describe the first file that isn't YAML or isn't a mapping."""
        for folder in self.folders:
            for file in sorted(folder.rglob("*.yml")):
                try:
                    document = yaml.compose(file.read_text(encoding="utf-8"))
                except (yaml.MarkedYAMLError, UnicodeDecodeError) as error:
                    mark = getattr(error, "problem_mark", None)
                    line = f", line {mark.line + 1}" if mark else ""
                    problem = getattr(error, "problem", None) or "not UTF-8"
                    return f"{file}{line}: this is not valid YAML ({problem})."
                if document is not None and not isinstance(document, yaml.MappingNode):
                    return f"{file}, line 1: this has to be keys with values, `key: value`."
        return None

    def _explain_interpolation(self, text: str) -> str:
        """Add the file and line of the key that OmegaConf names."""
        key = re.search(r"full_key: (\S+)", text)
        first = _sentence(text.strip().splitlines()[0])
        for kind in ("catalog", "mlflow", "parameters", "globals", "spark") if key else ():
            for length in (1, 2, 3, 4):
                parts = _parts(key[1], length) if key else []
                if parts and any(line_of(file, parts) for file in self._files(kind)):
                    return f"{self.where(kind, parts)}: {key[1] if key else ''}: {first}"
        return f"{self.folders[-1]}: {first}"

    def _find_entry(self, dataset: str) -> str:
        """Find the catalog's entry of a dataset: its own, or the pattern that it matches."""
        names = [name for file in self._files("catalog") for name in (yaml.safe_load(file.read_text("utf-8")) or {})]
        if dataset in names:
            return dataset
        fits = [name for name in names if re.fullmatch(re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(name)), dataset)]
        return max(fits, key=lambda name: len(re.sub(r"\{\w+\}", "", name)), default=dataset)


# Kedro's messages about an entry that it can't build a dataset from.
_CATALOG = re.compile(r"parsing config|must only contain arguments|Failed to instantiate|Failed to load|validator")
# A value where keys with values are expected: the fault has no key of its own.
_FLAT = re.compile(r"\[type=model_type, input_value=(.*), input_type=\w+\]")
_FAULT = re.compile(r"^(\S+)\n  (.+?) \[type=(\w+), input_value=(.*), input_type=\w+\]$", re.MULTILINE)


def leaves(values: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Iterate over all values within mappings and lists, with their keys."""
    inner = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else None
    if inner is None:
        yield above, values
        return
    for name, value in inner:
        yield from leaves(value, (*above, name))


def _is_typed(key: Key, typed: Any) -> bool:
    """Whether a key, or what holds it, is among the values typed for a run."""
    for part in key:
        if not isinstance(typed, Mapping):
            break
        if part not in typed:
            return False
        typed = typed[part]
    return len(key) > 0


@cache
def _list_parameters() -> frozenset[str]:
    """List the names of all parameters that a node of any stage reads; Kedro's pipelines may be those of one stage."""
    pipelines = [import_module(f"lakehouse_ml.pipelines.{stage}").create_pipeline() for stage in STAGES]
    inputs = {name for pipeline in pipelines for name in pipeline.inputs()}
    return frozenset(name.removeprefix("params:") for name in inputs if name.startswith("params:"))


def _find_unknown_keys(
    above: tuple[str, ...], values: Mapping[str, Any], valid: Iterable[tuple[str, ...]]
) -> Iterator[Key]:
    for name, value in values.items():
        key = (*above, str(name))
        if key in valid:
            continue
        if not any(other[: len(key)] == key for other in valid):
            yield key
        elif isinstance(value, Mapping):
            yield from _find_unknown_keys(key, value, valid)


def _may_be_absent(parameters: Mapping[str, Any], key: Key) -> bool:
    """Whether conf sets a parameter to null: its type decides whether it may."""
    value: Any = parameters
    for part in key[:-1]:
        value = value.get(part) if isinstance(value, Mapping) else None
    return isinstance(value, Mapping) and key[-1] in value


def line_of(file: Path, key: Key) -> int | None:
    """Find the line of a key in a YAML file, from 1."""
    return line_within(compose(file), key)


def compose(file: Path) -> yaml.Node | None:
    """Read a YAML file as nodes, which know their lines."""
    text = file.read_text(encoding="utf-8")
    node: yaml.Node | None = yaml.compose(text, Loader=LOADER)
    return node


def line_within(node: yaml.Node | None, key: Key) -> int | None:
    """Find the line of a key below a node, from 1."""
    line = None
    for part in key:
        if isinstance(node, yaml.MappingNode):
            entries = [(name, value) for name, value in node.value if name.value == str(part)]
            if not entries:
                return None
            line, node = entries[0][0].start_mark.line + 1, entries[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return None
    return line


def _parts(full_key: str, length: int) -> list[str]:
    """A dotted key split into that many parts; datasets have a dot in their names."""
    words = full_key.split(".")
    return (
        [".".join(words[: len(words) - length + 1]), *words[len(words) - length + 1 :]] if len(words) >= length else []
    )


def _find_unknown_columns(rule: Any, columns: Sequence[str]) -> Iterator[str]:
    """Find unknown columns in a rule's predicate; its type checks the predicate itself."""
    from lakehouse_ml.pipelines.data_quality.predicates import check_predicate, columns_of

    predicate = rule.get("predicate") if isinstance(rule, Mapping) else None
    if not isinstance(predicate, str):
        return
    try:
        check_predicate(predicate)
    except ValueError:
        return
    lower = {name.lower() for name in columns}
    for name in columns_of(predicate):
        if name.lower() not in lower:
            yield f"names the column {name}, which the table doesn't have. {suggest_name(name, columns)}"


def _sentence(text: str) -> str:
    """Join lines into one sentence."""
    return re.sub(r"\s+", " ", text).strip().rstrip(".") + "."
