"""Clocks that were set wrong and run wrong by known amounts, seen by streams of different rates."""

import math

import numpy as np
import pytest

from cases import over
from polymodal.alignment import Clock, Samples, compare_clocks
from polymodal.alignment.clocks import robust_line
from polymodal.errors import InputError

SECONDS = 200.0


def both(seed: int, offset: float = 3.7, drift: float = 80.0, begin: float = 0.0) -> tuple[Samples, Samples]:
    """The same events in two channels at 200 Hz and, later and shorter, in one at 50 Hz, whose clock at `time` shows
    time + offset + 1e-6 * drift * (time - begin - 100)."""
    g = np.random.default_rng(seed)
    at, width = np.sort(g.uniform(0, SECONDS, 160)), g.uniform(0.1, 0.4, 160)
    loud = g.exponential(1, 160)

    def moves(t: np.ndarray) -> np.ndarray:
        return sum(x * np.exp(-0.5 * ((t - e) / w) ** 2) for e, w, x in zip(at, width, loud, strict=True))

    a, b = np.arange(0, SECONDS, 1 / 200), np.arange(5, SECONDS - 7, 1 / 50)
    x = moves(a)[:, None] * g.normal(size=(len(a), 2)) + 0.1 * g.normal(size=(len(a), 2))
    y = 7 + 2 * moves(b) * np.sin(2 * np.pi * 7 * b) + 0.1 * g.normal(size=len(b))
    return Samples(begin + a, x), Samples(begin + b + offset + 1e-6 * drift * (b - SECONDS / 2), y)


def misses(clock: Clock, offset: float, drift: float, begin: float = 0.0) -> tuple[float, float]:
    """How many standard errors the estimates are off."""
    true = offset + 1e-6 * drift * (clock.origin - begin - SECONDS / 2)
    return (clock.offset - true) / clock.offset_error, (clock.drift - drift) / clock.drift_error


@over("offset, drift, begin", [(3.7, 80.0, 0.0), (-1e6, -300.0, 1.7e9), (0.0, 0.0, -50.0)])
def test_offset_and_drift_are_as_sure_as_they_say(offset: float, drift: float, begin: float) -> None:
    z = []
    for seed in range(4):
        clock = compare_clocks(*both(seed, offset, drift, begin))
        assert clock.offset_error < 0.02 and clock.drift_error < 300 and len(clock.lags) > 14
        z.append(misses(clock, offset, drift, begin))
    assert (np.abs(z) < 4.0).all() and (np.sqrt(np.mean(np.square(z), axis=0)) < 1.8).all()


def test_the_other_way_round_it_is_the_inverse() -> None:
    a, b = both(0)
    there, back = compare_clocks(a, b), compare_clocks(b, a)
    assert abs(there.offset + back.offset) < 3 * there.offset_error
    times = np.array([0.0, 50.0, 1e4])
    assert np.allclose(there.to_a(there.to_b(times)), times, atol=1e-9)
    assert there.to_b(there.origin) == pytest.approx(there.origin + there.offset)
    assert there.to_b(there.origin + 1e6) == pytest.approx(there.origin + 1e6 + there.offset + there.drift)


def test_a_stream_is_at_no_offset_from_itself() -> None:
    a, _ = both(1)
    clock = compare_clocks(a, a, rate=50.0)
    assert abs(clock.offset) < 1e-4 and abs(clock.drift) < 1 and (clock.correlations > 0.999999).all()


def test_a_stream_with_many_samples_a_bin_is_not_early() -> None:
    g, fast = np.random.default_rng(0), np.arange(0, SECONDS, 1 / 800)
    loud = np.convolve(g.exponential(size=len(fast)) ** 4, np.hanning(400), mode="same")
    clock = compare_clocks(Samples(fast, loud), Samples(fast[::16] + 1.0, loud[::16]))
    assert abs(clock.offset - 1.0) < 1e-3


def test_gaps_and_unknown_channels_are_no_events() -> None:
    a, b = both(2)
    a.values[3000:9000] = np.nan
    a.values[:, 1] = np.nan
    keep = (b.times < 120) | (b.times > 140)
    clock = compare_clocks(a, Samples(b.times[keep], b.values[keep]))
    assert (np.abs(misses(clock, 3.7, 80.0)) < 3.5).all()
    whole = compare_clocks(*both(2))
    assert 8 <= len(clock.lags) < len(whole.lags)
    assert not ((clock.times > 20) & (clock.times < 40)).any()


def test_a_line_without_outliers_is_least_squares() -> None:
    x = np.linspace(-5, 5, 20)
    noise = 0.1 * np.tile([1.0, -1.0, -1.0, 1.0], 5)
    fit, errors, weights = robust_line(x, 2 + 3 * x + noise)
    design = np.stack([np.ones(20), x], axis=1)
    want, rss, *_ = np.linalg.lstsq(design, 2 + 3 * x + noise, rcond=None)
    assert (weights == 1).all() and np.allclose(fit, want)
    assert np.allclose(errors, np.sqrt(rss[0] / 18 * np.diag(np.linalg.inv(design.T @ design))), rtol=0.15)


def test_a_line_with_outliers_is_near_and_as_sure_as_it_says() -> None:
    g, x, z, plain, robust = np.random.default_rng(0), np.linspace(-5, 5, 40), [], [], []
    for _ in range(200):
        y = 2 + 3 * x + g.normal(size=40)
        y[g.choice(40, 3, replace=False)] += 12
        fit, errors, weights = robust_line(x, y)
        z.append((fit[1] - 3) / errors[1])
        plain.append(np.polyfit(x, y, 1)[0] - 3)
        assert weights[y - 2 - 3 * x > 9].max(initial=0) < 0.3
        robust.append(fit[1] - 3)
    assert 0.8 < np.std(z) < 1.25 and np.std(plain) > 1.5 * np.std(robust)


@over("call, words", [
    (lambda a, b: compare_clocks(a, b, window=60.0), r"has 187.* s, and a window of 60 s has 3000 bins of 1 / 50 s; give"),
    (lambda a, b: compare_clocks(a, b, window=0.1), "has 5 bins of 1 / 50 s; give a window of at least 8 bins of which 8 fit"),
    (lambda a, b: compare_clocks(a, b, rate=0.0), "rate=0 must be a number above 0"),
    (lambda a, b: compare_clocks(a, b, max_drift=math.nan), "max_drift=nan must be a number above 0"),
    (lambda a, b: compare_clocks(a, Samples(b.times[::-1], b.values)), "the times of b do not rise"),
    (lambda a, b: compare_clocks(a, Samples(b.times, np.random.default_rng(9).normal(size=len(b.times)))), "of .* windows of 10 s correlate by more than 0.3; 8 are needed"),
    (lambda a, b: compare_clocks(a, Samples(b.times, np.ones(len(b.times)))), "0 of .* windows of 10 s correlate"),
    (lambda a, b: compare_clocks(a, Samples(b.times, np.full(len(b.times), np.nan))), "b has no finite value"),
])  # fmt: skip
def test_what_tells_no_clock_is_refused(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        call(*both(3))
    assert "\n" not in str(refusal.value)
