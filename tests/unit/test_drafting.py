"""A use case drafted from a CSV: what is decided of each column, what is refused, and that it is all or nothing."""

from __future__ import annotations

import ast
import csv
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from lakehouse_ml import cli
from lakehouse_ml.drafting import Wish, draft, profile, read, snake, with_use_case, write
from lakehouse_ml.errors import ConfError, LakehouseError, LandingError
from lakehouse_ml.use_cases.base import Wording

PROJECT = Path(__file__).resolve().parents[2]
LISTING = "src/lakehouse_ml/use_cases/__init__.py"


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
    package = [f"src/lakehouse_ml/{name}.py" for name in ("__init__", "use_cases/base", "use_cases/columns")]
    for name in (LISTING, "pyproject.toml", *package):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)
    return folder


def everything(folder: Path) -> dict[str, bytes]:
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


def drafted(tmp_path: Path, rows: list[dict[str, Any]], **wish: Any) -> dict[str, str]:
    table, delimiter = read(landed(tmp_path / "loans.csv", rows))
    asked = Wish(**{"name": "loans", "key": "LoanID", "label": "Defaulted", **wish})
    return {Path(path).name: text for path, text in draft(asked, table, delimiter).files.items()}


def test_types_are_those_that_every_value_has(tmp_path: Path) -> None:
    table, _ = read(landed(tmp_path / "loans.csv", loans()))
    assert {column.name: column.type for column in profile(table)} == {
        "loan_id": "string", "income": "int", "debt": "string", "zip": "string", "since": "date", "grade": "string",
        "country": "string", "defaulted": "string", "tier": "string", "rate": "double",
    }  # fmt: skip


def test_one_value_beyond_the_others_decides_a_columns_type(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": 1, "c": "2020-01-31", "d": 1, "e": "2020-01-01 10:00"} for _ in range(3)]
    rows.append({"a": 2.5, "b": 2**40, "c": "2020-01-32", "d": "1e999", "e": "2020-01-01T10:00:30"})
    table, _ = read(landed(tmp_path / "t.csv", rows))
    assert [column.type for column in profile(table)] == ["double", "bigint", "string", "string", "timestamp"]


def test_names_become_snake_case() -> None:
    names = ["LoanID", "Term (months)", "größe", "XMLFile", "2nd rate", "価格", "already_so"]
    assert [snake(name) for name in names] == [
        "loan_id", "term_months", "groe", "xml_file", "n_2nd_rate", "", "already_so",
    ]  # fmt: skip


def test_a_column_named_like_one_of_ours_keeps_its_name_in_the_file_only(tmp_path: Path) -> None:
    rows = [row | {"label": row["Defaulted"], "snapshot_on": "x"} for row in loans()]
    contracts = drafted(tmp_path, rows, label="label")["contracts.py"]
    assert 'Column("label_given", "string", "label"' in contracts
    assert 'Column("snapshot_on_given", "string", "snapshot_on"' in contracts


def test_features_are_numbers_and_categories_and_the_rest_is_left_out_with_its_reason(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    features = drafted(tmp_path, loans())["features.py"]
    exec(features.split("def build_features")[0], names)
    assert names["KEPT"] == ("income", "grade", "tier", "rate")
    assert names["CATEGORICAL"] == ("grade", "tier")
    assert names["NUMBERS_IN_TEXT"] == ("debt",)
    assert "zip is text with 200 different values." in features
    assert "since is a time" in features
    assert "country is the same in every row." in features


@pytest.mark.parametrize(
    ("wish", "delimiter"),
    [({}, ","), ({"label": "Tier"}, ";"), ({"label": "Defaulted", "positive": "no", "time": "Since"}, "\t")],
    ids=["two outcomes", "classes", "snapshots"],
)
def test_a_draft_is_formatted_and_without_a_linters_objection(
    project: Path, tmp_path: Path, wish: dict[str, Any], delimiter: str
) -> None:
    asked = Wish(**{"name": "loans", "key": "LoanID", "label": "Defaulted", **wish})
    write(project, asked, landed(tmp_path / "loans.csv", loans(), delimiter))
    assert complaints(project) == ""
    conf = yaml.safe_load((project / "conf/base/loans/catalog.yml").read_text(encoding="utf-8"))
    assert conf["loans.landing_rows"].get("delimiter", ",") == delimiter


@pytest.mark.parametrize("label", ["Defaulted", "Tier"])
def test_a_draft_of_the_longest_names_is_too(project: Path, tmp_path: Path, label: str) -> None:
    far = "XMLHttpRequestsOf" + "TheLongestName" * 3 + "AndThenSome" * 2
    classes = {"Gold": "G" * 45, "silver plated": "S" * 45, "3rd": "3" * 45, "": ""}
    rows = [
        {f"{name[:5]}{far}": value for name, value in row.items()} | {f"Tier{far}": classes[row["Tier"]]}
        for row in loans()
    ]
    wish = Wish("a_name_of_as_many_as_x_letters", f"LoanI{far}", f"{label[:5]}{far}", time=f"Since{far}")
    write(project, wish, landed(tmp_path / "loans.csv", rows))
    assert complaints(project) == ""


def test_a_draft_is_code_conf_its_line_in_the_list_and_the_file(project: Path, tmp_path: Path) -> None:
    before = everything(project)
    file = landed(tmp_path / "loans.csv", loans())
    write(project, Wish("loans", "LoanID", "Defaulted"), file)
    after = everything(project)
    code = "src/lakehouse_ml/use_cases/loans"
    assert sorted(set(after) - set(before)) == sorted(
        [*(f"{code}/{name}.py" for name in ("__init__", "contracts", "features", "labels", "synthetic")),
         "conf/base/loans/catalog.yml", "conf/base/loans/parameters.yml", "data/landing/loans/loans.csv"]
    )  # fmt: skip
    assert after["data/landing/loans/loans.csv"] == file.read_bytes()
    assert after[LISTING].decode().endswith("PREDICTIVE_MAINTENANCE, LOANS)\n")
    assert [path.name for path in (project / "data").iterdir()] == ["landing"]


def changed(**columns: Any) -> list[dict[str, Any]]:
    """Loans with columns that a function of the row's number gives instead."""
    return [row | {name: value(i) for name, value in columns.items()} for i, row in enumerate(loans())]


@pytest.mark.parametrize(
    ("wish", "rows", "told"),
    [
        ({"name": "churn"}, loans(), r"There is a use case churn already"),
        ({"name": "Loans!"}, loans(), r"Loans! can't name a use case: 2 to 30 letters"),
        ({"name": "all"}, loans(), r"all can't name a use case: that word means something else"),
        ({"name": "training"}, loans(), r"training can't name"),
        ({"name": "parameters_of_loans"}, loans(), r"parameters_of_loans can't name"),
        ({"name": "class"}, loans(), r"class can't name"),
        ({"key": "Loan"}, loans(), r"--key: there is no column Loan in the file\. There are LoanID, Income"),
        ({"label": "Default"}, loans(), r"--label: there is no column Default"),
        ({"time": "Day"}, loans(), r"--time: there is no column Day"),
        ({"label": "LoanID"}, loans(), r"name different columns"),
        ({"time": "Grade"}, loans(), r"--time: Grade doesn't hold a day \(YYYY-MM-DD\) in every row"),
        ({}, changed(LoanID=lambda i: i // 2), r"LoanID has duplicates: '0' stands in 2 rows, as 100 keys.*--time"),
        ({}, changed(LoanID=lambda i: i or ""), r"LoanID is empty in 1 rows"),
        ({"time": "Since"}, changed(LoanID=lambda i: 1, Since=lambda i: "2020-01-01"), r"Since together have dupli"),
        ({"label": "Rate"}, loans(), r"Rate has 200 different values.*predict which of at most 20 classes"),
        ({"label": "Rate"}, changed(Rate=lambda i: i % 3 + 0.5), r"Rate has 3 different values.*no amounts"),
        ({"label": "Country"}, loans(), r"Country has only the value CH"),
        ({}, changed(Defaulted=lambda i: ""), r"Defaulted has no value in any row"),
        ({}, changed(Defaulted=lambda i: "ab"[i % 2]), r"which value is to be predicted: name one of a, b with --pos"),
        ({"positive": "maybe"}, loans(), r"has no value maybe: name one of no, yes"),
        ({"label": "Tier", "positive": "Gold"}, loans(), r"--positive goes with two outcomes; Tier has 3"),
        ({"label": "Tier"}, changed(Tier=lambda i: ["A b", "a-B", "c"][i % 3]), r"a-B and A b would both be.*a_b"),
        ({"label": "Tier"}, changed(Tier=lambda i: ["価", "b", "c"][i % 3]), r"価 could not be the end"),
        ({}, changed(Defaulted=lambda i: "yes" if i < 9 else "no"), r"= yes stands in 9 rows.*needs 5 of each"),
        ({}, changed(loan_id=lambda i: i), r"Columns LoanID and loan_id would both be called loan_id"),
        ({}, [{"LoanID": i, "Defaulted": ["yes", "no"][i % 2]} for i in range(99)], r"no column can be learned fr"),
    ],
)  # fmt: skip
def test_what_does_not_suit_is_refused_in_a_sentence_and_nothing_is_written(
    project: Path, tmp_path: Path, wish: dict[str, Any], rows: list[dict[str, Any]], told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = everything(project)
    asked = {"name": "loans", "key": "LoanID", "label": "Defaulted", **wish}
    monkeypatch.setattr(cli, "PROJECT", project)
    options = [word for option, value in asked.items() if option != "name" for word in (f"--{option}", value)]
    file = landed(tmp_path / "loans.csv", rows)
    done = CliRunner().invoke(cli.cli, ["use-case", "new", asked["name"], "--from", str(file), *options])
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    with pytest.raises(LakehouseError, match=told):
        write(project, Wish(**asked), file)
    assert everything(project) == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "There is no file"),
        (b"", "is empty"),
        (b"a,b\n", "no whole row below it"),
        (b"a,b\n1\n2\n", "no whole row below it"),
        (b"a,a\n1,2\n", "column a stands in the header twice"),
        (b",a\n1,2\n", "column 1 of 2 has no name"),
        (b"a,b\n\xff,2\n", "not in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "loans.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LandingError, match=told):
        read(path)


def test_only_what_lands_as_a_csv_is_read(tmp_path: Path) -> None:
    (tmp_path / "loans.xlsx").write_bytes(b"PK")
    with pytest.raises(LandingError, match=r"name it something\.csv"):
        read(tmp_path / "loans.xlsx")


@pytest.mark.parametrize("folder", ["src/lakehouse_ml/use_cases/loans", "conf/base/loans", "data/landing/loans"])
def test_nothing_that_is_there_is_written_over(project: Path, tmp_path: Path, folder: str) -> None:
    (project / folder).mkdir(parents=True)
    (project / folder / "mine").touch()
    before = everything(project)
    with pytest.raises(ConfError, match=f"{folder} is there already"):
        write(project, Wish("loans", "LoanID", "Defaulted"), landed(tmp_path / "loans.csv", loans()))
    assert everything(project) == before


def test_what_was_placed_is_taken_back_if_the_rest_cannot_be(project: Path, tmp_path: Path) -> None:
    (project / "conf").write_text("a file where a folder should be", encoding="utf-8")
    before = everything(project)
    with pytest.raises(OSError, match="conf"):
        write(project, Wish("loans", "LoanID", "Defaulted"), landed(tmp_path / "loans.csv", loans()))
    assert everything(project) == before


@pytest.mark.parametrize("line", ["import sys\n", "# mine\n", "USE_CASES = [CHURN]\n", "USE_CASES = tuple()\n"])
def test_a_list_that_somebody_has_rewritten_is_left_alone(line: str) -> None:
    source = (PROJECT / LISTING).read_text(encoding="utf-8")
    with pytest.raises(ConfError, match="not the plain list of use cases any more"):
        with_use_case(f"{source}{line}", "loans")


def test_a_long_list_is_written_over_several_lines() -> None:
    source = (PROJECT / LISTING).read_text(encoding="utf-8")
    for name in ("a_very_long_name_of_a_use_case", "another_very_long_name_of_one", "yet_another_long_name"):
        source = with_use_case(source, name)
    names: dict[str, Any] = {}
    assert source.endswith("    YET_ANOTHER_LONG_NAME,\n)\n")
    assert max(map(len, source.splitlines())) <= 120
    exec(source[source.index("USE_CASES") :], {word: word for word in source.replace(",", "").split()}, names)
    assert len(names["USE_CASES"]) == 5


def test_the_drafted_split_leaves_both_parts_enough_of_each_class(tmp_path: Path) -> None:
    from lakehouse_ml.pipelines.training.split import HashSplit, is_held_out

    rows = changed(Defaulted=lambda i: "yes" if i % 14 == 0 else "no")
    split = yaml.safe_load(drafted(tmp_path, rows)["parameters.yml"])["loans"]["training"]["split"]
    spec = HashSplit.model_validate(split)
    assert spec.salt > 0  # the first that comes to mind would leave the hold-out too few
    out = [is_held_out(row["LoanID"], spec.salt, spec.holdout_share) for row in rows]
    for word in ("yes", "no"):
        held = [is_out for row, is_out in zip(rows, out, strict=True) if row["Defaulted"] == word]
        assert sum(held) >= spec.min_per_class
        assert len(held) - sum(held) >= spec.min_per_class


@pytest.mark.parametrize("label", ["Defaulted", "Tier"])
def test_a_draft_speaks_of_itself_in_all_words_that_a_report_needs(tmp_path: Path, label: str) -> None:
    files = drafted(tmp_path, loans(), label=label)
    (call,) = [
        node for node in ast.walk(ast.parse(files["__init__.py"]))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Wording"
    ]  # fmt: skip
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert Wording(**given).title == "Loans"
