"""Do two series hold the same readings, one of them beginning later?"""

from typing import Any

import numpy as np

from polymodal.errors import Unreadable
from polymodal.modalities.record import Shift
from polymodal.modalities.series.codec import numbers

LEAST = 3  # readings that both must hold


def shift(a: Any, b: Any) -> Shift | None:
    """By how many readings b begins later than a, if all that follows in a is the beginning of b; None elsewhere.

    What varies in neither tells nothing.
    """
    try:
        first, second = numbers(a), numbers(b)
    except Unreadable:
        return None
    if first is None or second is None or first.shape[1:] != second.shape[1:]:
        return None
    x_tc, y_tc = first.reshape(len(first), -1), second.reshape(len(second), -1)
    for by in range(1, len(x_tc) - LEAST + 1):
        rest = x_tc[by:]
        if len(rest) <= len(y_tc) and np.array_equal(rest, y_tc[: len(rest)], equal_nan=True):
            return Shift(by, len(x_tc)) if np.nanmax(np.nanstd(rest, axis=0)) > 0 else None
    return None
