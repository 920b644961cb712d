"""Simulated customers of a telephone company, in the shape of the IBM Telco customer churn file.

The columns, their order, their spelling and their quirks are those of that file; the people are drawn. The
numbers below were measured on its 7,043 customers and rounded: log-odds of logistic regressions without their
insignificant terms, shares of tenure by contract, prices and the noise of bills. The log-odds of churn were
then made slightly steeper and a few constants moved, until a logistic regression scored on simulated people
as it does on the file: area under the ROC curve 0.845, F1 0.63.

A customer is drawn trait by trait, each from a Bernoulli law whose log-odds are linear in the traits drawn
before; who churns comes last. Each customer uses one row of a matrix of uniforms, so a longer table begins
with the rows of a shorter one.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lakehouse_ml.storage.files import replace_atomically

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]

HEADER: Final = (
    "customerID", "gender", "SeniorCitizen", "Partner", "Dependents", "tenure", "PhoneService",
    "MultipleLines", "InternetService", "OnlineSecurity", "OnlineBackup", "DeviceProtection", "TechSupport",
    "StreamingTV", "StreamingMovies", "Contract", "PaperlessBilling", "PaymentMethod", "MonthlyCharges",
    "TotalCharges", "Churn",
)  # fmt: skip

_INTERNET_OPTIONS: Final[Mapping[str, str]] = {
    "OnlineSecurity": "online_security",
    "OnlineBackup": "online_backup",
    "DeviceProtection": "device_protection",
    "TechSupport": "tech_support",
    "StreamingTV": "streaming_tv",
    "StreamingMovies": "streaming_movies",
}

# Traits in the order of drawing. A term is a trait drawn before, 0 or 1, or a function of tenure.
# fmt: off
_BEFORE_TENURE: Final[Mapping[str, Mapping[str, float]]] = {
    "female": {"everyone": -0.02},
    "senior": {"everyone": -1.64},
    "partner": {"everyone": -0.07},
    "dependents": {"everyone": -2.04, "senior": -2.14, "partner": 2.40},
    "internet": {"everyone": 1.20, "senior": 1.76, "partner": 0.31, "dependents": -0.68},
    "fiber": {"everyone": 0.12, "senior": 1.00, "partner": 0.20, "dependents": -0.54},
    "committed": {"everyone": 0.06, "senior": -0.45, "partner": 1.17, "dependents": 0.27, "internet": -0.68,
                  "fiber": -0.74},
    "two_year": {"everyone": 0.17, "partner": 0.67, "internet": -0.50, "fiber": -0.36},
}
_AFTER_TENURE: Final[Mapping[str, Mapping[str, float]]] = {
    # Only customers on DSL can do without a telephone: log-odds near 40 are a certainty in double precision.
    "phone": {"everyone": 40.00, "internet": -38.99, "fiber": 38.99, "senior": -0.61},
    "multiple_lines": {"everyone": -2.46, "senior": 0.39, "internet": 0.82, "fiber": 0.99, "committed": -0.45,
                       "two_year": 0.25, "years": 0.46},
    "online_security": {"everyone": -1.30, "dependents": 0.29, "fiber": -0.92, "committed": 0.59,
                        "two_year": 0.49, "years": 0.27},
    "online_backup": {"everyone": -1.53, "years": 0.46},
    "device_protection": {"everyone": -1.45, "committed": 0.62, "two_year": 0.53, "years": 0.31},
    "tech_support": {"everyone": -1.39, "senior": -0.48, "fiber": -0.71, "committed": 0.88,
                     "two_year": 1.20, "years": 0.50, "years_squared": -0.06},
    "streaming_tv": {"everyone": -1.65, "fiber": 0.81, "committed": 0.50, "years": 0.19,
                     "multiple_lines": 0.28, "online_security": -0.36, "device_protection": 0.69,
                     "tech_support": 0.35},
    "streaming_movies": {"everyone": -1.94, "fiber": 0.64, "committed": 0.36, "years": 0.17,
                         "device_protection": 0.59, "streaming_tv": 1.46},
    "paperless": {"everyone": -0.74, "senior": 0.37, "internet": 0.96, "fiber": 0.74, "committed": -0.57,
                  "years": 0.08, "online_security": -0.36, "streaming_tv": 0.46},
    "manual": {"everyone": 2.66, "committed": -0.40, "years": 0.66, "years_squared": -0.10,
               "log_months": -0.93, "tech_support": -0.30, "streaming_tv": 0.25},
    "electronic": {"everyone": -1.72, "senior": 0.63, "internet": 1.51, "fiber": 1.12, "committed": -0.72,
                   "two_year": -1.07, "years_squared": 0.05, "paperless": 0.45, "online_security": -0.43,
                   "tech_support": -0.53, "streaming_tv": 0.50, "streaming_movies": 0.55},
    "card": {"everyone": -0.01},
    "churn": {"everyone": -0.31, "senior": 0.25, "dependents": -0.16, "internet": 0.90, "fiber": 0.98,
              "committed": -0.74, "two_year": -0.86, "phone": -0.56, "multiple_lines": 0.37,
              "online_security": -0.32, "online_backup": -0.12, "tech_support": -0.28, "streaming_tv": 0.31,
              "streaming_movies": 0.33, "paperless": 0.36, "electronic": 0.33, "log_months": -0.65,
              "first_month": 0.45, "full_term": -1.20},
}
# fmt: on
# A trait that only some can have. No customer without a first bill has churned.
_ONLY_WITH: Final[Mapping[str, str]] = {
    "fiber": "internet",
    "two_year": "committed",
    "multiple_lines": "phone",
    "electronic": "manual",
    "churn": "billed",
} | dict.fromkeys(_INTERNET_OPTIONS.values(), "internet")

# Share of customers whose tenure is below each number of months, by contract. The log-odds of a customer's
# rank within it are linear in the terms further down, plus logistic noise.
_TENURE_EDGES: Final = (0, 1, 2, 3, 5, 9, 13, 25, 37, 49, 61, 67, 70, 71, 72, 73)
_SHARE_BELOW: Final[Mapping[str, tuple[float, ...]]] = {
    "Month-to-month": (0, 0, 0.147, 0.215, 0.307, 0.420, 0.515, 0.705, 0.830, 0.912, 0.972, 0.991, 0.997,
                       0.998, 0.9995, 1),
    "One year": (0, 0.0010, 0.005, 0.010, 0.019, 0.042, 0.084, 0.218, 0.388, 0.570, 0.788, 0.896, 0.951,
                  0.970, 0.989, 1),
    "Two year": (0, 0.0073, 0.008, 0.009, 0.012, 0.027, 0.040, 0.093, 0.150, 0.255, 0.418, 0.555, 0.665,
                  0.717, 0.798, 1),
}  # fmt: skip
_TENURE_RANK: Final = {"everyone": -1.35, "senior": 0.33, "partner": 0.97, "dependents": -0.23,
                       "internet": 0.79, "fiber": 0.55, "committed": 0.09}  # fmt: skip
_TENURE_RANK_NOISE: Final = 0.915
_MAX_MONTHS: Final = 72.0

_PRICES: Final = {"internet": 25, "fiber": 25, "phone": 20, "multiple_lines": 5, "online_security": 5,
                  "online_backup": 5, "device_protection": 5, "tech_support": 5, "streaming_tv": 10,
                  "streaming_movies": 10}  # fmt: skip
_PRICE_NOISE: Final = 0.5
_BILL_NOISE: Final = 1.44

_COLUMNS_OF_UNIFORMS: Final = (*_BEFORE_TENURE, "tenure", *_AFTER_TENURE, "noise_radius", "noise_angle")
_ROWS_PER_CHUNK: Final = 20_000
_DIGIT_PARTS: Final = 10**4
_LETTER_PARTS: Final = 26**5


def customers(n: int = 5_000, seed: int = 0) -> dict[str, Texts]:
    """Simulate customers.

    Args:
        n: Number of customers.
        seed: Seed, not negative. The first rows of a longer table are those of a shorter one.

    Returns:
        The 21 columns of the Telco file in its order, each of shape (n,) and holding text as it stands there:
        tenure in months, charges in dollars without trailing zeros, TotalCharges " " where tenure is "0".

    Raises:
        ValueError: If n or seed is negative, or n exceeds the number of customer ids.
    """
    chunks = list(_chunks(n, seed))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in HEADER}


def write_csv(path: Path, n: int = 5_000, seed: int = 0) -> None:
    """Write the rows of `customers(n, seed)` as a CSV file with a header and LF line ends.

    The file appears under its name only when it is complete. Memory does not grow with n.

    Args:
        path: File to write or to replace. Its parents are made.
        n: Number of customers.
        seed: Seed, not negative.

    Raises:
        ValueError: As `customers` does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as partial, partial.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for chunk in _chunks(n, seed):
            writer.writerows(zip(*(chunk[name].tolist() for name in HEADER), strict=True))


def write_sample(folder: Path) -> None:
    """What `make run` begins with where there are no files."""
    write_csv(folder / "customers_simulated.csv")


def _chunks(n: int, seed: int) -> Iterator[dict[str, Texts]]:
    """Yield at least one table, also of zero rows; chunk i is drawn from the seed (seed, i)."""
    ids = _DIGIT_PARTS * _LETTER_PARTS
    if not 0 <= n <= ids:
        raise ValueError(f"n must lie between 0 and {ids:,}, the number of customer ids; it is {n:,}.")
    for index, start in enumerate(range(0, max(n, 1), _ROWS_PER_CHUNK)):
        rows = min(_ROWS_PER_CHUNK, n - start)
        matrix = np.random.default_rng([seed, index]).random((rows, len(_COLUMNS_OF_UNIFORMS)))
        uniforms = dict(zip(_COLUMNS_OF_UNIFORMS, matrix.T, strict=True))
        yield {"customerID": _customer_ids(start, rows, seed)} | _render(_draw(uniforms), uniforms)


@dataclass(frozen=True)
class _Crowd:
    """Customers drawn so far: terms and uniforms are arrays of shape (n,), one uniform for each draw."""

    terms: Mapping[str, Floats]
    uniforms: Mapping[str, Floats]

    def score(self, weights: Mapping[str, float]) -> Floats:
        total = np.zeros_like(self.terms["everyone"])
        for term, weight in weights.items():
            total = total + weight * self.terms[term]
        return total

    def having(self, **terms: Floats) -> "_Crowd":
        return _Crowd({**self.terms, **terms}, self.uniforms)

    def draw(self, trait: str, log_odds: Mapping[str, float]) -> "_Crowd":
        drawn = self.uniforms[trait] < _expit(self.score(log_odds))
        return self.having(**{trait: drawn * self.terms[_ONLY_WITH.get(trait, "everyone")]})


def _expit(score: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-score)), dtype=np.float64)


def _draw(uniforms: Mapping[str, Floats]) -> Mapping[str, Floats]:
    crowd = _Crowd({"everyone": np.ones_like(uniforms["tenure"])}, uniforms)
    for trait, log_odds in _BEFORE_TENURE.items():
        crowd = crowd.draw(trait, log_odds)
    months = _tenure_months(crowd)
    crowd = _with_months(crowd, months)
    for trait, log_odds in _AFTER_TENURE.items():
        crowd = crowd.draw(trait, log_odds)
    return crowd.terms


def _tenure_months(crowd: _Crowd) -> Floats:
    """Give whole months from 0 to 72 by inversion of the contract's distribution at the customer's rank."""
    uniform = np.clip(crowd.uniforms["tenure"], 1e-12, None)
    noise = np.log(uniform / (1.0 - uniform))
    rank = _expit(crowd.score(_TENURE_RANK) + _TENURE_RANK_NOISE * noise)
    of_contract = [np.interp(rank, share_below, _TENURE_EDGES) for share_below in _SHARE_BELOW.values()]
    contract = (crowd.terms["committed"] + crowd.terms["two_year"]).astype(np.int64)
    return np.minimum(np.floor(np.choose(contract, of_contract)), _MAX_MONTHS)


def _charges(terms: Mapping[str, Floats], uniforms: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Give the monthly and the total charge in dollars, both in steps of five cents.

    A monthly charge is the sum of list prices, each with noise. The total is the present bill plus one bill
    for each month before, which varied more the larger it was. The two normal variates are those of Box and
    Muller (1958).
    """
    radius = np.sqrt(-2.0 * np.log1p(-uniforms["noise_radius"]))
    angle = 2.0 * np.pi * uniforms["noise_angle"]
    list_price = sum(price * terms[service] for service, price in _PRICES.items())
    services = sum(terms[service] for service in _PRICES if service != "fiber")
    monthly = _to_five_cents(list_price + _PRICE_NOISE * np.sqrt(services) * radius * np.cos(angle))
    past_months = np.maximum(terms["months"] - 1.0, 0.0)
    past_bills = monthly * past_months + _BILL_NOISE * np.sqrt(monthly * past_months) * radius * np.sin(angle)
    return monthly, monthly + _to_five_cents(np.maximum(past_bills, 0.0))


def _to_five_cents(dollars: Floats) -> Floats:
    return np.asarray(np.round(dollars * 20.0) / 20.0, dtype=np.float64)


def _render(terms: Mapping[str, Floats], uniforms: Mapping[str, Floats]) -> dict[str, Texts]:
    """Write each column but the id as text, in the order of the file."""
    has = {name: term > 0 for name, term in terms.items()}
    monthly, total = _charges(terms, uniforms)
    return (
        {
            "gender": np.where(has["female"], "Female", "Male"),
            "SeniorCitizen": np.where(has["senior"], "1", "0"),
            "Partner": _yes_no(has["partner"]),
            "Dependents": _yes_no(has["dependents"]),
            "tenure": terms["months"].astype(np.int64).astype(np.str_),
            "PhoneService": _yes_no(has["phone"]),
            "MultipleLines": np.where(has["phone"], _yes_no(has["multiple_lines"]), "No phone service"),
            "InternetService": np.where(has["fiber"], "Fiber optic", np.where(has["internet"], "DSL", "No")),
        }
        | {
            column: np.where(has["internet"], _yes_no(has[option]), "No internet service")
            for column, option in _INTERNET_OPTIONS.items()
        }
        | {
            "Contract": _contract(has),
            "PaperlessBilling": _yes_no(has["paperless"]),
            "PaymentMethod": _payment_method(has),
            "MonthlyCharges": _amounts(monthly),
            "TotalCharges": np.where(has["billed"], _amounts(total), " "),
            "Churn": _yes_no(has["churn"]),
        }
    )


def _yes_no(answer: NDArray[np.bool_]) -> Texts:
    return np.where(answer, "Yes", "No")


def _contract(has: Mapping[str, NDArray[np.bool_]]) -> Texts:
    monthly, one_year, two_year = _SHARE_BELOW
    return np.where(has["two_year"], two_year, np.where(has["committed"], one_year, monthly))


def _payment_method(has: Mapping[str, NDArray[np.bool_]]) -> Texts:
    manual = np.where(has["electronic"], "Electronic check", "Mailed check")
    automatic = np.where(has["card"], "Credit card (automatic)", "Bank transfer (automatic)")
    return np.where(has["manual"], manual, automatic)


def _amounts(dollars: Floats) -> Texts:
    """Write amounts below 10,000 dollars as the file does: 29.85, 70.7, 20."""
    return np.array([f"{amount:.6g}" for amount in dollars.tolist()], dtype=np.str_)


def _customer_ids(start: int, rows: int, seed: int) -> Texts:
    """Give ids such as 7590-VHVEG to the rows from `start` on, all different within one seed.

    A Feistel network permutes the pairs (digits, letters), so that no id needs to be remembered.
    """
    keys = np.random.SeedSequence(seed).generate_state(4, np.uint64)
    letters, digits = np.divmod(np.arange(start, start + rows, dtype=np.uint64), np.uint64(_DIGIT_PARTS))
    for digits_key, letters_key in keys.reshape(2, 2):
        digits = (digits + _mix(letters, digits_key) % _DIGIT_PARTS) % _DIGIT_PARTS
        letters = (letters + _mix(digits, letters_key) % _LETTER_PARTS) % _LETTER_PARTS
    symbols = np.full((rows, 10), ord("-"), dtype=np.uint32)
    symbols[:, :4] = ord("0") + digits[:, None] // 10 ** np.arange(3, -1, -1, dtype=np.uint64) % 10
    symbols[:, 5:] = ord("A") + letters[:, None] // 26 ** np.arange(4, -1, -1, dtype=np.uint64) % 26
    return symbols.view("U10")[:, 0]


def _mix(values: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """Scramble 64-bit words with the finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    words = values + np.full_like(values, key)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


# --- customers month after month: who leaves isn't there again, and others join

FIRST_MONTH_END: Final = date(2024, 1, 31)
# Months that pass before the first file, after which the share that leaves stays about the same.
_MONTHS_BEFORE: Final = 12


@dataclass(frozen=True)
class Month:
    """A month's end: the day, everybody who is a customer then, and who of them leaves within the month after.

    Attributes:
        day: The last day of the month.
        customers: The columns of the Telco file but Churn, each of shape (n,), as text.
        leaves: Yes or No, shape (n,).
    """

    day: date
    customers: Mapping[str, Texts]
    leaves: Texts


def months(count: int = 12, n: int = 2_000, seed: int = 0) -> Iterator[Month]:
    """Simulate the same company over months: who stays is a month older, who leaves is replaced by somebody new.

    Args:
        count: How many months are given.
        n: Customers at each month's end.
        seed: Seed, not negative.

    Yields:
        One month after another from January 2024 on. An id that has left doesn't come again.
    """
    crowd, ids = _joining(n, 0, seed, months=None)
    joined = n
    for number in range(-_MONTHS_BEFORE, count):
        draws = np.random.default_rng([seed, number + _MONTHS_BEFORE, 1]).random(n)
        leaves = (draws < _expit(crowd.score(_AFTER_TENURE["churn"]))) & (crowd.terms["billed"] > 0)
        if number >= 0:
            shown = crowd.having(churn=leaves.astype(np.float64))
            columns = {"customerID": ids} | _render(shown.terms, shown.uniforms)
            yield Month(_month_end(number), {name: columns[name] for name in HEADER[:-1]}, columns["Churn"])
        new, new_ids = _joining(int(leaves.sum()), joined, seed, months=1.0)
        joined += len(new_ids)
        crowd = _concatenate(_age(crowd, ~leaves), new)
        ids = np.concatenate([ids[~leaves], new_ids])


def write_months(folder: Path, count: int = 12, n: int = 2_000, seed: int = 0) -> list[date]:
    """Write the files of so many months as they arrive, and return the days.

    The first snapshot knows who left (its own Churn column); of the others it becomes known a month later, in a file
    below `outcomes/`. Of the last month nothing is known yet.

    Args:
        folder: Landing folder.
        count: How many months.
        n: Customers at each month's end.
        seed: Seed, not negative.
    """
    days = []
    for number, month in enumerate(months(count, n, seed)):
        churn = month.leaves if not number else np.full(n, "")
        _write(folder / f"customers_{month.day}_simulated.csv", {**month.customers, "Churn": churn})
        if 0 < number < count - 1:
            outcomes = {"customerID": month.customers["customerID"], "Churn": month.leaves}
            _write(folder / "outcomes" / f"outcomes_{month.day}_simulated.csv", outcomes)
        days.append(month.day)
    return days


def _joining(n: int, start: int, seed: int, months: float | None) -> tuple[_Crowd, Texts]:
    """Customers `start` to `start + n`, with their tenure drawn, or all with the same short one."""
    rng = np.random.default_rng([seed, start, 2])
    uniforms = dict(zip(_COLUMNS_OF_UNIFORMS, rng.random((len(_COLUMNS_OF_UNIFORMS), n)), strict=True))
    if months is not None:
        # The shortest tenure of each contract: what depends on the tenure is drawn for a newcomer.
        uniforms["tenure"] = np.full(n, 1e-12)
    crowd = _Crowd(_draw(uniforms), uniforms)
    crowd = crowd if months is None else _with_months(crowd, np.full(n, months))
    return crowd, _customer_ids(start, n, seed)


def _with_months(crowd: _Crowd, months: Floats) -> _Crowd:
    return crowd.having(
        months=months,
        years=months / 12,
        years_squared=(months / 12) ** 2,
        log_months=np.log1p(months),
        billed=np.minimum(months, 1.0),
        first_month=(months == 1.0).astype(np.float64),
        full_term=(months == _MAX_MONTHS).astype(np.float64),
    )


def _age(crowd: _Crowd, stays: NDArray[np.bool_]) -> _Crowd:
    """Those who stay, a month later."""
    terms, uniforms = ({name: values[stays] for name, values in part.items()} for part in (crowd.terms, crowd.uniforms))
    return _with_months(_Crowd(terms, uniforms), np.minimum(terms["months"] + 1.0, _MAX_MONTHS))


def _concatenate(first: _Crowd, second: _Crowd) -> _Crowd:
    terms, uniforms = (
        {name: np.concatenate([values, other[name]]) for name, values in one.items()}
        for one, other in ((first.terms, second.terms), (first.uniforms, second.uniforms))
    )
    return _Crowd(terms, uniforms)


def _month_end(number: int) -> date:
    first = date(FIRST_MONTH_END.year + (number + 1) // 12, (number + 1) % 12 + 1, 1)
    return first - timedelta(days=1)


def _write(path: Path, columns: Mapping[str, Texts]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as partial, partial.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))
