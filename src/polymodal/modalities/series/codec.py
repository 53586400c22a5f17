"""Time series: readings of sensors, any number of channels, any length, with gaps.

    accelerometer.csv --Readings--> (T, C), NaN in gaps

Axes: b batch, t reading, c channel.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities import files
from polymodal.modalities.arrays import SAMPLE, Array, Moments, array, readable, reduce, shapes
from polymodal.modalities.base import Codec, Guess, pad
from polymodal.nn import Size
from polymodal.ops import zeroed

TABLES = (".csv", ".tsv", ".txt")
BOUND = 10.0  # standard deviations; past them lies a broken sensor


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
        suffixes = [c.suffix.lower() for c in cells if isinstance(c, Path)]
        files = sum(s in (*TABLES, ".npy") for s in suffixes)
        if files >= 0.9 * max(1, len(cells)) and any(s in TABLES for s in suffixes):
            return Guess(0.95, f"{files} of {len(cells)} cells are {TABLES[0]}, {TABLES[1]} or .npy files")
        shapes_, reason = shapes(cells)
        if not shapes_ or len(shapes_) < 0.9 * min(len(cells), SAMPLE):
            return Guess(0.0, reason)
        if any(len(s) > 1 for s in shapes_):
            return Guess(0.9, reason)
        return Guess(0.8 if len(set(shapes_)) > 1 else 0.3, reason)

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Learn the channels, the length, and each channel's mean and deviation."""
        by_width: dict[int, Moments] = {}
        for x_tc in readable(cells, self._array):
            by_width.setdefault(x_tc.shape[1], Moments(x_tc.shape[1])).add(x_tc)
        moments = max(by_width.values(), key=lambda m: m.cells, default=Moments(1))
        self.channels_, self.length_ = len(moments.mean), min(8 * size.tokens, max(1, moments.longest))
        center, scale = moments.center_and_scale()
        self.center_, self.scale_ = center.tolist(), scale.tolist()
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """(T, C) float32, T <= length_. Raises Unreadable for what is no series, or one of other channels."""
        x_tc = self._array(cell)
        if x_tc is None:
            return None
        if x_tc.shape[1] != self.channels_:
            raise Unreadable(f"a series of {x_tc.shape[1]} channels, but training had {self.channels_}")
        x_tc = (reduce(x_tc, self.length_) - self.center_) / self.scale_
        return torch.from_numpy(x_tc.clip(-BOUND, BOUND).astype(np.float32))

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, T, C) and the mask (B, T, C)."""
        x, token = pad(cells, torch.zeros(0, self.channels_))
        mask = token[..., None] & ~x.isnan()
        return Masked(zeroed(Masked(x, mask)), mask)

    def _array(self, cell: Any) -> Array | None:
        x = numbers(cell)
        if x is None or not np.isfinite(x).any():
            return None
        return np.where(np.isfinite(x), x, np.nan).reshape(len(x), -1)


def numbers(cell: Any) -> Array | None:
    """The numbers of a cell, whatever holds them; None where it holds nothing. Raises Unreadable for anything else."""
    return table(cell) if isinstance(cell, Path) and cell.suffix.lower() in TABLES else array(cell)


def table(path: Path) -> Array | None:
    """The numbers of a .csv or .tsv file (T, C), without its header and its columns of words."""
    import pandas as pd

    files.readable(path)
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
