"""How landing files write numbers and days, where it isn't the standard way.

A format is declared on a column of a landing contract. Ingestion evaluates it as SQL and a draft matches it in Python,
by the same pattern: what a draft counts as a number lands as one.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from lakehouse_ml.use_cases.sql import string_literal

# Signs that a pattern takes literally within brackets, on every engine and in Python.
_UNIT_SIGNS = "%‰°"
_SPACES = " \u00a0\u202f"
_TIME = "(?:[ T]+[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?: ?[AaPp][Mm])?)?"


@dataclass(frozen=True)
class NumberFormat:
    """How a column writes numbers: `NumberFormat(",", ".", "€")` reads 1.234,50 € as 1234.5.

    Attributes:
        decimal: Mark before the fraction.
        grouping: Mark between thousands; empty if there is none.
        unit: A currency or unit before or after every number, which is removed: 5 % is 5.
        missing: Values of this column that mean missing, beside the words of conf; upper and lower case are the same.
    """

    decimal: Literal[".", ","] = "."
    grouping: Literal["", ".", ",", " ", "'"] = ""
    unit: str = ""
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no pattern can tell apart.

        Raises:
            ValueError: Both marks are the same, or the unit holds what isn't a letter, a currency or a percent sign.
        """
        if self.decimal == self.grouping:
            raise ValueError(f"decimal and grouping are both {self.decimal!r}: thousands need another mark.")
        if not all(is_unit_sign(sign) for sign in self.unit):
            raise ValueError(f"unit is {self.unit!r}: only letters, currency signs and {_UNIT_SIGNS} can be one.")

    @property
    def pattern(self) -> str:
        """Regular expression of a whole value, the same for Python, Java and Rust."""
        mark, grouping = f"[{self.decimal}]", f"[{_SPACES if self.grouping == ' ' else self.grouping}]"
        whole = f"(?:[0-9]{{1,3}}(?:{grouping}[0-9]{{3}})+|[0-9]+)" if self.grouping else "[0-9]+"
        number = f"(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+)"
        if not self.unit:
            return f"^[-+]?{number}(?:[eE][-+]?[0-9]+)?$"
        unit, space = "".join(f"[{sign}]" for sign in self.unit), f"[{_SPACES}]"
        # R5 and R-5 are names; R 5 is a sum of money.
        before = f"{unit}{space}+{number}" if self.unit.isalpha() else f"{unit}{space}*[-+]?{number}"
        return f"^[-+]?(?:{before}|{number}{space}*{unit})$"

    def plain(self, text: str) -> str:
        """A value that fits the pattern, as engines and Python read it: for example 1234.5."""
        bare = text.replace(self.unit, "") if self.unit else text
        return bare.translate({ord(sign): None for sign in self._removed} | {ord(self.decimal): "."})

    def plain_sql(self, text: str) -> str:
        """The same of an SQL expression of text; null where it doesn't fit the pattern."""
        if self == NumberFormat(missing=self.missing):
            return text
        bare = f"replace({text}, {string_literal(self.unit)}, '')" if self.unit else text
        plain = f"translate({bare}, {string_literal(self.decimal + self._removed)}, '.')"
        return f"case when {text} rlike {string_literal(self.pattern)} then {plain} end"

    @property
    def _removed(self) -> str:
        return f"{self.grouping}{_SPACES}" if self.grouping.strip() else _SPACES


@dataclass(frozen=True)
class DateFormat:
    """How a column of days writes them: `DateFormat("D-M-Y")` reads 31.12.2024, 31/12/2024 and 31-12-2024 14:30.

    Attributes:
        order: Of day, month and year, with a point, slash or hyphen between them; `YMD` has none: 20241231.
        missing: Values of this column that mean missing, beside the words of conf; upper and lower case are the same.
    """

    order: Literal["D-M-Y", "M-D-Y", "Y-M-D", "YMD"]
    missing: tuple[str, ...] = ()

    @property
    def pattern(self) -> str:
        """Regular expression of a whole value, the same for Python, Java and Rust; a time of day may follow."""
        if self.order == "YMD":
            return "^(?:19|20)[0-9]{6}$"
        digits = {"D": "[0-9]{1,2}", "M": "[0-9]{1,2}", "Y": "[0-9]{4}"}
        return f"^{'[-./]'.join(digits[part] for part in self.order.split('-'))}{_TIME}$"

    def plain(self, text: str) -> str:
        """The day of a value that fits the pattern, as YYYY-MM-DD; whether there is such a day, the reader judges."""
        if self.order == "YMD":
            return f"{text[:4]}-{text[4:6]}-{text[6:]}"
        parts = text.replace("T", " ").split(" ")[0].translate(str.maketrans("./", "--")).split("-")
        day = dict(zip(self.order.split("-"), parts, strict=True))
        return f"{day['Y']}-{day['M']:0>2}-{day['D']:0>2}"

    def plain_sql(self, text: str) -> str:
        """The same of an SQL expression of text; null where it doesn't fit the pattern."""
        if self.order == "YMD":
            plain = f"concat(substr({text}, 1, 4), '-', substr({text}, 5, 2), '-', substr({text}, 7, 2))"
        else:
            day = f"substring_index(translate({text}, './T', '-- '), ' ', 1)"
            parts = (
                f"substring_index({day}, '-', 1)",
                f"substring_index(substring_index({day}, '-', 2), '-', -1)",
                f"substring_index({day}, '-', -1)",
            )
            by = dict(zip(self.order.split("-"), parts, strict=True))
            plain = f"concat({by['Y']}, '-', lpad({by['M']}, 2, '0'), '-', lpad({by['D']}, 2, '0'))"
        return f"case when {text} rlike {string_literal(self.pattern)} then {plain} end"


Format = NumberFormat | DateFormat


def is_unit_sign(sign: str) -> bool:
    """Whether a sign can be part of a unit: a letter, a currency or a percent sign."""
    return sign.isalpha() or sign in _UNIT_SIGNS or unicodedata.category(sign) == "Sc"
