"""Columns and tables that a stage adds to every use case's own."""

from __future__ import annotations

from lakehouse_ml.use_cases.contracts import Column, Table

# Names of the rules that keep a row out of a clean table; `DUPLICATE` stands for a repeated key.
REASONS = "quarantine_reasons"
DUPLICATE = "duplicate_key"

AUDIT = (
    Column("snapshot_on", "date", doc="Day whose state the row describes."),
    Column("source_file", "string", nullable=False, doc="File below the landing folder."),
    Column("file_sha256", "string", nullable=False, doc="Hash of that file's bytes."),
    Column("line_number", "bigint", nullable=False, doc="Record in that file; a CSV's header is the first."),
    Column("ingested_at", "timestamp", nullable=False, doc="When the row was read, UTC."),
)
LINES = (
    Column("line_text", "string", doc="The refused record: its text if it can't be split, else its fields as JSON."),
    Column("problems", "array<struct<column:string,text:string,reason:string>>", doc="What is wrong with it."),
)
SCORE = (
    Column("probability", "double", doc="Of the positive outcome (of any class or component), by the champion."),
    Column("decision", "int", doc="1 if the probability (with several: of the likeliest) reaches the threshold."),
    Column("threshold", "double", doc="The champion's, stored inside the model."),
    Column("reasons", "array<struct<feature:string,value:string,effect:double>>",
           doc="What moves the row's probability most, against a typical row; signed."),
    Column("model_name", "string", doc="Registered model."),
    Column("model_version", "string", doc="Its version."),
    Column("batch", "string", doc="The batch: the day as of which the rows were scored."),
    Column("scored_at", "timestamp", doc="When, UTC."),
)  # fmt: skip
LEARNED_UNTIL = Column("learned_until", "date", doc="Newest day whose outcomes the model had learned from.")
KNOWN_AT = Column("known_at", "date", doc="Day from which on the outcome is known.")
ACTION = (
    Column("rank", "int", doc="1 is worth most."),
    Column("probability", "double", doc="Of the positive outcome."),
    Column("expected_gain", "double", doc="Of acting: probability * success share * averted value - cost."),
    Column("main_reason", "string", doc="The strongest reason that raises the probability."),
    Column("model_version", "string", doc="Version that scored."),
    Column("batch", "string", doc="The batch."),
)


def derive_tables(landing: Table) -> tuple[Table, Table, Table, Table]:
    """Derive the contracts of a landing table's parsed, raw, refused and clean rows, in this order."""
    name = landing.name.removeprefix("landing_")
    raw = landing.extended(f"raw_{name}", "one row per record that parsed", *AUDIT)
    return (
        raw.extended(f"parsed_{name}", "one row per record of the last files", *LINES),
        raw,
        Table(f"quarantine_lines_{name}", "one row per refused record", (), (*AUDIT, *LINES)),
        raw.extended(f"clean_{name}", landing.grain),
    )
