"""Every estimator of the closed table fits, decides and explains over the same columns, whatever is missing in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from lakehouse_ml.modelling.estimators.base import EstimatorSpec, select_predictors
from lakehouse_ml.modelling.estimators.sklearn import TRUSTED_TYPES, explain, fit, score, set_threshold

CATEGORICAL, NUMERIC = ("contract", "payment"), ("tenure", "charge")
SPECS = {
    "logistic_regression": {"C": 0.5},
    "random_forest": {"n_estimators": 10, "max_depth": 4, "min_samples_split": 5},
    "gradient_boosting": {
        "learning_rate": 0.1, "max_iter": 10, "max_depth": 2, "min_samples_leaf": 5, "l2_regularization": 0.1,
    },
}  # fmt: skip
BASELINE = {"contract": "one year", "payment": "card", "tenure": 24.0, "charge": 50.0}


def customers(n: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    """Monthly contracts and high charges leave; every column has nulls."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "contract": rng.choice(["monthly", "one year", "two years"], n),
            "payment": rng.choice(["card", "check"], n),
            "tenure": rng.integers(0, 72, n).astype(float),
            "charge": rng.normal(60, 20, n),
        }
    )
    logit = 1.5 * (rows["contract"] == "monthly") + (rows["charge"] - 60) / 20 - 0.5
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int).to_numpy()
    for position, name in enumerate(rows.columns):
        rows.loc[position::29, name] = None
    return select_predictors(rows, CATEGORICAL, NUMERIC), label


ROWS, LABEL = customers()


def fit_estimator(name: str) -> Any:
    spec = EstimatorSpec(estimator=name, params=SPECS[name])
    return fit(spec, ROWS, LABEL, categorical=CATEGORICAL, numeric=NUMERIC, seed=0)


@pytest.fixture(scope="module", params=SPECS)
def model(request: pytest.FixtureRequest) -> Any:
    return fit_estimator(request.param)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """A few hundred rows are fitted sooner without threads waiting for each other."""
    with threadpool_limits(1):
        yield


def row(**changed: Any) -> pd.DataFrame:
    """A typical row, but for what is named."""
    return select_predictors(pd.DataFrame([{**BASELINE, **changed}]), CATEGORICAL, NUMERIC)


# --- what may be asked for


def test_an_estimator_outside_the_table_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"logistic_regression.*random_forest.*gradient_boosting"):
        EstimatorSpec.model_validate({"estimator": "svm"})


@pytest.mark.parametrize("name", SPECS)
def test_a_parameter_that_an_estimator_does_not_have_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} has no parameter colour; it has ") as caught:
        EstimatorSpec.model_validate({"estimator": name, "params": {"colour": 1}})

    assert all(parameter in str(caught.value) for parameter in SPECS[name])


@pytest.mark.parametrize(
    ("estimator", "name", "value", "limit"),
    [
        ("random_forest", "n_estimators", 0, "a whole number of at least 1"),
        ("random_forest", "max_depth", 10.0, "a whole number of at least 1"),
        ("random_forest", "n_estimators", None, "a whole number of at least 1"),
        ("random_forest", "min_samples_split", 1, "a whole number of at least 2"),
        ("logistic_regression", "C", 0, "a number above 0"),
        ("gradient_boosting", "l2_regularization", -1, "a number of at least 0"),
    ],
)
def test_a_number_that_scikit_learn_would_not_take_is_refused_before_it_is_asked(
    estimator: str, name: str, value: float | None, limit: str
) -> None:
    with pytest.raises(ValidationError, match=f"{name} of {estimator} can't be {value}: it is {limit}"):
        EstimatorSpec.model_validate({"estimator": estimator, "params": {name: value}})


def test_the_least_numbers_that_are_taken_can_be_fitted() -> None:
    least: dict[str, dict[str, float | None]] = {
        "logistic_regression": {"C": 1e-6},
        "random_forest": {"n_estimators": 1, "max_depth": None, "min_samples_split": 2},
        "gradient_boosting": {
            "learning_rate": 1e-6,
            "max_iter": 1,
            "max_depth": 1,
            "min_samples_leaf": 1,
            "l2_regularization": 0,
        },
    }
    for estimator, params in least.items():
        spec = EstimatorSpec.model_validate({"estimator": estimator, "params": params})
        fit(spec, ROWS, LABEL, categorical=CATEGORICAL, numeric=NUMERIC, seed=0)


@pytest.mark.parametrize("value", ["many", [1], float("nan")])
def test_a_parameter_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="n_estimators"):
        EstimatorSpec.model_validate({"estimator": "random_forest", "params": {"n_estimators": value}})


@pytest.mark.parametrize(("name", "params"), SPECS.items())
def test_each_parameter_reaches_the_estimator(name: str, params: dict[str, float]) -> None:
    settings = fit_estimator(name).named_steps["estimate"].get_params()

    assert {parameter: settings[parameter] for parameter in params} == params


# --- fitting and scoring


@pytest.mark.parametrize(("categorical", "numeric"), [((), NUMERIC), (CATEGORICAL, ())])
@pytest.mark.parametrize("name", SPECS)
def test_rows_of_numbers_alone_and_of_categories_alone_are_learned_and_explained(
    name: str, categorical: tuple[str, ...], numeric: tuple[str, ...]
) -> None:
    rows = select_predictors(ROWS, categorical, numeric)
    spec = EstimatorSpec(estimator=name, params=SPECS[name])
    model = fit(spec, rows, LABEL, categorical=categorical, numeric=numeric, seed=0)

    effects = explain(model, rows, {column: BASELINE[column] for column in rows.columns})

    assert effects.shape == rows.shape
    assert (effects != 0).any(axis=0).all()


def test_every_estimator_learns_and_gives_a_probability_for_each_row(model: Any) -> None:
    probability = score(model, ROWS)

    assert probability.shape == (len(ROWS),)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert probability[LABEL == 1].mean() > probability[LABEL == 0].mean() + 0.1


@pytest.mark.parametrize("name", SPECS)
def test_the_same_seed_gives_the_same_model(name: str) -> None:
    assert (score(fit_estimator(name), ROWS) == score(fit_estimator(name), ROWS)).all()


def test_nulls_and_categories_that_training_never_saw_are_scored(model: Any) -> None:
    strange = pd.concat(
        [row(contract=None, payment=None), row(tenure=None, charge=None), row(contract="ten years"), row()],
        ignore_index=True,
    )

    probability = score(model, strange)

    assert np.isfinite(probability).all()


def test_a_missing_category_is_a_category_of_its_own_and_an_unseen_one_is_none() -> None:
    rows = select_predictors(
        pd.DataFrame({"contract": ["a", None] * 50, "payment": ["x"] * 100, "tenure": 1.0, "charge": 1.0}),
        CATEGORICAL,
        NUMERIC,
    )
    spec = EstimatorSpec(estimator="logistic_regression")
    model = fit(spec, rows, np.array([0, 1] * 50), categorical=CATEGORICAL, numeric=NUMERIC, seed=0)

    present, missing = score(model, rows)[:2]
    unseen = score(model, rows.head(1).assign(contract="b")).item()

    assert present < 0.2
    assert missing > 0.8
    assert unseen == pytest.approx(0.5, abs=0.05)


def test_a_number_that_is_missing_counts_as_the_median() -> None:
    model = fit_estimator("logistic_regression")

    at_median = score(model, row(tenure=ROWS["tenure"].median()))

    assert score(model, row(tenure=None)) == pytest.approx(at_median)


def test_a_column_without_any_number_can_still_be_fitted() -> None:
    spec = EstimatorSpec(estimator="logistic_regression")
    model = fit(spec, ROWS.assign(tenure=np.nan), LABEL, categorical=CATEGORICAL, numeric=NUMERIC, seed=0)

    assert np.isfinite(score(model, row(tenure=None))).all()


# --- the columns that a model takes


def test_predictors_are_chosen_ordered_and_typed_alike_whatever_the_frame_was() -> None:
    rows = pd.DataFrame(
        {
            "charge": pd.array([1, None], dtype="Int64"),
            "customer_id": ["x", "y"],
            "payment": pd.array(["card", None], dtype="string"),
            "tenure": [3, 4],
            "contract": [np.nan, "monthly"],
        }
    )

    predictors = select_predictors(rows, CATEGORICAL, NUMERIC)

    expected = pd.DataFrame(
        {
            "contract": pd.Series([None, "monthly"], dtype=object),
            "payment": pd.Series(["card", None], dtype=object),
            "tenure": [3.0, 4.0],
            "charge": [1.0, np.nan],
        }
    )
    pd.testing.assert_frame_equal(predictors, expected)
    assert predictors.loc[0, "contract"] is None
    assert "customer_id" in rows.columns


def test_a_column_that_a_model_needs_and_the_rows_lack_is_named() -> None:
    with pytest.raises(KeyError, match="tenure"):
        select_predictors(ROWS.drop(columns="tenure"), CATEGORICAL, NUMERIC)


# --- the threshold inside the model


def test_a_model_decides_at_its_own_threshold(model: Any) -> None:
    threshold = float(np.quantile(score(model, ROWS), 0.8))

    decided = set_threshold(model, threshold)

    assert (score(decided, ROWS) == score(model, ROWS)).all()
    assert (decided.predict(ROWS) == (score(model, ROWS) >= threshold).astype(int)).all()
    assert 0 < decided.predict(ROWS).mean() < 0.5


def test_every_estimator_is_stored_with_the_reviewed_types_alone(model: Any) -> None:
    content = skops.io.dumps(set_threshold(model, 0.3))

    assert set(skops.io.get_untrusted_types(data=content)) <= set(TRUSTED_TYPES)
    read = skops.io.loads(content, trusted=list(TRUSTED_TYPES))
    assert (score(read, ROWS) == score(model, ROWS)).all()


# --- reasons


def test_a_typical_row_has_no_reasons(model: Any) -> None:
    assert explain(model, row(), BASELINE).tolist() == [[0.0, 0.0, 0.0, 0.0]]


def test_a_value_that_raises_the_probability_has_a_positive_effect_of_just_that_size(model: Any) -> None:
    rows = row(contract="monthly", charge=95.0)

    effects = explain(model, rows, BASELINE)[0]

    here = score(model, rows).item()
    assert effects == pytest.approx(
        [here - score(model, row(charge=95.0)).item(), 0.0, 0.0, here - score(model, row(contract="monthly")).item()]
    )
    assert effects[0] > 0
    assert effects[3] > 0


def test_a_value_that_lowers_the_probability_has_a_negative_effect(model: Any) -> None:
    raised = {**BASELINE, "contract": "monthly", "charge": 95.0}

    effects = explain(model, row(), raised)[0]

    assert effects[0] < 0
    assert effects[3] < 0


def test_effects_belong_to_their_row_and_column_with_nulls_and_unseen_categories_too(model: Any) -> None:
    rows = pd.concat([row(contract="monthly"), row(), row(charge=None), row(contract="ten years")], ignore_index=True)

    effects = explain(model, rows, BASELINE)

    one_by_one = np.vstack([explain(model, rows.iloc[[number]], BASELINE) for number in range(len(rows))])
    assert effects.shape == (4, 4)
    assert effects == pytest.approx(one_by_one)
    assert effects[0, 0] > 0


def test_a_baseline_may_be_unknown() -> None:
    effects = explain(
        fit_estimator("logistic_regression"), row(tenure=70.0), {**BASELINE, "contract": None, "tenure": None}
    )

    assert np.isfinite(effects).all()
