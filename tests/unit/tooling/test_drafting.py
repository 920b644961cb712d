"""A use case drafted from a CSV: what is decided of each column, what is refused, and that it is all or nothing."""

from __future__ import annotations

import ast
import csv
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from omegaconf import OmegaConf

from lakehouse_ml.cli import commands
from lakehouse_ml.errors import ConfError, LakehouseError, LandingError
from lakehouse_ml.tooling.drafting.columns import Profile, profile_columns, to_snake_case
from lakehouse_ml.tooling.drafting.landing_file import read_landing_file
from lakehouse_ml.tooling.drafting.plan import DraftRequest, plan_draft
from lakehouse_ml.tooling.drafting.project import add_to_listing, check_name, draft_use_case
from lakehouse_ml.tooling.drafting.templates import render_draft, render_jobs
from lakehouse_ml.use_cases.formats import DateFormat, NumberFormat
from lakehouse_ml.use_cases.wording import Wording

PROJECT = Path(__file__).resolve().parents[3]
LISTING = "src/lakehouse_ml/use_cases/__init__.py"
GLOBALS = "conf/base/globals.yml"
WORDS = yaml.safe_load((PROJECT / GLOBALS).read_text(encoding="utf-8"))["missing_words"]


def loans(n: int = 200) -> list[dict[str, Any]]:
    draw = random.Random(0)
    return [
        {
            "LoanID": f"L{i:04}",
            "Income": draw.randint(10_000, 90_000),
            "Debt": draw.choice(["NA", "12.5", "0.25"]),
            "ZIP": f"0{i:04}",
            "Since": f"2020-01-{i % 28 + 1:02}",
            "Grade": draw.choice(["A", 'the "B"', "it's C"]),
            "Country": "CH",
            "Defaulted": "" if i % 10 == 0 else draw.choice(["yes", "no"]),
            "Tier": ["Gold", "silver plated", "3rd", ""][i % 4],
            "Rate": i / 8,
        }
        for i in range(n)
    ]


def landed(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """As much of a checkout as a draft is written into."""
    folder = tmp_path / "project"
    package = [
        f"src/lakehouse_ml/{name}.py"
        for name in (
            "__init__",
            "use_cases/base",
            "use_cases/columns",
            "use_cases/contracts",
            "use_cases/formats",
            "use_cases/wording",
        )
    ]
    for name in (LISTING, GLOBALS, "pyproject.toml", *package):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)
    return folder


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def complaints(project: Path) -> str:
    """What the linter and the formatter would have otherwise."""
    ruff = str(Path(sys.executable).with_name("ruff"))
    calls = (
        [ruff, "check", "--no-cache", "-q", "src"],
        [ruff, "format", "--no-cache", "--check", "--diff", "-q", "src"],
    )
    return "".join(
        subprocess.run(call, cwd=project, capture_output=True, text=True, check=False).stdout for call in calls
    )


def make_request(**fields: Any) -> DraftRequest:
    return DraftRequest(**{"name": "loans", "key": "LoanID", "label": "Defaulted", **fields})


def profile_file(path: Path) -> dict[str, Profile]:
    return {column.name: column for column in profile_columns(read_landing_file(path), WORDS)}


def draft_files(tmp_path: Path, rows: list[dict[str, Any]], **fields: Any) -> dict[str, str]:
    records = read_landing_file(landed(tmp_path / "loans.csv", rows))
    plan = plan_draft(make_request(**fields), records, WORDS)
    return {Path(path).name: text for path, text in render_draft("loans", plan, records.delimiter).items()}


def test_types_are_those_that_every_value_has(tmp_path: Path) -> None:
    columns = profile_file(landed(tmp_path / "loans.csv", loans()))
    assert {name: column.type for name, column in columns.items()} == {
        "loan_id": "string",
        "income": "int",
        "debt": "double",
        "zip": "string",
        "since": "date",
        "grade": "string",
        "country": "string",
        "defaulted": "string",
        "tier": "string",
        "rate": "double",
    }


def test_one_value_beyond_the_others_decides_a_columns_type(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": 1, "c": "2020-01-31", "d": 1, "e": "2020-01-01 10:00"} for _ in range(3)]
    rows.append({"a": 2.5, "b": 2**40, "c": "2020-01-32", "d": "1e999", "e": "2020-01-01T10:00:30"})
    columns = profile_file(landed(tmp_path / "t.csv", rows))
    assert [column.type for column in columns.values()] == ["double", "bigint", "string", "string", "timestamp"]


def test_names_become_snake_case() -> None:
    names = ["LoanID", "Term (months)", "größe", "XMLFile", "2nd rate", "価格", "already_so"]
    assert [to_snake_case(name) for name in names] == [
        "loan_id",
        "term_months",
        "groe",
        "xml_file",
        "n_2nd_rate",
        "",
        "already_so",
    ]


def test_a_column_named_like_one_of_ours_keeps_its_name_in_the_file_only(tmp_path: Path) -> None:
    rows = [row | {"label": row["Defaulted"], "snapshot_on": "x"} for row in loans()]
    contracts = draft_files(tmp_path, rows, label="label")["contracts.py"]
    assert 'Column("label_given", "string", "label"' in contracts
    assert 'Column("snapshot_on_given", "string", "snapshot_on"' in contracts


def test_features_are_numbers_and_categories_and_the_rest_is_left_out_with_its_reason(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    features = draft_files(tmp_path, loans())["features.py"]
    exec(features.split("def build_features")[0], names)
    assert names["KEPT"] == ("income", "debt", "grade", "tier", "rate")
    assert names["CATEGORICAL"] == ("grade", "tier")
    assert "zip is text with 200 different values." in features
    assert "since is a time" in features
    assert "country has the same value wherever it has one." in features


@pytest.mark.parametrize(
    ("fields", "delimiter"),
    [
        ({}, ","),
        ({"label": "Tier"}, ";"),
        ({"label": "Defaulted", "positive": "no", "time": "Since"}, "\t"),
        ({"key": None}, "|"),
        ({"key": None, "label": "Tier"}, ","),
    ],
    ids=["two outcomes", "classes", "snapshots", "a proposed key", "classes, a proposed key"],
)
def test_a_draft_is_formatted_and_without_a_linters_objection(
    project: Path, tmp_path: Path, fields: dict[str, Any], delimiter: str
) -> None:
    draft_use_case(project, make_request(**fields), landed(tmp_path / "loans.csv", loans(), delimiter))
    assert complaints(project) == ""
    conf = yaml.safe_load((project / "conf/base/loans/catalog.yml").read_text(encoding="utf-8"))
    assert conf["loans.landing_rows"].get("delimiter", ",") == delimiter


@pytest.mark.parametrize("label", ["Defaulted", "Tier"])
def test_a_draft_without_a_key_and_with_formats_is_too(project: Path, tmp_path: Path, label: str) -> None:
    odd = [f"no answer number {n} of many" for n in range(9)]
    rows = modify(
        LoanID=lambda i: i % 7,
        ZIP=lambda i: 1,
        Income=lambda i: f"$ {i},000" if i else "don't know",
        Debt=lambda i: odd[i] if i < 9 else f"{i} %",
        Since=lambda i: f"{i % 28 + 1:02}.01.2020",
    )
    draft_use_case(
        project, make_request(key=None, label=label), landed(tmp_path / "loans.csv", [*rows, *rows[9:], *rows[9:]])
    )
    assert complaints(project) == ""


@pytest.mark.parametrize("label", ["Defaulted", "Tier"])
def test_a_draft_of_the_longest_names_is_too(project: Path, tmp_path: Path, label: str) -> None:
    far = "XMLHttpRequestsOf" + "TheLongestName" * 3 + "AndThenSome" * 2
    classes = {"Gold": "G" * 45, "silver plated": "S" * 45, "3rd": "3" * 45, "": ""}
    rows = [
        {f"{name[:5]}{far}": value for name, value in row.items()} | {f"Tier{far}": classes[row["Tier"]]}
        for row in loans()
    ]
    request = DraftRequest("a_name_of_as_many_as_x_letters", f"{label[:5]}{far}", f"LoanI{far}", time=f"Since{far}")
    draft_use_case(project, request, landed(tmp_path / "loans.csv", rows))
    assert complaints(project) == ""


def test_a_draft_is_code_conf_jobs_its_line_in_the_list_and_the_file(project: Path, tmp_path: Path) -> None:
    before = read_files(project)
    file = landed(tmp_path / "loans.csv", loans())
    draft_use_case(project, make_request(), file)
    after = read_files(project)
    code = "src/lakehouse_ml/use_cases/loans"
    assert sorted(set(after) - set(before)) == sorted(
        [
            *(f"{code}/{name}.py" for name in ("__init__", "contracts", "features", "labels", "synthetic")),
            "conf/base/loans/catalog.yml",
            "conf/base/loans/parameters.yml",
            "resources/loans.yml",
            "data/landing/loans/loans.csv",
        ]
    )
    assert after["data/landing/loans/loans.csv"] == file.read_bytes()
    assert after[LISTING].decode().endswith("PREDICTIVE_MAINTENANCE, LOANS)\n")
    assert [path.name for path in (project / "data").iterdir()] == ["landing"]


def modify(**columns: Any) -> list[dict[str, Any]]:
    """Loans with columns that a function of the row's number gives instead."""
    return [row | {name: value(i) for name, value in columns.items()} for i, row in enumerate(loans())]


@pytest.mark.parametrize(
    ("fields", "rows", "message"),
    [
        ({"name": "churn"}, loans(), r"There is a use case churn already"),
        ({"name": "Loans!"}, loans(), r"Invalid name Loans!: use lower-case letters, digits"),
        ({"name": "all"}, loans(), r"Invalid name all: it is reserved"),
        ({"name": "training"}, loans(), r"Invalid name training"),
        ({"name": "parameters_of_loans"}, loans(), r"Invalid name parameters_of_loans"),
        ({"name": "class"}, loans(), r"Invalid name class"),
        ({"key": "Loan"}, loans(), r"--key: there is no column Loan in the file\. There are LoanID, Income"),
        ({"label": "Default"}, loans(), r"--label: there is no column Default"),
        ({"time": "Day"}, loans(), r"--time: there is no column Day"),
        ({"label": "LoanID"}, loans(), r"name different columns"),
        ({"time": "Grade"}, loans(), r"--time: Grade holds .*, and no day as YYYY-MM-DD"),
        ({}, modify(LoanID=lambda i: i // 2), r"LoanID has duplicates: '0' is in 2 rows, as 100 keys.*--time"),
        ({}, modify(LoanID=lambda i: i if i % 4 else ""), r"50 of 200 records would be refused.*line 2 has no LoanID"),
        ({"time": "Since"}, modify(LoanID=lambda i: 1, Since=lambda i: "2020-01-01"), r"Since together have dupli"),
        ({"label": "Rate"}, loans(), r"Rate has 200 different values.*predict which of at most 20 classes"),
        ({"label": "Rate"}, modify(Rate=lambda i: i % 3 + 0.5), r"Rate has 3 different values.*no amounts"),
        ({"label": "Country"}, loans(), r"Country has only the value CH"),
        ({}, modify(Defaulted=lambda i: ""), r"Defaulted has no value in any row"),
        ({}, modify(Defaulted=lambda i: "ab"[i % 2]), r"which value is to be predicted: name one of a, b with --pos"),
        ({"positive": "maybe"}, loans(), r"has no value maybe: name one of no, yes"),
        ({"label": "Tier", "positive": "Gold"}, loans(), r"--positive goes with two outcomes; Tier has 3"),
        ({"label": "Tier"}, modify(Tier=lambda i: ["A b", "a-B", "c"][i % 3]), r"a-B and A b would both be.*a_b"),
        ({}, modify(Defaulted=lambda i: ["\x1b[31mno", "a\nb"][i % 2]), r"name one of '\\x1b\[31mno', 'a\\nb' with"),
        ({"label": "Tier"}, modify(Tier=lambda i: ["価", "b", "c"][i % 3]), r"価 could not be the end"),
        ({}, modify(Defaulted=lambda i: "yes" if i < 9 else "no"), r"= yes is in 9 rows.*needs 5 of each"),
        ({}, modify(loan_id=lambda i: i), r"Columns LoanID and loan_id would both be called loan_id"),
        ({}, [{"LoanID": i, "Defaulted": ["yes", "no"][i % 2]} for i in range(99)], r"no column can be learned fr"),
    ],
)  # fmt: skip
def test_what_does_not_suit_is_refused_in_a_sentence_and_nothing_is_written(
    project: Path,
    tmp_path: Path,
    fields: dict[str, Any],
    rows: list[dict[str, Any]],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = read_files(project)
    request = make_request(**fields)
    monkeypatch.setattr(commands, "PROJECT", project)
    options = [
        word for option, value in vars(request).items() if value and option != "name" for word in (f"--{option}", value)
    ]
    file = landed(tmp_path / "loans.csv", rows)
    result = CliRunner().invoke(commands.cli, ["use-case", "new", request.name, "--from", str(file), *options])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    with pytest.raises(LakehouseError, match=message):
        draft_use_case(project, request, file)
    assert read_files(project) == before


def test_a_file_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"kunden_\xfc.csv")
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(LandingError, match=r"The name 'kunden_\\xfc\.csv' is not UTF-8: rename the file"):
        read_landing_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no file"),
        (b"", "is empty"),
        (b"a,b\n", "no record below it"),
        (b"a,b\n1\n2\n", "every record is refused: the first one, in line 2, has 1 field instead of 2"),
        (b"a,a\n1,2\n", "column a appears twice in the header"),
        (b",,a\n1,2,3\n", "column 1 of 3 has no printable name"),
        (b" ,a\n1,2\n", "column 1 of 2 has no printable name"),
        (b"a,b\n\xff,2\n", "not in UTF-8"),
        ("a,b\n1,2\n3,Müller, GmbH\n".encode("latin-1"), "not in UTF-8: line 3 has the byte 0xfc, which is 'ü'"),
        ("a,b\n1,2\n".encode("utf-16-le"), "its header has zero bytes, as files in UTF-16 have"),
        (b"a" * (2 << 20), "its first line, the header, is longer than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "loans.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LandingError, match=message):
        read_landing_file(path)


def test_only_what_lands_as_a_csv_is_read(tmp_path: Path) -> None:
    (tmp_path / "loans.xlsx").write_bytes(b"PK")
    with pytest.raises(LandingError, match=r"name it something\.csv"):
        read_landing_file(tmp_path / "loans.xlsx")


@pytest.mark.parametrize(
    "folder",
    ["src/lakehouse_ml/use_cases/loans", "conf/base/loans", "resources/loans.yml", "data/landing/loans"],
)
def test_nothing_that_is_there_is_written_over(project: Path, tmp_path: Path, folder: str) -> None:
    (project / folder).mkdir(parents=True)
    (project / folder / "mine").touch()
    before = read_files(project)
    with pytest.raises(ConfError, match=f"{folder} is there already"):
        draft_use_case(project, make_request(), landed(tmp_path / "loans.csv", loans()))
    assert read_files(project) == before


@pytest.mark.parametrize("name", ["storage", "compute", "operations"])
def test_a_file_of_the_bundle_is_not_written_over(project: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(PROJECT / "resources", project / "resources")
    with pytest.raises(ConfError, match=f"resources/{name}.yml is there already"):
        draft_use_case(project, make_request(name=name), landed(tmp_path / "loans.csv", loans()))


def test_a_draft_has_the_jobs_of_the_use_cases_that_ship() -> None:
    shipped = (PROJECT / "resources/churn.yml").read_text(encoding="utf-8")
    assert render_jobs("churn") == shipped.replace("Score the customers of", "Score the rows of")


def test_what_was_placed_is_taken_back_if_the_rest_cannot_be(project: Path, tmp_path: Path) -> None:
    (project / "data").mkdir()
    (project / "data/landing").write_text("a file where a folder should be", encoding="utf-8")
    before = read_files(project)
    with pytest.raises(OSError, match="landing"):
        draft_use_case(project, make_request(), landed(tmp_path / "loans.csv", loans()))
    assert read_files(project) == before


@pytest.mark.parametrize("line", ["import sys\n", "# mine\n", "USE_CASES = [CHURN]\n", "USE_CASES = tuple()\n"])
def test_a_list_that_somebody_has_rewritten_is_left_alone(line: str) -> None:
    source = (PROJECT / LISTING).read_text(encoding="utf-8")
    with pytest.raises(ConfError, match="not the plain list of use cases any more"):
        add_to_listing(f"{source}{line}", "loans")


def test_a_long_list_is_written_over_several_lines() -> None:
    source = (PROJECT / LISTING).read_text(encoding="utf-8")
    for name in ("a_very_long_name_of_a_use_case", "another_very_long_name_of_one", "yet_another_long_name"):
        source = add_to_listing(source, name)
    names: dict[str, Any] = {}
    assert source.endswith("    YET_ANOTHER_LONG_NAME,\n)\n")
    assert max(map(len, source.splitlines())) <= 120
    exec(source[source.index("USE_CASES") :], {word: word for word in source.replace(",", "").split()}, names)
    assert len(names["USE_CASES"]) == 5


def test_the_drafted_split_leaves_both_parts_enough_of_each_class(tmp_path: Path) -> None:
    from lakehouse_ml.modelling.split import HashSplit, is_held_out

    rows = modify(Defaulted=lambda i: "yes" if i % 14 == 0 else "no")
    split = yaml.safe_load(draft_files(tmp_path, rows)["parameters.yml"])["loans"]["training"]["split"]
    spec = HashSplit.model_validate(split)
    assert spec.salt > 0  # the first that comes to mind would leave the hold-out too few
    out = [is_held_out(row["LoanID"], spec.salt, spec.holdout_share) for row in rows]
    for word in ("yes", "no"):
        flags = [is_out for row, is_out in zip(rows, out, strict=True) if row["Defaulted"] == word]
        assert sum(flags) >= spec.min_per_class
        assert len(flags) - sum(flags) >= spec.min_per_class


@pytest.mark.parametrize("label", ["Defaulted", "Tier"])
def test_a_draft_speaks_of_itself_in_all_words_that_a_report_needs(tmp_path: Path, label: str) -> None:
    files = draft_files(tmp_path, loans(), label=label)
    (call,) = [
        node
        for node in ast.walk(ast.parse(files["__init__.py"]))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Wording"
    ]
    arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert Wording(**arguments).title == "Loans"


# Other people's files


def test_without_a_key_a_column_that_is_different_in_each_row_is_proposed(tmp_path: Path) -> None:
    def key(rows: list[dict[str, Any]], **fields: Any) -> str:
        plan = plan_draft(
            make_request(key=None, **fields), read_landing_file(landed(tmp_path / "loans.csv", rows)), WORDS
        )
        return plan.key_name

    assert key(loans()) == "loan_id"
    assert key(modify(LoanID=lambda i: 7 * i)) == "loan_id"  # a number that says by its name what it is
    assert key(modify(LoanID=lambda i: f"L{i}" if i else "")) == "loan_id"  # one empty key is one refused row
    assert key(modify(LoanID=lambda i: i % 9, ZIP=lambda i: 0)) == "row_id"  # a rate is no name
    panel = modify(LoanID=lambda i: f"L{i // 2}", Since=lambda i: f"2020-01-{i % 2 + 1:02}", ZIP=lambda i: 0)
    assert key(panel, time="Since") == "loan_id"
    assert key(panel) == "row_id"


def test_without_a_key_and_such_a_column_file_and_line_are_the_key_and_that_is_said(
    project: Path, tmp_path: Path
) -> None:
    file = landed(tmp_path / "loans.csv", modify(LoanID=lambda i: i % 9, ZIP=lambda i: 0))
    messages = "\n".join(draft_use_case(project, make_request(key=None), file))
    assert "file and line are the key: row_id, such as loans.csv:2." in messages
    assert "the same thing in a later file is another row" in messages
    contracts = (project / "src/lakehouse_ml/use_cases/loans/contracts.py").read_text(encoding="utf-8")
    assert '("source_file", "line_number", "snapshot_on")' in contracts
    assert 'Column("row_id", "string", nullable=False' in contracts


def test_row_numbers_and_ids_are_no_features(tmp_path: Path) -> None:
    rows = [{"": i, "Nr": 200 - i, "Unnamed: 0": 3 * i, "customer_no": i * i, **row} for i, row in enumerate(loans())]
    features = draft_files(tmp_path, rows)["features.py"]
    for comment in (
        "column_1 numbers the rows of the file.",
        "nr numbers the rows of the file.",
        "unnamed_0 numbers the rows of the file.",
        "customer_no names each row.",
    ):
        assert f"#   {comment}" in features


def one_column(tmp_path: Path, values: list[str], delimiter: str = ",") -> Profile:
    rows = [{"v": value, "w": "x"} for value in values]
    return profile_file(landed(tmp_path / "t.csv", rows, delimiter))["v"]


def test_one_bad_cell_costs_no_column_and_is_said_with_its_line(tmp_path: Path) -> None:
    values = [str(1000 + i) for i in range(800)]
    values[15] = "unknown"
    column = one_column(tmp_path, values)
    assert (column.type, column.format) == ("int", NumberFormat(missing=("unknown",)))
    assert column.decisions == ["v: 799 of 800 values are numbers; 'unknown' in line 17 is read as missing."]


def test_many_bad_cells_make_a_column_text(tmp_path: Path) -> None:
    assert one_column(tmp_path, [*"123456789", "ten"] * 10).type == "string"
    assert one_column(tmp_path, ["1"] * 960 + [f"word {i}" for i in range(40)]).type == "string"
    assert one_column(tmp_path, ["1"] * 99 + ["a long remark " * 9]).type == "string"


@pytest.mark.parametrize(
    ("values", "delimiter", "form", "parsed"),
    [
        (["$1,234.50", "$0.99"], ",", NumberFormat(grouping=",", unit="$"), [1234.5, 0.99]),
        (["5 %", "12.5 %"], ",", NumberFormat(unit="%"), [5, 12.5]),
        (["44,79", "1,5"], ";", NumberFormat(","), [44.79, 1.5]),
        (["44,79", "1,5"], ",", NumberFormat(","), [44.79, 1.5]),
        (["1.234,5", "12,5"], ";", NumberFormat(",", "."), [1234.5, 12.5]),
        (["1,234", "12"], ",", NumberFormat(grouping=","), [1234, 12]),
        (["1,234", "12"], ";", NumberFormat(","), [1.234, 12]),
        (["60 months", "36 months"], ",", NumberFormat(unit="months"), [60, 36]),
        (["?", "7", " ", "NA", "n/a"], ",", None, [7]),
        (["CHF 1'000", "CHF 5"], ",", NumberFormat(grouping="'", unit="CHF"), [1000, 5]),
    ],
)
def test_numbers_are_seen_however_they_are_written(
    tmp_path: Path, values: list[str], delimiter: str, form: NumberFormat | None, parsed: list[float]
) -> None:
    column = one_column(tmp_path, values, delimiter)
    assert column.is_number
    assert column.format == form
    assert [column.parse(value) for value in column.counts] == parsed


@pytest.mark.parametrize("values", [["R-0001", "R-0002"], ["M14860", "M14861"], ["007", "12"], ["No 0007", "No 0012"]])
def test_a_code_is_no_number(tmp_path: Path, values: list[str]) -> None:
    assert one_column(tmp_path, values).type == "string"


def test_where_one_column_has_a_decimal_comma_the_points_of_another_are_between_thousands(tmp_path: Path) -> None:
    rows = [{"a": "1,5", "b": "1.234"}, {"a": "2,5", "b": "950"}]
    assert profile_file(landed(tmp_path / "t.csv", rows, ";"))["b"].format == NumberFormat(",", ".")
    rows = [{"a": "1.5", "b": "1.234"}, {"a": "2.5", "b": "950"}]
    assert profile_file(landed(tmp_path / "t.csv", rows, ";"))["b"].format is None


@pytest.mark.parametrize(
    ("values", "order"),
    [
        (["31.12.2024", "01.02.2024"], "D-M-Y"),
        (["01.02.2024"], "D-M-Y"),
        (["31/12/2024 10:00", "01/02/2024 11:30"], "D-M-Y"),
        (["12/31/2024", "01/02/2024"], "M-D-Y"),
        (["2024/12/31"], "Y-M-D"),
        (["20241231", "20240101"], "YMD"),
    ],
)
def test_days_are_seen_in_their_usual_forms(tmp_path: Path, values: list[str], order: str) -> None:
    column = one_column(tmp_path, values)
    assert (column.type, column.format) == ("date", DateFormat(order))


@pytest.mark.parametrize(
    ("day", "message"),
    [
        (lambda i: f"0{i % 9 + 1}/02/2024", r"days such as '01/02/2024', and nothing tells whether the day or the mon"),
        (lambda i: "31 Dec 2024", r"--time: Since holds '31 Dec 2024', and no day as YYYY-MM-DD"),
    ],
)
def test_a_time_that_cannot_be_read_is_refused_with_a_value(tmp_path: Path, day: Any, message: str) -> None:
    with pytest.raises(LakehouseError, match=message):
        draft_files(tmp_path, modify(Since=day), time="Since")


def test_a_time_is_declared_as_it_is_written(tmp_path: Path) -> None:
    files = draft_files(tmp_path, modify(Since=lambda i: f"{i % 28 + 1:02}.01.2020 10:30"), time="Since")
    assert 'format=DateFormat("D-M-Y"),' in files["contracts.py"]
    assert "snapshot_default: 2020-01-28" in files["parameters.yml"]


def test_labels_that_say_na_are_unknown_and_counted(project: Path, tmp_path: Path) -> None:
    file = landed(tmp_path / "loans.csv", modify(Defaulted=lambda i: ["yes", "no", "N/A", ""][i % 4]))
    messages = draft_use_case(project, make_request(), file)
    assert (
        "Defaulted is unknown in 100 rows: 50 say 'N/A', 50 are empty (missing_words in conf/base/globals.yml)."
        in messages
    )
    labels = (project / "src/lakehouse_ml/use_cases/loans/labels.py").read_text(encoding="utf-8")
    assert "N/A" not in labels


def test_refused_records_are_counted_with_their_lines(project: Path, tmp_path: Path) -> None:
    file = landed(tmp_path / "loans.csv", modify(LoanID=lambda i: f"L{i}" if i != 7 else ""))
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines[:20], "a,b", *lines[20:]]) + "\n", encoding="utf-8")
    messages = draft_use_case(project, make_request(), file)
    assert messages[1] == (
        "2 of 201 records will be refused when the file lands: line 9 has no LoanID; "
        "line 21 has 2 fields instead of 10."
    )


ROWS = "".join(f"{i},{i / 8},{'yes' if i % 3 else 'no'}\n" for i in range(60))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"PK\x03\x04" + b"x" * 99, "is a workbook or an archive: open it, export the sheet, save it as CSV"),
        ("t.xlsx", b"PK\x03\x04" + b"x" * 99, "is a workbook or an archive"),
        ("t.xls", b"\xd0\xcf\x11\xe0" + b"x" * 99, "is an old Excel workbook"),
        ("t.csv", "\ufeffa;b\n1;2\n".encode("utf-16-le"), "is in UTF-16"),
        ("t.csv", b"sep=;\na;b\n1;2\n", "the first line, 'sep=;', is a note for Excel and not the header. Remove"),
        ("t.csv", b"a b c\n1 2 3\n4 5 6\n", "spaces seem to separate its fields"),
        ("t.csv", b"5.1,3.5,setosa\n4.9,3.0,setosa\n", "its first line seems to hold values and no names"),
        ("t.csv", b"p,x,p\ne,x,p\np,y,p\n", "its first line seems to hold values and no names"),
        ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "The header lacks a name, mostly the first one"),
        ("t.csv", b"a;b\n1;2;\n4;5;\n", "Each record ends in a delimiter too many"),
        ("t.csv", f"a,{'b' * 143}\n1,2\n".encode(), "column 2 of 2 has a name of 143 letters, .*at most 90"),
        ("t.csv", f"a,b,c\nNumber,Share of it,Answer\n{ROWS}".encode(), "line 2 describes the columns .*Remove it"),
        ("t.csv", f"a,b,c\n{ROWS}Total,99,\n".encode(), r"line 62, the last one, seems to sum up .*a: 'Total'"),
    ],
)  # fmt: skip
def test_the_true_cause_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LandingError, match=message):
        profile_file(tmp_path / name)


@pytest.mark.parametrize("name", ["on", "no", "null", "true", "lake", "landing", "use_cases", "formats", "job_run"])
def test_a_name_that_means_something_else_is_refused(project: Path, name: str) -> None:
    with pytest.raises(ConfError, match="it is reserved"):
        check_name(name, project)


@pytest.mark.parametrize("name", ["loans2", "q4_2024", "b2b"])
def test_a_name_may_hold_digits(project: Path, name: str) -> None:
    check_name(name, project)


HOSTILE = [
    "${globals:lake}", "$${x}", r"\${a}", "now (urgent)", "no\x7f", "a\x01b", "it's", 'say "so"', "back\\slash",
    "{{ 7 }}", "{% raw %}", "x' or '1'='1", "/* */", "`", "# no", "a: b", "!!python/object", "é😀", "{within}",
    "*/", "\u2028",
]  # fmt: skip


@pytest.mark.parametrize("word", HOSTILE)
def test_a_value_of_the_file_stays_a_value(project: Path, tmp_path: Path, word: str) -> None:
    rows = modify(Defaulted=lambda i: [word, "other"][i % 2], Grade=lambda i: [word, "b"][i // 2 % 2])
    draft_use_case(project, make_request(positive=word), landed(tmp_path / "loans.csv", rows))
    assert complaints(project) == ""
    labels: dict[str, Any] = {}
    code = (project / "src/lakehouse_ml/use_cases/loans/labels.py").read_text(encoding="utf-8")
    exec(code, labels)
    assert (labels["POSITIVE"], labels["NEGATIVE"]) == (word, "other")
    conf = OmegaConf.load(project / "conf/base/loans/parameters.yml").loans.data_quality
    rule = OmegaConf.to_container(conf, resolve=True)["tables"]["outcomes"]["rules"][0]
    listed = sorted(["other", word])
    assert ast.literal_eval(rule["predicate"].split(" in ")[1]) == tuple(listed)  # Python has the same escapes


@pytest.mark.parametrize(
    "name",
    ["Customer's age", "ends in \\", "x'||version()||'y", "${globals:lake}", "{{ 7 }}", "a`b", '"', "# a: b", "é"],
)
def test_a_name_of_the_file_stays_a_name(project: Path, tmp_path: Path, name: str) -> None:
    rows = [{name: row.pop("Income"), **row} for row in loans()]
    draft_use_case(project, make_request(), landed(tmp_path / "loans.csv", rows))
    assert complaints(project) == ""


def test_a_draft_that_cannot_be_loaded_is_not_put_in_place(project: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from lakehouse_ml.tooling.drafting import templates

    before = read_files(project)
    monkeypatch.setattr(templates, "_yaml", lambda text: text)
    file = landed(tmp_path / "loans.csv", modify(Defaulted=lambda i: ["yes", "no"][i % 2]))
    with pytest.raises(LakehouseError, match="The draft can't be loaded, so nothing was written"):
        draft_use_case(project, make_request(), file)
    assert read_files(project) == before


def test_limits_and_economics_fit_the_files_size(tmp_path: Path) -> None:
    def conf(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], str]:
        text = draft_files(tmp_path, rows)["parameters.yml"]
        return yaml.safe_load(text)["loans"], text

    small, text = conf(modify(Defaulted=lambda i: "yes" if i % 8 == 0 else "no"))
    assert "Few rows give wide intervals" in text
    assert small["evaluation"]["policy"]["min_rows"] == 10
    assert small["batch_scoring"]["actions"] == 10
    assert small["economics"]["averted_value"] == 4.0
    many_rows = [
        row | {"LoanID": f"L{i}", "Defaulted": "yes" if i % 40 == 0 else "no"} for i, row in enumerate(loans(10_000))
    ]
    large, text = conf(many_rows)
    assert "few rows" not in text
    assert large["training"]["split"] | {"salt": 0} == {
        "holdout_share": 0.2,
        "salt": 0,
        "min_per_class": 20,
        "max_share_gap": 0.1,
    }
    assert large["evaluation"]["policy"] | {"min_rows": 100, "min_positives": 20} == large["evaluation"]["policy"]
    assert large["batch_scoring"]["actions"] == 500
    assert large["economics"]["averted_value"] == 20.0
