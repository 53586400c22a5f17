"""Sets and intervals: the limit against its definition, and the coverage that is asked for, whatever is absent."""

import json
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
import torch
from scipy.stats import binom

from polymodal.model import Model
from polymodal.output import Scores
from polymodal.tasks import MultiClass, Ordinal
from polymodal.training.inference import predict
from polymodal.uncertainty import Calibration, answers, calibrate, patterns
from polymodal.uncertainty.conformal import SCORES, binomial, coverage_of, pattern, ranks
from uncertainty import fakes

AB = {"a": "a", "b": "b"}


def test_the_limit_of_few_scores_against_a_slow_loop():
    g = np.random.default_rng(0)
    for n in range(45):
        scores = g.normal(size=n).astype(np.float32).astype(np.float64)
        kept = pattern(["a"], scores)
        for share in [Fraction(k, 20) for k in range(1, 20)]:
            need = ceil((n + 1) * (1 - (1 - share)))
            enough = [s for s in scores if (scores <= s).sum() >= need]
            assert kept.limit(float(share)) == (min(enough) if enough else np.inf), (n, share)


def test_of_many_scores_so_many_are_kept_and_the_limit_is_never_too_small():
    scores = np.random.default_rng(1).normal(size=5000)
    kept = pattern(["a"], scores)
    assert len(kept.scores.split()) == SCORES and ranks(5000)[-1] == 5000
    for share in (0.5, 0.8, 0.9, 0.95, 0.999):
        covered = (scores <= kept.limit(share)).mean()
        assert share <= covered <= share + 2 / SCORES


def test_scores_are_rounded_up_so_that_ties_stay_inside():
    for tied in (0.7, 1 / 3, -0.7, 1e9 + 1 / 3):  # of which single precision has some less, some more
        assert tied <= pattern(["a"], np.full(40, tied)).limit(0.9) <= tied + 2e-7 * abs(tied)
    strange = pattern(["a"], np.array([-np.inf, 0.0, np.nan, np.inf]))
    assert strange.limit(0.1) == -np.inf and strange.limit(0.8) == np.inf


def covered(model, rows, share):
    here, target = model.scorer.present(rows), rows.target(range(len(rows)))
    limits = model.calibration.limits(here, share)
    return coverage_of(model.task, model.logits(rows), target, here, limits, model.modalities, share)


@pytest.mark.parametrize("name", fakes.TASKS)
def test_ninety_percent_asked_gives_ninety_in_each_pattern_and_hiding_widens(name, monkeypatch):
    monkeypatch.setattr("polymodal.uncertainty.ROWS", 8000)  # so that chance is a fifth of the two percent allowed
    model = fakes.model(name, 8000, scale=3.0, gaps=0.1)
    _, _, new = fakes.made(name, 8000, seed=1, gaps=0.1)
    whole, of_a, of_b = (covered(model, fakes.hide(new, *away), 0.9).patterns for away in ((), "b", "a"))
    for c in (whole[0], of_a[0], of_b[0]):
        assert c.rows > 6000 and 0.88 <= c.coverage <= 0.92 and c.low < c.coverage < c.high, c
    for c in whole[1:3]:  # rows that lack one of themselves: fewer of them, and so a wider chance
        assert len(c.present) == 1 and c.rows > 600 and c.low < 0.92 and c.high > 0.88
    assert of_a[0].present == ["a"] and of_b[0].present == ["b"]
    assert min(of_a[0].size, of_b[0].size) > whole[0].size


def test_without_a_list_for_each_pattern_coverage_fails():
    """What the lists are for: with that of whole rows alone, rows that lack much are covered too seldom."""
    model = fakes.model("multiclass", 2000, noise=0.3, gaps=0.0)
    _, _, new = fakes.made("multiclass", 4000, seed=1, noise=0.3, gaps=0.0)
    whole = model.report.calibration.patterns[0]
    assert whole.present == ["a", "b"]
    model.report.calibration.patterns = [whole._replace(present=p) for p in (["a", "b"], ["a"], ["b"])]
    noisy = new.hidden({"b": np.ones(4000, dtype=bool)})
    g = torch.Generator().manual_seed(0)
    model.learner.recombine = lambda inputs: lambda at: Scores(torch.randn(len(at["a"]), 4, generator=g))
    assert covered(model, noisy, 0.9).overall.coverage < 0.85


@pytest.mark.parametrize("name", fakes.TASKS)
def test_the_truth_is_in_the_set_where_its_score_is_below_the_limit(name):
    task, learner, rows = fakes.made(name, 80)
    logits, target = learner.infer(rows.batch(range(80)).inputs).values, rows.target(range(80))
    limits = np.random.default_rng(0).choice([-0.5, 0.3, 1.0, np.inf], 80)
    if name.startswith("regression"):
        limits = np.abs(limits)
    columns, inside = task.region(logits, limits).columns(), task.nonconformity(logits, target) <= limits
    for i in range(80):
        if "set" in columns:
            truth = target.values[i]
            own = {x for x, t in zip(task.labels_, truth, strict=True) if t} if truth.ndim else {task.labels_[truth]}
            assert inside[i] == (own <= set(columns["set"][i]))
            assert task.region(logits, limits).sizes[i] == len(columns["set"][i])
        else:
            ends = [("low", "high")] if name == "regression" else [("low[u]", "high[u]"), ("low[v]", "high[v]")]
            y = np.array(task.center_) + np.array(task.scale_) * target.values[i].numpy()
            assert inside[i] == all(columns[a][i] <= y[k] <= columns[b][i] for k, (a, b) in enumerate(ends))
            width = (columns[ends[0][1]][i] - columns[ends[0][0]][i]) / (1 if name == "regression" else task.scale_[0])
            assert task.region(logits, limits).sizes[i] == pytest.approx(width)


@pytest.mark.parametrize("name", ["binary", "multiclass"])
def test_scores_of_labels_are_log_odds_against_them(name):
    task, learner, rows = fakes.made(name, 60)
    logits = learner.infer(rows.batch(range(60)).inputs).values
    p = task.probabilities(logits)
    assert np.allclose(task.label_scores(logits), np.log((1 - p) / p))


def test_scores_of_sure_models_stay_apart():
    task = MultiClass().fit(list("abc"))
    scores = task.label_scores(torch.tensor([[90.0, 0.0, -5.0], [80.0, 0.0, -5.0]]))
    assert scores[0, 0] < scores[1, 0] < -70 and np.isfinite(scores).all()


def test_ordered_sets_are_runs_between_both_tails():
    task = Ordinal().fit([1, 2, 3, 4, 5])
    logits = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * 2
    p, scores = task.probabilities(logits), task.label_scores(logits)
    below, above = np.cumsum(p, 1) - p, 1 - np.cumsum(p, 1)
    worse = np.maximum(below, above).clip(1e-12, 1 - 1e-12)
    assert np.allclose(scores, np.log(worse / (1 - worse)), atol=1e-6)
    for found in task.region(logits, np.full(200, 0.7)).columns()["set"]:
        assert not found or found == list(range(found[0], found[-1] + 1))


def test_too_few_rows_give_all_labels_and_the_whole_line():
    few = fakes.model("multiclass", 8, gaps=0.0)  # 9 of 10 can't be promised by fewer than 9 rows
    _, _, new = fakes.made("multiclass", 20, seed=1, gaps=0.0)
    assert few.score(new, coverage=0.9).coverage.overall[2:6:3] == (1.0, 4.0)
    assert few.score(new, coverage=0.8).coverage.overall.size < 4
    numbers = fakes.model("regression", 8, gaps=0.0)
    assert numbers.score(fakes.made("regression", 20, gaps=0.0)[2], coverage=0.9).coverage.overall.size == np.inf


def test_a_row_with_nothing_has_every_label():
    model = fakes.model("multiclass", 200)
    _, _, new = fakes.made("multiclass", 5, seed=1)
    (line,) = model.score(fakes.hide(new, "a", "b"), coverage=0.5).coverage.patterns
    assert line.present == [] and line.size == 4


def test_every_pattern_of_up_to_five_modalities_and_of_more_those_that_lack_one_and_those_met():
    here = np.ones((10, 5), dtype=bool)
    assert len({tuple(p) for p in patterns(list("abcde"), here)}) == 31
    here = np.ones((10, 7), dtype=bool)
    here[:4, :3], here[4:6, 5:] = False, False
    found = ["".join(p) for p in patterns(list("abcdefg"), here)]
    assert found[0] == "abcdefg" and {len(x) for x in found[1:8]} == {6} and found[8:] == ["defg", "abcde"]
    many = np.random.default_rng(0).random((500, 8)) < 0.5
    assert len(patterns(list("abcdefgh"), many)) == 31


def test_hiding_by_an_empty_row_is_hiding():
    _, learner, rows = fakes.made("multiclass", 300)
    both, only = answers(learner, rows, AB, [["a", "b"], ["a"]])
    assert torch.equal(both, predict(learner, rows, 128).values)
    assert torch.equal(only, predict(learner, fakes.hide(rows, "b"), 128).values)


def test_a_pattern_counts_the_rows_that_have_all_of_it():
    _, learner, rows = fakes.made("multiclass", 300)
    a, b = (rows.inputs[m].present() for m in "ab")
    found = {tuple(p.present): p.rows for p in calibrate(learner, rows, AB).patterns}
    assert found == {("a", "b"): (a & b).sum(), ("a",): a.sum(), ("b",): b.sum()}


def test_work_is_bounded(monkeypatch):
    monkeypatch.setattr("polymodal.uncertainty.ANSWERS", 90)
    _, learner, rows = fakes.made("binary", 200, gaps=0.0)
    assert {p.rows for p in calibrate(learner, rows, AB).patterns} == {30}
    monkeypatch.setattr("polymodal.uncertainty.ROWS", 20)
    assert calibrate(learner, rows, AB).rows == 20


def test_json_says_it_all():
    model = fakes.model("multilabel", 700)
    form = json.loads(json.dumps(model.report.to_json()["calibration"], allow_nan=False))
    again, here = Calibration.from_json(form), np.array([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=bool)
    assert again.to_json() == model.report.to_json()["calibration"]
    assert again.limits(here, 0.7).tolist() == model.calibration.limits(here, 0.7).tolist()
    assert np.isinf(again.limits(here, 0.7)).tolist() == [False, False, False, True]


def test_unlabelled_rows_are_no_part():
    task, learner, rows = fakes.made("multiclass", 40)
    rows.labels[:30] = [None] * 30
    assert calibrate(learner, rows, AB).rows == 10
    rows.labels[:] = [None] * 40
    assert calibrate(learner, rows, AB) is None and isinstance(task, MultiClass)


def test_the_interval_of_a_share_against_its_definition():
    for k, n in ((0, 7), (3, 7), (7, 7), (90, 100)):
        low, high = binomial(k, n)
        if k:
            assert binom.sf(k - 1, n, low) == pytest.approx(0.025)
        if k < n:
            assert binom.cdf(k, n, high) == pytest.approx(0.025)
        assert (low == 0) == (k == 0) and (high == 1) == (k == n)


def test_selective_scores_are_those_of_the_sure_rows():
    model = fakes.model("multiclass", 400)
    _, _, new = fakes.made("multiclass", 300, seed=1)
    logits = model.logits(new)
    sure = logits.double().softmax(1).amax(1) >= 0.6
    found = model.score(new, abstain=0.6).selective
    right = (logits.argmax(1) == new.target(range(300)).values)[sure].double().mean()
    assert found.rows == int(sure.sum()) and found.share == found.rows / 300
    assert found.metrics["accuracy"].value == pytest.approx(float(right))
    assert model.score(new, abstain=1 - 1e-12).selective.metrics == {}


def test_a_model_of_before_has_a_temperature_of_one():
    model = fakes.model("multiclass", 400, scale=3.0)
    old = Model(model.preprocessor, model.learner)
    _, _, new = fakes.made("multiclass", 50)
    t = model.calibration.temperature
    assert t > 1.5 and torch.allclose(old.logits(new), model.logits(new) * t)
    assert old.score(new, abstain=0.5).probabilities["temperature"] == 1 and old.calibration is None
