"""Tests of differences: against their formulas, scipy, published tables, and how often they err."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from polymodal.batch import Masked
from polymodal.evaluate.intervals import difference
from polymodal.evaluate.significance import Ranks, alike, average_ranks, corrected_t, holm, paired_bootstrap
from polymodal.output import Scores
from polymodal.tasks import Binary


def by_hand(d: list[float], share: float) -> tuple[float, float, float, float]:
    """Nadeau & Bengio's formula, one sum at a time."""
    n = len(d)
    mean = sum(d) / n
    variance = sum((x - mean) ** 2 for x in d) / (n - 1)
    scale = math.sqrt((1 / n + share / (1 - share)) * variance)
    half = stats.t(n - 1).ppf(0.975) * scale
    return mean, mean - half, mean + half, 2 * (1 - stats.t(n - 1).cdf(abs(mean / scale)))


@pytest.mark.parametrize(("repeats", "folds"), [(1, 2), (1, 5), (10, 10), (4, 1)])
def test_corrected_t_is_its_formula(repeats: int, folds: int) -> None:
    d = np.random.default_rng(folds).normal(0.02, 0.03, (repeats, folds))
    gain, p = corrected_t(d.tolist(), 0.2)
    assert (*gain, p) == pytest.approx(by_hand(d.reshape(-1).tolist(), 0.2))


def test_without_the_correction_it_is_the_plain_t_test() -> None:
    d = np.random.default_rng(0).normal(0.5, 1, 12)
    plain = stats.ttest_1samp(d, 0)
    gain, p = corrected_t([d.tolist()], 1e-13)
    assert p == pytest.approx(plain.pvalue)
    assert gain[1:] == pytest.approx(plain.confidence_interval())
    assert corrected_t([d.tolist()], 0.2).p > p


def test_p_and_interval_say_the_same() -> None:
    for seed in range(40):
        d = np.random.default_rng(seed).normal(0.5, 1, (2, 5)).tolist()
        gain, p = corrected_t(d, 0.2)
        assert (p < 0.05) == (gain.low > 0 or gain.high < 0)


def test_the_correction_keeps_the_error_at_one_in_twenty_on_overlapping_folds() -> None:
    """Two candidates that are right with the same probability, each row tested in several of 15 random splits."""
    corrected = plain = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        right = rng.random((2, 60)) < 0.7
        d = []
        for _ in range(15):
            test = rng.permutation(60)[:12]
            d.append(float(right[0, test].mean() - right[1, test].mean()))
        corrected += corrected_t([d], 0.2).p < 0.05
        plain += stats.ttest_1samp(d, 0).pvalue < 0.05
    assert corrected <= 0.09 * 200
    assert plain > 0.2 * 200


def test_differences_that_are_all_equal() -> None:
    assert corrected_t([[0.0] * 5], 0.2) == ((0.0, 0.0, 0.0), 1.0)
    for n in (2, 5, 10):
        gain, p = corrected_t([[0.1] * n], 0.2)
        signs = [sum(s) for s in itertools.product((1, -1), repeat=n)]
        assert p == sum(abs(s) == n for s in signs) / len(signs)  # the sign test, counted
        assert gain == pytest.approx((0.1, 0.1, 0.1))
    assert corrected_t([[0.1] * 5], 0.2).p > 0.05


def test_one_fold_no_fold_and_nan() -> None:
    nan = float("nan")
    gain, p = corrected_t([[0.3]], 0.2)
    assert gain.value == 0.3 and math.isnan(gain.low) and math.isnan(gain.high) and math.isnan(p)
    for nothing in ([[]], [[nan, nan]], []):
        assert all(map(math.isnan, (*corrected_t(nothing, 0.2).gain, corrected_t(nothing, 0.2).p)))
    assert corrected_t([[0.1, nan, 0.3], [nan, 0.4, 0.0]], 0.3) == corrected_t([[0.1, 0.3, 0.4, 0.0]], 0.3)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_a_share_that_is_none_is_told(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1, but was"):
        corrected_t([[0.1, 0.2]], share)


def closed_holm(p: list[float]) -> list[float]:
    """By the closure principle: p of i is the largest Bonferroni p of any set of hypotheses that holds i."""
    indices = range(len(p))
    sets = [s for r in range(1, len(p) + 1) for s in itertools.combinations(indices, r)]
    return [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in indices]


def test_holm_is_the_closure_of_bonferroni() -> None:
    rng = np.random.default_rng(0)
    for n in range(1, 7):
        p = (rng.random(n) ** 3).tolist()
        assert holm(p) == pytest.approx(closed_holm(p))
    assert holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])


def test_holm_leaves_out_what_was_not_tested() -> None:
    nan = float("nan")
    got = holm([0.03, nan, 0.01])
    assert math.isnan(got[1]) and [got[0], got[2]] == holm([0.03, 0.01])
    assert holm([]) == [] and math.isnan(holm([nan])[0])


def binary(n: int, seed: int, lift: float) -> tuple[Binary, torch.Tensor, torch.Tensor, Masked]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=g)
    shared = torch.randn(n, 2, generator=g)
    hot = torch.nn.functional.one_hot(y, 2)
    a = shared + (1 + lift) * hot + 0.5 * torch.randn(n, 2, generator=g)
    b = shared + hot + 0.5 * torch.randn(n, 2, generator=g)
    return Binary().fit(["0", "1"]), a, b, Masked(y, torch.ones(n, dtype=torch.bool))


@pytest.mark.parametrize("groups", [None, [i // 4 for i in range(200)]])
def test_the_interval_of_the_bootstrap_is_that_of_difference(groups: list[int] | None) -> None:
    task, a, b, target = binary(200, 0, 0.5)
    target.mask[::7] = False
    gain, p = paired_bootstrap(task, [Scores(a)], [Scores(b)], target, "accuracy", groups, 300)
    assert gain == pytest.approx(difference(task, Scores(a), Scores(b), target, "accuracy", groups, 300))
    assert 0 < p <= 1
    back = paired_bootstrap(task, [Scores(b)], [Scores(a)], target, "accuracy", groups, 300)
    assert back.p == p and back.gain.value == -gain.value


def test_the_bootstrap_takes_the_mean_over_repeats() -> None:
    task, a, b, target = binary(150, 1, 0.5)
    one, two = (difference(task, Scores(x), Scores(y), target, "accuracy").value for x, y in ((a, b), (b, b)))
    assert paired_bootstrap(
        task, [Scores(a), Scores(b)], [Scores(b), Scores(b)], target, "accuracy"
    ).gain.value == pytest.approx((one + two) / 2)


def test_the_bootstrap_errs_about_one_time_in_twenty_and_sees_what_is_there() -> None:
    wrong = sum(_p(seed, 0.0) < 0.05 for seed in range(120))
    assert 1 <= wrong <= 0.11 * 120
    assert sum(_p(seed, 3.0) < 0.05 for seed in range(10)) == 10


def _p(seed: int, lift: float) -> float:
    task, a, b, target = binary(150, seed, lift)
    return paired_bootstrap(task, [Scores(a)], [Scores(b)], target, "accuracy", replicates=200).p


def test_the_bootstrap_of_twins_and_of_nothing() -> None:
    task, a, _, target = binary(50, 0, 0)
    assert paired_bootstrap(task, [Scores(a)], [Scores(a)], target, "accuracy") == ((0.0, 0.0, 0.0), 1.0)
    hidden = Masked(target.values, torch.zeros(50, dtype=torch.bool))
    gain, p = paired_bootstrap(task, [Scores(a)], [Scores(a)], hidden, "accuracy")
    assert all(map(math.isnan, (*gain, p)))


def test_grouped_rows_are_less_evidence() -> None:
    task, a, b, target = binary(40, 3, 1.0)
    copies = Masked(target.values.repeat(6), target.mask.repeat(6))
    naive = paired_bootstrap(task, [Scores(a.repeat(6, 1))], [Scores(b.repeat(6, 1))], copies, "accuracy")
    grouped = paired_bootstrap(
        task, [Scores(a.repeat(6, 1))], [Scores(b.repeat(6, 1))], copies, "accuracy", list(range(40)) * 6
    )
    assert grouped.p > naive.p and grouped.gain.high - grouped.gain.low > naive.gain.high - naive.gain.low


# Demsar 2006, table 5a: quantiles for the two-tailed Nemenyi test at 0.05
NEMENYI = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}


@pytest.mark.parametrize("count", NEMENYI)
def test_the_critical_difference_is_that_of_the_published_table(count: int) -> None:
    scores = np.random.default_rng(0).random((count, 1, 14)).tolist()
    ranks = average_ranks([str(i) for i in range(count)], scores, higher=True)
    assert ranks is not None and ranks.folds == 14
    assert ranks.critical == pytest.approx(NEMENYI[count] * math.sqrt(count * (count + 1) / (6 * 14)), abs=2e-3)


def test_ranks_and_friedman_are_scipys() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 6, (4, 9)).astype(float)  # with ties
    up = average_ranks(list("abcd"), table[:, None].tolist(), higher=True)
    down = average_ranks(list("abcd"), table[:, None].tolist(), higher=False)
    assert up is not None and down is not None
    for c in range(4):
        each = [1 + (table[:, k] > table[c, k]).sum() + ((table[:, k] == table[c, k]).sum() - 1) / 2 for k in range(9)]
        assert up.means[c] == pytest.approx(np.mean(each))
        assert up.means[c] + down.means[c] == pytest.approx(5)
    assert up.p == pytest.approx(stats.friedmanchisquare(*table).pvalue)


def test_repeats_are_no_new_evidence() -> None:
    scores = np.random.default_rng(1).random((3, 1, 6))
    once = average_ranks(list("abc"), scores.tolist(), higher=True)
    again = average_ranks(list("abc"), np.repeat(scores, 5, axis=1).tolist(), higher=True)
    assert once is not None and again is not None
    assert again.critical == once.critical and again.p == pytest.approx(once.p) and again.means == once.means


def test_ranks_need_two_candidates_and_two_folds() -> None:
    nan = float("nan")
    assert average_ranks(["a"], [[[1.0, 2.0]]], higher=True) is None
    assert average_ranks(["a", "b"], [[[1.0]], [[2.0]]], higher=True) is None
    assert average_ranks(["a", "b"], [[[1.0, nan]], [[2.0, 1.0]]], higher=True) is None
    assert average_ranks([], [], higher=True) is None
    same = average_ranks(["a", "b"], [[[1.0, 1.0]], [[1.0, 1.0]]], higher=True)
    assert same is not None and same.p == 1.0 and same.means == [1.5, 1.5]


def test_bars_join_what_is_within_one_critical_difference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        means = (rng.random(6) * 5 + 1).round(1).tolist()
        ranks = Ranks(list("abcdef"), means, 1.5, 0.0, 5)
        place = dict(zip(ranks.names, means, strict=True))
        bars = alike(ranks)
        for bar in bars:
            assert max(place[x] for x in bar) - min(place[x] for x in bar) <= 1.5
            assert not any(set(bar) < set(other) for other in bars)
        for x, y in itertools.combinations("abcdef", 2):
            together = any(x in bar and y in bar for bar in bars)
            assert together == (abs(place[x] - place[y]) <= 1.5)
