"""What spoils numbers: series of readings, vectors, and the plain columns of a row.

Noise is in units of the spread that training saw: of a channel, of a dimension, of a column.

Axes: t reading, c channel or dimension.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import Unreadable
from polymodal.modalities.arrays import Moments, array
from polymodal.modalities.base import missing
from polymodal.modalities.series.codec import numbers as numbers_of
from polymodal.modalities.tabular.columns import READ

Array = NDArray[np.float64]
State = Mapping[str, Any]
BLOCKS = 20  # stretches of a series, each of which is there or lost
DAYS = 365.25
KEEPS_ORDER, NOMINAL = ("number", "date"), ("category", "boolean")


def series(cell: Any) -> Array:
    """The readings of a series, (T, C), NaN in gaps. Raises Unreadable for what holds none."""
    x = _known(numbers_of(cell))
    return x.reshape(len(x), -1)


def vectors(cell: Any) -> Array:
    """A vector, or a sequence of them, (T, C). Raises Unreadable for what is none."""
    x = _known(array(cell))
    return x.reshape(-1, x.shape[-1])


def _known(x: Array | None) -> Array:
    if x is None or not np.isfinite(x).any():
        raise Unreadable("no number")
    return x


def spread(cells: Iterable[Array]) -> Array:
    """(C,) standard deviation of each channel over these cells (T, C): those of the commonest width."""
    by_width: dict[int, Moments] = {}
    for x_tc in cells:
        by_width.setdefault(x_tc.shape[1], Moments(x_tc.shape[1])).add(x_tc)
    return max(by_width.values(), key=lambda m: m.cells, default=Moments(1)).center_and_scale()[1]


def jitter(x_tc: Array, severity: float, rng: np.random.Generator, scale_c: Array) -> Array:
    """x + severity * spread * N(0, 1), each reading by itself."""
    return x_tc + severity * _scale(scale_c, x_tc) * rng.standard_normal(x_tc.shape)


def drift(x_tc: Array, severity: float, rng: np.random.Generator, scale_c: Array) -> Array:
    """Each channel moves in a line, up or down, until it is off by severity * spread at the end."""
    way_c = np.where(rng.random(x_tc.shape[1]) < 0.5, -1.0, 1.0)
    return x_tc + severity * way_c * _scale(scale_c, x_tc) * np.linspace(0, 1, len(x_tc) + 1)[1:, None]


def gaps(x_tc: Array, severity: float, rng: np.random.Generator) -> Array:
    """Stretches of a twentieth are lost (NaN in every channel), each with probability `severity`, but never all that
    hold a number."""
    block_t = np.arange(len(x_tc)) * min(BLOCKS, len(x_tc)) // len(x_tc)
    u = rng.random(int(block_t[-1]) + 1)
    full = np.unique(block_t[np.isfinite(x_tc).any(1)])
    stays = full[u[full].argmax()]
    lost = (u < severity) & (np.arange(len(u)) != stays)
    return np.where(lost[block_t, None], np.nan, x_tc)


def numbers(
    row: Mapping[str, Any], severity: float, rng: np.random.Generator, columns: Mapping[str, tuple[str, State]]
) -> dict[str, Any]:
    """Each number and date + severity * spread of its column * N(0, 1).

    columns: by name, the kind, and what training knows of it. The spread is the interquartile range of the training
    rows as a share of a normal's.
    """
    out = dict(row)
    for c, (kind, state) in columns.items():
        step = severity * float(rng.standard_normal()) * state.get("scale", 0.0)
        value = _value(kind, row.get(c), state) if kind in KEEPS_ORDER else None
        if value is None or not math.isfinite(step):
            continue
        try:
            out[c] = value + (step if kind == "number" else timedelta(days=DAYS * step))
        except OverflowError:  # past the year 9999
            continue
    return out


def swaps(
    row: Mapping[str, Any], severity: float, rng: np.random.Generator, columns: Mapping[str, tuple[str, State]]
) -> dict[str, Any]:
    """Each category becomes, with probability `severity`, another one that training knows; a boolean its opposite."""
    out = dict(row)
    for c, (kind, state) in columns.items():
        u, place = rng.random(2)
        value = _value(kind, row.get(c), state) if kind in NOMINAL else None
        if value is None or u >= severity:
            continue
        others = [not value] if kind == "boolean" else [w for w in state["places"] if w != value]
        if others:
            out[c] = others[int(place * len(others))]
    return out


def _value(kind: str, cell: Any, state: State) -> Any:
    """What the cell means; None where it holds nothing or can't be read, so that it stays as it is."""
    try:
        return None if missing(cell) else READ[kind](cell, dict(state))
    except Unreadable:
        return None


def _scale(scale_c: Array, x_tc: Array) -> Array:
    """The spread where it fits; else, of a cell that has another width, its own."""
    if len(scale_c) == x_tc.shape[1]:
        return scale_c
    return np.full(x_tc.shape[1], x_tc[np.isfinite(x_tc)].std())
