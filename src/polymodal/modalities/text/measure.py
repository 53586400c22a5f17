"""How long a text is."""

from typing import Any

from polymodal.modalities.sizes import Measure, Sizes, Summary, span
from polymodal.view.text import number


def words(cell: Any) -> Sizes:
    """(words,)."""
    return (len(str(cell).split()),)


def in_words(sizes: Summary) -> str:
    """The size of a column's texts.

    >>> in_words({"words": {"min": 3, "median": 5, "max": 13}})
    '3 to 13 words, half of them up to 5'
    """
    s = sizes["words"]
    half = f", half of them up to {number(s['median'])}" if s["min"] != s["max"] else ""
    return f"{span(s)} words{half}"


MEASURE = Measure(("words",), words, in_words)
