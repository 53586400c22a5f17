"""Time series: readings of sensors, any number of channels, any length, with gaps.

    accelerometer.csv --Readings--> (T, C), NaN in gaps --TCN--> tokens (T / stride, dim)

Axes: b batch, t reading or token, c channel, d width.
"""

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.base import Codec, Encoder, Guess, pad
from polymodal.modalities.vectors import SAMPLE, Array, Moments, array, readable, reduced, shapes
from polymodal.nn import Block, Size
from polymodal.ops import zeroed

TABLES = (".csv", ".tsv", ".txt")
BOUND = 10.0  # standard deviations; past them lies a broken sensor
TOKENS = 64  # an encoder's stride is chosen so that the longest series gives at most this many
WAVES = 4


class Readings(Codec):
    """A series (T,), (T, C) or (T, ...), trailing axes being channels -> standardised (T, C), NaN in gaps.

    A cell is an array, a list, a string that holds a JSON list, a .npy file, or a .csv or .tsv file (a header
    is optional; columns without a number are left out). fit learns `channels_`, `center_` and `scale_` of
    each channel, and `length_`, the longest series, at most eight times `size.tokens`; longer ones are
    reduced by means over neighbours.

    Mean and deviation, not median and quartiles: most sensors rest most of the time, so quartiles measure the
    rest, and what happens lies far out (27 gestures, one run each: skeleton 0.51 right, sensor 0.78; with
    quartiles and asinh 0.40 and 0.75).
    """

    kind: ClassVar[str] = "series"
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True
    channels_: int
    length_: int
    center_: list[float]
    scale_: list[float]

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Tables of numbers, or lists of unequal length."""
        files = sum(isinstance(c, Path) and c.suffix.lower() in TABLES for c in cells)
        if files >= 0.9 * max(1, len(cells)):
            return Guess(0.95, f"{files} of {len(cells)} cells are {TABLES[0]} or {TABLES[1]} files")
        found, reason = shapes(cells)
        if not found or len(found) < 0.9 * min(len(cells), SAMPLE):
            return Guess(0.0, reason)
        if any(len(s) > 1 for s in found):
            return Guess(0.9, reason)
        return Guess(0.8 if len(set(found)) > 1 else 0.3, reason)

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Learn the channels, the length, and each channel's mean and deviation."""
        by_width: dict[int, Moments] = {}
        for x_tc in readable(cells, self._array):
            by_width.setdefault(x_tc.shape[1], Moments(x_tc.shape[1])).add(x_tc)
        learned = max(by_width.values(), key=lambda m: m.cells, default=Moments(1))
        self.channels_, self.length_ = len(learned.mean), min(8 * size.tokens, max(1, learned.longest))
        center, scale = learned.center_and_scale()
        self.center_, self.scale_ = center.tolist(), scale.tolist()
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """(T, C) float32, T <= length_. Raises Unreadable for what is no series, or one of other channels."""
        x_tc = self._array(cell)
        if x_tc is None:
            return None
        if x_tc.shape[1] != self.channels_:
            raise Unreadable(f"a series of {x_tc.shape[1]} channels, but training had {self.channels_}")
        x_tc = (reduced(x_tc, self.length_) - self.center_) / self.scale_
        return torch.from_numpy(x_tc.clip(-BOUND, BOUND).astype(np.float32))

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, T, C) and the mask (B, T, C)."""
        x, token = pad(cells, torch.zeros(0, self.channels_))
        mask = token[..., None] & ~x.isnan()
        return Masked(zeroed(Masked(x, mask)), mask)

    def _array(self, cell: Any) -> Array | None:
        x = table(cell) if isinstance(cell, Path) and cell.suffix.lower() in TABLES else array(cell)
        if x is None or not np.isfinite(x).any():
            return None
        return np.where(np.isfinite(x), x, np.nan).reshape(len(x), -1)


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
            h_btd = zeroed(Masked(norm(y_btd).relu(), mask))
            h_btd = conv(h_btd.transpose(1, 2)).transpose(1, 2)
            y_btd = zeroed(Masked(y_btd + dropped(h_btd, self.dropout, self.training), mask))
        return Masked(zeroed(Masked(self.norm(y_btd), mask)), mask)


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
        moved = zeroed(Masked(zeroed(x) - mean_b1c, x.mask))
        parts = torch.cat([moved, steps(x), x.mask.to(moved.dtype)], dim=2)
        mask = folded(x.mask.any(2), self.stride).any(2)
        y_btd = self.readings(folded(parts, self.stride).flatten(2))
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


def folded(x: Tensor, stride: int) -> Tensor:
    """(B, T, ...) -> (B, ceil(T / stride), stride, ...), with zeros at the end."""
    short = x.new_zeros((x.shape[0], -x.shape[1] % stride, *x.shape[2:]))
    return torch.cat([x, short], dim=1).unflatten(1, (-1, stride))  # type: ignore[no-any-return]


def table(path: Path) -> Array | None:
    """The numbers of a .csv or .tsv file (T, C), without its header and its columns of words."""
    import pandas as pd

    try:
        text = path.read_text(encoding="utf-8-sig").strip("\n\r ")
        if not text:
            return None
        first = text.split("\n", 1)[0]
        sign = max("\t;,", key=first.count)
        options: dict[str, Any] = {"sep": sign if sign in first else r"\s+"}
        header = None if all(is_number(v) for v in (first.split(sign) if sign in first else first.split())) else 0
        if sign == ";" and "," in text:
            options["decimal"] = ","
        frame = pd.read_csv(io.StringIO(text), header=header, **options)
    except (OSError, ValueError) as e:
        raise Unreadable(f"{path.name} can't be read as a table of numbers ({str(e)[:120]})") from None
    empty = frame.isna().all()
    frame = frame.apply(pd.to_numeric, errors="coerce")
    frame = frame.loc[:, empty | frame.notna().any()]
    if not frame.notna().any(axis=None):
        raise Unreadable(f"{path.name} holds no number; expected one column a channel and one line a reading")
    return np.asarray(frame, dtype=np.float64)


def is_number(text: str) -> bool:
    """Is this a number, or nothing."""
    try:
        float(text.strip().strip('"').replace(",", ".") or "nan")
    except ValueError:
        return False
    return True
