"""Images: any file, size and mode -> one uint8 RGB size for the column -> tokens, one per position of a grid.

    cell --opened--> PIL image --rgb--> uint8 (3, H, W) --ConvNet or ViT--> tokens (B, h * w, dim)

Axes: b batch, c channel, h height, w width, t token, d width of a token.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, layer_norm, relu

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.base import Codec, Encoder, Guess, stack
from polymodal.modalities.files import PICTURES, count_opening, opens, picture, shape, spread
from polymodal.nn import SIZES, Block, Size
from polymodal.ops import zeroed

SAMPLE, DECODED = 200, 64  # training images whose header, whose pixels are read by `fit`
SMALLEST, FLATTEST = 8, 8.0  # the column's size: no side below, no aspect ratio beyond


class Pixels(Codec):
    """Images of one size: uint8 (3, height_, width_), RGB, resized with antialiasing, nothing cropped.

    A cell is a path, a PIL image, the bytes of a file, or an array (H, W) or (H, W, C) with C of 1 to 4. The
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
        seen = spread([c for c in cells if c is not None], SAMPLE)
        sides = [s for s in map(shape, seen) if s is not None]
        if sides:
            self.height_, self.width_ = common_size(sides, size.side**2)
        rows = []
        for cell in spread(seen, DECODED):
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


class ConvNet(Encoder):
    """A small residual convolution net; one token per position of its last grid.

    Each stage halves the grid (3 x 3, stride 2) to `widths[i]` channels, then adds `blocks` residual blocks;
    the first of three or more has none, since most of the time would go there. He et al. 2016
    (pre-activation), with the norm over the channels of each position in place of batch norm: so rows never
    see each other.
    """

    def __init__(
        self,
        dim: int,
        mean: list[float],
        std: list[float],
        widths: list[int],
        blocks: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.dim, self.mean, self.std = dim, mean, std
        self.widths, self.blocks, self.dropout = widths, blocks, dropout
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, stride=2, padding=1)]
        for i, width in enumerate(widths):
            layers += [Halve(widths[i - 1], width)] if i else []
            layers += [Residual(width, dropout) for _ in range(blocks if i or len(widths) < 3 else 0)]
        self.layers = channels_last(nn.Sequential(*layers, ChannelNorm(widths[-1]), nn.ReLU()))
        self.out = nn.Linear(widths[-1], dim)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """Halve until the shorter side has 7 to 13 positions: a coarser grid lost 1 % on digits."""
        widths = doubling(size.dim, halvings(codec))
        return cls(size.dim, codec.mean_, codec.std_, widths, max(1, size.layers // 2))

    def forward(self, x: Masked) -> Masked:
        """uint8 (B, 3, H, W) -> (B, h * w, dim) tokens, row by row of the grid."""
        y_bchw = self.layers(normalised(x, self.mean, self.std, self.out.weight.dtype))
        y_btd = self.out(y_bchw.flatten(2).transpose(1, 2))
        return Masked(y_btd, x.mask[:, None].expand(y_btd.shape[:2]))


class ViT(Encoder):
    """Vision transformer: a few convolutions -> tokens + position of their row and column -> blocks.

    token[i, j] = conv(x)[i, j] + row[i] + column[j]. Dosovitskiy et al. 2021; halving convolutions in place
    of one large patch learn from far fewer images (Xiao et al. 2021).
    """

    def __init__(
        self,
        height: int,
        width: int,
        dim: int,
        mean: list[float],
        std: list[float],
        halvings: int = 3,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.height, self.width, self.dim, self.mean, self.std = height, width, dim, mean, std
        self.halvings, self.layers, self.heads, self.dropout = halvings, layers, heads, dropout
        widths = doubling(dim, halvings)
        stem: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, stride=2, padding=1)]
        for a, b in pairwise(widths):
            stem += [nn.ReLU(), Halve(a, b)]
        self.stem = channels_last(nn.Sequential(*stem))
        rows, columns = (math.ceil(side / 2**halvings) for side in (height, width))
        self.row = nn.Parameter(torch.randn(rows, 1, dim) * 0.02)
        self.column = nn.Parameter(torch.randn(1, columns, dim) * 0.02)
        self.stack = nn.ModuleList([Block(dim, heads, dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(dim)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """A grid as ConvNet's, or twice as fine where there are many layers."""
        fewer = max(1, halvings(codec) - (size.layers > 4))
        h, w, mean, std = codec.height_, codec.width_, codec.mean_, codec.std_
        return cls(h, w, size.dim, mean, std, fewer, max(2, size.layers), size.heads)

    def forward(self, x: Masked) -> Masked:
        """uint8 (B, 3, height, width) -> (B, rows * columns, dim) tokens."""
        y_bchw = self.stem(normalised(x, self.mean, self.std, self.norm.weight.dtype))
        y_btd = (y_bchw.permute(0, 2, 3, 1) + self.row + self.column).flatten(1, 2)
        tokens = Masked(y_btd, x.mask[:, None].expand(y_btd.shape[:2]))
        for block in self.stack:
            tokens = block(tokens)
        return Masked(self.norm(tokens.values), tokens.mask)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each position of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x_bchw: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape, channels last in memory."""
        y = layer_norm(x_bchw.permute(0, 2, 3, 1), (self.channels,), self.weight, self.bias)
        return y.permute(0, 3, 1, 2)


class Halve(nn.Module):
    """norm -> 3 x 3 convolution with stride 2: (B, a, H, W) -> (B, b, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.norm, self.conv = ChannelNorm(a), nn.Conv2d(a, b, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, a, H, W) -> (B, b, ceil(H / 2), ceil(W / 2))."""
        y: Tensor = self.conv(self.norm(x))
        return y


class Residual(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x))))))."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y: Tensor = x + self.conv2(self.drop(relu(self.norm2(self.conv1(relu(self.norm1(x)))))))
        return y


def channels_last(net: nn.Module) -> nn.Module:
    """The weights laid out with channels last: 3 x 3 convolutions and ChannelNorm are faster so."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def halvings(codec: Pixels) -> int:
    """How often the grid is halved until its shorter side is 7 to 13 positions."""
    return max(1, int(math.log2(min(codec.height_, codec.width_) / 7)))


def doubling(last: int, count: int) -> list[int]:
    """Channels of each stage, twice as many from one to the next, as the grid gets coarser.

    >>> doubling(64, 3), doubling(32, 4)
    ([16, 32, 64], [16, 16, 16, 32])
    """
    return [max(min(16, last), last >> (count - 1 - i)) for i in range(count)]


def normalised(x: Masked, mean: list[float], std: list[float], dtype: torch.dtype) -> Tensor:
    """(pixel / 255 - mean) / std per channel, channels last in memory; absent rows are 0."""
    m, s = (x.values.new_tensor(v, dtype=dtype)[:, None, None] for v in (mean, std))
    y = zeroed(Masked((x.values.to(dtype) / 255 - m) / s, x.mask))
    return y.contiguous(memory_format=torch.channels_last)


def common_size(sides: list[tuple[int, int]], area: int) -> tuple[int, int]:
    """(height, width) of the median aspect ratio, no larger than `area` nor than the median image.

    >>> common_size([(480, 640)] * 3, 64 * 64), common_size([(28, 28)], 64 * 64)
    ((55, 73), (28, 28))
    """
    ratio = math.exp(statistics.median(math.log(w / h) for h, w in sides))
    ratio = min(max(ratio, 1 / FLATTEST), FLATTEST)
    area = min(area, int(statistics.median(h * w for h, w in sides)))
    return max(SMALLEST, int(math.sqrt(area / ratio) + 1e-6)), max(SMALLEST, int(math.sqrt(area * ratio) + 1e-6))
