"""Recordings for an ONNX file: samples at its rate, cut or padded where its length is fixed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.modalities.audio.files import read
from polymodal.modalities.pretrained.graph import Feeding, GraphCodec, number, to_length


def _rate(graph: GraphCodec) -> int:
    return int(number(graph.options, "rate", 16_000))


def _prepare(cell: Any, graph: GraphCodec) -> NDArray:
    x = read(cell, _rate(graph), number(graph.options, "seconds", 15.0))
    return to_length(x, graph.feed.length).astype(graph.feed.dtype)


def _blank(graph: GraphCodec) -> NDArray:
    return np.zeros(graph.feed.length or _rate(graph), dtype=graph.feed.dtype)


FEEDING = Feeding(("NS", "S"), _prepare, _blank, ("rate", "seconds"))
