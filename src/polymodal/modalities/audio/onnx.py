"""Recordings for an ONNX file: samples at its rate, cut or padded where its length is fixed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.modalities.audio.files import read
from polymodal.modalities.pretrained.graph import Feeding, Given, fixed, number


def _rate(given: Given) -> int:
    return int(number(given.options, "rate", 16_000))


def _prepared(cell: Any, given: Given) -> NDArray:
    x = read(cell, _rate(given), number(given.options, "seconds", 15.0))
    return fixed(x, given.feed.length).astype(given.feed.dtype)


def _blank(given: Given) -> NDArray:
    return np.zeros(given.feed.length or _rate(given), dtype=given.feed.dtype)


FEEDING = Feeding(("NS", "S"), _prepared, _blank, ("rate", "seconds"))
