"""Vectors for an ONNX file, with 0 in gaps."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import Unreadable
from polymodal.modalities.arrays import array
from polymodal.modalities.pretrained.graph import Feeding, GraphCodec


def without_gaps(x: NDArray | None) -> NDArray | None:
    """0 for what is not known; None where nothing is."""
    return None if x is None or not np.isfinite(x).any() else np.nan_to_num(x, posinf=0.0, neginf=0.0)


def _prepare(cell: Any, graph: GraphCodec) -> NDArray | None:
    x = without_gaps(array(cell))
    if x is None:
        return None
    if x.ndim != 1:
        raise Unreadable(f"numbers of shape {x.shape}; the network takes one vector (C,)")
    return graph.channels(x).astype(graph.feed.dtype)


def _blank(graph: GraphCodec) -> NDArray:
    return np.zeros(graph.feed.channels or 1, dtype=graph.feed.dtype)


FEEDING = Feeding(("NC",), _prepare, _blank)
