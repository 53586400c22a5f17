"""How long a series is, and its channels."""

from typing import Any

import numpy as np

from polymodal.modalities.series.codec import numbers
from polymodal.modalities.sizes import Measure, Sizes, Summary, spread


def extent(cell: Any) -> Sizes:
    """(readings, channels); nothing where all are NaN."""
    x = numbers(cell)
    return () if x is None or not np.isfinite(x).any() else (len(x), x[0].size)


def in_words(sizes: Summary) -> str:
    """The size of a column's series."""
    return f"{spread(sizes['length'])} readings of {spread(sizes['channels'])} channels"


MEASURE = Measure(("length", "channels"), extent, in_words, alike=("channels", "channels"))
