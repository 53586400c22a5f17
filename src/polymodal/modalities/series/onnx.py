"""Series for an ONNX file: readings with 0 in gaps, cut or padded where its length is fixed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.modalities.pretrained.graph import Feeding, Given, fixed
from polymodal.modalities.series.codec import numbers
from polymodal.modalities.vector.onnx import without_gaps


def _prepared(cell: Any, given: Given) -> NDArray | None:
    x = without_gaps(numbers(cell))
    if x is None:
        return None
    x_tc = fixed(given.channels(x.reshape(len(x), -1)), given.feed.length)
    return (x_tc.T if given.feed.layout == "NCT" else x_tc).astype(given.feed.dtype)


def _blank(given: Given) -> NDArray:
    x_tc = np.zeros((given.feed.length or 64, given.feed.channels or 1), dtype=given.feed.dtype)
    return x_tc.T if given.feed.layout == "NCT" else x_tc


FEEDING = Feeding(("NTC", "NCT"), _prepared, _blank)
