"""Seventeen of the 22 canonical characteristics of time series (Lubba et al. 2019, "catch22"), by their definitions.

Of a series z (T,) with mean 0 and variance 1, without gaps; r is its autocorrelation. A NaN stands where a measure is
undefined: for a constant series, or one too short. In the paper's names: DN_HistogramMode_5 and _10, CO_f1ecac,
CO_FirstMin_ac, CO_HistogramAMI_even_2_5, CO_trev_1_num, MD_hrv_classic_pnn40, SB_BinaryStats_mean_longstretch1 and
_diff_longstretch0, SB_MotifThree_quantile_hh, IN_AutoMutualInfoStats_40_gaussian_fmmi, FC_LocalSimple_mean3_stderr,
DN_OutlierInclude_p and _n (here with steps of 0.05 deviations), SP_Summaries_welch_rect_area_5_1 and _centroid; one
slope stands for the two break points of SC_FluctAnal. Left out: SB_TransitionMatrix, PD_PeriodicityWang,
CO_Embed2_Dist, FC_LocalSimple_mean1_tauresrat.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from polymodal.modalities.functionals import Array, autocorrelation

SHORTEST = 8  # readings


def features(z_t: Array) -> Array:
    """(17,) in the order of FEATURES."""
    if len(z_t) < SHORTEST or np.isnan(z_t).any():
        return np.full(len(FEATURES), np.nan)
    r = autocorrelation(z_t[:, None])[:, 0]
    return np.array([f(z_t, r) for f in FEATURES.values()])


def histogram_mode(z: Array, bins: int) -> float:
    """Middle of the fullest of `bins` equal bins between the least and the largest value; of several, their mean."""
    counts, edges = np.histogram(z, bins)
    middle = (edges[:-1] + edges[1:]) / 2
    return float(middle[counts == counts.max()].mean())


def decay_time(z: Array, r: Array) -> float:
    """Lag, linear between readings, at which autocorrelation first falls below 1 / e."""
    below = np.flatnonzero(r < 1 / math.e)
    if not len(below):
        return float(len(r))
    k = int(below[0])
    return k - 1 + float((r[k - 1] - 1 / math.e) / (r[k - 1] - r[k]))


def first_minimum(r: Array) -> float:
    """First k >= 1 with r[k] < r[k - 1] and r[k] < r[k + 1]; the length where there is none."""
    low = np.flatnonzero((r[1:-1] < r[:-2]) & (r[1:-1] < r[2:]))
    return float(low[0] + 1) if len(low) else float(len(r))


def mutual_information(z: Array, r: Array, lag: int = 2, bins: int = 5) -> float:
    """Nats that z[t] tells of z[t + lag], from a histogram of `bins` equal bins each way."""
    joint, _, _ = np.histogram2d(z[:-lag], z[lag:], bins)
    p = joint / joint.sum()
    apart = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    real = p > 0
    return float((p[real] * np.log(p[real] / apart[real])).sum())


def irreversibility(z: Array, r: Array) -> float:
    """Mean cubed step: 0 where a series looks alike backwards."""
    return float((np.diff(z) ** 3).mean())


def large_steps(z: Array, r: Array) -> float:
    """Share of steps larger than 0.04 deviations."""
    return float((np.abs(np.diff(z)) > 0.04).mean())


def longest_run(flag: NDArray[np.bool_]) -> float:
    """Length of the longest run of True.

    >>> longest_run(np.array([True, False, True, True]))
    2.0
    """
    edges = np.flatnonzero(np.concatenate([[True], ~flag, [True]]))
    return float(np.diff(edges).max() - 1)


def motif_entropy(z: Array, r: Array) -> float:
    """Entropy, in nats, of pairs of successive letters, where a letter says which third of the values one is in."""
    letter = np.searchsorted(np.quantile(z, [1 / 3, 2 / 3]), z, side="left")
    p = np.bincount(3 * letter[:-1] + letter[1:], minlength=9) / (len(z) - 1)
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def information_minimum(z: Array, r: Array) -> float:
    """First minimum of -ln(1 - r[k]^2) / 2, k = 1 ... 40 (half the length at most): as of a Gaussian series."""
    last = min(40, len(z) // 2)
    ami = -0.5 * np.log(np.maximum(1 - np.array([pair_correlation(z, k) ** 2 for k in range(1, last + 1)]), 1e-12))
    low = np.flatnonzero((ami[1:-1] < ami[:-2]) & (ami[1:-1] < ami[2:]))
    return float(low[0] + 2) if len(low) else float(last)


def pair_correlation(z: Array, lag: int) -> float:
    """Pearson's correlation of z[t] and z[t + lag]; 0 where either stands still."""
    a, b = z[:-lag] - z[:-lag].mean(), z[lag:] - z[lag:].mean()
    scale = math.sqrt(float((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else 0.0


def forecast_error(z: Array, r: Array) -> float:
    """Deviation of what the mean of the last three readings misses the next one by."""
    sums = np.convolve(z, np.ones(3) / 3, mode="valid")[:-1]
    return float((z[3:] - sums).std(ddof=1))


def outlier_timing(z: Array, sign: float) -> float:
    """When the extreme values come: over thresholds 0, 0.05 ... deviations, the median of their median places.

    A place goes from -1 (start) to 1 (end). Thresholds count while they leave at least 2 % of the readings.
    """
    y = sign * z
    places = np.arange(1, len(y) + 1) / (len(y) / 2) - 1
    medians = []
    for threshold in np.arange(0.0, y.max() + 0.05, 0.05):
        over = y >= threshold
        if over.sum() < max(2, 0.02 * len(y)):
            break
        medians.append(float(np.median(places[over])))
    return float(np.median(medians)) if medians else 0.0


def periodogram(z: Array) -> tuple[Array, Array]:
    """Shares of the power, and angular frequencies 0 ... pi."""
    power = np.abs(np.fft.rfft(z)) ** 2
    return power / power.sum(), np.linspace(0, np.pi, len(power))


def slow_power(z: Array, r: Array) -> float:
    """Share of the power in the lowest fifth of the frequencies."""
    p, w = periodogram(z)
    return float(p[w <= np.pi / 5].sum())


def median_frequency(z: Array, r: Array) -> float:
    """Angular frequency with half of the power at or below it."""
    p, w = periodogram(z)
    return float(w[np.searchsorted(np.cumsum(p), 0.5 - 1e-9)])


def fluctuation_slope(z: Array, r: Array) -> float:
    """Slope of ln F(s) over ln s: F is the deviation of the cumulative sum from a line in windows of s readings.

    Detrended fluctuation analysis (Peng et al. 1994): 0.5 for white noise, 1.5 for a random walk. s: about ten
    lengths, logarithmic between 5 and half the series; NaN for fewer than 20 readings.
    """
    if len(z) < 20:
        return math.nan
    profile = np.cumsum(z)
    sizes = np.unique(np.geomspace(5, len(z) // 2, 10).round().astype(int))
    logs = []
    for s in sizes:
        y = profile[: len(z) // s * s].reshape(-1, s).T
        t = np.arange(s) - (s - 1) / 2
        y = y - y.mean(0)
        y = y - np.outer(t, t @ y / (t @ t))
        logs.append(math.log(max(float((y**2).mean()), 1e-20)) / 2)
    return float(np.polyfit(np.log(sizes), logs, 1)[0])


FEATURES: dict[str, Callable[[Array, Array], float]] = {
    "histogram_mode_5": lambda z, r: histogram_mode(z, 5),
    "histogram_mode_10": lambda z, r: histogram_mode(z, 10),
    "decay_time": decay_time,
    "acf_first_minimum": lambda z, r: first_minimum(r),
    "mutual_information_2": mutual_information,
    "irreversibility": irreversibility,
    "large_steps_share": large_steps,
    "longest_above_mean": lambda z, r: longest_run(z > 0),
    "longest_decrease": lambda z, r: longest_run(np.diff(z) < 0),
    "motif_entropy": motif_entropy,
    "information_first_minimum": information_minimum,
    "forecast_error_3": forecast_error,
    "high_outlier_timing": lambda z, r: outlier_timing(z, 1.0),
    "low_outlier_timing": lambda z, r: outlier_timing(z, -1.0),
    "slow_power_share": slow_power,
    "median_angular_frequency": median_frequency,
    "fluctuation_slope": fluctuation_slope,
}
