"""Categories with an order, as a frame holds them: "low" < "middle" < "high"."""

from collections.abc import Iterable, Sequence
from typing import Any, Self


class Level(str):
    """A cell of an ordered category: its name. value: as its frame has it. order: all values, the least first."""

    __slots__ = ("order", "value")
    value: Any
    order: Sequence[Any]

    @classmethod
    def each(cls, order: Sequence[Any]) -> list[Self]:
        """The levels of one column."""
        out = []
        for value in order:
            level = cls(value)
            level.value, level.order = value, order
            out.append(level)
        return out


def order_of(cells: Iterable[Any]) -> list[Any] | None:
    """The order of a column all whose cells are levels, None and blanks aside; None for any other.

    >>> order_of([*Level.each(["low", "high"]), None]), order_of(["low", "high"])
    (['low', 'high'], None)
    """
    there = [c for c in cells if c is not None]
    if not there or not all(isinstance(c, Level) for c in there):
        return None
    return list(there[0].order)


def value_of(cell: Any) -> Any:
    """The value of a level; anything else as it is."""
    return cell.value if isinstance(cell, Level) else cell
