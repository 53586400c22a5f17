"""Bootstrap intervals: what is drawn, that they cover, that pairs cancel, and the edges."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from polymodal.batch import Masked
from polymodal.evaluate.intervals import difference, intervals, score_interval, weights
from polymodal.output import Scores
from polymodal.tasks import Binary, MultiClass, MultiLabel, Regression


def binary(n: int, seed: int = 0, quality: float = 1.0) -> tuple[Binary, torch.Tensor, Masked]:
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=g)
    logits = torch.randn(n, 2, generator=g) + quality * torch.nn.functional.one_hot(y, 2)
    return Binary().fit(["0", "1"]), logits, Masked(y, torch.ones(n, dtype=torch.bool))


def test_each_sample_has_as_many_rows_and_chunks_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(weights(50, 30)))
    assert whole.shape == (30, 50) and (whole.sum(1) == 50).all() and (whole >= 0).all()
    monkeypatch.setattr("polymodal.evaluate.intervals.CHUNK", 4 * 50 * 7)
    parts = list(weights(50, 30))
    assert len(parts) == 5
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (np.concatenate(list(weights(50, 30, seed=1))) != whole).any()


def test_a_row_is_drawn_as_often_as_chance_says() -> None:
    w = np.concatenate(list(weights(40, 4000)))
    assert abs(w.mean(0) - 1).max() < 0.1
    assert abs(w.var(0) - (1 - 1 / 40)).max() < 0.15  # binomial(40, 1/40)


def test_groups_are_drawn_whole() -> None:
    groups = ["ann", "bob", "ann", "cy", "bob", "ann"]
    w = np.concatenate(list(weights(6, 200, groups)))
    assert (w[:, 0] == w[:, 2]).all() and (w[:, 0] == w[:, 5]).all() and (w[:, 1] == w[:, 4]).all()
    assert (w[:, 0] + w[:, 1] + w[:, 3] == 3).all()


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation() -> None:
    task, logits, target = binary(2000)
    got = intervals(task, Scores(logits), target)["accuracy"]
    p = got.value
    half = 1.96 * math.sqrt(p * (1 - p) / 2000)
    assert p == (logits.argmax(1) == target.values).double().mean().item()
    assert got.low == pytest.approx(p - half, abs=0.003) and got.high == pytest.approx(p + half, abs=0.003)


def test_the_interval_covers_the_truth_about_19_times_in_20() -> None:
    truth = 0.5 * math.erfc(-1 / 2)  # P(N(1, 1) > N(0, 1)): the mean is 1 and the variance 2
    hits = 0
    for seed in range(150):
        task, logits, target = binary(150, seed)
        got = intervals(task, Scores(logits), target, replicates=300)["accuracy"]
        hits += got.low <= truth <= got.high
    assert 0.88 * 150 <= hits <= 150


def test_a_difference_is_paired() -> None:
    task, logits, target = binary(400)
    same = difference(task, Scores(logits), Scores(logits), target, "accuracy")
    assert same == (0.0, 0.0, 0.0)
    other = logits.clone()
    other[:8] = other[:8].flip(1)  # 8 rows differ, so the interval is far narrower than that of either score
    paired = difference(task, Scores(logits), Scores(other), target, "accuracy")
    alone = intervals(task, Scores(logits), target)["accuracy"]
    assert paired.high - paired.low < 0.4 * (alone.high - alone.low)
    a, b = (intervals(task, Scores(x), target)["accuracy"].value for x in (logits, other))
    assert paired.value == pytest.approx(a - b)
    turned = difference(task, Scores(other), Scores(logits), target, "accuracy")
    assert turned.value == -paired.value and turned.low == pytest.approx(-paired.high)


def test_grouped_rows_that_agree_widen_the_interval() -> None:
    task, logits, target = binary(50)
    copies = Masked(target.values.repeat(8), target.mask.repeat(8))
    groups = list(range(50)) * 8
    alone = intervals(task, Scores(logits), target)["accuracy"]
    naive = intervals(task, Scores(logits.repeat(8, 1)), copies)["accuracy"]
    grouped = intervals(task, Scores(logits.repeat(8, 1)), copies, groups)["accuracy"]
    assert naive.high - naive.low < 0.5 * (alone.high - alone.low)
    assert grouped == pytest.approx(alone)


def test_rows_without_a_label_are_no_part_of_the_sample() -> None:
    task, logits, target = binary(80)
    hidden = Masked(torch.cat([torch.full((40,), 9**9), target.values]), torch.arange(120) >= 40)
    more = torch.cat([torch.full((40, 2), 1e30), logits])
    groups = np.random.default_rng(0).integers(0, 10, 120).tolist()
    assert intervals(task, Scores(more), hidden) == intervals(task, Scores(logits), target)
    assert intervals(task, Scores(more), hidden, groups) == intervals(task, Scores(logits), target, groups[40:])


def test_the_same_seed_gives_the_same_interval() -> None:
    task, logits, target = binary(100)
    assert intervals(task, Scores(logits), target) == intervals(task, Scores(logits), target)
    assert intervals(task, Scores(logits), target, seed=1) != intervals(task, Scores(logits), target)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_no_row_one_row_and_one_group(rows: int) -> None:
    """A single group can't be drawn otherwise than it is; the interval is then of its rows."""
    task, logits, target = binary(rows)
    got = intervals(task, Scores(logits), target, groups=["a"] * rows)
    assert repr(got) == repr(intervals(task, Scores(logits), target))
    assert set(got) == {
        "accuracy", "balanced_accuracy", "macro_f1", "weighted_f1",
        "f1", "roc_auc", "average_precision", "log_loss",
    }  # fmt: skip
    value, low, high = got["accuracy"]
    assert all(map(math.isnan, (value, low, high))) if rows == 0 else low <= value <= high
    assert rows != 1 or low == high
    d = difference(task, Scores(logits), Scores(logits), target, "accuracy", groups=["a"] * rows)
    assert math.isnan(d.value) if rows == 0 else d == (0.0, 0.0, 0.0)


def test_several_targets_with_missing_cells() -> None:
    task = Regression(["x", "y"]).fit([{"x": i, "y": i * i} for i in range(20)])
    cells = [task.encode({"x": i, "y": None if i % 2 else i}) for i in range(20)]
    got = intervals(task, Scores(torch.randn(20, 2)), task.collate(cells), replicates=50)
    assert {"mae", "mae[x]", "mae[y]", "r2"} <= set(got)
    assert all(v.low <= v.high for v in got.values())


def test_a_large_set_takes_few_scorings_and_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    n, classes = 20_000, 4
    g = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (n,), generator=g)
    task = MultiClass().fit(list(range(classes)))
    logits, target = torch.randn(n, classes, generator=g), Masked(y, torch.ones(n, dtype=torch.bool))
    calls, scores = [], MultiClass.scores
    monkeypatch.setattr(MultiClass, "scores", lambda *a: calls.append(a) or scores(*a))
    tracemalloc.start()
    intervals(task, Scores(logits), target, replicates=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20
    assert 1 < len(calls) < 50, "resamples are scored one by one"


def test_label_sets() -> None:
    task = MultiLabel().fit(["a|b", "b", "c|a", "[]"])
    target = task.collate([task.encode(c) for c in ["a", "b|c", "[]", None, "a|b|c"]])
    got = intervals(task, Scores(torch.randn(5, 3)), target, replicates=50)
    assert {"micro_f1", "macro_f1", "accuracy", "hamming_loss", "average_precision", "roc_auc"} == set(got)


def test_the_interval_of_the_tasks_metric_is_that_of_all_metrics() -> None:
    g = torch.Generator().manual_seed(1)
    task = MultiClass().fit(["a", "b", "c"] * 20)
    output, y = Scores(torch.randn(60, 3, generator=g)), torch.randint(0, 3, (60,), generator=g)
    target, groups = Masked(y, torch.arange(60) % 7 > 0), [i % 11 for i in range(60)]
    every = intervals(task, output, target, groups)[task.metric.name]
    assert score_interval(task, output, target, groups) == pytest.approx(every) and every.low < every.high
