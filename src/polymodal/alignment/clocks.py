"""The offset and the drift between the clocks of two streams that saw the same events.

    stream --RMS in bins--> envelope --windows--> lag of each window in the other stream --robust line--> offset, drift

An envelope says how much a stream moves, whatever it measures and how fast: the root mean square of its standardised
channels in bins of 1 / rate seconds. A window's lag is the peak of the normalised cross-correlation, between bins by a
parabola. Lags far from the line count less (Huber 1964), and the scatter of the lags gives the standard errors.

Axes: n bin, w window, s bin of a window, l lag, c channel.
"""

from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from polymodal.alignment.timeline import Doubles, Samples, ascending
from polymodal.errors import InputError

RATE = 100.0  # bins a second, at most
LEAST = 0.3  # correlation of a window whose lag counts
HUBER = 1.345  # standard deviations from which a lag counts less: 95% efficient where errors are normal
FEWEST = 8  # windows for a line


class Clock(NamedTuple):
    """What is at `time` on clock a is at time + offset + 1e-6 * drift * (time - origin) on clock b.

    offset, offset_error: seconds at the origin, and its standard error. drift, drift_error: parts per million. origin:
    seconds on clock a, the middle of the windows, where both errors are independent. times, lags, correlations,
    weights: (W,) of each window of a: its middle, by how much it is later on b, the correlation there, and how much it
    counted, from 0 to 1.
    """

    offset: float
    drift: float
    offset_error: float
    drift_error: float
    origin: float
    times: Doubles
    lags: Doubles
    correlations: Doubles
    weights: Doubles

    def to_b(self, times: Any) -> Doubles:
        """Times of clock a as clock b shows them."""
        t: Doubles = np.asarray(times, dtype=np.float64)
        return t + self.offset + 1e-6 * self.drift * (t - self.origin)

    def to_a(self, times: Any) -> Doubles:
        """Times of clock b as clock a shows them."""
        t: Doubles = np.asarray(times, dtype=np.float64)
        return self.origin + (t - self.offset - self.origin) / (1 + 1e-6 * self.drift)


def compare_clocks(
    a: Samples, b: Samples, *, window: float = 10.0, rate: float | None = None, max_drift: float = 500.0
) -> Clock:
    """The offset and the drift of clock b against clock a, from two streams of any rates and channels.

    Any offset is found by which half of the shorter stream lies in the other. window: seconds of a of which the lag is
    one, without overlap. rate: bins a second, by default 100, or the mean rate of the slower stream where that is less.
    max_drift: parts per million, as far as it is sought. Raises InputError for times that do not rise, numbers out of
    range, streams too short for 8 windows, and where fewer than 8 windows correlate by more than 0.3.
    """
    for name, value in (("window", window), ("max_drift", max_drift), ("rate", 1.0 if rate is None else rate)):
        if not 0 < value < np.inf:
            raise InputError(f"{name}={value:g} must be a number above 0")
    (times_a, _), (times_b, _) = both = ascending(a, "a"), ascending(b, "b")
    for name, (_, values) in zip("ab", both, strict=True):
        if not values.isfinite().any():
            raise InputError(f"{name} has no finite value; give a stream that moves")
    slower = min((len(t) - 1) / max(t[-1] - t[0], 1e-12) for t, _ in both)
    rate = min(RATE, slower) if rate is None else rate
    size = round(window * rate)
    shorter = min(t[-1] - t[0] for t, _ in both)
    if size < 8 or shorter < FEWEST * window:
        raise InputError(
            f"the shorter stream has {shorter:g} s, and a window of {window:g} s has {size} bins of 1 / {rate:.4g} s; "
            f"give a window of at least 8 bins of which {FEWEST} fit"
        )
    (x, late_x), (y, late_y) = _envelope(*both[0], rate), _envelope(*both[1], rate)
    coarse = max(1, int(1e-6 * max_drift * shorter * rate))  # bins by which the drift may smear the peak
    lag = coarse * _lag(_pool(x, coarse), _pool(y, coarse))
    reach = int(np.ceil(1e-6 * max_drift * shorter * rate)) + 2 * coarse
    starts, lags, correlations = _local(x, y, size, lag, reach)
    good = correlations > LEAST
    if good.sum() < FEWEST:
        few = f"{int(good.sum())} of {len(good)} windows of {window:g} s correlate by more than {LEAST}"
        raise InputError(f"{few}; {FEWEST} are needed: give another window, or streams that saw the same events")
    middle = times_a[0] + (starts[good] + size / 2) / rate
    seconds = times_b[0] - times_a[0] + lags[good] / rate + late_y - late_x
    origin = float(middle.mean())
    line, errors, weights = robust_line(middle - origin, seconds - seconds.mean())
    return Clock(
        float(line[0] + seconds.mean()), float(1e6 * line[1]), float(errors[0]), float(1e6 * errors[1]), origin,
        middle, seconds, correlations[good], weights,
    )  # fmt: skip


def robust_line(x: Doubles, y: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Intercept and slope of y over x, their standard errors, and the weight of each point, 0 to 1: Huber's M-estimate.

    Residuals are weighed by their median absolute deviation; errors allow for unlike scatter and for the leverage of
    each point (HC3; MacKinnon & White 1985), and of few points are those of Student's t. x has mean 0.
    """
    design = np.stack([np.ones_like(x), x / (np.abs(x).max() or 1.0)], axis=1)
    weights, fit = np.ones(len(x)), np.zeros(2)
    for _ in range(100):
        root = np.sqrt(weights)
        new = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        residual = y - design @ new
        scale = max(float(np.median(np.abs(residual))) / 0.6745 * len(x) / (len(x) - 2), 1e-12)
        weights = np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residual), 1e-300))
        if np.allclose(new, fit, rtol=1e-10, atol=1e-15):
            break
        fit = new
    near = design[np.abs(residual) <= HUBER * scale]
    bread = np.linalg.inv(near.T @ near) if np.linalg.matrix_rank(near) == 2 else np.linalg.inv(design.T @ design)
    leverage = (design @ bread * design).sum(1).clip(max=0.5)
    pull = design * (weights * residual / (1 - leverage))[:, None]
    errors = np.sqrt(np.diag(bread @ pull.T @ pull @ bread))
    units = np.array([1.0, np.abs(x).max() or 1.0])
    return fit / units, errors / units, weights


def _envelope(times: Doubles, values: Tensor, rate: float) -> tuple[Doubles, float]:
    """(N,): the RMS over samples and standardised channels in bins from the first time on, NaN where nothing is known
    in a bin, but for gaps of a few bins, which are bridged. And by how many seconds samples are later than their bins:
    with one sample a bin that is 0, with many half a bin."""
    v = values.double().numpy()
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(v)
        count = np.maximum(finite.sum(0), 1)
        v = np.where(finite, v, 0.0)
        v = np.where(finite, v - v.sum(0) / count, 0.0)
        deviation = np.sqrt((v**2).sum(0) / count)
    power = (v / np.where(deviation > 0, deviation, 1.0)) ** 2
    bins = ((times - times[0]) * rate).astype(np.int64)
    sums, counts = np.bincount(bins, power.sum(1)), np.bincount(bins, finite.sum(1))
    there = np.flatnonzero(counts)
    level = np.sqrt(sums[there] / counts[there])
    at = np.arange(len(counts))
    after = np.searchsorted(there, at).clip(max=len(there) - 1)
    wide = there[after] - there[(after - 1).clip(0)] > 4
    late = float((times - times[0] - bins / rate).mean())
    return np.where((counts == 0) & wide, np.nan, np.interp(at, there, level)), late


def _pool(x: Doubles, many: int) -> Doubles:
    """Means of so many neighbours, of those that are known."""
    x = np.concatenate([x, np.full(-len(x) % many, np.nan)]).reshape(-1, many)
    finite = ~np.isnan(x)
    return np.where(finite.any(1), np.where(finite, x, 0.0).sum(1) / np.maximum(finite.sum(1), 1), np.nan)


def _lag(x: Doubles, y: Doubles) -> int:
    """By how many bins x is later in y: the lag of the largest correlation times the root of how much overlaps, which
    is at least half of the shorter one. Correlations of all lags by Fourier transforms of the known values."""
    total = len(x) + len(y)
    waves = []
    for z in (x, y):
        finite = ~np.isnan(z)
        z = np.where(finite, z - np.mean(z[finite]), 0.0)
        waves.append([np.fft.rfft(part, total) for part in (finite.astype(float), z, z**2)])
    (one_x, x1, x2), (one_y, y1, y2) = waves
    n, sx, sy, xx, yy, xy = (
        np.fft.irfft(np.conj(p) * q, total)
        for p, q in ((one_x, one_y), (x1, one_y), (one_x, y1), (x2, one_y), (one_x, y2), (x1, y1))
    )
    n = np.maximum(n.round(), 1.0)
    variance = np.maximum(xx - sx**2 / n, 0) * np.maximum(yy - sy**2 / n, 0)
    score = np.where(variance > 1e-12, (xy - sx * sy / n) / np.sqrt(np.maximum(variance, 1e-12)), 0.0) * np.sqrt(n)
    score[n < min(len(x), len(y)) / 2] = -np.inf
    best = int(np.argmax(score))
    return best if best < len(y) else best - total


def _local(x: Doubles, y: Doubles, size: int, lag: int, reach: int) -> tuple[Doubles, Doubles, Doubles]:
    """Of each window of x that lies within y with all its lags: where it starts, its lag, and the correlation there; -1
    where values are unknown, do not move, or the peak is at the end of what is sought."""
    starts = np.arange(0, len(x) - size + 1, size)
    starts = starts[(starts + lag - reach >= 0) & (starts + lag + reach + size <= len(y))]
    lags, peaks = np.zeros(len(starts)), np.full(len(starts), -1.0)
    for w, start in enumerate(starts):
        p = x[start : start + size]
        q = np.lib.stride_tricks.sliding_window_view(y[start + lag - reach : start + lag + reach + size], size)
        p, q = p - p.mean(), q - q.mean(1, keepdims=True)
        norm = np.sqrt((p**2).sum() * (q**2).sum(1))
        r_l = np.where(norm > 1e-9, q @ p / np.where(norm > 1e-9, norm, 1.0), 0.0)
        best = int(np.argmax(np.nan_to_num(r_l, nan=-1.0)))
        if 0 < best < len(r_l) - 1 and np.isfinite(r_l[best - 1 : best + 2]).all():
            low, top, high = r_l[best - 1 : best + 2]
            bend = low - 2 * top + high
            lags[w] = lag - reach + best + (0.5 * (low - high) / bend if bend < 0 else 0.0)
            peaks[w] = top
    return starts.astype(np.float64), lags, peaks
