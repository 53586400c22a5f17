"""Networks that read images: pixels -> tokens, one per position of a grid.

    uint8 (B, 3, H, W) --ConvNet or ViT--> tokens (B, h * w, dim)

Axes: b batch, c channel, h height, w width, t token, d width of a token.
"""

import math
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from polymodal.batch import Masked
from polymodal.modalities.base import Encoder
from polymodal.modalities.image.codec import Pixels
from polymodal.nn import Block, ChannelNorm, Size, channels_last, doubling
from polymodal.ops import zeroed


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
        """Halve until the sides have 7 to 13 positions: a coarser grid lost 1 % on digits."""
        widths = doubling(size.dim, halvings(codec))
        return cls(size.dim, codec.mean_, codec.std_, widths, max(1, size.layers // 2))

    def forward(self, x: Masked) -> Masked:
        """uint8 (B, 3, H, W) -> (B, h * w, dim) tokens, row by row of the grid."""
        y_bchw = self.layers(normalise(x, self.mean, self.std, self.out.weight.dtype))
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
        y_bchw = self.stem(normalise(x, self.mean, self.std, self.norm.weight.dtype))
        y_btd = (y_bchw.permute(0, 2, 3, 1) + self.row + self.column).flatten(1, 2)
        tokens = Masked(y_btd, x.mask[:, None].expand(y_btd.shape[:2]))
        for block in self.stack:
            tokens = block(tokens)
        return Masked(self.norm(tokens.values), tokens.mask)


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
        self.drop = nn.Dropout2d(dropout)  # whole channels: a number for each position takes as long as a convolution

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y: Tensor = x + self.conv2(self.drop(relu(self.norm2(self.conv1(relu(self.norm1(x)))))))
        return y


def halvings(codec: Pixels) -> int:
    """How often the grid is halved until its sides have 7 to 13 positions, in the geometric mean: a wide picture then
    costs no more than a square one of as many pixels."""
    return max(1, int(math.log2(math.sqrt(codec.height_ * codec.width_) / 7)))


def normalise(x: Masked, mean: list[float], std: list[float], dtype: torch.dtype) -> Tensor:
    """(pixel / 255 - mean) / std per channel, channels last in memory; absent rows are 0."""
    m, s = (x.values.new_tensor(v, dtype=dtype)[:, None, None] for v in (mean, std))
    y = zeroed(Masked((x.values.to(dtype) / 255 - m) / s, x.mask))
    return y.contiguous(memory_format=torch.channels_last)
