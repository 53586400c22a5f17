"""What there is to look at in a series.

Axes: t reading, c channel.
"""

from typing import Any

import numpy as np

from polymodal.modalities.arrays import Array
from polymodal.modalities.series.codec import numbers
from polymodal.view.cell import Series
from polymodal.view.text import many, number


def lines(cell: Any) -> Series | None:
    """Every channel."""
    raw = numbers(cell)
    if raw is None or not raw.size:
        return None
    x_tc = np.asarray(raw, dtype=np.float64).reshape(len(raw), -1)
    words = f"{many(len(x_tc), 'reading')} of {many(x_tc.shape[1], 'channel')}"
    return Series(x_tc, words + spread(x_tc))


def spread(x: Array) -> str:
    """From the smallest to the largest number, in words that follow a comma."""
    finite = x[np.isfinite(x)]
    return f", from {number(finite.min())} to {number(finite.max())}" if len(finite) else ", none of which is known"
