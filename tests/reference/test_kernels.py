"""Kernels of series are those of MiniRocket by its definition, and windows are readings at even times."""

from itertools import combinations

import numpy as np
import pytest

from polymodal.modalities.series.kernels import MiniRocket, Windows

RNG = np.random.default_rng(0)


def test_shares_are_those_of_dilated_kernels_by_definition():
    cells = [RNG.normal(size=(40, 3)) * [1, 10, 0.1] + [0, 5, 0] for _ in range(6)]
    rocket = MiniRocket(length=40, dilations=3, biases=2).fit(cells)
    got = rocket.transform(cells)
    x = np.stack(cells).transpose(0, 2, 1)
    z = (x - x.mean((0, 2))[:, None]) / x.std((0, 2))[:, None]
    assert sorted({d for _, d, _ in rocket.patterns_}) == [1, 2, 4], "longer ones would not fit"
    places = list(combinations(range(9), 3))
    for i in RNG.choice(len(rocket.patterns_), 20, replace=False):
        kernel, dilation, channels = rocket.patterns_[i]
        weights = np.full(9, -1.0)
        weights[list(places[kernel])] = 2.0
        wide = np.pad(z[:, channels].sum(1), ((0, 0), (4 * dilation, 4 * dilation)))
        answers = np.stack([wide[:, t : t + 8 * dilation + 1 : dilation] @ weights for t in range(40)], axis=1)
        want = (answers[:, None] > rocket.biases_[i][:, None]).mean(2)
        assert np.allclose(got[:, 2 * i : 2 * i + 2], want, atol=0.03), rocket.patterns_[i]


def test_patterns_tell_apart_what_means_and_spreads_can_not():
    """A rise and a fall have the same mean, spread and range."""
    up = [np.linspace(0, 1, n)[:, None] + RNG.normal(0, 0.05, (n, 1)) for n in RNG.integers(30, 90, 20)]
    down = [x[::-1].copy() for x in up]
    x = MiniRocket(length=32).fit_transform([*up, *down])
    assert np.isfinite(x).all() and abs(x[:20].mean(0) - x[20:].mean(0)).max() > 0.3


def test_windows_are_readings_at_even_times_whatever_the_length():
    x = Windows(length=5).fit_transform([np.arange(9.0), np.array([0.0, np.nan, 8.0]), None])
    assert np.array_equal(x[:2], [[0, 2, 4, 6, 8]] * 2) and np.isnan(x[2]).all()


@pytest.mark.parametrize("cells", [[None, None], [np.array([[1.0], [2.0]])], [np.ones((9, 2)), np.ones((9, 2))]])
def test_few_or_constant_series_are_no_error(cells):
    for extractor in (MiniRocket(length=16), Windows(length=16)):
        x = extractor.fit_transform(cells)
        assert len(x) == len(cells) and x.shape[1] == len(extractor.names()) and not np.isinf(x).any()
