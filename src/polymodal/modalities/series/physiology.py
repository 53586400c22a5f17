"""Measures of the body from recordings of it: heart rate and its variability from an ECG, events from skin conductance.

Both read each channel of a series by itself and need the sampling rate for answers in seconds; without one (rate=None)
times are in readings. Axes: t reading, c channel, f feature.
"""

import math

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import InputError
from polymodal.modalities import functionals as over_time
from polymodal.modalities.functionals import Array
from polymodal.modalities.series.features import Channels

RATE = 4.0  # per second, of the evenly spaced intervals whose spectrum is taken
LOW, HIGH = (0.04, 0.15), (0.15, 0.40)  # Hz: bands of heart-rate variability (Task Force 1996)
LONGEST = 50.0  # seconds: two periods of the lowest frequency
BEAT = 0.8  # seconds that a beat is taken to last where no rate says how fast the readings came


class HeartRate(Channels):
    """Beats of an electrocardiogram and the intervals RR between them.

    sdnn: deviation of RR. rmssd: root mean square of RR[i + 1] - RR[i]. pnn50: share of those beyond 50 ms. lf_hf:
    power of RR in 0.04-0.15 Hz over 0.15-0.40 Hz; NaN for less than 50 s. Intervals that differ from the median of
    their five neighbours by more than 30 % are left out: a beat was missed, or found twice. NaN for less than three
    beats. rate: readings a second; None takes the strongest period for one beat, and gives RR in readings.
    """

    def __init__(self, rate: float | None = None) -> None:
        self.rate = check_rate(rate)

    def measure(self, x_tc: Array) -> Array:
        """(C, F)."""
        return np.stack([self._channel(x) for x in over_time.fill(x_tc).T])

    def measures(self) -> list[str]:
        """ "heart_rate_bpm" ..., in readings where there is no rate."""
        if self.rate is None:
            return ["rr_mean_readings", "rr_std_readings", "rmssd_readings", "beats"]
        return ["heart_rate_bpm", "sdnn_ms", "rmssd_ms", "pnn50_share", "lf_hf", "beats"]

    def _channel(self, x_t: Array) -> Array:
        out = np.full(len(self.measures()), np.nan)
        rate = self.rate or guess_rate(x_t)
        at = beats(x_t, rate) if rate else np.zeros(0)
        out[-1] = len(at)
        rr, where = intervals(at)
        if len(rr) < 2:
            return out
        step = np.diff(rr)[np.diff(where) == 1]
        rmssd = math.sqrt(float((step**2).mean())) if len(step) else math.nan
        if self.rate is None:
            out[:3] = float(rr.mean()), float(rr.std()), rmssd
            return out
        seconds = rr / self.rate
        out[:3] = 60 / float(seconds.mean()), 1e3 * float(seconds.std()), 1e3 * rmssd / self.rate
        out[3] = float((np.abs(step) > 0.05 * self.rate).mean()) if len(step) else math.nan
        out[4] = balance(at[where + 1] / self.rate, seconds)
        return out


class Electrodermal(Channels):
    """Skin conductance: its slow level, and the events (responses) on top of it.

    An event is a rise from a trough to a peak by at least `least` (microsiemens, where that is the unit), peaks at
    least a second apart. level: mean of the line through both ends and the troughs; level_slope: its least-squares
    slope. amplitude: mean rise; rise: mean time of it; NaN without an event. rate: readings a second; the signal is
    then smoothed over half a second first. Per reading where it is None. Boucsein et al. 2012.
    """

    def __init__(self, rate: float | None = None, least: float = 0.05) -> None:
        self.rate, self.least = check_rate(rate), least

    def measure(self, x_tc: Array) -> Array:
        """(C, 5)."""
        return np.stack([self._channel(x) for x in over_time.fill(x_tc).T])

    def measures(self) -> list[str]:
        """ "level_mean", "events_per_minute" ..."""
        per, unit = ("reading", "readings") if self.rate is None else ("minute", "s")
        return ["level_mean", f"level_slope_per_{per}", f"events_per_{per}", "amplitude_mean", f"rise_mean_{unit}"]

    def _channel(self, x_t: Array) -> Array:
        from scipy.ndimage import uniform_filter1d
        from scipy.signal import find_peaks

        if np.isnan(x_t).any():
            return np.full(5, np.nan)
        rate = self.rate or 1.0
        y = uniform_filter1d(x_t, max(1, round(rate / 2))) if self.rate else x_t
        peaks, _ = find_peaks(y, prominence=self.least, distance=max(1, round(rate) if self.rate else 1))
        ends = np.concatenate([[0], peaks, [len(y) - 1]])
        feet = np.array([a + len(y[a:b]) - 1 - int(y[a:b][::-1].argmin()) for a, b in zip(ends, peaks, strict=False)])
        rise = y[peaks] - y[feet] if len(peaks) else np.zeros(0)
        knots = np.unique(np.concatenate([[0], feet, [len(y) - 1]]).astype(np.int64))
        level = np.interp(np.arange(len(y)), knots, y[knots])
        per = 60 * rate if self.rate else 1.0
        none = math.nan
        return np.array(
            [
                level.mean(),
                over_time.slope(level[:, None]).item() * per,
                len(peaks) / len(y) * per,
                rise.mean() if len(peaks) else none,
                (peaks - feet).mean() / rate if len(peaks) else none,
            ]
        )


def check_rate(rate: float | None) -> float | None:
    """The rate, if it is one. Raises InputError for what is not positive."""
    if rate is not None and not rate > 0:
        raise InputError(f"rate={rate!r} readings a second; give a number above 0, or None where it is unknown")
    return rate


def beats(x_t: Array, rate: float) -> Array:
    """Places of the R peaks, in readings, a parabola between them.

    5-15 Hz, slope, square, mean over 150 ms: peaks of that at least 250 ms apart, above a quarter of its loud level
    (median over 2 s blocks of their maxima) are beats; each R is the largest deflection within 100 ms.
    After Pan & Tompkins 1985.
    """
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import butter, find_peaks, sosfiltfilt

    if np.isnan(x_t).any() or len(x_t) < max(30, rate) or rate < 15:  # the band must lie below half the rate
        return np.zeros(0)
    band = [5 / (rate / 2), min(15 / (rate / 2), 0.95)]
    y = sosfiltfilt(butter(2, band, "band", output="sos"), x_t - x_t.mean(), padlen=min(len(x_t) - 1, round(rate)))
    energy = uniform_filter1d(np.gradient(y) ** 2, max(1, round(0.15 * rate)))
    loud = float(np.median([b.max() for b in np.array_split(energy, max(1, round(len(y) / (2 * rate))))]))
    if loud <= 1e-12 * max(float((x_t**2).max()), 1e-300):
        return np.zeros(0)
    peaks, _ = find_peaks(energy, height=loud / 4, distance=max(1, round(0.25 * rate)))
    reach = max(1, round(0.1 * rate))
    deflection = np.abs(y)
    tops = [max(0, p - reach) + int(deflection[max(0, p - reach) : p + reach + 1].argmax()) for p in peaks]
    return np.array([vertex(deflection, p) for p in dict.fromkeys(tops)])


def vertex(y: Array, p: int) -> float:
    """The top of the parabola through y[p] and its neighbours."""
    if not 0 < p < len(y) - 1:
        return float(p)
    bend = y[p - 1] - 2 * y[p] + y[p + 1]
    return p + (min(0.5, max(-0.5, 0.5 * float((y[p - 1] - y[p + 1]) / bend))) if bend < 0 else 0.0)


def guess_rate(x_t: Array) -> float | None:
    """Readings a second if the strongest period is one beat of 0.8 s; None where nothing repeats."""
    from scipy.ndimage import uniform_filter1d

    energy = np.gradient(x_t) ** 2 if len(x_t) > 1 else x_t  # a wandering base line is slow, R waves are steep
    down = np.flatnonzero(over_time.autocorrelation(energy[:, None])[:, 0] < 0)
    if not len(down):
        return None
    r = over_time.autocorrelation(uniform_filter1d(energy, max(1, 2 * int(down[0])))[:, None])[: len(x_t) // 2, 0]
    top = np.flatnonzero((r[1:-1] > r[:-2]) & (r[1:-1] >= r[2:])) + 1
    top = top[r[top] > 0]
    if not len(top):
        return None
    return float(top[r[top] >= 0.7 * r[top].max()][0]) / BEAT  # the first of peaks at one, two ... beats


def intervals(at: Array) -> tuple[Array, NDArray[np.int64]]:
    """Intervals between beats without the outliers, and which they are."""
    rr = np.diff(at)
    if not len(rr):
        return rr, np.zeros(0, dtype=np.int64)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(rr, 2, mode="reflect" if len(rr) > 2 else "edge"), 5)
    middle = np.median(around, axis=1)
    keep = np.flatnonzero(np.abs(rr - middle) <= 0.3 * middle)
    return rr[keep], keep


def balance(at: Array, rr: Array) -> float:
    """Power of RR in LOW over that in HIGH, of the intervals at 4 Hz by straight lines, Hann window; see HeartRate."""
    if len(at) < 4 or at[-1] - at[0] < LONGEST:
        return math.nan
    y = np.interp(np.arange(at[0], at[-1], 1 / RATE), at, rr)
    power = np.abs(np.fft.rfft((y - y.mean()) * np.hanning(len(y)))) ** 2
    hz = np.fft.rfftfreq(len(y), 1 / RATE)
    low, high = (float(power[(hz >= a) & (hz < b)].sum()) for a, b in (LOW, HIGH))
    return low / high if high > 0 else math.nan
