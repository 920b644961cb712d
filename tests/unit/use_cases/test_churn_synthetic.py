"""Simulated customers look like the Telco file, repeat exactly, and are written whole or not at all."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from lakehouse_ml.use_cases.churn.synthetic import HEADER, customers, write_csv

Table = dict[str, NDArray[np.str_]]

ROWS_PER_CHUNK = 20_000
INTERNET_OPTIONS = (
    "OnlineSecurity",
    "OnlineBackup",
    "DeviceProtection",
    "TechSupport",
    "StreamingTV",
    "StreamingMovies",
)
YES_NO = {"Yes", "No"}
VALUES = {
    "gender": {"Female", "Male"},
    "SeniorCitizen": {"0", "1"},
    "Partner": YES_NO,
    "Dependents": YES_NO,
    "PhoneService": YES_NO,
    "MultipleLines": YES_NO | {"No phone service"},
    "InternetService": {"DSL", "Fiber optic", "No"},
    "Contract": {"Month-to-month", "One year", "Two year"},
    "PaperlessBilling": YES_NO,
    "PaymentMethod": {
        "Bank transfer (automatic)",
        "Credit card (automatic)",
        "Electronic check",
        "Mailed check",
    },
    "Churn": YES_NO,
} | dict.fromkeys(INTERNET_OPTIONS, YES_NO | {"No internet service"})


@pytest.fixture(scope="module")
def crowd() -> Table:
    """40,001 customers: two whole chunks and one row."""
    return customers(2 * ROWS_PER_CHUNK + 1, seed=7)


def churn_rate(table: Table, column: str, value: str) -> float:
    return float(np.mean(table["Churn"][table[column] == value] == "Yes"))


def design(table: Table, encoder: OneHotEncoder) -> NDArray[np.float64]:
    """One-hot categories beside standardised tenure and charges, the blank total being 0."""
    total = np.where(table["TotalCharges"] == " ", "0", table["TotalCharges"])
    numeric = np.column_stack([table["tenure"], table["MonthlyCharges"], total]).astype(np.float64)
    standardised = (numeric - [32.4, 64.8, 2280.0]) / [24.6, 30.1, 2266.0]
    return np.hstack([encoder.transform(categories(table)), standardised])


def categories(table: Table) -> NDArray[np.str_]:
    return np.column_stack([table[column] for column in VALUES if column != "Churn"])


def test_the_columns_are_those_of_the_telco_file_in_its_order(crowd: Table) -> None:
    expected = (
        "customerID,gender,SeniorCitizen,Partner,Dependents,tenure,PhoneService,MultipleLines,InternetService,"
        "OnlineSecurity,OnlineBackup,DeviceProtection,TechSupport,StreamingTV,StreamingMovies,Contract,"
        "PaperlessBilling,PaymentMethod,MonthlyCharges,TotalCharges,Churn"
    )
    assert ",".join(crowd) == ",".join(HEADER) == expected
    assert {column.shape for column in crowd.values()} == {(40_001,)}


@pytest.mark.parametrize("column", VALUES)
def test_a_category_takes_every_value_that_it_has_in_the_file_and_no_other(crowd: Table, column: str) -> None:
    assert set(crowd[column].tolist()) == VALUES[column]


def test_ids_have_the_pattern_of_the_file(crowd: Table) -> None:
    assert all(re.fullmatch(r"\d{4}-[A-Z]{5}", name) for name in crowd["customerID"].tolist())


def test_no_two_customers_share_an_id_even_across_chunks(crowd: Table) -> None:
    assert len(set(crowd["customerID"].tolist())) == 40_001


def test_charges_are_written_in_steps_of_five_cents_without_trailing_zeros(crowd: Table) -> None:
    amounts = crowd["MonthlyCharges"].tolist() + crowd["TotalCharges"][crowd["tenure"] != "0"].tolist()
    assert all(re.fullmatch(r"[1-9]\d*(\.[1-9]|\.\d5)?", amount) for amount in amounts)


def test_tenure_is_a_whole_number_of_months_up_to_six_years(crowd: Table) -> None:
    assert set(crowd["tenure"].tolist()) == {str(months) for months in range(73)}


def test_without_internet_every_option_says_so_and_only_then(crowd: Table) -> None:
    offline = crowd["InternetService"] == "No"
    for option in INTERNET_OPTIONS:
        assert np.array_equal(crowd[option] == "No internet service", offline)


def test_without_a_telephone_multiple_lines_says_so_and_only_then(crowd: Table) -> None:
    mute = crowd["PhoneService"] == "No"
    assert np.array_equal(crowd["MultipleLines"] == "No phone service", mute)
    assert set(crowd["InternetService"][mute].tolist()) == {"DSL"}


def test_customers_without_a_bill_have_a_blank_total_and_have_not_churned(crowd: Table) -> None:
    unbilled = crowd["tenure"] == "0"
    assert np.array_equal(crowd["TotalCharges"] == " ", unbilled)
    assert set(crowd["Churn"][unbilled].tolist()) == {"No"}
    assert np.mean(unbilled) == pytest.approx(0.0016, abs=0.0006)


def test_the_first_bill_is_the_total_of_one_month(crowd: Table) -> None:
    first = crowd["tenure"] == "1"
    assert np.array_equal(crowd["TotalCharges"][first], crowd["MonthlyCharges"][first])


def test_totals_scatter_around_tenure_times_monthly_charge_as_in_the_file(crowd: Table) -> None:
    later = crowd["tenure"].astype(int) > 1
    tenure, monthly = crowd["tenure"][later].astype(float), crowd["MonthlyCharges"][later].astype(float)
    error = crowd["TotalCharges"][later].astype(float) / (tenure * monthly) - 1
    assert np.mean(error) == pytest.approx(0, abs=0.002)
    assert np.std(error) == pytest.approx(0.0535, abs=0.003)


@pytest.mark.parametrize(("option", "price"), [("TechSupport", 5), ("StreamingTV", 10)])
def test_an_option_costs_its_list_price(crowd: Table, option: str, price: float) -> None:
    same = crowd["InternetService"] == "DSL"
    for column in ("MultipleLines", *INTERNET_OPTIONS):
        same &= (crowd[column] == "No") | (column == option)
    monthly = crowd["MonthlyCharges"].astype(float)
    with_option, without = monthly[same & (crowd[option] == "Yes")], monthly[same & (crowd[option] == "No")]
    assert np.mean(with_option) - np.mean(without) == pytest.approx(price, abs=0.4)


def test_about_every_fourth_customer_churns(crowd: Table) -> None:
    assert np.mean(crowd["Churn"] == "Yes") == pytest.approx(0.265, abs=0.01)


@pytest.mark.parametrize(
    ("column", "value", "share", "rate"),
    [
        ("Contract", "Month-to-month", 0.550, 0.427),
        ("Contract", "One year", 0.209, 0.113),
        ("Contract", "Two year", 0.241, 0.028),
        ("InternetService", "Fiber optic", 0.440, 0.419),
        ("InternetService", "No", 0.217, 0.074),
        ("PaymentMethod", "Electronic check", 0.336, 0.453),
        ("SeniorCitizen", "1", 0.162, 0.417),
        ("tenure", "1", 0.087, 0.620),
        ("tenure", "72", 0.051, 0.017),
    ],
)
def test_groups_are_as_large_and_churn_as_often_as_in_the_file(
    crowd: Table, column: str, value: str, share: float, rate: float
) -> None:
    assert np.mean(crowd[column] == value) == pytest.approx(share, abs=0.012)
    assert churn_rate(crowd, column, value) == pytest.approx(rate, abs=0.03)


def test_a_logistic_regression_scores_as_on_the_file() -> None:
    train, test = customers(5_000, seed=1), customers(15_000, seed=2)
    encoder = OneHotEncoder(sparse_output=False).fit(categories(train))
    model = LogisticRegression(max_iter=300).fit(design(train, encoder), train["Churn"] == "Yes")
    churned, score = test["Churn"] == "Yes", model.predict_proba(design(test, encoder))[:, 1]
    assert roc_auc_score(churned, score) == pytest.approx(0.845, abs=0.01)
    assert f1_score(churned, score >= 0.32) == pytest.approx(0.63, abs=0.015)


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", n=300, seed=5)
    write_csv(tmp_path / "b.csv", n=300, seed=5)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_another_seed_gives_other_customers() -> None:
    one, other = customers(300, seed=5), customers(300, seed=6)
    assert not set(one["customerID"].tolist()) & set(other["customerID"].tolist())
    assert not np.array_equal(one["MonthlyCharges"], other["MonthlyCharges"])


def test_a_longer_table_begins_with_the_rows_of_a_shorter_one(crowd: Table) -> None:
    shorter = customers(ROWS_PER_CHUNK + 5, seed=7)
    assert all(np.array_equal(shorter[name], crowd[name][: ROWS_PER_CHUNK + 5]) for name in HEADER)


def test_chunks_do_not_repeat_each_other(crowd: Table) -> None:
    first, second = crowd["MonthlyCharges"][:1_000], crowd["MonthlyCharges"][ROWS_PER_CHUNK:][:1_000]
    assert np.mean(first == second) < 0.05


def test_the_file_holds_the_header_and_one_plain_line_for_each_customer(tmp_path: Path) -> None:
    path = tmp_path / "landing" / "churn" / "customers.csv"
    write_csv(path, n=40, seed=3)
    table = customers(40, seed=3)
    lines = [",".join(row) for row in zip(*table.values(), strict=True)]
    assert path.read_bytes().decode() == "\n".join([",".join(HEADER), *lines, ""])


def test_no_customers_are_a_table_of_no_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "none.csv", n=0)
    assert (tmp_path / "none.csv").read_text() == ",".join(HEADER) + "\n"
    assert {column.shape for column in customers(0).values()} == {(0,)}


def test_a_write_that_fails_half_way_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "customers.csv"
    generator, visible = np.random.default_rng, []

    def exhausted_at_the_second_chunk(entropy: list[int]) -> np.random.Generator:
        visible.append(path.exists())
        if entropy[-1] == 1:
            raise MemoryError
        return generator(entropy)

    monkeypatch.setattr(np.random, "default_rng", exhausted_at_the_second_chunk)
    with pytest.raises(MemoryError):
        write_csv(path, n=ROWS_PER_CHUNK + 1)
    assert visible == [False, False]
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("before")
    with pytest.raises(ValueError, match="number of customer ids"):
        write_csv(path, n=-1)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    write_csv(path, n=20)
    write_csv(path, n=10)
    assert len(path.read_text().splitlines()) == 11
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("n", [-1, 10**4 * 26**5 + 1])
def test_a_number_of_customers_without_ids_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="n must lie between 0 and 118,813,760,000"):
        customers(n)
