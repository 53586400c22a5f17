"""Faithfulness: the curves against slow loops, the gain of right, wrong and empty explanations, random weights."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from polymodal.explain.faithful import area, correlation, counts, faithfulness, randomised

WEIGHT = np.array([3.0, -1.0, 0.5, 0.0, 2.0, -2.5, 0.1, 1.0])


def linear(away: np.ndarray) -> np.ndarray:
    """What is left of a sum of weights."""
    return np.array([sum(w for w, gone in zip(WEIGHT, row, strict=True) if not gone) for row in away])


def test_curves_are_those_of_hiding_part_after_part() -> None:
    found = faithfulness(WEIGHT, linear)
    order = sorted(range(8), key=lambda s: -WEIGHT[s])
    for k, share in enumerate(found.share):
        gone, kept = order[: round(8 * share)], order[round(8 * share) :]
        assert found.deletion[k] == pytest.approx(sum(WEIGHT[s] for s in kept))
        assert found.insertion[k] == pytest.approx(sum(WEIGHT[s] for s in gone))
    assert found.share[0] == 0 and found.share[-1] == 1
    for curve in (found.insertion, found.random_insertion):
        assert curve[0] == pytest.approx(0) and curve[-1] == pytest.approx(WEIGHT.sum())
    for curve in (found.deletion, found.random_deletion):
        assert curve[0] == pytest.approx(WEIGHT.sum()) and curve[-1] == pytest.approx(0, abs=1e-9)
    assert found.random_insertion.tolist() == found.random_deletion[::-1].tolist()


def test_the_gain_is_the_areas_between_the_curves_over_the_range() -> None:
    found = faithfulness(WEIGHT, linear)
    step = np.diff(found.share)

    def under(curve: np.ndarray) -> float:
        return float(sum(d * (a + b) / 2 for d, a, b in zip(step, curve, curve[1:], strict=False)))

    curves = [found.random_deletion, found.deletion, found.insertion, found.random_insertion]
    rd, d, i, ri = map(under, curves)
    low, high = found.deletion.min(), found.insertion.max()  # of a sum they are the extremes
    assert found.gain == pytest.approx((rd - d + i - ri) / 2 / (high - low))


def test_random_order_is_a_straight_line_for_a_sum_and_the_mean_over_orders() -> None:
    found = faithfulness(WEIGHT, linear, orders=4000, seed=3)
    assert np.allclose(found.random_deletion, (1 - found.share) * WEIGHT.sum(), atol=0.15)


def test_right_gains_wrong_loses_and_nothing_is_zero() -> None:
    right, wrong = faithfulness(WEIGHT, linear), faithfulness(-WEIGHT, linear)
    assert right.gain > 0.2 and wrong.gain < -0.2
    assert right.gain == pytest.approx(-wrong.gain)
    middle = len(right.share) // 2
    assert right.deletion[middle] < right.random_deletion[middle] < wrong.deletion[middle]
    assert right.insertion[middle] > right.random_insertion[middle] > wrong.insertion[middle]
    flat = faithfulness(WEIGHT, lambda away: np.full(len(away), 0.7))
    assert flat.gain == 0 and set(flat.deletion) == {0.7}
    g = np.random.default_rng(0)
    guesses = [faithfulness(g.normal(size=8), linear, seed=i).gain for i in range(60)]
    assert abs(np.mean(guesses)) < 0.06


def test_equal_scores_are_no_order() -> None:
    some = [faithfulness(np.zeros(8), linear, seed=i) for i in range(60)]
    assert len({tuple(f.deletion) for f in some}) > 5 and abs(np.mean([f.gain for f in some])) < 0.06


def test_the_model_is_asked_once_with_distinct_sets() -> None:
    asked: list[np.ndarray] = []

    def hide(away: np.ndarray) -> np.ndarray:
        asked.append(away)
        return linear(away)

    faithfulness(WEIGHT, hide)
    (sets,) = asked
    assert sets.dtype == bool and len({s.tobytes() for s in sets}) == len(sets)
    assert sum(s.all() for s in sets) == 1 and sum(not s.any() for s in sets) == 1


@pytest.mark.parametrize("parts", [1, 2, 3, 9, 10, 11, 64, 127])
def test_steps_go_from_none_to_all_and_read_the_same_backwards(parts: int) -> None:
    found = counts(parts).tolist()
    assert found[0] == 0 and found[-1] == parts and found == sorted(set(found))
    assert [parts - k for k in reversed(found)] == found and len(found) <= 13
    one = faithfulness(np.ones(parts), lambda away: (~away).sum(1).astype(float))
    assert one.gain == pytest.approx(0) and one.share[-1] == 1


def test_area_and_correlation_are_those_of_the_books() -> None:
    assert area(np.array([0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0])) == pytest.approx(0.75)
    g = np.random.default_rng(0)
    for _ in range(5):
        a, b = g.integers(0, 5, 12).astype(float), g.normal(size=12)
        assert correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert correlation(np.ones(4), np.arange(4.0)) == 0


def test_random_weights_keep_size_and_nothing_else() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(200, 100), nn.LayerNorm(100), nn.Embedding(50, 20))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    other, again = randomised(net, 5), randomised(net, 5)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    for k, v in other.state_dict().items():
        assert torch.equal(v, again.state_dict()[k])
        if before[k].std() > 0:
            assert abs(torch.corrcoef(torch.stack([v.flatten(), before[k].flatten()]))[0, 1]) < 0.3
            assert v.std() == pytest.approx(float(before[k].std()), rel=0.3)
    assert not torch.equal(other[0].weight, randomised(net, 6)[0].weight)
    assert torch.equal(other[1].weight, torch.ones(100))


def test_as_json() -> None:
    out = faithfulness(WEIGHT, linear, randomised=0.25).to_json()
    assert json.loads(json.dumps(out)) == out and out["randomised"] == 0.25
    assert set(out) == {
        "share", "deletion", "insertion", "random_deletion", "random_insertion", "gain", "randomised",
    }  # fmt: skip
    assert faithfulness(WEIGHT, linear).to_json()["randomised"] is None
