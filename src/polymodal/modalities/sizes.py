"""How large a cell is, in numbers and in words: what a kind of column says of that (`Measure`)."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from polymodal.view.text import number

Sizes = tuple[float, ...]
Summary = Mapping[str, Mapping[str, Any]]


class Measure(NamedTuple):
    """What the sizes of a cell are. names: one for each. of(cell): the sizes, () where the cell holds nothing; raises
    Unreadable for a cell that can't be decoded. words(summary): of a column, for a person.

    counted: names of which it is counted how many cells have each value. alike: the name of a size that all cells of a
    column should share, and what it counts ("channels"); a cell with another is reported.
    """

    names: tuple[str, ...]
    of: Callable[[Any], Sizes]
    words: Callable[[Summary], str]
    counted: tuple[str, ...] = ()
    alike: tuple[str, str] | None = None

    def summary(self, sizes: Sequence[Sizes]) -> dict[str, Any]:
        """Each size's smallest, median and largest; of what is counted, how many cells have each value.

        >>> Measure(("words",), len, str).summary([(3,), (5,), (13,)])
        {'words': {'min': 3, 'median': 5, 'max': 13}}
        """
        out: dict[str, Any] = {}
        for name, values in zip(self.names, zip(*sizes, strict=True), strict=True):
            if name in self.counted:
                out[name] = {str(r): n for r, n in Counter(values).most_common()}
            else:
                three = {"min": min(values), "median": float(np.median(values)), "max": max(values)}
                out[name] = {k: int(v) if v == int(v) else round(v, 3) for k, v in three.items()}
        return out

    def usual(self, sizes: Sequence[Sizes]) -> float | None:
        """The commonest value of the size that should be alike; None where nothing should."""
        if self.alike is None:
            return None
        at = self.names.index(self.alike[0])
        counts = Counter(s[at] for s in sizes if s)
        return counts.most_common(1)[0][0] if counts else None

    def unlike(self, sizes: Sizes, usual: float | None) -> str:
        """What is wrong with a cell whose size is not the usual one, "" where nothing is."""
        if self.alike is None or usual is None or not sizes:
            return ""
        name, noun = self.alike
        own = sizes[self.names.index(name)]
        return "" if own == usual else f"{own:.0f} {noun}, but most have {usual:.0f}"


# --- words --------------------------------------------------------------------------------------------


def span(size: Mapping[str, float]) -> str:
    """From the smallest to the largest.

    >>> span({"min": 3, "median": 5, "max": 1300}), span({"min": 2, "median": 2, "max": 2})
    ('3 to 1,300', '2')
    """
    low, high = number(size["min"]), number(size["max"])
    return low if low == high else f"{low} to {high}"


def spread(size: Mapping[str, float]) -> str:
    """The span, and its middle."""
    alike = number(size["min"]) == number(size["max"])
    return span(size) if alike else f"{span(size)} (median {number(size['median'])})"
