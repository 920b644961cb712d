"""What each table of predictive maintenance holds: grain, key, columns and types.

Times are instants: a file's `datetime` without an offset is UTC. Local time would have to be converted before it lands:
in the hour that daylight saving skips nothing could be told from a gap, in the one that it repeats nothing from a
duplicate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lakehouse_ml.storage.writes import unwrap_rows
from lakehouse_ml.use_cases.columns import ACTION, SCORE, derive_tables
from lakehouse_ml.use_cases.contracts import Column, Table

SENSORS = ("volt", "rotate", "pressure", "vibration")
STATISTICS = ("mean", "sd", "min", "max")

_MACHINE = Column("machine_id", "int", "machineID", nullable=False, doc="Machine.")
_PREDICTED = Column("predicted_at", "timestamp", doc="When the prediction is made, UTC: later events are unknown.")


@dataclass(frozen=True)
class OpenTable(Table):
    """A table that has further columns, as many as conf asks for, after its declared ones.

    Attributes:
        families: Regular expression of such columns' whole names, their type, and what they say (its groups by
            number).
    """

    families: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def validate(self, data: object) -> object:
        """Pass a frame on as it is, if its columns are the declared ones and members of the families.

        Raises:
            ContractError: Names each missing, unexpected or differently typed column.
        """
        names = getattr(unwrap_rows(data), "columns", ())
        members = [Column(name, type_) for name in names if (type_ := self._type_of(name))]
        Table(self.name, self.grain, self.key, (*self.columns, *members)).validate(data)
        return data

    def meaning(self, name: str) -> str:
        """What a column holds, in words; nothing of one that isn't declared."""
        meanings = (match.expand(doc) for match, _, doc in self._families_of(name))
        return super().meaning(name) or next(meanings, "")

    def _type_of(self, name: str) -> str | None:
        if name in self.names:
            return None
        return next((type_ for _, type_, _ in self._families_of(name)), None)

    def _families_of(self, name: str) -> Iterator[tuple[re.Match[str], str, str]]:
        for pattern, (type_, doc) in self.families.items():
            if match := re.fullmatch(pattern, name):
                yield match, type_, doc


landing_telemetry = Table(
    "landing_telemetry", "one row per machine and hour", ("machine_id", "observed_at"),
    (
        Column("observed_at", "timestamp", "datetime", nullable=False, doc="When the sensors were read, UTC."),
        _MACHINE,
        Column("volt", "double", "volt", doc="Voltage, in volts; blank if the sensor gave none."),
        Column("rotate", "double", "rotate", doc="Rotation, in revolutions per minute."),
        Column("pressure", "double", "pressure", doc="Pressure, in the file's unit."),
        Column("vibration", "double", "vibration", doc="Vibration, in the file's unit."),
    ),
)  # fmt: skip
parsed_telemetry, raw_telemetry, quarantine_lines_telemetry, clean_telemetry = derive_tables(landing_telemetry)

landing_errors = Table(
    "landing_errors", "one row per machine, time and kind of error", ("machine_id", "logged_at", "error_id"),
    (
        Column("logged_at", "timestamp", "datetime", nullable=False, doc="When the machine logged it, UTC."),
        _MACHINE,
        Column("error_id", "string", "errorID", nullable=False, doc="Kind of error; the machine ran on."),
    ),
)  # fmt: skip
parsed_errors, raw_errors, quarantine_lines_errors, clean_errors = derive_tables(landing_errors)

landing_maintenance = Table(
    "landing_maintenance", "one row per machine, time and component", ("machine_id", "replaced_at", "component"),
    (
        Column("replaced_at", "timestamp", "datetime", nullable=False, doc="When it was replaced, UTC."),
        _MACHINE,
        Column("component", "string", "comp", nullable=False, doc="What was replaced, by plan or after a failure."),
    ),
)  # fmt: skip
parsed_maintenance, raw_maintenance, quarantine_lines_maintenance, clean_maintenance = derive_tables(
    landing_maintenance
)

landing_failures = Table(
    "landing_failures", "one row per machine, time and component", ("machine_id", "failed_at", "component"),
    (
        Column("failed_at", "timestamp", "datetime", nullable=False, doc="When it failed, UTC."),
        _MACHINE,
        Column("component", "string", "failure", nullable=False, doc="What failed; two may fail at once."),
    ),
)  # fmt: skip
parsed_failures, raw_failures, quarantine_lines_failures, clean_failures = derive_tables(landing_failures)

landing_machines = Table(
    "landing_machines", "one row per machine", ("machine_id",),
    (
        _MACHINE,
        Column("model", "string", "model", doc="Model."),
        Column("age_years", "int", "age", doc="Whole years in service."),
    ),
)  # fmt: skip
parsed_machines, raw_machines, quarantine_lines_machines, clean_machines = derive_tables(landing_machines)

_KEY = (Column("machine_id", "int", doc="Machine."), _PREDICTED)

feature_machines = OpenTable(
    "feature_machines", "one row per machine and prediction time", ("machine_id", "predicted_at"),
    (
        *_KEY,
        Column("model", "string", doc="Model."),
        Column("age_years", "int", doc="Whole years in service."),
    ),
    {
        rf"({'|'.join(SENSORS)})_({'|'.join(STATISTICS)})_(\d+)h": ("double", r"\2 of \1 in the \3 hours before."),
        r"([a-z][a-z0-9_]*)_count_(\d+)h": ("int", r"How often \1 was logged in the \2 hours before."),
        r"days_since_([a-z][a-z0-9_]*)": ("double", r"Days since \1 was last replaced; blank if never."),
    },
)  # fmt: skip
_COMPONENT = Column("component", "string", doc="Component.")
label_machines = Table(
    "label_machines", "one row per machine, prediction time whose horizon is over, and component",
    ("machine_id", "predicted_at", "component"),
    (
        *_KEY,
        _COMPONENT,
        Column("label", "int", doc="1 if it fails within the horizon after the prediction time, 0 if not."),
        Column("known_at", "timestamp", doc="When the horizon is over, UTC: nobody can know the label before."),
    ),
)  # fmt: skip
model_input_machines = OpenTable(
    "model_input_machines",
    "one row per machine, prediction time whose horizon is over, and component",
    ("machine_id", "predicted_at", "component"),
    (
        *feature_machines.columns,
        _COMPONENT,
        Column("label", "int", doc="1 if it fails within the horizon."),
        Column("part", "string", doc="train, calibration or holdout, by the prediction time."),
    ),
    feature_machines.families,
)
score_machines = OpenTable(
    "score_machines", "one row per machine, prediction time and batch", ("machine_id", "predicted_at", "batch"),
    (*_KEY, Column("component", "string", doc="The likeliest to fail."), *SCORE),
    {r"probability_([a-z][a-z0-9_]*)": ("double", r"That \1 fails within the horizon.")},
)  # fmt: skip
score_actions = Table(
    "score_actions", "one row per machine worth a visit and batch", ("machine_id", "predicted_at", "batch"),
    (*_KEY, Column("component", "string", doc="The likeliest to fail."), *ACTION),
)  # fmt: skip
