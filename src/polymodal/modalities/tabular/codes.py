"""Whole numbers that count nothing: names with a check digit, postcodes, telephone numbers."""

import re
from collections.abc import Sequence
from typing import Any

from polymodal.modalities.tabular.columns import category

ENOUGH, FEW = 0.95, 10  # share of the cells, and the fewest of them
NOT_COUNTS = set("zip zipcode postcode postal plz phone telephone tel fax mobile cell msisdn isbn ean gtin upc".split())


def has_check_digit(text: str) -> bool:
    """Whether it is a valid EAN, UPC, GTIN or ISBN-13 (8 to 14 digits), ISBN-10, or card number (Luhn, 15 to 19).

    >>> has_check_digit("978-3-16-148410-0"), has_check_digit("0-306-40615-2"), has_check_digit("4111 1111 1111 1111")
    (True, True, True)
    >>> has_check_digit("9783161484101")
    False
    """
    digits = re.sub(r"[ -]", "", text)
    if not re.fullmatch(r"\d{8,19}|\d{9}[Xx]", digits):
        return False
    x = [10 if d in "Xx" else int(d) for d in reversed(digits)]
    if len(x) == 10 and sum((i + 1) * d for i, d in enumerate(x)) % 11 == 0:
        return True
    if len(x) >= 15:
        return sum(d if i % 2 == 0 else (2 * d) // 10 + (2 * d) % 10 for i, d in enumerate(x)) % 10 == 0
    return "X" not in digits.upper() and len(x) <= 14 and sum(d * (1, 3)[i % 2] for i, d in enumerate(x)) % 10 == 0


def have_check_digits(cells: Sequence[Any]) -> bool:
    """Whether nearly all cells do, which of numbers that count something one in ten has by chance."""
    names = [category(c) or "" for c in cells]
    return len(names) >= FEW and sum(map(has_check_digit, names)) >= ENOUGH * len(names) and len(set(names)) > 2


def count_nothing(words: Sequence[str], cells: Sequence[Any]) -> str:
    """Why numbers in a column whose name has these words are names, "" where they are none.

    >>> count_nothing(["zip", "code"], [94110, 10001]), count_nothing(["price"], ["010", "200"])
    ("named 'zip'", 'numbers of one length that begin with 0')
    """
    if match := next((w for w in words if w in NOT_COUNTS), ""):
        return f"named {match!r}"
    texts = [c.strip() for c in cells if isinstance(c, str)]
    codes = len(texts) == len(cells) > 0 and all(t.isdigit() for t in texts) and len({*map(len, texts)}) == 1
    return "numbers of one length that begin with 0" if codes and any(t[0] == "0" for t in texts) else ""
