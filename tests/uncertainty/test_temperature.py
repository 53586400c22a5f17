"""One temperature: found where it is known, honest about what it brings, and never surer than the rows can bear out."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from polymodal.batch import Masked
from polymodal.output import Scores
from polymodal.tasks import MultiClass, MultiLabel, Ordinal, Regression
from polymodal.uncertainty import calibrate
from polymodal.uncertainty.temperature import RANGE, calibration_error, search_temperature, temperature
from uncertainty import fakes

PROBABLE = ["binary", "multiclass", "ordinal", "multilabel"]


def drawn(name, n, scale, seed=0):
    """Task, logits that are `scale` times too large, and labels drawn from what they should have been."""
    task, learner, rows = fakes.made(name, n, seed, noise=0.0, gaps=0.0, modalities=("a",), scale=scale)
    return task, learner.infer(rows.batch(range(n)).inputs).values, rows.target(range(n))


@pytest.mark.parametrize("name", PROBABLE)
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_known_temperature_is_found(name, scale):
    task, logits, target = drawn(name, 3000, scale)
    assert temperature(task, logits, target) == pytest.approx(scale, rel=0.1)


@pytest.mark.parametrize("name", PROBABLE)
def test_over_confidence_is_mended_and_answers_stay(name):
    task, logits, target = drawn(name, 1500, 4.0)
    t, losses, eces = search_temperature(task, logits, target, None)
    assert losses["after"] < losses["before"] - 0.1 and eces["after"] < eces["before"] / 2
    assert losses["before"] == task.log_loss(logits, target) and eces["before"] == calibration_error(
        task, logits, target
    )
    before, after = task.decode(Scores(logits)), task.decode(Scores(logits / t))
    assert list(before["prediction"]) == list(after["prediction"])


def test_figures_after_are_of_the_other_half_and_halves_of_whole_groups():
    """With all rows of a group alike, a half that holds some of a group would know the rest."""
    task, logits, target = drawn("multiclass", 60, 3.0)
    twice = torch.cat([logits, logits])
    doubled = Masked(target.values.repeat(2), target.mask.repeat(2))
    groups = [f"g{i % 60}" for i in range(120)]
    of_groups = search_temperature(task, twice, doubled, groups)[1]["after"]
    of_rows = search_temperature(task, twice, doubled, None)[1]["after"]
    own = task.log_loss(twice / temperature(task, twice, doubled), doubled)
    assert of_groups != of_rows and of_groups > own


def test_few_rows_that_are_all_right_do_not_make_it_certain():
    task = MultiClass().fit(list("abc"))
    target = Masked(torch.arange(12) % 3, torch.ones(12, dtype=torch.bool))
    logits = 4 * torch.eye(3)[target.values]
    t = temperature(task, logits, target)
    assert RANGE[0] < t and task.confidence(logits / t).max() < 1 - 0.5 / 14


def test_it_stays_one_where_that_is_no_worse():
    """Rows whose labels no logits could tell: a half's temperature is of no use to the other, or of some."""
    kept = 0
    for seed in range(12):
        task, logits, target = drawn("multiclass", 30, 1.0, seed)
        t, losses, _ = search_temperature(task, logits, target, None)
        assert (t == 1.0) == (losses["after"] >= losses["before"])
        kept += t == 1.0
    assert 0 < kept < 12


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_left_alone(bad):
    task, logits, target = drawn("multiclass", 30, 1.0)
    logits[3, 1] = bad
    assert search_temperature(task, logits, target, None) == (1.0, None, None)


def test_numbers_have_no_temperature_and_one_row_no_halves():
    task, learner, rows = fakes.made("regression", 50)
    assert isinstance(task, Regression) and calibrate(learner, rows, {"a": "a", "b": "b"}).temperature == 1.0
    task, logits, target = drawn("multiclass", 1, 1.0)
    assert search_temperature(task, logits, target, None) == (1.0, None, None)


def test_class_weights_are_no_part_of_the_loss():
    task, logits, target = drawn("multiclass", 200, 1.0)
    task.counts_ = [1000, 10, 1, 1]
    assert task.log_loss(logits, target) == pytest.approx(float(cross_entropy(logits.double(), target.values)))


@pytest.mark.parametrize("name", PROBABLE)
def test_losses_against_slow_loops(name):
    task, logits, target = drawn(name, 40, 1.3)
    p, y, loss, square = task.probabilities(logits), target.values.numpy(), 0.0, 0.0
    for i in range(40):
        if isinstance(task, MultiLabel):
            loss -= np.mean([np.log(p[i, k] if y[i, k] else 1 - p[i, k]) for k in range(3)])
            square += np.mean([(p[i, k] - y[i, k]) ** 2 for k in range(3)])
        elif isinstance(task, Ordinal):
            above = [p[i, k + 1 :].sum() for k in range(4)]
            loss -= np.mean([np.log(a if y[i] > k else 1 - a) for k, a in enumerate(above)])
            square += sum((p[i, c] - (c == y[i])) ** 2 for c in range(5))
        else:
            loss -= np.log(p[i, y[i]])
            square += sum((p[i, c] - (c == y[i])) ** 2 for c in range(p.shape[1]))
    assert task.log_loss(logits, target) == pytest.approx(loss / 40)
    assert task.brier(logits, target) == pytest.approx(square / 40)


@pytest.mark.parametrize("name", PROBABLE)
def test_calibration_error_against_a_slow_loop(name):
    task, logits, target = drawn(name, 300, 2.0)
    p, y = task.probabilities(logits), target.values.numpy()
    if isinstance(task, MultiLabel):
        claims = [(max(q, 1 - q), (q > 0.5) == (t > 0.5)) for q, t in zip(p.ravel(), y.ravel(), strict=True)]
    else:
        guess = task.classes(logits).numpy()
        claims = [(p[i, guess[i]], guess[i] == y[i]) for i in range(300)]
    want = 0.0
    for b in range(15):
        inside = [(q, r) for q, r in claims if b / 15 <= q < (b + 1) / 15 or (b == 14 and q == 1)]
        if inside:
            gap = np.mean([q for q, _ in inside]) - np.mean([r for _, r in inside])
            want += len(inside) / len(claims) * abs(gap)
    assert calibration_error(task, logits, target) == pytest.approx(want)


def test_confidence_is_the_probability_in_the_table_of_predictions():
    for name in PROBABLE[:3]:
        task, logits, _ = drawn(name, 20, 1.0)
        assert np.allclose(task.confidence(logits), task.decode(Scores(logits))["probability"])
    task, logits, _ = drawn("multilabel", 20, 1.0)
    each = task.probabilities(logits)
    assert np.allclose(task.confidence(logits), [min(max(q, 1 - q) for q in row) for row in each])
