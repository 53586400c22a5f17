"""Features of series against their definitions, and of signals of the body whose truth is known."""

import itertools
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cases import over
from polymodal.errors import InputError, Unreadable
from polymodal.modalities import MODALITIES
from polymodal.modalities.functionals import autocorrelation
from polymodal.modalities.series import canonical
from polymodal.modalities.series.features import Canonical, Correlations, SeriesStatistics, Spectrum, Wavelets
from polymodal.modalities.series.physiology import Electrodermal, HeartRate, balance

ALL = [cls() for cls in MODALITIES["series"].extractors.values()] + [HeartRate(50), Electrodermal(4)]
G = np.random.default_rng


def named(extractor: Any, x: Any) -> dict[str, float]:
    (row,) = extractor.fit_transform([x])
    return dict(zip(extractor.names(), row.tolist(), strict=True))


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / x.std()


def test_statistics_by_their_definitions() -> None:
    x = np.cumsum(G(0).normal(size=53))
    got, y, step = named(SeriesStatistics(), x), x - x.mean(), np.diff(x)
    want = {
        "mean": x.mean(),
        "std": x.std(),
        "min": x.min(),
        "p25": np.percentile(x, 25),
        "median": np.median(x),
        "max": x.max(),
        "skewness": (standardised(x) ** 3).mean(),
        "kurtosis": (standardised(x) ** 4).mean(),
        "slope": np.polyfit(np.arange(53), x, 1)[0],
        "crossings_share": sum((y[t] > 0) != (y[t + 1] > 0) for t in range(52)) / 52,
        "energy": (x**2).mean(),
        "step_mean": np.abs(step).mean(),
        "step_std": step.std(),
        "part_2_of_5": y[10:21].mean(),
    }
    for name, value in want.items():
        assert got[name] == pytest.approx(value, rel=1e-5), name


def test_correlations_are_pearsons_over_what_both_have() -> None:
    x = G(1).normal(size=(60, 4)) @ G(2).normal(size=(4, 4))
    got = named(Correlations(), x)
    want = np.corrcoef(x.T)
    assert got["correlation_2_4"] == pytest.approx(want[1, 3], abs=1e-6) and len(got) == 6
    x[5:20, 0], x[50:, 1] = np.nan, np.nan
    both = ~np.isnan(x[:, 0]) & ~np.isnan(x[:, 1])
    assert named(Correlations(), x)["correlation_1_2"] == pytest.approx(
        np.corrcoef(x[both, 0], x[both, 1])[0, 1], abs=1e-6
    )
    many = named(Correlations(), G(3).normal(size=(20, 70)))
    assert len(many) == 69 and "correlation_69_70" in many and "correlation_1_3" not in many


def test_spectrum_by_explicit_sums() -> None:
    x = np.cumsum(G(4).normal(size=48))
    y = x - x.mean()
    w = [0.5 - 0.5 * math.cos(2 * math.pi * t / 48) for t in range(48)]
    power = [abs(sum(w[t] * y[t] * np.exp(-2j * np.pi * k * t / 48) for t in range(48))) ** 2 for k in range(25)]
    p, f = np.array(power) / sum(power), np.arange(25) / 48
    got = named(Spectrum(bands=3), x)
    assert [got[f"band_{b}_share"] for b in (1, 2, 3)] == pytest.approx(
        [p[f >= 0.25].sum(), p[(f >= 0.125) & (f < 0.25)].sum(), p[f < 0.125].sum()], rel=1e-4
    )
    assert got["peak_frequency"] == pytest.approx(f[p.argmax()]) and got["centroid_frequency"] == pytest.approx(
        sum(p * f)
    )
    assert got["spectral_entropy"] == pytest.approx(-sum(p * np.log(p)) / math.log(25), rel=1e-4)
    r = [sum(y[t] * y[t + k] for t in range(48 - k)) / sum(y**2) for k in range(48)]
    assert [got[f"acf_{k}"] for k in (1, 4, 16)] == pytest.approx([r[1], r[4], r[16]], rel=1e-4)
    assert got["acf_first_zero"] == next(k for k in range(48) if r[k] <= 0)


def test_wavelet_shares_are_energies_of_a_hand_made_haar_transform() -> None:
    x = np.cumsum(G(5).normal(size=64))
    a, details = x - x.mean(), []
    for _ in range(3):
        details.append(((a[::2] - a[1::2]) ** 2).sum() / 2)
        a = (a[::2] + a[1::2]) / math.sqrt(2)
    share = np.array([*details, (a**2).sum()]) / (sum(details) + (a**2).sum())
    got = named(Wavelets("haar", 3), x)
    assert [got[k] for k in ("detail_1_share", "detail_2_share", "detail_3_share", "rest_share")] == pytest.approx(
        list(share), rel=1e-4
    )
    assert got["wavelet_entropy"] == pytest.approx(-sum(share * np.log(share)) / math.log(4), rel=1e-4)


def test_canonical_features_by_loops() -> None:
    x = np.cumsum(G(6).normal(size=90)) + 3
    z = standardised(x)
    got, n = named(Canonical(), x), len(z)
    r = [sum(z[t] * z[t + k] for t in range(n - k)) / n for k in range(n)]
    k = next(k for k in range(n) if r[k] < 1 / math.e)
    assert got["decay_time"] == pytest.approx(k - 1 + (r[k - 1] - 1 / math.e) / (r[k - 1] - r[k]), rel=1e-4)
    assert got["acf_first_minimum"] == next(k for k in range(1, n - 1) if r[k - 1] > r[k] < r[k + 1])
    assert got["irreversibility"] == pytest.approx(
        sum((z[t + 1] - z[t]) ** 3 for t in range(n - 1)) / (n - 1), rel=1e-4
    )
    assert got["large_steps_share"] == pytest.approx(sum(abs(z[t + 1] - z[t]) > 0.04 for t in range(n - 1)) / (n - 1))
    runs = "".join("1" if v > 0 else "0" for v in z).split("0")
    assert got["longest_above_mean"] == max(map(len, runs))
    falls = "".join("1" if b < a else "0" for a, b in itertools.pairwise(z)).split("0")
    assert got["longest_decrease"] == max(map(len, falls))
    misses = [z[t] - (z[t - 1] + z[t - 2] + z[t - 3]) / 3 for t in range(3, n)]
    assert got["forecast_error_3"] == pytest.approx(np.std(misses, ddof=1), rel=1e-4)
    edges = np.linspace(z.min(), z.max(), 6)
    counts = [sum(edges[i] <= v < edges[i + 1] for v in z) + (i == 4) for i in range(5)]
    fullest = [(edges[i] + edges[i + 1]) / 2 for i in range(5) if counts[i] == max(counts)]
    assert got["histogram_mode_5"] == pytest.approx(np.mean(fullest), rel=1e-4)
    low, high = np.quantile(z, [1 / 3, 2 / 3])
    letters = [0 if v <= low else 1 if v <= high else 2 for v in z]
    pairs = list(itertools.pairwise(letters))
    p = [pairs.count((a, b)) / (n - 1) for a in range(3) for b in range(3)]
    assert got["motif_entropy"] == pytest.approx(-sum(v * math.log(v) for v in p if v), rel=1e-4)


def test_canonical_features_of_series_whose_answer_is_known() -> None:
    t, noise = np.arange(400), G(7).normal(size=4000)
    sine = named(Canonical(), np.sin(2 * np.pi * t / 20))
    assert sine["acf_first_minimum"] == 10 and sine["median_angular_frequency"] == pytest.approx(
        2 * np.pi / 20, rel=0.05
    )
    assert sine["slow_power_share"] > 0.99 and sine["motif_entropy"] < 2
    assert named(Canonical(), noise)["fluctuation_slope"] == pytest.approx(0.5, abs=0.08)
    assert named(Canonical(), np.cumsum(noise))["fluctuation_slope"] == pytest.approx(1.5, abs=0.12)
    assert (
        named(Canonical(), noise)["mutual_information_2"]
        < 0.01
        < 0.5
        < named(Canonical(), np.cumsum(noise))["mutual_information_2"]
    )
    late = named(Canonical(), np.where(t > 350, 5.0 + noise[:400], noise[:400]))
    assert late["high_outlier_timing"] > 0.5 > 0.2 > abs(late["low_outlier_timing"])
    assert canonical.information_minimum(standardised(np.sin(2 * np.pi * t / 20)), np.zeros(0)) == 5


def test_autocorrelation_is_the_sum_of_products() -> None:
    x = G(8).normal(size=(30, 2))
    y = x - x.mean(0)
    want = [[(y[: 30 - k, c] * y[k:, c]).sum() / (y[:, c] ** 2).sum() for c in range(2)] for k in range(30)]
    assert np.allclose(autocorrelation(x), want)


# --- channels, gaps, odd cells ------------------------------------------------------------------------


def test_channels_are_the_commonest_number_and_others_are_cut_or_absent() -> None:
    cells: list[Any] = [G(i).normal(size=(30 + i, c)) for i, c in enumerate((2, 2, 2, 3, 1))]
    extractor = SeriesStatistics().fit([*cells, None])
    x = extractor.transform([*cells, None])
    assert extractor.channels_ == 2 and extractor.names()[0] == "channel_1_mean" and x.shape == (6, 2 * 21)
    assert x[3, 0] == pytest.approx(cells[3][:, 0].mean(), rel=1e-5) and np.isfinite(x[3]).all()
    assert np.isfinite(x[4, :21]).all() and np.isnan(x[4, 21:]).all() and np.isnan(x[5]).all()
    assert SeriesStatistics().fit([[1, 2, 3]]).names()[0] == "mean"


@over("extractor", ALL)
def test_odd_series_give_numbers_or_nan_and_no_warning(extractor: Any) -> None:
    gaps = G(0).normal(size=(200, 2))
    gaps[20:60, 0] = np.nan
    gone = gaps.copy()
    gone[:, 1] = np.nan
    cells: list[Any] = [
        G(1).normal(size=(200, 2)), gaps, gone, np.zeros((50, 2)), np.full((50, 2), 0.1), [[1.0, 2.0]], [[1.0, None]],
        1e200 * G(2).normal(size=(90, 2)), 1e-200 * G(2).normal(size=(90, 2)), [], None, np.full((4, 2), np.nan),
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = extractor.fit_transform(cells)
    assert x.shape == (len(cells), len(extractor.names())) and x.dtype == np.float32
    assert len(set(extractor.names())) == x.shape[1]
    assert not np.isinf(x).any() and np.isnan(x[-3:]).all()
    assert np.array_equal(x, extractor.transform(cells), equal_nan=True)


def test_gaps_hardly_move_what_is_measured() -> None:
    x = np.sin(np.arange(400) / 9)
    holes = x.copy()
    holes[G(3).random(400) < 0.1] = np.nan
    for extractor in (SeriesStatistics(), Spectrum(), Wavelets()):
        a, b = extractor.fit_transform([x, holes])
        assert np.allclose(a, b, atol=0.1, equal_nan=True)


def test_files_of_readings(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3,4\n5,7\n")
    np.save(tmp_path / "b.npy", np.arange(24.0).reshape(4, 3, 2))
    assert named(SeriesStatistics(), tmp_path / "a.csv")["channel_2_mean"] == pytest.approx(13 / 3)
    assert named(SeriesStatistics(), tmp_path / "b.npy")["channel_6_mean"] == 14
    with pytest.raises(Unreadable, match=r"c\.csv does not exist"):
        SeriesStatistics().read(tmp_path / "c.csv")


# --- the body -----------------------------------------------------------------------------------------


def heart(rate: float, seconds: float = 80) -> tuple[np.ndarray, np.ndarray]:
    """An ECG with R, S and T waves, noise and a wandering base line; and its intervals in seconds."""
    at = [0.5]
    while at[-1] < seconds - 1.5:
        at.append(
            at[-1] + 0.8 + 0.05 * math.sin(2 * math.pi * 0.1 * at[-1]) + 0.02 * math.sin(2 * math.pi * 0.25 * at[-1])
        )
    t, waves = np.arange(int(seconds * rate)) / rate, ((1, 0, 0.012), (-0.15, 0.03, 0.012), (0.2, 0.25, 0.05))
    x = sum(h * np.exp(-(((t - c - d) / w) ** 2)) for c in at for h, d, w in waves)
    return x + 0.05 * G(0).normal(size=len(t)) + 0.3 * np.sin(2 * np.pi * 0.2 * t), np.diff(at)


@over("rate", [100, 250])
def test_heart_rate_and_its_variability(rate: float) -> None:
    x, rr = heart(rate)
    got = named(HeartRate(rate), x)
    assert got["beats"] == len(rr) + 1
    assert got["heart_rate_bpm"] == pytest.approx(60 / rr.mean(), rel=0.002)
    assert got["sdnn_ms"] == pytest.approx(1e3 * rr.std(), rel=0.02)
    assert got["rmssd_ms"] == pytest.approx(1e3 * math.sqrt((np.diff(rr) ** 2).mean()), rel=0.05)
    assert got["pnn50_share"] == pytest.approx((np.abs(np.diff(rr)) > 0.05).mean(), abs=0.03)
    at = np.cumsum(rr)
    assert got["lf_hf"] == pytest.approx(balance(at, rr), rel=0.1) and 3 < got["lf_hf"] < 10  # 0.05^2 / 0.02^2 = 6.25
    blind = named(HeartRate(), x)
    assert blind["rr_mean_readings"] == pytest.approx(rr.mean() * rate, rel=0.002)
    upside_down = named(HeartRate(rate), -x)
    assert upside_down["heart_rate_bpm"] == pytest.approx(60 / rr.mean(), rel=0.002)


def test_events_of_skin_conductance() -> None:
    rate, starts = 16, [8, 22, 40, 49, 70, 93]
    t = np.arange(120 * rate) / rate
    x = 2 + 0.003 * t
    for s in starts:
        u = np.maximum(t - s, 0) / 1.5
        x = x + 0.4 * u * np.exp(1 - u)
    got = named(Electrodermal(rate), x)
    assert got["events_per_minute"] == pytest.approx(len(starts) / 2)
    assert got["amplitude_mean"] == pytest.approx(0.4, abs=0.03)
    assert 2 < got["level_mean"] < 2.4 and got["level_slope_per_minute"] == pytest.approx(0.18, abs=0.08)
    assert named(Electrodermal(rate, least=0.6), x)["events_per_minute"] == 0
    assert named(Electrodermal(), x)["events_per_reading"] == pytest.approx(len(starts) / len(x))


def test_a_rate_is_positive() -> None:
    for cls in (HeartRate, Electrodermal):
        with pytest.raises(InputError, match="rate=0 readings a second; give a number above 0, or None"):
            cls(0)


def test_defaults_are_in_the_tables() -> None:
    for kind in ("audio", "series"):
        assert MODALITIES[kind].default_extractors and set(MODALITIES[kind].default_extractors) <= set(
            MODALITIES[kind].extractors
        )
        assert all(cls.kind == kind for cls in MODALITIES[kind].extractors.values())
