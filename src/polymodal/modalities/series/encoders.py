"""Networks that read series: standardised readings with gaps -> tokens along time.

    (B, T, C) --TCN, SeriesTransformer--> tokens (B, T / stride, dim)

Axes: b batch, t reading or token, c channel, d width.
"""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped
from torch.nn.functional import linear, pad

from polymodal.batch import Masked
from polymodal.modalities.base import Encoder
from polymodal.nn import Block, Size
from polymodal.ops import zeroed

TOKENS = 64  # an encoder's stride is chosen so that the longest series gives at most this many
WAVES = 4


class TCN(Encoder):
    """Residual convolutions over tokens of a series, each looking twice as far as the one before.

    `layers` times x + dropout(conv(ReLU(norm(x)))) with dilation 1, 2, 4 ...; norms over channels, not over
    time or batch, so that neither padding nor other rows show. After Bai et al. 2018, here not causal.
    """

    def __init__(self, channels: int, dim: int, *, layers: int = 3, stride: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.channels, self.dim, self.layers = channels, dim, layers
        self.stride, self.dropout = stride, dropout
        self.enter = Patches(channels, dim, stride)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        self.convs = nn.ModuleList(nn.Conv1d(dim, dim, 3, padding=2**i, dilation=2**i) for i in range(layers))
        self.norm = nn.LayerNorm(dim)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The network for these channels and lengths."""
        stride = -(-codec.length_ // TOKENS)
        return cls(codec.channels_, size.dim, layers=size.layers + 1, stride=stride)

    def forward(self, x: Masked) -> Masked:
        """(B, T, C) -> (B, ceil(T / stride), dim)."""
        y_btd, mask = self.enter(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h_btd = along(conv, zeroed(Masked(norm(y_btd).relu(), mask)))
            y_btd = zeroed(Masked(y_btd + dropped(h_btd, self.dropout, self.training), mask))
        return Masked(zeroed(Masked(self.norm(y_btd), mask)), mask)


def along(conv: Any, x_btd: Tensor) -> Tensor:
    """nn.Conv1d over three tokens, `dilation` apart: (B, T, D) -> (B, T, E), as one product of matrices, without
    the copies to and from channels first."""
    (step,), length = conv.dilation, x_btd.shape[1]
    wide = pad(x_btd, (0, 0, step, step))
    three = torch.cat([wide[:, i * step : i * step + length] for i in range(3)], dim=-1)
    out: Tensor = linear(three, conv.weight.permute(0, 2, 1).flatten(1), conv.bias)
    return out


class SeriesTransformer(Encoder):
    """Transformer blocks over tokens of a series, one a patch of `stride` readings. After Nie et al. 2023."""

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        layers: int = 2,
        heads: int = 4,
        stride: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels, self.dim, self.layers, self.heads = channels, dim, layers, heads
        self.stride, self.dropout = stride, dropout
        self.enter = Patches(channels, dim, stride)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The network for these channels and lengths."""
        stride = -(-codec.length_ // TOKENS)
        return cls(codec.channels_, size.dim, layers=size.layers, heads=size.heads, stride=stride)

    def forward(self, x: Masked) -> Masked:
        """(B, T, C) -> (B, ceil(T / stride), dim)."""
        y = self.enter(x)
        for block in self.blocks:
            y = block(y)
        return Masked(zeroed(Masked(self.norm(y.values), y.mask)), y.mask)


class Patches(nn.Module):
    """A series -> one token for each `stride` readings: what moves, when, and around which level.

    token = W [x - mean, step, presence] of its readings + P waves(place in the series) + L dropout(mean)

    mean: of each channel over the row's real readings. On new people's gestures (27 classes, 323 rows, a
    skeleton's 60 channels) a level left among the readings is learned by heart: 0.51 right, without it 0.86.
    So it has a path of its own that starts at 0 and is half dropped.
    place: from 0 to 1 through the row's real tokens, since pooling forgets the order; as sines and cosines.
    """

    def __init__(self, channels: int, dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.readings = nn.Linear(3 * channels * stride, dim)
        self.place = nn.Linear(2 * WAVES, dim, bias=False)
        self.level, self.drop = nn.Linear(channels, dim, bias=False), nn.Dropout(0.5)
        nn.init.zeros_(self.level.weight)

    def forward(self, x: Masked) -> Masked:
        """(B, T, C) -> (B, ceil(T / stride), dim)."""
        mean_b1c = masked_channel_mean(x)
        deviations = zeroed(Masked(zeroed(x) - mean_b1c, x.mask))
        parts = torch.cat([deviations, steps(x), x.mask.to(deviations.dtype)], dim=2)
        mask = fold(x.mask.any(2), self.stride).any(2)
        y_btd = self.readings(fold(parts, self.stride).flatten(2))
        y_btd = y_btd + self.place(waves(mask).to(y_btd.dtype)) + self.level(self.drop(mean_b1c))
        return Masked(zeroed(Masked(y_btd, mask)), mask)


def masked_channel_mean(x: Masked) -> Tensor:
    """(B, T, C) -> (B, 1, C): mean of each channel over its real readings, 0 where it has none."""
    return zeroed(x).sum(1, keepdim=True) / x.mask.sum(1, keepdim=True).clamp(min=1)


def steps(x: Masked) -> Tensor:
    """(B, T, C): the difference from the reading before, where both are real, else 0."""
    value = zeroed(x)
    both = x.mask[:, 1:] & x.mask[:, :-1]
    step = zeroed(Masked(value[:, 1:] - value[:, :-1], both))
    return torch.cat([torch.zeros_like(value[:, :1]), step], dim=1)


def waves(mask_bt: Tensor) -> Tensor:
    """(B, T, 2 WAVES): sin and cos of pi q p for q = 1 ... WAVES, p each real token's place from 0 to 1."""
    count = mask_bt.sum(1, keepdim=True).clamp(min=1)
    place = (mask_bt.cumsum(1) - 0.5) / count
    angle = math.pi * place[..., None] * torch.arange(1, WAVES + 1, device=mask_bt.device)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def fold(x: Tensor, stride: int) -> Tensor:
    """(B, T, ...) -> (B, ceil(T / stride), stride, ...), with zeros at the end."""
    short = x.new_zeros((x.shape[0], -x.shape[1] % stride, *x.shape[2:]))
    return torch.cat([x, short], dim=1).unflatten(1, (-1, stride))  # type: ignore[no-any-return]
