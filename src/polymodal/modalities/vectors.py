"""Ready-made embeddings: a cell that already holds a vector, or a sequence of vectors.

Axes: b batch, t token, d width.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.base import Codec, Encoder, Guess, pad
from polymodal.modalities.columns import missing
from polymodal.nn import Size
from polymodal.ops import zeroed

Array = np.ndarray[Any, np.dtype[np.float64]]
BOUND = 10.0  # standard deviations: past them lies a broken feature, and float32 squares must stay finite


class Vectors(Codec):
    """A vector (D,) or a sequence of them (T, D), each dimension standardised -> (T, D).

    A cell is an array, a list, a string that holds a JSON list, or a .npy file. fit learns `width_`, the
    commonest width, `center_` and `scale_` of each dimension, and `length_`, the longest sequence, at most
    `size.tokens`; longer ones are reduced by means over neighbours. A number that is not finite stands at its
    dimension's mean.
    """

    kind: ClassVar[str] = "vector"
    takes_files: ClassVar[bool] = True
    width_: int
    length_: int
    center_: list[float]
    scale_: list[float]

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Lists of numbers, all of one length."""
        found, reason = shapes(cells)
        if not found or len(found) < 0.9 * len(cells[:SAMPLE]):
            return Guess(0.0, reason)
        if any(len(s) != 1 for s in found):
            return Guess(0.2, reason) if len({s[1:] for s in found}) == 1 else Guess(0.0, reason)
        return Guess(0.9, reason) if len(set(found)) == 1 and found[0][0] > 1 else Guess(0.0, reason)

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Learn the width, the length, and each dimension's mean and standard deviation."""
        by_width: dict[int, Moments] = {}
        for x_td in readable(cells, self._array):
            by_width.setdefault(x_td.shape[1], Moments(x_td.shape[1])).add(x_td)
        # the commonest width; of two as common, the one met first
        learned = max(by_width.values(), key=lambda m: m.cells, default=Moments(1))
        self.width_, self.length_ = len(learned.mean), min(size.tokens, max(1, learned.longest))
        center, scale = learned.center_and_scale()
        self.center_, self.scale_ = center.tolist(), scale.tolist()
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """(T, D) float32, T <= length_. Raises Unreadable for what is no vector, or one of another width."""
        x_td = self._array(cell)
        if x_td is None:
            return None
        if x_td.shape[1] != self.width_:
            raise Unreadable(f"a vector of {x_td.shape[1]} numbers; expected {self.width_}, as in training")
        x_td = (reduced(x_td, self.length_) - self.center_) / self.scale_
        return torch.from_numpy(np.nan_to_num(x_td).clip(-BOUND, BOUND).astype(np.float32))

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, T, D) and the mask (B, T)."""
        return pad(cells, torch.zeros(0, self.width_))

    def _array(self, cell: Any) -> Array | None:
        x = array(cell)
        if x is None or not np.isfinite(x).any():
            return None
        if x.ndim not in (1, 2):
            raise Unreadable(f"numbers of shape {x.shape}; expected a vector (D,) or a sequence of them (T, D)")
        return np.where(np.isfinite(x), x, np.nan).reshape(-1, x.shape[-1])


class Projection(Encoder):
    """Each vector by itself: dropout, a linear map, norm, GELU, dropout.

    Dropout comes first because ready-made features are many and rows few.
    """

    def __init__(self, width: int, dim: int, *, dropout: float = 0.3) -> None:
        super().__init__()
        self.width, self.dim, self.dropout = width, dim, dropout
        first = nn.Linear(width, dim)
        self.layers = nn.Sequential(nn.Dropout(dropout), first, nn.LayerNorm(dim), nn.GELU(), nn.Dropout(dropout))
        # before the norm a bias would drown vectors of small length, as unit embeddings of many dimensions are
        nn.init.zeros_(first.bias)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The map for vectors of this width."""
        return cls(codec.width_, size.dim)

    def forward(self, x: Masked) -> Masked:
        """(B, T, width) -> (B, T, dim)."""
        # a frozen network's outputs are kept in half precision
        y = self.layers(zeroed(x).to(next(self.parameters()).dtype))
        return Masked(zeroed(Masked(y, x.mask)), x.mask)


SAMPLE = 30  # cells that a guess looks at: each may be a file


def shapes(cells: Sequence[Any]) -> tuple[list[tuple[int, ...]], str]:
    """Shapes of the cells that are arrays of numbers, and what a person would say about them."""
    sample = cells[:SAMPLE]
    found = [a.shape for a in readable(sample, array)]
    if not found:
        return found, "no cell is a list of numbers"
    first = " x ".join(map(str, found[0]))
    lengths = "all" if len(set(found)) == 1 else "lengths differ, the first"
    return found, f"{len(found)} of {len(sample)} cells are arrays of numbers; {lengths} {first}"


def readable(cells: Iterable[Any], read: Any) -> Iterable[Array]:
    """What `read` makes of the cells that hold something and can be read."""
    for cell in cells:
        try:
            x = read(cell)
        except Unreadable:  # it is reported when the same cell is encoded
            continue
        if x is not None:
            yield x


def array(cell: Any) -> Array | None:
    """The numbers of a cell, float64, None -> NaN; None where it holds nothing.

    Raises Unreadable for what is no array of numbers: a ragged list, text, a damaged file.
    """
    if missing(cell):
        return None
    try:
        if isinstance(cell, Path):
            if cell.suffix.lower() != ".npy":
                raise Unreadable(f"{cell.name} is a {cell.suffix or 'nameless'} file; expected .npy")
            cell = np.load(cell, allow_pickle=False)
        elif isinstance(cell, str):
            cell = json.loads(cell)
        elif isinstance(cell, Tensor):
            cell = cell.detach().cpu().float().numpy()
        x = numeric(cell)
    except (OSError, EOFError, ValueError, TypeError, OverflowError, RecursionError) as e:
        if isinstance(e, Unreadable):
            raise
        # of any other bytes numpy says that they are pickled, and advises to load what may run a stranger's code
        why = "it is no .npy file, or holds objects" if "pickle" in str(e) else str(e)[:120]
        raise Unreadable(f"{shown(cell)} can't be read as an array of numbers ({why})") from None
    return x if x.size else None


def numeric(x: Any) -> Array:
    """As float64, None -> NaN; arrays of arrays, as Parquet readers give, are stacked."""
    x = np.asarray(x)
    if x.dtype == object and any(isinstance(v, np.ndarray | list) for v in x.flat):
        return np.stack([numeric(v) for v in x])
    if x.ndim == 0 or x.dtype.kind not in "biufO":
        raise ValueError("not a list of numbers")
    return np.asarray(x, dtype=np.float64)


def reduced(x_td: Array, length: int) -> Array:
    """At most `length` rows: means over equal blocks of neighbours, of what is finite; NaN where nothing is.

    >>> reduced(np.array([[1.0], [3.0], [np.nan], [5.0], [7.0]]), 3)[:, 0].tolist()
    [2.0, 5.0, 7.0]
    """
    if len(x_td) <= length:
        return x_td
    block = -(-len(x_td) // length)
    short = -len(x_td) % block
    x_nkd = np.concatenate([x_td, np.full((short, x_td.shape[1]), np.nan)]).reshape(-1, block, x_td.shape[1])
    real = np.isfinite(x_nkd)
    count = real.sum(1)
    mean: Array = np.where(real, x_nkd, 0.0).sum(1) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


class Moments:
    """Mean and deviation of each column over its finite numbers, a cell at a time. Chan et al. 1979."""

    def __init__(self, width: int) -> None:
        self.cells, self.longest = 0, 0
        self.count, self.mean, self.square = (np.zeros(width) for _ in range(3))

    def add(self, x_nd: Array) -> None:
        """One more cell (N, D)."""
        self.cells, self.longest = self.cells + 1, max(self.longest, len(x_nd))
        real = np.isfinite(x_nd)
        count = real.sum(0)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.where(real, x_nd, 0.0).sum(0) / np.maximum(count, 1)
            square = (np.where(real, x_nd - mean, 0.0) ** 2).sum(0)
            total = np.maximum(self.count + count, 1)
            step = np.where(count > 0, mean - self.mean, 0.0)
            self.square += square + step**2 * self.count * count / total
            self.mean += step * count / total
            self.count += count

    def center_and_scale(self) -> tuple[Array, Array]:
        """Mean and deviation; 0 and 1 where there is nothing to learn, as in a constant column."""
        with np.errstate(over="ignore", invalid="ignore"):
            scale = np.sqrt(self.square / np.maximum(self.count, 1))
        center = np.where(np.isfinite(self.mean), self.mean, 0.0)
        return center, np.where(np.isfinite(scale) & (scale > 1e-8 * np.abs(center)), scale, 1.0)


def shown(cell: Any) -> str:
    """The cell for an error message, short."""
    if isinstance(cell, Path):
        return cell.name
    return repr(cell[:50]) if isinstance(cell, str) else f"a {type(cell).__name__}"
