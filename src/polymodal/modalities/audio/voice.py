"""The voice in a recording: pitch, periods, and from them jitter, shimmer, harmonic-to-noise; loudness and pauses.

    samples --track--> F0 and periodicity each 10 ms --marks--> one mark a period --> jitter, shimmer

Axes: n sample, t frame of 10 ms, l lag in samples, k bin of frequency, c candidate.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from polymodal.modalities.functionals import Array, mean, percentiles, slope, std

STEP = 0.010  # seconds between frames
PERIODS = 3.0  # of the lowest pitch in a window
CANDIDATES = 6
# Boersma's table of costs: what a frame must have to count as voiced, and what a change costs
SILENCE, VOICING, OCTAVE, JUMP, SWITCH = 0.03, 0.45, 0.01, 0.35, 0.14
RATIO, STEEP = 1.3, 1.6  # neighbouring periods, amplitudes further apart than this are no neighbours
PAUSE = 25.0  # dB below the loud frames (95th percentile) where speech rests
FLOOR = -100.0  # dB of full scale

MEASURES = [
    "f0_mean_hz", "f0_std_hz", "f0_p10_hz", "f0_median_hz", "f0_p90_hz", "f0_std_semitones", "f0_slope_hz_per_s",
    "voiced_share", "voiced_stretches_per_s", "jitter_local", "shimmer_local", "hnr_mean_db", "hnr_std_db",
    "intensity_mean_db", "intensity_std_db", "intensity_p10_db", "intensity_p90_db", "intensity_slope_db_per_s",
    "speech_share", "pauses_per_s", "longest_pause_s", "duration_s",
]  # fmt: skip


def prosody(x_n: Array, rate: int, lowest: float, highest: float) -> dict[str, float]:
    """MEASURES of a clip: of F0 over voiced frames, of the whole clip for intensity and pauses; NaN where undefined.

    semitones: 12 log2 of F0. jitter_local, shimmer_local: see `local_change`. hnr: 10 log10(r / (1 - r)) of voiced
    frames. speech_share: of the clip's frames, those less than 25 dB below the loud ones.
    """
    pitch = track(x_n, rate, lowest, highest)
    periods, heights = cycles(x_n, rate, pitch)
    values = {
        **of_pitch(pitch, len(x_n) / rate),
        "jitter_local": local_change(periods, RATIO),
        "shimmer_local": local_change(heights, STEEP),
        **of_intensity(x_n, rate),
        "duration_s": len(x_n) / rate,
    }
    return {name: values[name] for name in MEASURES}


def of_pitch(pitch: "Pitch", seconds: float) -> dict[str, float]:
    """Statistics of F0 and of periodicity over voiced frames."""
    f0 = pitch.hz[:, None]
    low, middle, high = percentiles(f0, (10, 50, 90))[:, 0] if len(f0) else (math.nan,) * 3
    is_voiced = ~np.isnan(pitch.hz)
    r = pitch.periodicity.clip(1e-6, 1 - 1e-6)
    hnr = np.where(is_voiced, 10 * np.log10(r / (1 - r)), np.nan)[:, None]
    return {
        "f0_mean_hz": mean(f0).item(),
        "f0_std_hz": std(f0).item(),
        "f0_p10_hz": float(low),
        "f0_median_hz": float(middle),
        "f0_p90_hz": float(high),
        "f0_std_semitones": std(12 * np.log2(f0)).item(),
        "f0_slope_hz_per_s": slope(f0).item() / STEP,
        "voiced_share": float(is_voiced.mean()) if len(is_voiced) else 0.0,
        "voiced_stretches_per_s": len(stretches(is_voiced)) / seconds,
        "hnr_mean_db": mean(hnr).item(),
        "hnr_std_db": std(hnr).item(),
    }


def of_intensity(x_n: Array, rate: int) -> dict[str, float]:
    """The level of each 10 ms in dB of full scale, and where it rests."""
    size = max(1, round(rate * STEP))
    blocks = np.pad(x_n, (0, -len(x_n) % size)).reshape(-1, size)
    db = 10 * np.log10(np.maximum((blocks**2).mean(1), 10 ** (FLOOR / 10)))
    low, high, loud = percentiles(db[:, None], (10, 90, 95))[:, 0]
    rest = (db < loud - PAUSE) | (db <= FLOOR)
    pauses = [b - a for a, b in stretches(rest)]
    return {
        "intensity_mean_db": float(db.mean()),
        "intensity_std_db": float(db.std()),
        "intensity_p10_db": float(low),
        "intensity_p90_db": float(high),
        "intensity_slope_db_per_s": slope(db[:, None]).item() / STEP,
        "speech_share": float(1 - rest.mean()),
        "pauses_per_s": len(pauses) * rate / len(x_n),
        "longest_pause_s": max(pauses, default=0) * STEP,
    }


# --- pitch --------------------------------------------------------------------------------------------


class Pitch(NamedTuple):
    """F0 in Hz (T,), NaN where unvoiced; periodicity (T,) from 0 to 1, NaN likewise; the frames' centres in samples."""

    hz: Array
    periodicity: Array
    centre: NDArray[np.int64]


def track(x_n: Array, rate: int, lowest: float, highest: float) -> Pitch:
    """F0 by the autocorrelation of windowed frames, divided by the window's own, and the cheapest path through it.

    Per frame, candidates are the peaks of r[l] = r_x[l] / r_w[l], r_x of the Hann-windowed frame less its mean and r_w
    of the window, each scaled by its value at 0; or "unvoiced". A path of candidates is chosen by their heights less
    the costs of octaves, jumps, and switches between voiced and unvoiced. Boersma 1993.
    """
    window = 2 * round(PERIODS * rate / lowest / 2)
    if len(x_n) < window:
        nothing = np.zeros(0)
        return Pitch(nothing, nothing, np.zeros(0, dtype=np.int64))
    x_tn = np.lib.stride_tricks.sliding_window_view(x_n, window)[:: round(rate * STEP)]
    x_tn = x_tn - x_tn.mean(1, keepdims=True)
    lags = np.arange(max(2, math.floor(rate / highest)), math.ceil(rate / lowest) + 1)
    size = next_fast_len(window + int(lags[-1]) + 2, real=True)
    power_tk = np.abs(rfft(x_tn * hann(window), size, axis=1)) ** 2
    # at half samples: a sharp pulse whose period lies between samples would lose to twice that period
    r_tl = irfft(power_tk, 2 * size, axis=1)[:, : 2 * int(lags[-1]) + 2]
    r_tl = r_tl / np.maximum(r_tl[:, :1], 1e-12) / hann_correlation(np.arange(r_tl.shape[1]) / 2, window)
    lag_tc, height_tc = peaks(r_tl, np.arange(2 * lags[0], 2 * lags[-1] + 1), lowest / rate)
    peak_t = np.abs(x_tn).max(1) / max(float(np.abs(x_n).max()), 1e-12)
    loud = np.abs(x_tn).max(1) > 1e-5
    unvoiced_t = VOICING + np.maximum(0.0, 2.0 - peak_t * (1 + VOICING) / SILENCE)
    best = path(lag_tc, height_tc, np.where(loud, unvoiced_t, 1e6))
    lag = np.where(best < 0, np.nan, np.take_along_axis(lag_tc, np.maximum(best, 0)[:, None], 1)[:, 0])
    lag, r = refine(power_tk, lag, size, window)
    centre = np.arange(len(x_tn)) * round(rate * STEP) + window // 2
    return Pitch(rate / lag, r.clip(0.0, 1.0), centre)


def hann(window: int) -> Array:
    """w[n] = 1/2 - 1/2 cos(2 pi (n + 1/2) / window)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(window) + 0.5) / window)


def hann_correlation(lag: Array | NDArray[np.int64], window: int) -> Array:
    """A Hann window's autocorrelation over its value at 0: (1 - u)(2/3 + 1/3 cos 2 pi u) + sin(2 pi u) / (2 pi)."""
    u = np.abs(lag) / window
    return (1 - u) * (2 / 3 + np.cos(2 * np.pi * u) / 3) + np.sin(2 * np.pi * u) / (2 * np.pi)


def peaks(r_tl: Array, lags: NDArray[np.int64], lowest: float) -> tuple[Array, Array]:
    """The best peaks of each frame: lags (T, C) by a parabola, and heights less the cost of low octaves; -inf if none.

    r_tl, lags: at half samples; what is returned is in samples. lowest: in cycles a sample.
    height = r - 0.01 log2(lowest * lag), so that of equal peaks the shortest lag wins.
    """
    before, here, after = (r_tl[:, lags + d] for d in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, -1.0), 0.0).clip(-1.0, 1.0)
    lag_tl = (lags + shift) / 2
    height = here - 0.25 * (before - after) * shift - OCTAVE * np.log2(lowest * lag_tl)
    height = np.where((here > before) & (here >= after) & (here > 0.5 * VOICING), height, -np.inf)
    count = min(CANDIDATES, len(lags))
    best = np.argpartition(-height, count - 1, axis=1)[:, :count]
    return np.take_along_axis(lag_tl, best, 1), np.take_along_axis(height, best, 1)


def path(lag_tc: Array, height_tc: Array, unvoiced_t: Array) -> NDArray[np.int64]:
    """(T,) the candidate of each frame on the best path, -1 for unvoiced: dynamic programming over all paths.

    Maximises the sum of heights less JUMP |log2(lag / lag')| between voiced frames and SWITCH where voicing changes.
    """
    log_tc = np.log2(lag_tc)
    count = lag_tc.shape[1]
    gain_ts = np.concatenate([height_tc, unvoiced_t[:, None]], axis=1)
    back = np.zeros(gain_ts.shape, dtype=np.int64)
    best = gain_ts[0]
    cost = np.full((count + 1, count + 1), SWITCH)
    cost[count, count] = 0.0
    steps = JUMP * np.abs(log_tc[1:, None, :] - log_tc[:-1, :, None])  # (T - 1, from, to)
    for t, step in enumerate(steps, 1):
        cost[:count, :count] = step
        total = best[:, None] - cost
        back[t] = total.argmax(0)
        best = total[back[t], np.arange(count + 1)] + gain_ts[t]
    state = int(best.argmax())
    out = np.empty(len(back), dtype=np.int64)
    for t in range(len(back) - 1, -1, -1):
        out[t], state = state, int(back[t, state])
    return np.where(out == count, -1, out)


def refine(power_tk: Array, lag_t: Array, size: int, window: int) -> tuple[Array, Array]:
    """Lags (T,) moved to the top of the autocorrelation between samples, and its height there; NaN stays NaN.

    r(l) = sum_k c_k |X[k]|^2 cos(2 pi k l / size) / r(0) / r_w(l) is evaluated at three places a quarter sample apart.
    """
    out, height = np.full(len(lag_t), np.nan), np.full(len(lag_t), np.nan)
    voiced_at = np.flatnonzero(~np.isnan(lag_t))
    if not len(voiced_at):
        return out, height
    power, lag = power_tk[voiced_at].copy(), lag_t[voiced_at]
    power[:, 1 : (size + 1) // 2] *= 2
    power /= power.sum(1, keepdims=True)
    turn = 2 * np.pi * np.arange(power.shape[1]) / size
    at = [
        (power * np.cos(np.outer(lag + d, turn))).sum(1) / hann_correlation(lag + d, window) for d in (-0.25, 0, 0.25)
    ]
    bend = at[0] - 2 * at[1] + at[2]
    shift = np.where(bend < 0, 0.5 * (at[0] - at[2]) / np.where(bend < 0, bend, -1.0), 0.0).clip(-2.0, 2.0)
    out[voiced_at] = lag + 0.25 * shift
    height[voiced_at] = at[1] - 0.25 * (at[0] - at[2]) * shift
    return out, height


def stretches(flag_t: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where runs of True begin and end.

    >>> stretches(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flag_t.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


# --- periods ------------------------------------------------------------------------------------------


def cycles(x_n: Array, rate: int, pitch: Pitch) -> tuple[list[Array], list[Array]]:
    """Lengths in samples, and peak-to-peak heights, of the periods of each voiced stretch."""
    periods, heights = [], []
    for a, b in stretches(~np.isnan(pitch.hz)):
        mark = marks(x_n, rate / pitch.hz[a:b], pitch.centre[a:b])
        if len(mark) > 2:
            edges = np.round(mark).astype(np.int64)
            around = [x_n[i:j] for i, j in pairwise(edges - (edges[1] - edges[0]) // 2) if 0 <= i < j <= len(x_n)]
            periods.append(np.diff(mark))
            heights.append(np.array([np.ptp(y) for y in around]))
    return periods, heights


def marks(x_n: Array, lag_t: Array, centre: NDArray[np.int64]) -> Array:
    """Marks of the periods of a voiced stretch, in samples: each is where the waveform around the last one comes back.

    The first is the largest deflection in the stretch's first period; the next lies at the lag from 0.8 to 1.25 periods
    where one period around the last mark correlates best with what follows (a parabola between samples).
    """
    at = float(centre[0])
    half = round(lag_t[0] / 2)
    first = x_n[int(at) - half : int(at) + half + 1]
    at += float(np.argmax(np.abs(first))) - half
    out = [at]
    while at < centre[-1]:
        lag = float(np.interp(at, centre, lag_t))
        step = following(x_n, at, lag)
        if step is None:
            break
        at += step
        out.append(at)
    return np.array(out)


def following(x_n: Array, at: float, lag: float) -> float | None:
    """How far after `at` the period around it comes back; None where the clip ends before that."""
    half, near, far = round(lag / 2), math.floor(0.8 * lag) - 1, math.ceil(1.25 * lag) + 1
    start = round(at) - half
    if start < 0 or start + far + 2 * half + 1 > len(x_n):
        return None
    here = x_n[start : start + 2 * half + 1]
    there = x_n[start + near : start + far + 2 * half + 1]
    sums = np.concatenate([[0.0], np.cumsum(there**2)])
    energy = sums[len(here) :] - sums[: -len(here)]
    r = np.correlate(there, here) / np.sqrt(np.maximum(energy, 1e-12))
    i = int(r.argmax())
    if not 0 < i < len(r) - 1:
        return float(near + i)
    bend = r[i - 1] - 2 * r[i] + r[i + 1]
    shift = 0.5 * float((r[i - 1] - r[i + 1]) / bend) if bend < 0 else 0.0
    return near + i + shift


def local_change(runs: list[Array], limit: float) -> float:
    """mean |v[i + 1] - v[i]| / mean v over neighbours of a run whose ratio is at most `limit`; NaN without any.

    Of periods it is the local jitter, of heights the local shimmer, as shares (0.01 = 1 %).
    """
    first = np.concatenate([v[:-1] for v in runs]) if runs else np.zeros(0)
    second = np.concatenate([v[1:] for v in runs]) if runs else np.zeros(0)
    near = (np.maximum(first, second) <= limit * np.minimum(first, second)) & (first > 0) & (second > 0)
    if not near.any():
        return math.nan
    both = (first[near] + second[near]) / 2
    return float(np.abs(second[near] - first[near]).mean() / both.mean())
