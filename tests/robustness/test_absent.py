"""Subsets, shares of cells, ranks: against their definitions. Areas by slow loops."""

from itertools import pairwise

import numpy as np
import pytest

from polymodal.evaluate.intervals import Interval
from polymodal.robustness.absent import STRENGTH, SUBSETS, ranks, remove, subsets
from polymodal.robustness.measure import Sample
from polymodal.robustness.result import Noisy, Subset, areas, effective, relative, worst_noise, worst_subset
from polymodal.robustness.sentences import Words


def flat(here):
    return np.zeros(here.shape)


@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_every_subset_once_and_all_of_them_first(m):
    found = subsets(m)
    assert len(found) == len(set(found)) == 2**m - 1
    assert found[0] == (True,) * m and all(any(s) for s in found)


def test_of_many_modalities_a_sample_holds_all_each_alone_and_each_left_out():
    found = subsets(8, seed=3)
    assert len(found) == len(set(found)) == SUBSETS and found[0] == (True,) * 8
    sizes = [sum(s) for s in found]
    assert sizes.count(1) == 8 and sizes.count(7) == 8 and 0 not in sizes
    assert found == subsets(8, seed=3) != subsets(8, seed=4)
    assert len(subsets(40)) == 81


@pytest.mark.parametrize("share", [0.1, 0.33, 0.6, 0.9])
def test_the_expected_share_is_exact(share):
    here = np.random.default_rng(0).random((7, 3)) < 0.8
    cells = here.sum()
    counts = [remove(here, share, flat(here), s).sum() for s in range(600)]
    assert set(counts) <= {int(share * cells), int(share * cells) + 1}
    assert np.mean(counts) == pytest.approx(share * cells, abs=0.06)
    assert not (remove(here, share, flat(here), 0) & ~here).any()


def test_rows_are_emptied_only_where_the_share_needs_it():
    here = np.ones((30, 3), dtype=bool)
    for share, empty in ((0.3, 0), (0.6, 0), (2 / 3, 0), (0.7, 3), (0.9, 21), (1.0, 30)):
        gone = remove(here, share, flat(here), 5)
        assert gone.all(1).sum() == pytest.approx(empty, abs=1 if share > 2 / 3 else 0)


def test_what_goes_at_a_small_share_goes_at_a_larger_one():
    here = np.random.default_rng(1).random((40, 4)) < 0.7
    masks = [remove(here, s, flat(here), 9) for s in np.linspace(0, 1, 11)]
    assert all(not (a & ~b).any() for a, b in pairwise(masks))
    assert not masks[0].any() and (masks[-1] == here).all()


def test_a_cell_of_rank_one_goes_nine_times_as_often_as_one_of_rank_zero():
    here = np.ones((4000, 2), dtype=bool)
    rank = np.repeat((np.arange(4000) % 2)[:, None], 2, axis=1).astype(float)
    gone = remove(here, 0.05, rank, 0)
    assert gone[1::2].sum() / gone[::2].sum() == pytest.approx(STRENGTH, rel=0.35)
    even = remove(here, 0.05, flat(here), 0)
    assert even[1::2].sum() / even[::2].sum() == pytest.approx(1, rel=0.25)


def test_the_modality_that_is_seen_stays():
    here = np.ones((50, 3), dtype=bool)
    gone = remove(here, 0.9, flat(here), 2, np.array([False, True, False]))
    assert not gone[:, 1].any() and gone.sum() == 90


def test_ranks_run_from_zero_to_one_with_ties_in_the_middle():
    x = np.array([5.0, 1.0, np.nan, 5.0, 9.0])
    known = np.where(np.isnan(x), -np.inf, x)
    slow = [(sum(b < a for b in known) + (sum(b == a for b in known) - 1) / 2) / 4 for a in known]
    assert ranks(x) == pytest.approx(slow)
    assert ranks(np.array([3.0])).tolist() == [0.5]


def test_areas_are_those_of_the_definition():
    f, b = np.array([[0.9, 0.8, 0.7, 0.3], [0.5, 0.6, 0.4, 0.4]]).T, np.array([[0.8, 0.75, 0.5, 0.1], [0.7] * 4]).T
    for r in range(2):
        area = gain = worse = 0.0
        for i in range(3):
            area += (f[i, r] + f[i + 1, r]) / 2 / f[0, r] / 3
            worse += (f[0, r] / f[i, r] + f[0, r] / f[i + 1, r]) / 2 / 3
            gain += sum(f[j, r] - (b[j, r] + f[0, r] - b[0, r]) for j in (i, i + 1)) / 2 / 3
        assert relative(f, True)[r] == pytest.approx(area) and relative(f, False)[r] == pytest.approx(worse)
        assert effective(f, b, True)[r] == pytest.approx(gain) == -effective(f, b, False)[r]
    undefined = np.array([[-0.1, np.nan, 0.5, 0.5], [0.1, 1.0, np.nan, 0.0]])
    assert np.isnan(relative(undefined, True)).tolist() == [True, True, True, False]
    assert np.isnan(relative(undefined, False)).all()


def test_areas_have_intervals_of_paired_samples_and_a_mean_over_the_curves_that_have_one():
    g = np.random.default_rng(0)
    common = g.normal(0, 0.2, 1000)  # what both models have in common in a sample
    keys = [("photo", "blur"), ("note", "typos"), ("note", "void")]

    def scores(ends):
        levels = [[Sample(x, x + common + g.normal(0, 0.01, 1000)) for x in (3.0, end)] for end in ends]
        return dict(zip(keys, [*levels, [Sample(-1.0, -1 + common), Sample(0.0, common)]], strict=True))

    f, b = scores([2.0, 1.0]), scores([1.0, 0.8])
    mine, gain = areas(f, True), areas(f, True, b)
    assert [x[:2] for x in mine.curves] == keys and np.isnan(mine.curves[2][2:]).all()
    assert mine.mean.value == pytest.approx(np.mean([2.5 / 3, 2 / 3])) and mine.mean.low < mine.mean.value
    for area, key in zip(gain.curves, keys, strict=True):
        slow = [((f[key][1].draws[r] - f[key][0].draws[r]) - (b[key][1].draws[r] - b[key][0].draws[r])) / 2
                for r in range(1000)]  # fmt: skip
        assert area[3:] == pytest.approx(np.quantile(slow, [0.025, 0.975]))
    assert gain.curves[0].value == pytest.approx(0.5) and gain.curves[0].high - gain.curves[0].low < 0.06
    assert areas(f, True, f).mean == (0, 0, 0) and np.isnan(areas({}, True).mean).all()


def test_of_equally_bad_ones_the_first_is_named():
    same, less = Interval(0.5, 0.4, 0.6), Interval(0.1, 0.0, 0.2)
    grid = [Subset([*p], same, loss, 50, 50) for p, loss in (("abc", less), ("ab", less), ("bc", same), ("a", same))]
    assert worst_subset(grid) is grid[2]
    noise = [
        Noisy(m, k, level, "", level / 3, same, same if level > 1 else less, 50)
        for m, k in (("a", "blur"), ("a", "mismatch"), ("b", "blur"), ("b", "mismatch"))
        for level in range(4)
    ]
    assert worst_noise(noise) is noise[2] and worst_noise(noise, mismatch=True) is noise[6]
    undefined = Interval(float("nan"), float("nan"), float("nan"))
    assert worst_subset([grid[0], grid[1]._replace(loss=undefined), grid[3]]) is grid[3]
    assert worst_subset([grid[0], grid[1]._replace(loss=undefined)]) is None is worst_noise(noise[:1])


def test_sentences_say_what_is_noise():
    say = Words("accuracy", Interval(0.8, 0.7, 0.9), 100)._change
    assert say(Interval(0.6, 0.5, 0.7), Interval(0.2, 0.1, 0.3)) == (
        "accuracy falls from 0.800 to 0.600 [0.500, 0.700]; the loss is 0.200 [0.100, 0.300]."
    )
    assert "no difference from clean was shown on 100 rows: the loss is 0.020 [-0.010, 0.050]" in say(
        Interval(0.78, 0.7, 0.8), Interval(0.02, -0.01, 0.05)
    )
    assert "a gain of 0.100 [0.050, 0.150]" in say(Interval(0.9, 0.8, 1.0), Interval(-0.1, -0.15, -0.05))
    few = Words("accuracy", Interval(1.0, 1.0, 1.0), 1)._change(Interval(0.0, 0.0, 0.0), Interval(1.0, 1.0, 1.0))
    assert "1 row are too few" not in few and "1 row is too few" in few
    assert "[0.000, 0.010]" in say(Interval(0.8, 0.7, 0.9), Interval(0.0, -1e-9, 0.01))  # never a -0.000
    nan = float("nan")
    assert say(Interval(nan, nan, nan), Interval(nan, nan, nan)) == "accuracy is undefined on these rows."
