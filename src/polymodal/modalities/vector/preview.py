"""What there is to look at in a vector.

Axes: t vector or number.
"""

from typing import Any

import numpy as np

from polymodal.modalities.arrays import array
from polymodal.modalities.series.preview import spread
from polymodal.view.cell import Series
from polymodal.view.text import many


def lines(cell: Any) -> Series | None:
    """The numbers one after another; of several vectors the mean of each."""
    raw = array(cell)
    if raw is None or not raw.size:
        return None
    x = np.asarray(raw, dtype=np.float64)
    x_t = x.reshape(-1) if x.ndim == 1 or len(x) == 1 else x.reshape(len(x), -1).mean(1)
    words = many(x.size, "value") if x.ndim == 1 else f"{many(len(x), 'vector')} of {many(x[0].size, 'value')}"
    return Series(x_t[:, None], words + spread(x))
