"""Features of recordings against their definitions, on sounds whose truth is known."""

import math
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from cases import over
from polymodal.errors import Unreadable
from polymodal.modalities import MODALITIES, functionals
from polymodal.modalities.audio import voice
from polymodal.modalities.audio.codec import geometry, hertz, mel
from polymodal.modalities.audio.features import (
    RATE,
    LogMelStatistics,
    Mfcc,
    Prosody,
    Spectral,
    course,
    deltas,
    descriptors,
)

T = np.arange(RATE) / RATE
ALL = [cls() for cls in MODALITIES["audio"].extractors.values()]


def named(extractor: Any, x: np.ndarray, rate: int = RATE) -> dict[str, float]:
    (row,) = extractor.fit_transform([(x, rate)])
    return dict(zip(extractor.names(), row.tolist(), strict=True))


def pulses(at: list[float], heights: list[float], decay: float = 12.0) -> np.ndarray:
    """A damped 1100 Hz at each place (samples), as a throat makes."""
    x = np.zeros(int(at[-1]) + 500)
    for place, height in zip(at, heights, strict=True):
        first = math.ceil(place)
        n = np.arange(first, first + 300) - place
        x[first : first + 300] += height * np.exp(-n / decay) * np.sin(2 * np.pi * 1100 * n / RATE)
    return x


def slow_mfcc(x: np.ndarray, mels: int, count: int) -> np.ndarray:
    """Explicit windows, Fourier sums, triangles and cosines."""
    hop, window, fft = geometry(RATE, mels)
    corner = [hertz(mel(RATE / 2) * i / (mels + 1)) for i in range(mels + 2)]
    bins = np.arange(fft // 2 + 1)
    fourier = np.exp(-2j * np.pi * np.outer(bins, np.arange(window)) / fft)
    power = np.zeros((-(-len(x) // hop), mels))
    for t in range(len(power)):
        frame = np.zeros(window)
        for n in range(window):
            at = t * hop - window // 2 + n
            if 0 <= at < len(x):
                frame[n] = x[at] * (0.5 - 0.5 * math.cos(2 * math.pi * n / window))
        p = np.abs(fourier @ frame) ** 2
        for f in range(mels):
            a, b, c = corner[f : f + 3]
            for k in bins:
                hz = k * RATE / fft
                power[t, f] += p[k] * max(0.0, min((hz - a) / (b - a), (c - hz) / (c - b)))
    logs = np.log(np.maximum(power, 1e-8 * power.max()))
    out = np.zeros((len(power), count))
    for i in range(count):
        w = math.sqrt((1 if i == 0 else 2) / mels)
        out[:, i] = [sum(w * math.cos(math.pi * i * (f + 0.5) / mels) * m[f] for f in range(mels)) for m in logs]
    return out


def test_mfcc_equals_fourier_sums_triangles_and_cosines() -> None:
    g = np.random.default_rng(0)
    x = (g.normal(size=1300) * np.linspace(0.02, 0.3, 1300)).astype(np.float32)
    c = slow_mfcc(x.astype(np.float64), 20, 6)
    got = named(Mfcc(coefficients=6, mels=20, parts=2), x)
    for i in range(6):
        assert got[f"mfcc_{i}_mean"] == pytest.approx(c[:, i].mean(), abs=2e-3)
        assert got[f"mfcc_{i}_std"] == pytest.approx(c[:, i].std(), abs=2e-3)
        assert got[f"mfcc_{i}_p90"] == pytest.approx(np.percentile(c[:, i], 90), abs=2e-3)
        first = [
            sum(n * (c[min(t + n, len(c) - 1), i] - c[max(t - n, 0), i]) for n in (1, 2)) / 10 for t in range(len(c))
        ]
        assert got[f"mfcc_delta_{i}_std"] == pytest.approx(np.std(first), abs=2e-3)
        y = c - c.mean(0)
        part = y[len(c) // 2 :, i].mean() / math.sqrt((y**2).mean())
        assert got[f"mfcc_{i}_part_2_of_2"] == pytest.approx(part, abs=2e-3)


def test_deltas_of_a_line_are_its_slope_and_a_course_forgets_level_and_gain() -> None:
    line = np.outer(np.arange(20.0), [3.0, -1.0])
    assert np.allclose(deltas(line)[2:-2], [3.0, -1.0])
    g = np.random.default_rng(1)
    x = g.normal(size=(23, 4))
    assert np.allclose(course(x, 5), course(7 * x + 3, 5))
    assert np.allclose(course(x, 5, each=True), course(x * [1, 2, 3, 4] + [9, 0, 0, 1], 5, each=True))
    assert not np.allclose(course(x, 5), course(x[::-1], 5))  # the order counts


def test_descriptors_by_their_definitions() -> None:
    g = np.random.default_rng(2)
    x = g.normal(size=4000) * 0.1
    d = descriptors(x)
    for t in (0, 5, 24):
        frame = np.array([x[n] if 0 <= n < len(x) else 0.0 for n in range(160 * t - 200, 160 * t + 200)])
        w = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
        power = [
            abs(sum(frame[n] * w[n] * np.exp(-2j * np.pi * k * n / 512) for n in range(400))) ** 2 for k in range(257)
        ]
        p, hz = np.array(power) / sum(power), np.arange(257) * RATE / 512
        centroid = sum(p * hz)
        rolloff = next(f for f, s in zip(hz, np.cumsum(p), strict=True) if s >= 0.85)
        crossings = sum((a < 0) != (b < 0) for a, b in pairwise(frame)) * RATE / 399
        spread = math.sqrt(sum(p * (hz - centroid) ** 2))
        flatness = math.exp(np.log(p).mean()) / p.mean()
        entropy = -sum(p * np.log(p)) / math.log(257)
        want = [20 * math.log10(math.sqrt((frame**2).mean())), crossings, centroid, spread, rolloff]
        assert np.allclose(d[t, :5], want) and np.allclose(d[t, 6:], [flatness, entropy])
    assert np.isnan(d[0, 5]) and (d[1:, 5] > 0).all()


def test_descriptors_of_a_tone_and_of_noise() -> None:
    tone = named(Spectral(), 0.5 * np.sin(2 * np.pi * 1000 * T))
    noise = named(Spectral(), np.random.default_rng(0).normal(size=RATE) * 0.1)
    assert tone["centroid_hz_mean"] == pytest.approx(1000, abs=40)
    assert tone["zero_crossings_per_s_mean"] == pytest.approx(2000, rel=0.02)
    assert tone["energy_db_p90"] == pytest.approx(10 * math.log10(0.125), abs=0.1)
    assert noise["centroid_hz_mean"] == pytest.approx(4000, rel=0.03)
    assert noise["flatness_mean"] > 0.4 > 0.01 > tone["flatness_mean"]
    assert noise["flux_mean"] > 5 * tone["flux_p10"]


@over("hz", [60, 83.3, 123, 200, 317, 400])
def test_pitch_within_a_hundredth(hz: float) -> None:
    period = RATE / hz
    at = [k * period for k in range(int(hz))]
    sharp = sum(0.5 * np.sinc(np.arange(RATE) - p) for p in at)
    for x in (0.3 * np.sin(2 * np.pi * hz * T), sharp, pulses(at, [0.5] * len(at))):
        got = named(Prosody(), x)
        assert got["f0_mean_hz"] == pytest.approx(hz, rel=0.003)
        assert got["f0_std_hz"] < 0.01 * hz
        assert got["voiced_share"] > 0.95


def test_pitch_that_glides_and_stops() -> None:
    f = np.linspace(120, 180, RATE)
    x = 0.3 * np.sin(2 * np.pi * np.cumsum(f) / RATE)
    x[: RATE // 2] = 0
    got = named(Prosody(), x)
    assert got["f0_slope_hz_per_s"] == pytest.approx(60, rel=0.1)
    assert got["f0_mean_hz"] == pytest.approx(165, rel=0.02)
    assert got["voiced_share"] == pytest.approx(0.5, abs=0.05) and got["speech_share"] == pytest.approx(0.5, abs=0.02)
    assert got["pauses_per_s"] == 1 and got["longest_pause_s"] == pytest.approx(0.5, abs=0.02)
    noise = named(Prosody(), np.random.default_rng(0).normal(size=RATE) * 0.1)
    assert noise["voiced_share"] < 0.15


@over("jitter, shimmer", [(0.003, 0.02), (0.01, 0.05), (0.01, 0.1)])
@over("hz", [90, 210])
def test_jitter_and_shimmer_of_known_perturbations(jitter: float, shimmer: float, hz: float) -> None:
    g = np.random.default_rng(3)
    periods = RATE / hz * (1 + jitter * g.normal(size=3 * int(hz)))
    heights = 0.5 * (1 + shimmer * g.normal(size=len(periods) + 1))
    got = named(Prosody(), pulses([200.0, *(200 + np.cumsum(periods))], list(heights)))
    true = [np.abs(np.diff(v)).mean() / v.mean() for v in (periods, heights)]
    assert got["jitter_local"] == pytest.approx(true[0], rel=0.1)
    assert got["shimmer_local"] == pytest.approx(true[1], rel=0.2)


@over("db", [5, 10, 20, 30])
def test_harmonics_to_noise_at_known_ratios(db: float) -> None:
    g = np.random.default_rng(4)
    voice_n = sum(np.sin(2 * np.pi * 150 * k * T + k) / k for k in range(1, 11))
    noise = g.normal(size=RATE)
    noise *= math.sqrt((voice_n**2).mean() / (noise**2).mean() / 10 ** (db / 10))
    assert named(Prosody(), 0.1 * (voice_n + noise))["hnr_mean_db"] == pytest.approx(db, abs=0.5)


@over("seed", range(8))
def test_the_path_is_the_best_of_all_paths(seed: int) -> None:
    g = np.random.default_rng(seed)
    lag, height, quiet = g.uniform(40, 160, (4, 3)), g.uniform(0.3, 1, (4, 3)), g.uniform(0.3, 0.8, 4)

    def worth(states: tuple[int, ...]) -> float:
        total = 0.0
        for t, s in enumerate(states):
            total += quiet[t] if s == 3 else height[t, s]
            if t and (s == 3) != (states[t - 1] == 3):
                total -= voice.SWITCH
            elif t and s != 3:
                total -= voice.JUMP * abs(math.log2(lag[t, s] / lag[t - 1, states[t - 1]]))
        return total

    best = max(np.ndindex(4, 4, 4, 4), key=worth)
    assert voice.path(lag, height, quiet).tolist() == [-1 if s == 3 else s for s in best]


@over("extractor", ALL)
def test_odd_clips_give_numbers_or_nan_and_no_warning(extractor: Any) -> None:
    g = np.random.default_rng(6)
    tone = (0.5 * np.sin(2 * np.pi * 150 * T)).astype(np.float32)
    cells = [
        (np.zeros(8000), RATE), (np.ones(1), RATE), (tone[:100], RATE), ((40 * tone).clip(-1, 1), RATE), (tone, 8000),
        (tone, 48000), (np.stack([tone, g.normal(size=RATE) * 0.1], axis=1), RATE), (np.ones(9000), RATE),
        ((tone * 32767).astype(np.int16), RATE), (1e-8 * tone, RATE), None,
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = extractor.fit_transform(cells)
        again = extractor.transform(cells)
    assert x.shape == (len(cells), len(extractor.names())) and x.dtype == np.float32
    assert len(set(extractor.names())) == x.shape[1]
    assert np.array_equal(x, again, equal_nan=True)
    assert not np.isinf(x).any() and np.isnan(x[-1]).all()
    defined = np.isfinite(x[:-1]).mean(1)
    assert (defined[[3, 4, 6, 8]] > 0.95).all() and (defined > 0).all()


def test_silence_has_no_pitch_but_an_intensity() -> None:
    got = named(Prosody(), np.zeros(RATE))
    assert math.isnan(got["f0_mean_hz"]) and math.isnan(got["jitter_local"]) and math.isnan(got["hnr_mean_db"])
    assert got["voiced_share"] == 0 and got["speech_share"] == 0 and got["intensity_mean_db"] == -100
    assert math.isnan(named(Spectral(), np.zeros(RATE))["centroid_hz_mean"])


@over("extractor", [Mfcc(), LogMelStatistics()])
def test_what_is_no_recording_is_unreadable(extractor: Any) -> None:
    with pytest.raises(Unreadable, match="0 samples"):
        extractor.read((np.zeros(0), RATE))
    with pytest.raises(Unreadable, match="a int is not a recording"):
        extractor.read(3)


def test_functionals_leave_gaps_out() -> None:
    g = np.random.default_rng(7)
    x = g.normal(size=(40, 3))
    x[g.random((40, 3)) < 0.3] = np.nan
    x[:, 2] = np.nan
    for f in range(2):
        y, t = x[:, f][~np.isnan(x[:, f])], np.flatnonzero(~np.isnan(x[:, f]))
        assert functionals.mean(x)[f] == pytest.approx(y.mean())
        assert functionals.std(x)[f] == pytest.approx(y.std())
        assert np.allclose(functionals.percentiles(x, (0, 10, 55, 100))[:, f], np.percentile(y, (0, 10, 55, 100)))
        assert functionals.slope(x)[f] == pytest.approx(np.polyfit(t, y, 1)[0])
        assert functionals.standardised_moment(x, 3)[f] == pytest.approx((((y - y.mean()) / y.std()) ** 3).mean())
    for value in (functionals.mean(x), functionals.std(x), functionals.slope(x), functionals.percentiles(x, (50,))[0]):
        assert math.isnan(value[2])
    assert functionals.std(np.full((7, 1), 0.1)) == 0
