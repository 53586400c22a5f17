"""Images: any file, size and mode -> one uint8 RGB size for the column.

    cell --picture--> PIL image, upright, RGB --resized--> uint8 (3, H, W)

Axes: c channel, h height, w width.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.base import Codec, Guess, stack
from polymodal.modalities.files import count_opening, spread
from polymodal.modalities.image.files import PICTURES, opens, picture, shape
from polymodal.nn import SIZES, Size

SAMPLE, DECODE = 200, 64  # training images whose header, whose pixels are read by `fit`
SMALLEST, FLATTEST = 8, 8.0  # the column's size: no side below, no aspect ratio beyond


class Pixels(Codec):
    """Images of one size: uint8 (3, height_, width_), RGB, resized with antialiasing, nothing cropped.

    A cell is a path, a PIL image, the bytes of a file, or an array (H, W), (H, W, C) or (C, H, W) with C of 1 to 4. The
    camera's rotation is undone, transparency is laid on white, 16 and 32 bit greys are scaled to 8.

    fit: `height_`, `width_` have the median aspect ratio, an area of at most size.side ** 2, and are never
    larger than the median image; `mean_`, `std_` are those of each channel, of values 0 to 1.
    """

    kind: ClassVar[str] = "image"
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True

    def __init__(self) -> None:
        self.height_, self.width_ = SIZES["small"].side, SIZES["small"].side
        self.mean_, self.std_ = [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """The share of cells that open as images; headers only."""
        return count_opening(cells, opens, PICTURES, "images")

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Choose the size from the headers, and the mean and spread from a few decoded images."""
        sample = spread([c for c in cells if c is not None], SAMPLE)
        sides = [s for s in map(shape, sample) if s is not None]
        if sides:
            self.height_, self.width_ = common_size(sides, size.side**2)
        rows = []
        for cell in spread(sample, DECODE):
            try:
                rows.append(self.encode(cell))
            except Unreadable:
                continue  # counted and reported where the column is encoded
        if rows:
            x = torch.stack([r for r in rows if r is not None]).double().div(255).transpose(0, 1).flatten(1)
            self.mean_ = [round(v, 4) for v in x.mean(1).tolist()]
            self.std_ = [round(max(v, 0.02), 4) for v in x.std(1, unbiased=False).tolist()]
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """uint8 (3, height_, width_)."""
        if cell is None:
            return None
        x_hwc = torch.from_numpy(np.array(picture(cell, (self.height_, self.width_))))
        x = x_hwc.permute(2, 0, 1)[None]
        if x.shape[2:] != (self.height_, self.width_):
            x = interpolate(x, (self.height_, self.width_), mode="bilinear", antialias=True)
        return x[0].contiguous()

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """uint8 (B, 3, height_, width_) and the (B,) mask."""
        return stack(cells, torch.zeros(3, self.height_, self.width_, dtype=torch.uint8))


def common_size(sides: list[tuple[int, int]], area: int) -> tuple[int, int]:
    """(height, width) of the median aspect ratio, no larger than `area` nor than the median image.

    >>> common_size([(480, 640)] * 3, 64 * 64), common_size([(28, 28)], 64 * 64)
    ((55, 73), (28, 28))
    """
    ratio = math.exp(statistics.median(math.log(w / h) for h, w in sides))
    ratio = min(max(ratio, 1 / FLATTEST), FLATTEST)
    area = min(area, int(statistics.median(h * w for h, w in sides)))
    return max(SMALLEST, int(math.sqrt(area / ratio) + 1e-6)), max(SMALLEST, int(math.sqrt(area * ratio) + 1e-6))
