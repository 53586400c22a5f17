"""How many numbers a vector has."""

from typing import Any

import numpy as np

from polymodal.errors import Unreadable
from polymodal.modalities.arrays import array
from polymodal.modalities.sizes import Measure, Sizes, Summary, spread


def extent(cell: Any) -> Sizes:
    """(vectors, numbers in each)."""
    x = array(cell)
    if x is None or not np.isfinite(x).any():
        return ()
    if x.ndim > 2:
        raise Unreadable(f"numbers of shape {x.shape}; expected a vector (D,) or a sequence of them (T, D)")
    return (1 if x.ndim == 1 else len(x)), x.shape[-1]


def in_words(sizes: Summary) -> str:
    """The size of a column's vectors."""
    several = "" if sizes["length"]["max"] == 1 else f"{spread(sizes['length'])} vectors of "
    return f"{several}{spread(sizes['width'])} numbers"


MEASURE = Measure(("length", "width"), extent, in_words, alike=("width", "numbers"))
