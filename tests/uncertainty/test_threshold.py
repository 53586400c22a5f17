"""Thresholds: the best there is, by brute force; cross-fitted; none where chance would choose it."""

import numpy as np
import pytest
import torch

from cases import over
from polymodal.batch import Masked
from polymodal.evaluate.compare import Result
from polymodal.experiment.candidates import Trial, ValidationSet
from polymodal.experiment.decide import Decider
from polymodal.output import Scores
from polymodal.tasks import TASKS, Binary, MultiLabel, Task
from polymodal.uncertainty.threshold import search, tune

ONE = np.ones((1, 200))


def answers(labels: int, signal: float, n: int = 200, seed: int = 0) -> tuple[Task, torch.Tensor, Masked]:
    """A binary task (of one label), or one of label sets; logits that know this much of labels one in eight has."""
    g = np.random.default_rng(seed)
    truth = g.random((n, labels)) < 1 / 8
    margin = torch.from_numpy(signal * truth + g.normal(size=truth.shape) - 2)
    if labels == 1:
        task: Task = Binary().by("balanced_accuracy")
        cells = [int(y) for y in truth[:, 0]]
        logits = torch.cat([torch.zeros(n, 1), margin], 1)
    else:
        task, logits = MultiLabel().by("macro_f1"), margin
        cells = [[str(k) for k in np.flatnonzero(row)] for row in truth]  # type: ignore[misc]
    task.fit(cells)
    return task, logits, task.collate([task.encode(c) for c in cells])


@over("labels", [1, 2])
def test_no_threshold_is_better_than_the_one_that_is_found(labels: int) -> None:
    task, logits, target = answers(labels, 2.0)
    found = search(task, logits, target)
    best = float(task.score(Scores(task.moved(logits, found)), target, ONE)[0])
    for k in range(labels):
        for cut in np.linspace(-6, 3, 91):
            other = np.where(np.arange(labels) == k, cut, found)
            assert task.score(Scores(task.moved(logits, other)), target, ONE)[0] <= best + (0.01 if labels > 1 else 0)


@over("labels", [1, 2])
def test_moved_answers_decide_at_one_half_as_others_at_the_threshold(labels: int) -> None:
    task, logits, target = answers(labels, 2.0)
    cuts = np.array([-1.0, 0.5][:labels])
    moved = task.decode(Scores(task.moved(logits, cuts)))["prediction"]
    task.thresholds_ = (1 / (1 + np.exp(-cuts))).tolist()
    assert task.decode(Scores(logits))["prediction"] == moved
    assert task.scores(Scores(logits), target, ONE)["roc_auc"] > 0.5
    assert task.fit([1, 2] * 5 if labels == 1 else ["1|2", "2"] * 5).thresholds_ == (), "of other rows"


def test_answers_that_are_compared_were_decided_by_other_rows() -> None:
    task, logits, target = answers(1, 2.0)
    tuned = tune(task, Scores(logits), target)
    assert tuned.log_odds[0] < -0.5 and tuned.after > tuned.before + 0.1
    assert tuned.after == pytest.approx(float(task.score(tuned.output, target, ONE)[0]))
    by_all = float(task.score(Scores(task.moved(logits, tuned.log_odds)), target, ONE)[0])
    assert tuned.after < by_all and not np.array_equal(tuned.output.values, task.moved(logits, tuned.log_odds))


def test_the_model_decides_so_by_its_calibrated_probabilities() -> None:
    task, logits, target = answers(1, 2.0)
    rows, output = ValidationSet(task, target, None), Scores(logits)
    trial = Trial(Result("a", "concat", output, 0, 0, 0.0), output, [], lambda refit: None, [])  # type: ignore[arg-type,return-value]
    want = task.decode(Scores(task.moved(logits, tune(task, output, target).log_odds)))["prediction"]
    decider = Decider.of(rows, True)
    thresholds, (note,) = decider.settle(task, trial, 3.0)
    assert task.decode(Scores(logits / 3.0))["prediction"] == want != task.decode(output)["prediction"]
    assert thresholds == {"1": task.thresholds_[0]} and note.startswith("decided for 1 above 0.")
    others = decider.of_others(trial, output)
    assert decider.rows.task.decode(others)["prediction"] == want, "what is compared is not decided twice"
    assert (
        Decider.of(rows, False).settle(task, trial, 3.0) == (None, []) and decider.compared(output, rows) is not output
    )


def test_noise_chooses_no_threshold() -> None:
    kept = 0
    for seed in range(10):
        task, logits, target = answers(1, 0.0, seed=seed)
        tuned = tune(task, Scores(logits), target, None)
        kept += bool(tuned.log_odds.any())
        assert tuned.log_odds.any() or (tuned.after == tuned.before and torch.equal(tuned.output.values, logits))
    assert kept < 9


def test_rows_without_a_label_and_whole_groups() -> None:
    task, logits, target = answers(1, 2.0)
    hidden = target.under(torch.arange(200) % 3 > 0)
    groups = [i // 20 for i in range(200)]
    poisoned = torch.where(hidden.mask[:, None], logits, 50.0)
    a, b = (tune(task, Scores(x), hidden, groups) for x in (logits, poisoned))
    assert np.array_equal(a.log_odds, b.log_odds) and (a.before, a.after) == (b.before, b.after)


@over("name", [n for n in TASKS if n not in ("binary", "multilabel")])
def test_other_tasks_have_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"is for two labels, or sets of them, and the task is {name}"):
        TASKS[name]().check_thresholds()
