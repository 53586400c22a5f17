"""What spoils a series of readings: jitter, drift, gaps.

Noise is in units of the spread of each channel that training saw.

Axes: t reading, c channel or dimension.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import Unreadable
from polymodal.modalities.arrays import Moments
from polymodal.modalities.base import Codec
from polymodal.modalities.noise import Noise, Noises, Some, plain, with_context
from polymodal.modalities.series.codec import numbers

Array = NDArray[np.float64]
FAITHFUL = 200  # cells that a spread is measured on where no codec has learned it
BLOCKS = 20  # stretches of a series, each of which is there or lost


def load(cell: Any) -> Array:
    """The readings of a series, (T, C), NaN in gaps. Raises Unreadable for what holds none."""
    x = finite(numbers(cell))
    return x.reshape(len(x), -1)


def finite(x: Array | None) -> Array:
    """The numbers. Raises Unreadable where there is none."""
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
    drop = (u < severity) & (np.arange(len(u)) != stays)
    return np.where(drop[block_t, None], np.nan, x_tc)


def _scale(scale_c: Array, x_tc: Array) -> Array:
    """The spread where it fits; else, of a cell that has another width, its own."""
    if len(scale_c) == x_tc.shape[1]:
        return scale_c
    return np.full(x_tc.shape[1], x_tc[np.isfinite(x_tc)].std())


def scale(codecs: Sequence[Codec], some: Some) -> Array:
    """(C,) the spread of each channel: as a codec has learned it, else of some cells."""
    scales = [np.asarray(c.scale_) for c in codecs if hasattr(c, "scale_")]
    return scales[0] if scales else spread(x for _, x in some(FAITHFUL))


NOISES = Noises(
    load,
    {
        "jitter": Noise((0, 0.1, 0.25, 0.5, 1, 2), "deviation {:.2f} spreads", with_context(jitter)),
        "dropouts": Noise((0, 0.1, 0.2, 0.4, 0.6, 0.8), "{:.0%} of the readings", plain(gaps)),
        "drift": Noise((0, 0.25, 0.5, 1, 2, 4), "{:.2f} spreads at the end", with_context(drift)),
    },
    scale,
)
