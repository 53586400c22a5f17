"""Images for an ONNX file: resized to what its input says, scaled, normalised."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polymodal.modalities.image.files import picture
from polymodal.modalities.pretrained.graph import Feeding, GraphCodec, number, values


def pixels(image: Image.Image, graph: GraphCodec) -> NDArray:
    """(3, H, W) or (H, W, 3): resized, scaled to 0 ... scale, then (x - mean) / std. uint8 inputs take 0 ... 255."""
    feed, options = graph.feed, graph.options
    x = np.asarray(image.resize(feed.sides[::-1], Image.Resampling.BILINEAR))
    if feed.dtype != np.uint8:
        mean, std = values(options, "mean", 0.0), values(options, "std", 1.0)
        x = ((x.astype(np.float32) * (number(options, "scale", 1.0) / 255) - mean) / std).astype(feed.dtype)
    return x.transpose(2, 0, 1) if feed.layout == "NCHW" else x


def _prepare(cell: Any, graph: GraphCodec) -> NDArray:
    return pixels(picture(cell, graph.feed.sides), graph)


def _blank(graph: GraphCodec) -> NDArray:
    return pixels(Image.new("RGB", graph.feed.sides[::-1]), graph)


FEEDING = Feeding(("NCHW", "NHWC"), _prepare, _blank, ("size", "scale", "mean", "std"), channels=3)
