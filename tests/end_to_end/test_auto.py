"""`--fusion auto` and `features`: both paths in one search, saved and read like any other model."""

import json
from itertools import pairwise
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

import flat
import polymodal
from conftest import make_shop
from polymodal.batch import Masked
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.evaluate.compare import Result
from polymodal.experiment import budget as budgets
from polymodal.experiment import search as auto
from polymodal.experiment.budget import Budget
from polymodal.experiment.candidates import Judgement, Trial, ValidationSet
from polymodal.output import Scores
from polymodal.tasks import TASKS

IGNORE = ["seller"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return make_shop(tmp_path_factory.mktemp("auto") / "shop", 200)


@pytest.fixture(scope="module")
def found(table):
    with mock.patch.object(auto, "RACE", 1e3):  # six epochs are too few to come near the estimators
        return flat.fit(table, "kind", ignore=IGNORE, size="tiny", epochs=6, time_limit=300, preset="fast")


def names(model):
    return [c["name"] for c in model.report.to_json()["comparison"]["candidates"]]


def test_auto_tries_both_paths_and_says_what_it_chose(found):
    tried, notes = names(found), found.report.notes
    assert {"concat (features)", "photo alone (features)"} <= set(tried)
    assert any("networks: late-mean" in n for n in notes)
    assert notes[-1].startswith("chosen: ") and tried[0] in notes[-1]
    basis = found.report.comparison.basis, found.report.comparison.rows
    assert basis == ("rows, out of fold", 200), "what all rows can judge is judged by all rows"
    assert found.report.to_json()["valid"]["metrics"]["accuracy"]["value"] > 0.8


def test_its_model_answers_the_same_when_it_is_read_back(found, table, tmp_path):
    before = found.predict(table)
    again = polymodal.load(found.save(tmp_path / "m"))
    assert again.predict(table)["probability[good]"].to_numpy() == pytest.approx(
        before["probability[good]"].to_numpy(), abs=1e-6
    )
    without = again.predict(table, without=["photo"])
    assert np.isfinite(without["probability"]).all()


@pytest.mark.parametrize("target, task", [("price", "regression"), ("kind", "binary")])
def test_features_alone(table, tmp_path, target, task):
    more = [] if target == "kind" else ["kind"]
    model = flat.fit(table, target, ignore=[*IGNORE, *more], fusion="features", preset="fast", time_limit=40)
    assert model.task.name == task and all(
        n.endswith(("(features)", "(baseline)")) for n in names(model) if n != "ensemble"
    )
    folder = model.save(tmp_path / "m")
    assert not [p for p in folder.rglob("*") if p.suffix in (".pkl", ".joblib", ".pt")]
    answer = polymodal.load(folder).evaluate(table)
    assert answer.metrics[answer.metric].value > 0.3
    frame = pd.read_csv(table).assign(photo=None, note=None)
    frame.to_csv(table.parent / "empty.csv", index=False)
    assert len(model.predict(table.parent / "empty.csv")) == 200


def test_groups_stay_together_in_every_fold(table, monkeypatch):
    from polymodal.data import splits

    seen = []
    folds = splits.folds

    def watched(n, k, strata=None, groups=None, seed=0):
        out = folds(n, k, strata, groups, seed)
        if groups is not None:
            seen.extend(({groups[i] for i in a}, {groups[i] for i in b}) for a, b in out)
        return out

    monkeypatch.setattr(splits, "folds", watched)
    flat.fit(table, "kind", group="seller", fusion="features", preset="fast", time_limit=30)
    assert seen and all(not a & b for a, b in seen)


def test_baselines_stand_beside_the_model_and_persistence_where_time_parts_rows():
    x = np.random.default_rng(0).normal(size=100).cumsum()
    rows = [{"x": float(a), "z": float(i % 7), "y": float(b)} for i, (a, b) in enumerate(pairwise(x))]
    model = flat.fit(rows, "y", split="time", test=rows[:50], fusion="features", preset="fast", time_limit=20)
    every, tested = model.report.comparison, model.report.test.comparison
    for found, y, cut in ((every, x[1:], 79), (tested, x[1:51], 50)):
        score = {c.name: c.score.value for c in found.candidates}
        before = np.roll(y, 1)
        before[[0, cut % len(y)]] = x[1:80].mean()  # of training rows; those that are held out begin anew
        r2 = 1 - ((y - before) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        assert score["persistence (baseline)"] == pytest.approx(r2, abs=1e-5) and score["mean (baseline)"] < 0
        assert "mean (baseline) by" in found.verdict and "persistence (baseline)" in found.verdict
    assert "persistence (baseline)" not in names(flat.fit(rows, "y", split="random", fusion="features", preset="fast"))


def test_a_time_limit_too_short_gives_the_best_single_one_and_says_so(table):
    model = flat.fit(table, "kind", ignore=IGNORE, size="tiny", time_limit=0.01)
    assert len(model.predict(table)) == 200
    assert any("time" in line for line in model.report.to_json()["notes"])


def test_interrupted_and_resumed_it_keeps_what_was_fitted(table, tmp_path, monkeypatch):
    from polymodal.learners.library import Library

    settings = dict(ignore=IGNORE, fusion="features", preset="fast", time_limit=60, out=tmp_path / "m")
    fit, calls = Library._fit, []

    def stops(self, member, fold):
        calls.append((member, fold))
        if len(calls) == 20:
            raise KeyboardInterrupt
        return fit(self, member, fold)

    monkeypatch.setattr(Library, "_fit", stops)
    with pytest.raises(KeyboardInterrupt):
        flat.fit(table, "kind", **settings)
    done = {m for m, fold in calls[:-1] if fold == 2}  # of three folds the last
    assert done and (tmp_path / "m/training/features.safetensors").exists()
    monkeypatch.setattr(Library, "_fit", lambda self, m, fold: calls.append((m, fold)) or fit(self, m, fold))
    calls.clear()
    model = flat.fit(table, "kind", resume=True, **settings)
    assert not [1 for m, fold in calls if m in done and fold in (1, 2)]  # the first also calibrates
    whole = flat.fit(table, "kind", **{**settings, "out": None})
    assert [c["score"] for c in model.report.to_json()["comparison"]["candidates"]] == [
        c["score"] for c in whole.report.to_json()["comparison"]["candidates"]
    ]


@pytest.mark.parametrize("preset, given, refit", [("fast", False, True), ("fast", True, False), ("best", True, True)])
def test_estimators_are_fitted_on_all_rows_in_the_end(table, preset, given, refit):
    """Held-out rows are rows of the table; those that came apart are learned from only by the preset best."""
    valid = {"valid": pd.read_csv(table).iloc[:40].assign(price=1.0)} if given else {}
    model = flat.fit(table, "kind", ignore=[*IGNORE, "photo"], fusion="features", preset=preset, time_limit=40,
                     cache=None, allow_overlap=True, **valid)  # fmt: skip
    assert model.report.refit is refit
    rows = model.report.rows
    assert model.report.learned == rows["train"] + refit * rows["valid"]


def test_bad_options(table):
    with pytest.raises(InputError, match=r"unknown preset 'quick'; it is one of fast, balanced, best"):
        flat.fit(table, "kind", preset="quick")
    with pytest.raises(InputError, match=r"unknown fusion 'feature'; .*; or auto, which tries"):
        flat.fit(table, "kind", fusion="feature")


def judge(n: int = 100) -> ValidationSet:
    task = TASKS["binary"]().fit(["a", "b"] * 50)
    return ValidationSet(task, Masked(torch.ones(n, dtype=torch.int64), torch.ones(n, dtype=torch.bool)), None)


def trial(name: str, right: list[bool], everywhere: list[bool] | None = None, size: int = 1) -> Trial:
    def logits(x: list[bool]) -> Scores:
        return Scores(torch.tensor([[0.0, 2.0 if r else -2.0] for r in x]))

    more = None if everywhere is None else Judgement(logits(everywhere), judge(len(everywhere)))
    result = Result(name, "fusion", logits(right), size, 0, 1.0)
    return Trial(result, logits(right), [name], lambda refit: None, [], everywhere=more)


def test_a_score_in_a_note_is_that_of_the_table():
    """And not one that was rounded before: 0.7675087 is 0.768, and 0.7675 as a binary fraction 0.767."""
    name = trial("x", [True])
    right = torch.tensor([[0.0, 2.0]] * 76_751 + [[2.0, 0.0]] * 23_249)
    assert Judgement(Scores(right), judge(len(right))).describe(name) == "x 0.768"


@pytest.mark.parametrize(
    "gap, prefer, expected", [(1, "simple", "small"), (30, "simple", "large"), (1, "score", "large")]
)
def test_the_simpler_is_chosen_where_the_difference_is_noise_and_it_was_asked_for(gap, prefer, expected):
    better = trial("large", [i >= 20 for i in range(100)], size=9)
    also = range(10, 20) if gap == 1 else ()  # right where the better one is wrong, so that the difference is noise
    simpler = trial("small", [i >= 20 + len(also) + gap or i in also for i in range(100)])
    chosen, why = auto._choose([better, simpler], judge(), prefer)
    assert chosen.result.name == expected and expected in why


@pytest.mark.parametrize("more, expected", [(1, "estimators"), (25, "network")])
def test_a_network_is_chosen_before_estimators_where_it_is_better_by_more_than_noise(more, expected):
    """On 100 validation rows, of which one of many networks is bound to like some."""
    everywhere = [i >= 150 for i in range(500)]
    estimators = trial("estimators", [i >= 30 for i in range(100)], everywhere)
    lucky = [i >= 30 - more for i in range(100)] if more > 1 else [i not in range(5, 34) for i in range(100)]
    assert auto._choose([estimators, trial("network", lucky)], judge(), "score")[0].result.name == expected


def test_estimators_are_compared_by_all_rows_and_not_by_the_validation_rows():
    lucky = trial("lucky", [True] * 20, [True] * 20 + [i % 2 == 0 for i in range(180)])
    good = trial("good", [i < 15 for i in range(20)], [i % 4 > 0 for i in range(200)])
    chosen, why = auto._choose([lucky, good], judge(20), "score")
    assert chosen is good and "200 rows" in why


class Trained:
    """A stand-in for training: answers right to so many of 100 rows, from a place on; it takes all the time that it is
    given, and a while at most. calls: what was trained, at which step, for how long."""

    encoders, rows, most = ("text", "image"), range(100), 1e3

    def __init__(self, finished=False, **right):
        self.right, self.calls, self.now, self.finished = right, [], 0.0, finished

    def monotonic(self):
        return self.now

    def train(self, candidate, limit=None, step=0):
        self.calls.append((candidate.name, step, limit))
        self.now += min(limit, self.most)
        start, right = self.right[candidate.name]
        spent = trial(candidate.name, [start <= i < start + right for i in range(100)])
        return spent._replace(result=spent.result._replace(seconds=limit), finished=self.finished)


def networks(stub, other, monkeypatch, budget=100.0):
    monkeypatch.setattr(budgets, "time", stub)
    notes: list[str] = []
    return auto._of_networks(stub, [*"abc"], judge(), Budget.of(budget), other, notes), notes


def test_networks_are_trained_to_their_end_for_as_long_as_they_help(monkeypatch):
    estimators = trial("estimators", [i < 60 for i in range(100)])
    helps = Trained(a=(60, 40), b=(50, 50), c=(40, 60))
    got, notes = networks(helps, estimators, monkeypatch)
    assert [t.result.name for t in got] == ["a", "b"]
    (a, a_again, b), seconds = [c[:2] for c in helps.calls], [c[2] for c in helps.calls]
    assert a == ("a", 0) and a_again == ("a", 1) and b == ("b", 0)  # the first goes on after a probe
    assert seconds == pytest.approx([8, 0.6 * 92, 0.6 * 0.4 * 92])
    assert notes == ["networks: a 0.400, cut short, b 0.500, cut short; no time was left for c"]
    assert got[0].result.seconds == pytest.approx(8 + 0.6 * 92), "what the probe took counts"
    whole = Trained(finished=True, a=(60, 40), b=(50, 50), c=(40, 60))
    networks(whole, estimators, monkeypatch)
    assert [c[:2] for c in whole.calls] == [("a", 0), ("b", 0), ("c", 0)], "what is trained out is not trained again"


def test_networks_stop_where_one_does_not_help_or_is_hopeless(monkeypatch):
    estimators = trial("estimators", [i < 60 for i in range(100)])
    useless = Trained(a=(0, 45))
    got, notes = networks(useless, estimators, monkeypatch)
    assert len(useless.calls) == 2 and len(got) == 1 and "a helps no average, so not tried were b, c" in notes[0]
    hopeless = Trained(a=(0, 10))
    got, notes = networks(hopeless, estimators, monkeypatch)
    assert len(hopeless.calls) == 1 and "too far behind estimators" in notes[-1]
    late = Trained(a=(60, 40))
    assert networks(late, estimators, monkeypatch, 0.5) == ([], ["networks: no time was left for them"])


def test_json_report(table, tmp_path, run):
    done = run(
        "fit",
        table,
        "-t",
        "kind",
        "--ignore",
        "seller",
        "--fusion",
        "features",
        "--preset",
        "fast",
        "--time-limit",
        "30s",
        "--out",
        tmp_path / "m",
        "--json",
    )
    report = json.loads(done.stdout)
    assert report["settings"]["fusion"] == "features" and report["notes"]
    assert (
        "estimators, averaged" in run("schema", tmp_path / "m").stdout
        or "stacked" in run("schema", tmp_path / "m").stdout
    )


def test_an_averages_logits_are_of_weights_that_other_rows_chose():
    g = torch.Generator().manual_seed(0)
    task = TASKS["binary"]().fit(["a", "b"] * 50)
    answers = [torch.randn(100, 2, generator=g) for _ in range(3)]
    y = torch.randint(0, 2, (100,), generator=g)
    there = torch.ones(100, dtype=torch.bool)
    before = auto._outcome(answers, ValidationSet(task, Masked(y, there), None))
    (_, held), *_ = auto.folds_of(100, 5, None)
    flipped = y.clone()
    flipped[held] = 1 - flipped[held]
    after = auto._outcome(answers, ValidationSet(task, Masked(flipped, there), None))
    assert torch.equal(before[held], after[held]) and not torch.equal(before, after)


def test_networks_are_judged_by_an_epoch_that_other_rows_chose(table):
    from polymodal.experiment import problem
    from polymodal.experiment.candidates import Networks

    model = flat.fit(table, "kind", ignore=IGNORE, fusion="concat", size="tiny", epochs=2, baselines=False)
    rows = model.preprocessor.encode(Table.read(table), model.task)
    g = torch.Generator().manual_seed(0)
    goal = problem.state(table, "kind", task=model.task)
    networks = Networks(goal, {}, None, rows, rows, groups=None, folder=None, quiet=True)
    answers = [Scores(torch.randn(200, 2, generator=g)) for _ in range(30)]
    truth = rows.target(range(200)).values

    def accuracy(x):
        return float((x.values.argmax(1) == truth).float().mean())

    best = max(accuracy(a) for a in answers)
    judged = accuracy(networks._judged(answers))
    assert best > 0.55 and judged < best  # the best of 30 coins is no better than a coin


def test_one_group_with_labels_and_others_without(table):
    frame = pd.read_csv(table)
    frame["seller"] = ["a" if i % 2 else "b" for i in range(200)]
    frame.loc[frame["seller"] == "b", "kind"] = None
    some, held = frame.iloc[:150], frame.iloc[150:].assign(seller="c", kind=pd.read_csv(table)["kind"].iloc[150:])
    some.to_csv(table.parent / "some.csv", index=False)
    held.to_csv(table.parent / "held.csv", index=False)
    model = flat.fit(table.parent / "some.csv", "kind", valid=table.parent / "held.csv", group="seller",
                          fusion="features", preset="fast", time_limit=20)  # fmt: skip
    assert (
        model.report.to_json()["rows"]["unlabelled"] == 75
        and model.report.to_json()["valid"]["metrics"]["accuracy"]["value"] > 0.5
    )


@pytest.mark.parametrize(
    "task, labels, answers", [("regression", [1.0, 2, 3, 4], [4.0, 3, 2, 1]), ("ordinal", [1, 2, 3], [2.0, 0, -2])]
)
def test_a_note_has_the_score_as_the_metric_is_with_its_sign(task, labels, answers):
    """R2 below 0 is worse than the mean; an error, of which less is better, is above 0."""
    of = TASKS[task]().fit(labels)
    rows = ValidationSet(of, of.collate([of.encode(y) for y in labels]), None)
    logits = torch.tensor(answers)[:, None].expand(-1, of.outputs)
    output = Scores((logits - of.center_[0]) / of.scale_[0] if task == "regression" else logits)
    made = trial("backwards", [True])._replace(judged=output)
    assert rows.describe(made) == {"regression": "backwards -3.000", "ordinal": "backwards 1.667"}[task]


@pytest.mark.parametrize("given", [False, True])
def test_a_search_has_as_many_folds_as_are_asked_for(given):
    rows = [{"x": i % 7, "g": i % 11, "y": float(i % 7)} for i in range(60)]
    how = dict(fusion="features", preset="fast", time_limit=20, task="regression", valid=rows if given else None)
    for folds in (3, 7):
        model = flat.fit(rows, "y", folds=folds, ignore=["g"], **how)
        assert any(f"cross-validated in {folds} folds" in note for note in model.report.notes), model.report.notes
        assert model.report.plan["folds"] == folds
    with pytest.raises(
        InputError, match=rf"70 folds are too many for {60 if given else 48} rows to train on; give few"
    ):
        flat.fit(rows, "y", folds=70, ignore=["g"], **how)
    with pytest.raises(
        InputError, match=rf"12 folds are too many for {11 if given else 9} groups to train on; give fewer"
    ):
        flat.fit(rows, "y", group="g", folds=12, **how)
    for wrong in (1, "4"):
        with pytest.raises(InputError, match=f"--folds can't be {wrong!r}; it must be a whole number from {3 - given}"):
            flat.fit(rows, "y", folds=wrong, **how)
    with pytest.raises(
        InputError, match="folds are those of a search, and there is none for this fusion and target; leave --f"
    ):
        flat.fit(rows, "y", **{**how, "fusion": "gated"}, folds=3)


def test_the_fastest_is_chosen_among_those_within_one_standard_error_of_the_best():
    def named(name: str, wrong: int, also: int = 0, **more) -> Trial:
        """Wrong in the first rows; `also` is in how many more it differs, to and fro, so that a difference is noise."""
        right = [i >= wrong + also or wrong - also <= i < wrong for i in range(100)]
        return trial(name, right, **more)._replace(learner=lambda refit: name)

    seconds = {"best": 0.02, "near": 0.01, "nearest": 0.015, "far": 0.001, "slow": 0.5}
    best, near, far = named("best", 20), named("near", 21, 10), named("far", 60)
    others = [named("nearest", 20), far, named("slow", 20, 5)]
    chosen, why = auto._fastest([*others, best, near], best, judge(), seconds.__getitem__)
    assert chosen is near and "10.0 ms a row, and 20.0 of best 0.800" in why and "the fastest of 4 within" in why
    assert auto._fastest([best, far], best, judge(), seconds.__getitem__)[0] is best
    seen = named("near", 90, everywhere=[i >= 40 for i in range(200)])  # of more rows it is as good
    whole = named("best", 20, everywhere=[i >= 40 for i in range(200)])
    assert auto._fastest([whole, seen], whole, judge(), seconds.__getitem__)[0] is seen


def test_a_search_that_prefers_fast_prediction_says_how_fast():
    rows = [{"x": i % 7, "z": i % 3, "y": float(i % 7)} for i in range(60)]
    model = flat.fit(rows, "y", fusion="features", preset="fast", task="regression", prefer="fast-predict")
    assert any("the fastest of" in note and "ms a row" in note for note in model.report.notes), model.report.notes
    with pytest.raises(InputError, match="can't prefer 'quick'; it is one of score, simple, fast-predict"):
        flat.fit(rows, "y", prefer="quick")
