"""Cells that hold numbers: reading them as arrays, their shapes, means and deviations.

Axes: n row, t token, d width.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from polymodal.errors import Unreadable
from polymodal.modalities import files
from polymodal.modalities.base import missing

Array = np.ndarray[Any, np.dtype[np.float64]]


ARRAY_FILE = ".npy"
SAMPLE = 30  # cells that a guess looks at: each may be a file


def shapes(cells: Sequence[Any]) -> tuple[list[tuple[int, ...]], str]:
    """Shapes of the cells that are arrays of numbers, and what a person would say about them."""
    sample = cells[:SAMPLE]
    dims = [a.shape for a in readable(sample, array)]
    if not dims:
        return dims, "no cell is a list of numbers"
    first = " x ".join(map(str, dims[0]))
    lengths = "all" if len(set(dims)) == 1 else "lengths differ, the first"
    return dims, f"{len(dims)} of {len(sample)} cells are arrays of numbers; {lengths} {first}"


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
            if cell.suffix.lower() != ARRAY_FILE:
                raise Unreadable(f"{cell.name} is a {cell.suffix or 'nameless'} file; expected .npy")
            cell = np.load(files.readable(cell), allow_pickle=False)
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
        raise Unreadable(f"{shape_text(cell)} can't be read as an array of numbers ({why})") from None
    return x if x.size else None


def numeric(x: Any) -> Array:
    """As float64, None -> NaN; arrays of arrays, as Parquet readers give, are stacked."""
    x = np.asarray(x)
    if x.dtype == object and any(isinstance(v, np.ndarray | list) for v in x.flat):
        return np.stack([numeric(v) for v in x])
    if x.ndim == 0 or x.dtype.kind not in "biufO":
        raise ValueError("not a list of numbers")
    return np.asarray(x, dtype=np.float64)


def reduce(x_td: Array, length: int) -> Array:
    """At most `length` rows: means over equal blocks of neighbours, of what is finite; NaN where nothing is.

    >>> reduce(np.array([[1.0], [3.0], [np.nan], [5.0], [7.0]]), 3)[:, 0].tolist()
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


def shape_text(cell: Any) -> str:
    """The cell for an error message, short."""
    if isinstance(cell, Path):
        return cell.name
    return repr(cell[:50]) if isinstance(cell, str) else f"a {type(cell).__name__}"
