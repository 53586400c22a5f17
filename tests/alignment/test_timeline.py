"""Samples in order, on another clock and in windows, against loops that say what is meant."""

import math

import numpy as np
import pytest
import torch

from cases import over
from polymodal.alignment import Samples, resample, sort_samples, windows
from polymodal.errors import InputError


def test_late_and_repeated_samples_are_sorted_and_counted() -> None:
    times = [0.0, 3.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 0.5]
    got = sort_samples(Samples(times, [[10.0 * t + i / 10] for i, t in enumerate(times)]))
    assert got.samples.times.tolist() == [0.0, 0.5, 1.0, 2.0, 3.0, 4.0]
    assert got.samples.values[:, 0].tolist() == pytest.approx([0.0, 5.8, 10.2, 20.3, 30.1, 40.5])
    assert got.late == 3 and got.duplicates.tolist() == [3.0, 4.0]
    again = sort_samples(got.samples)
    assert again.late == 0 and len(again.duplicates) == 0


def test_a_new_clock_makes_nothing_up() -> None:
    g = np.random.default_rng(0)
    times = np.sort(g.uniform(0, 20, 40))
    values = g.normal(size=(40, 3))
    values[g.random((40, 3)) < 0.3] = np.nan
    values[:, 2] = np.nan
    new = np.concatenate([g.uniform(-2, 22, 60), times[:5]])
    got = resample(Samples(times, values), new, gap=1.0)
    for m, t in enumerate(new):
        for c in range(3):
            known = [(a, v) for a, v in zip(times, values[:, c], strict=True) if v == v]
            before, after = [k for k in known if k[0] <= t], [k for k in known if k[0] >= t]
            want = math.nan
            if before and after and after[0][0] - before[-1][0] <= 1.0:
                (p, v), (q, w) = before[-1], after[0]
                want = v if p == q else v + (w - v) * (t - p) / (q - p)
            assert bool(got.mask[m, c]) == (want == want)
            assert want != want or math.isclose(got.values[m, c], want, abs_tol=1e-12)
    assert 20 < int(got.mask.sum()) < got.mask.numel() and not got.mask[:, 2].any()
    assert got.values[~got.mask].isnan().all()


def test_a_clock_that_is_its_own_changes_nothing() -> None:
    times, values = np.array([0.0, 0.1, 7.0]), np.array([[1.0, 2.0], [np.nan, 4.0], [5.0, 6.0]])
    got = resample(Samples(times, values), times, gap=0.0)
    assert np.array_equal(got.values.numpy(), values, equal_nan=True)


def test_windows_hold_what_all_streams_have_at_their_time() -> None:
    g = np.random.default_rng(1)
    fast = Samples(np.arange(0, 10, 0.25), g.normal(size=(40, 2)))
    slow = Samples(np.sort(g.uniform(3, 6, 7)), g.normal(size=7))
    fast.values[4, 1] = np.nan
    got = windows({"fast": fast, "slow": slow}, length=2.0, hop=0.75)
    assert got.starts.tolist() == [0.75 * k for k in range(11)]
    for name, stream in (("fast", fast), ("slow", slow)):
        values = np.asarray(stream.values).reshape(len(stream.times), -1)
        most = 0
        for w, start in enumerate(got.starts.tolist()):
            inside = [n for n, t in enumerate(stream.times) if start <= t < start + 2.0]
            mask, most = got.streams[name].mask[w], max(most, len(inside))
            assert mask.any(1).sum() == len(inside) and not mask[len(inside) :].any()
            cells = got.streams[name].values[w, : len(inside)].numpy()
            assert np.array_equal(cells, values[inside], equal_nan=True)
            assert np.array_equal(mask[: len(inside)].numpy(), ~np.isnan(values[inside]))
            after = got.times[name][w]
            assert (
                np.allclose(after[: len(inside)], stream.times[inside] - start) and after[len(inside) :].isnan().all()
            )
        assert got.streams[name].values.shape[1] == most
    assert got.streams["slow"].present().tolist() != [True] * 11


def test_windows_of_a_part_and_on_a_large_clock() -> None:
    stream = Samples(1.7e9 + np.arange(0, 10, 0.1), np.arange(100.0))
    got = windows({"x": stream}, length=0.3, hop=0.3, start=1.7e9 + 1, end=1.7e9 + 4)
    assert len(got.starts) == 10 and (got.streams["x"].mask.sum((1, 2)) - 3).abs().max() <= 1
    assert windows({"x": Samples([0.0, 1.0], [1.0, 2.0])}, length=1.0, hop=9.0).streams["x"].mask.sum() == 1


up = [0.0, 1.0]


@over("call, words", [
    (lambda: sort_samples(Samples([], [])), r"samples has times \(0,\) and values \(0, 1\); give \(N,\) and \(N, C\)"),
    (lambda: sort_samples(Samples(up, [1.0])), "of the same N, 1 at least"),
    (lambda: sort_samples(Samples([0.0, math.nan], up)), "samples has 1 times that are not finite; leave those out"),
    (lambda: resample(Samples([1.0, 0.0], up), up, gap=1), "the times of samples do not rise: sample 1 is at 0 s, after one at 1 s; put them in order with sort_samples"),
    (lambda: resample(Samples(up, up), [math.inf], gap=1), "1 of the new times are not finite"),
    (lambda: resample(Samples(up, up), up, gap=-1), "gap=-1 must be a number of seconds from 0"),
    (lambda: windows({}, length=1, hop=1), "there is no stream"),
    (lambda: windows({"x": Samples(up, up)}, length=1, hop=0), "length=1 and hop=0 must be seconds above 0"),
    (lambda: windows({"x": Samples(up, up)}, length=2, hop=1), "no window of 2 s fits in the 1 s from 0 to 1; give a shorter length"),
    (lambda: windows({"x": Samples([0.0, 0.0], up)}, length=1, hop=1), "the times of x do not rise"),
])  # fmt: skip
def test_what_has_no_order_or_room_is_refused(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_precision_stays() -> None:
    assert resample(Samples(up, torch.ones(2)), up, gap=1).values.dtype == torch.float32
