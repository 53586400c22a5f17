"""Statistics over time, for features of audio and of series alike: NaN is a gap, and where nothing is left stays NaN.

Axes: t time, f feature or channel, q percentile, p part.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST = float(np.finfo(np.float32).max)


def record(*parts: Any) -> NDArray[np.float32]:
    """Numbers and arrays, flattened and joined in C order as float32; what is not finite is NaN."""
    x = np.concatenate([np.ravel(np.asarray(p, dtype=np.float64)) for p in parts])
    return np.where(np.isfinite(x), x.clip(-MOST, MOST), np.nan).astype(np.float32)


def counts(x_tf: Array) -> NDArray[np.int64]:
    """(F,) how many values of each column are no gap."""
    return np.asarray((~np.isnan(x_tf)).sum(0))


def ratio(a: Any, b: Any) -> Array:
    """a / b, NaN where b is 0 or either is NaN."""
    a, b = np.broadcast_arrays(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    out = np.full(a.shape, np.nan)
    np.divide(a, b, out=out, where=(b != 0) & ~np.isnan(b))
    return out


def mean(x_tf: Array) -> Array:
    """(F,) means over time."""
    return ratio(np.where(np.isnan(x_tf), 0.0, x_tf).sum(0), counts(x_tf))


def std(x_tf: Array) -> Array:
    """(F,) sqrt(mean((x - mean)^2)); exactly 0 for a constant column."""
    return np.sqrt(mean(centre(x_tf) ** 2))


def centre(x_tf: Array) -> Array:
    """x - mean, exactly 0 for a constant column, where rounding would leave crumbs."""
    constant = top(x_tf) == -top(-x_tf)
    return np.where(constant & ~np.isnan(x_tf), 0.0, x_tf - mean(x_tf))


def top(x_tf: Array) -> Array:
    """(F,) the largest value."""
    y = np.where(np.isnan(x_tf), -np.inf, x_tf).max(0, initial=-np.inf)
    return np.where(counts(x_tf) > 0, y, np.nan)


def standardised_moment(x_tf: Array, order: int) -> Array:
    """(F,) mean(((x - mean) / std)^order): 3 is skewness, 4 is kurtosis (3 for a Gaussian); NaN for a constant."""
    return mean(ratio(centre(x_tf), std(x_tf)) ** order)


def percentiles(x_tf: Array, q: Sequence[float]) -> Array:
    """(Q, F) percentiles q in 0 ... 100, linear between the two nearest order statistics."""
    x, n = np.sort(x_tf, axis=0), counts(x_tf)
    place = np.asarray(q, dtype=np.float64)[:, None] / 100.0 * np.maximum(n - 1, 0)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(n - 1, 0))
    a, b = np.take_along_axis(x, low, 0), np.take_along_axis(x, high, 0)
    out: Array = a + (place - low) * (b - a)
    return out


def slope(x_tf: Array) -> Array:
    """(F,) least-squares slope per step of time: cov(t, x) / var(t) over what is no gap."""
    t = np.where(np.isnan(x_tf), np.nan, np.arange(len(x_tf), dtype=np.float64)[:, None])
    return ratio(mean(centre(t) * centre(x_tf)), mean(centre(t) ** 2))


def bounds(length: int, parts: int) -> list[tuple[int, int]]:
    """Where equal parts of a sequence begin and end; each holds at least one step, so that short ones share steps.

    >>> bounds(5, 2), bounds(1, 2)
    ([(0, 2), (2, 5)], [(0, 1), (0, 1)])
    """
    starts = [i * length // parts for i in range(parts)]
    return [(s, max(s + 1, (i + 1) * length // parts)) for i, s in enumerate(starts)]


def part_means(x_tf: Array, parts: int) -> Array:
    """(P, F) means over equal parts in time."""
    return np.stack([mean(x_tf[a:b]) for a, b in bounds(len(x_tf), parts)])


def fill(x_tf: Array) -> Array:
    """Gaps as straight lines between their ends, the first and last value held; a column of gaps alone stays NaN."""
    out = x_tf.copy()
    t = np.arange(len(x_tf))
    for f in np.flatnonzero(np.isnan(x_tf).any(0)):
        real = ~np.isnan(x_tf[:, f])
        if real.any():
            out[:, f] = np.interp(t, t[real], x_tf[real, f])
    return out


def autocorrelation(x_tf: Array) -> Array:
    """(T, F) of sequences without gaps: r[k] = sum_t y[t] y[t + k] / sum_t y[t]^2, y = x - mean; NaN for a constant."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(2 * len(x_tf), real=True)
    y = ratio(centre(x_tf), std(x_tf))
    raw = irfft(np.abs(rfft(y, size, axis=0)) ** 2, size, axis=0)[: len(x_tf)]
    return ratio(raw, raw[0])
