"""Series for an ONNX file: readings with 0 in gaps, cut or padded where its length is fixed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.modalities.pretrained.graph import Feeding, GraphCodec, to_length
from polymodal.modalities.series.codec import numbers
from polymodal.modalities.vector.onnx import without_gaps


def _prepare(cell: Any, graph: GraphCodec) -> NDArray | None:
    x = without_gaps(numbers(cell))
    if x is None:
        return None
    x_tc = to_length(graph.channels(x.reshape(len(x), -1)), graph.feed.length)
    return (x_tc.T if graph.feed.layout == "NCT" else x_tc).astype(graph.feed.dtype)


def _blank(graph: GraphCodec) -> NDArray:
    x_tc = np.zeros((graph.feed.length or 64, graph.feed.channels or 1), dtype=graph.feed.dtype)
    return x_tc.T if graph.feed.layout == "NCT" else x_tc


FEEDING = Feeding(("NTC", "NCT"), _prepare, _blank)
