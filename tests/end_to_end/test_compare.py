"""`polymodal compare`: the same rows for every candidate, nothing of a fold seen before it is tested, resumable."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import make_shop
from flat import run
from polymodal.errors import InputError
from polymodal.evaluate.page import page
from polymodal.experiment import parts as comparing
from polymodal.experiment import race
from polymodal.experiment.candidates import FeaturePath, Networks
from polymodal.experiment.ranking import recombine, standing
from polymodal.modalities.extractor import Tokens
from polymodal.output import Scores

SMALL = dict(ignore=["photo"], size="tiny", epochs=2, folds=3, preset="fast")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return make_shop(tmp_path_factory.mktemp("compare") / "shop", 90)


def test_every_row_is_tested_once_by_candidates_that_never_saw_its_group(table, monkeypatch):
    seen: list[tuple[str, set, set]] = []
    train, grow = Networks.train, FeaturePath.grow

    def network(self, *args, **kwargs):
        fit_at, choose_at = set(self.rows.numbers), set(self.valid.numbers)
        seen.append(("network", fit_at, choose_at))
        return train(self, *args, **kwargs)

    def features(self, *args, **kwargs):
        for by, held in self.library.splits[1 : self.library.whole]:
            seen.append(("features", set(map(int, by)), set(map(int, held))))
        return grow(self, *args, **kwargs)

    monkeypatch.setattr(race, "RACE", np.inf)
    monkeypatch.setattr(Networks, "train", network)
    monkeypatch.setattr(FeaturePath, "grow", features)
    found = run(table, "kind", group="seller", fusion=["gated", "features"], **SMALL)
    sellers = pd.read_csv(table)["seller"].to_numpy()
    assert sorted(i for f in found.folds for i in f.test) == list(range(90))
    for f in found.folds:
        assert not set(sellers[f.train]) & set(sellers[f.test])
    networks = [(a, b) for kind, a, b in seen if kind == "network"]
    assert len(networks) == 3 * 4 and all(
        not set(sellers[[i - 1 for i in a]]) & set(sellers[[i - 1 for i in b]]) for a, b in networks
    )
    inner = [(a, b) for kind, a, b in seen if kind == "features"]
    for number, (a, b) in enumerate(inner):
        of = sellers[found.folds[number // 3].train]  # places are among the fold's training rows
        assert a and b and not set(of[list(a)]) & set(of[list(b)])


def test_answers_are_put_beside_the_rows_that_they_are_of(table, monkeypatch):
    """Candidates that answer with the row's own label, but for every fifth row: accuracy is 0.8 in whatever order."""
    labels = (pd.read_csv(table)["kind"] == "poor").to_numpy().astype(int)
    wrong = np.arange(90) % 5 == 0

    def told(learner, rows):
        at = np.array(rows.numbers) - 1
        right = torch.tensor(np.where(wrong[at], 1 - labels[at], labels[at]))
        return Scores(torch.nn.functional.one_hot(right, 2) * 8.0 - 4)

    monkeypatch.setattr(comparing, "outputs_of", told)
    found = run(table, "kind", fusion=["gated"], **SMALL)
    leaderboard = standing(found)
    entry = next(e for e in leaderboard.entries if e.name == "gated")
    sizes = [len(f.test) for f in found.folds]
    assert np.average(entry.scores[0], weights=sizes) == pytest.approx(0.8)
    total = leaderboard.information[0].total.value
    h = -(0.2 * np.log2(0.2) + 0.8 * np.log2(0.8))
    assert total == pytest.approx(1 - h, abs=0.25)  # what answers that are right in 8 of 10 rows tell


def test_resume_does_nothing_twice_and_refuses_other_data(table, tmp_path, monkeypatch):
    out = tmp_path / "c"
    first = run(table, "kind", fusion=["gated", "features"], out=out, **SMALL)
    calls: list[str] = []
    train = Networks.train
    monkeypatch.setattr(Networks, "train", lambda self, c, *a, **k: calls.append(c.name) or train(self, c, *a, **k))
    monkeypatch.setattr(FeaturePath, "grow", lambda *a, **k: calls.append("features"))
    again = run(table, "kind", fusion=["gated", "features", "sum"], out=out, resume=True, **SMALL)
    assert calls == ["sum"] * 3 and {*first.parts} == {*again.parts} - {"sum"}
    for name, parts in first.parts.items():
        assert all(torch.equal(parts[i].logits, again.parts[name][i].logits) for i in parts)
    frame = pd.read_csv(table)
    frame.loc[3, "note"] = "another note"
    other = table.parent / "other.csv"
    frame.to_csv(other, index=False)
    with pytest.raises(InputError, match=r"can't be resumed: table changed"):
        run(other, "kind", fusion=["gated"], out=out, resume=True, **SMALL)
    with pytest.raises(InputError, match=r"holds a comparison; add --resume"):
        run(table, "kind", fusion=["gated"], out=out, **SMALL)
    (out / "parts/1-1/gated.part").write_bytes(b"broken")
    calls.clear()
    run(table, "kind", fusion=["gated", "features"], out=out, resume=True, **SMALL)
    assert calls == ["gated"]


def test_blocks_are_learned_on_training_rows_alone(table, monkeypatch):
    learned: list[tuple[int, int]] = []
    learn = Tokens.learn

    def watched(self, rows):
        learned.append((len(rows), sum(r is not None for r in rows)))
        return learn(self, rows)

    monkeypatch.setattr(Tokens, "learn", watched)
    rows = [{"v": [float(i), float(i % 3), 1.0 / (i + 1)], "y": "ab"[i % 2]} for i in range(60)]
    run(rows, "y", fusion=["features"], folds=3, preset="fast", kinds={"v": "vector"})
    # 40 training rows a fold; three inner folds of them, then all 40: never the 20 that are tested
    assert learned and {n for n, _ in learned} <= {26, 27, 40}


def test_class_weights_reach_the_estimators(monkeypatch):
    from polymodal.learners import estimators

    seen = []
    fit = estimators.fit
    monkeypatch.setattr(estimators, "fit", lambda *a: seen.append(a[5]) or fit(*a))
    rows = [{"v": [float(i), float(i % 7)], "y": "rare" if i % 6 == 0 else "common"} for i in range(60)]
    run(rows, "y", fusion=["features"], folds=2, preset="fast", kinds={"v": "vector"})
    assert seen and all(w is not None and w.max() > 1.5 * w.min() for w in seen)


def test_a_recipe_of_one_modality_in_the_first_fold_is_still_fused(table):
    found = run(table, "kind", fusion=["features"], **SMALL)
    for name, parts in found.parts.items():
        found.parts[name] = {i: p._replace(modalities=p.modalities[:1]) for i, p in parts.items()}
    leaderboard = standing(found)
    fused = {e.name: e.fused for e in leaderboard.entries}
    assert fused["hybrid (features)"] and fused["concat (features)"] and not fused["note alone (features)"]


def test_what_time_was_too_short_for_is_named_and_begun_anew_with_more(table, tmp_path, monkeypatch):
    """A network that is not trained to its end in time has no part, and none that is has less than the others."""
    train, given = Networks.train, {}

    def slow(self, candidate, limit=None, *args, **kwargs):
        given.setdefault(candidate.name, []).append(limit)
        trial = train(self, candidate, None, *args, **kwargs)
        return trial._replace(finished=candidate.name != "concat" or limit is None)

    monkeypatch.setattr(Networks, "train", slow)
    small = {**SMALL, "out": tmp_path / "c", "fusion": ["gated"]}
    leaderboard = standing(run(table, "kind", time_limit=600, **small))
    assert set(leaderboard.left_out) == {"concat"} and len(given["concat"]) == 1
    assert (
        re.search(r"concat \(\d+ s were not enough for repeat 1, fold 1\)", leaderboard.verdict)
        and "--resume" in leaderboard.verdict
    )
    assert {e.name for e in leaderboard.entries} == {"note alone", "table alone", "gated", "majority (baseline)"}
    given.clear()
    again = standing(run(table, "kind", resume=True, **small))
    assert [*given] == ["concat"] and not again.left_out and "concat" in {e.name for e in again.entries}


def test_without_any_time_the_constant_stands_alone(table):
    leaderboard = standing(run(table, "kind", fusion=["gated", "features"], time_limit=1e-6, **SMALL))
    assert [e.name for e in leaderboard.entries] == ["majority (baseline)"] and leaderboard.use == ""
    assert leaderboard.verdict.startswith("No candidate was finished in the time. Not run on all folds: features, note")
    page(leaderboard, title="t")


@pytest.mark.parametrize("fusion", ["gated", "features"])
def test_mixing_a_row_with_itself_changes_nothing(table, fusion):
    found = run(table, "kind", fusion=[fusion], **SMALL)
    name = "gated" if fusion == "gated" else "hybrid (features)"
    learner, test, views = found.again(found.parts[name][0])
    rows = test.take(list(range(12)))
    mix = recombine(learner, rows, views)
    modalities = list(dict.fromkeys(views[v] for v in learner.reads))
    same = list(range(12))
    want = learner.infer(rows.only(learner.reads).batch(same).inputs).values
    assert torch.allclose(mix(dict.fromkeys(modalities, same)), want, atol=1e-4)
    assert torch.allclose(mix(dict.fromkeys(modalities, same[::-1])), want.flip(0), atol=1e-4)
    shuffled = mix({m: same if i else same[::-1] for i, m in enumerate(modalities)})
    assert shuffled.shape == want.shape and (len(modalities) == 1 or not torch.allclose(shuffled, want, atol=1e-3))


@pytest.mark.parametrize(
    "more, said",
    [
        ({"folds": 1}, "--folds can't be 1; it must be a whole number from 2"),
        ({"repeats": 0}, "--repeats can't be 0; it must be a whole number from 1"),
        ({"folds": 60}, r"too few for 60 folds"),
        ({"folds": 12, "group": "seller"}, r"12 folds need as many groups, but 'seller' has 9; give --folds=9"),
        ({"fusion": ["gatd"]}, r"unknown fusion 'gatd'; did you mean 'gated'"),
        ({"preset": "x"}, r"unknown preset 'x'"),
    ],
)
def test_bad_options(table, more, said):
    with pytest.raises(InputError, match=said):
        run(table, "kind", **{**SMALL, "fusion": ["gated"], **more})


def test_labels_that_lie_in_one_group_each_are_refused():
    rows = [{"v": [float(i), 1.0 / (i + 1)], "y": "abc"[i % 3], "g": f"g{i % 3}"} for i in range(30)]
    with pytest.raises(InputError, match=r"no label of the rows to test is among those to train on"):
        run(rows, "y", group="g", fusion=["features"], folds=3, kinds={"v": "vector"})


def test_a_modality_that_no_training_row_of_a_fold_has(tmp_path):
    rows = [
        {"v": [float(i), 1.0] if i % 3 == 0 else None, "x": float(i % 5), "y": "ab"[i % 2], "g": f"g{i % 3}"}
        for i in range(60)
    ]
    with pytest.raises(InputError, match=r"repeat 1, fold \d: .* column 'v' is empty in all .* give fewer folds"):
        run(rows, "y", group="g", fusion=["features"], folds=3, kinds={"v": "vector"}, preset="fast")


def test_command(table, tmp_path, run: object):  # the fixture, not the function
    done = run("compare", table, "-t", "kind", "--ignore", "photo", "--fusion", "gated,features", "--folds", 2, "--size", "tiny",
               "--epochs", 1, "--preset", "fast", "--out", tmp_path / "c", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    form = json.loads(done.stdout)
    names = {e["name"] for e in form["entries"]}
    assert {"gated", "concat", "note alone", "hybrid (features)", "table alone (features)"} <= names
    assert form["verdict"] and form["emap"] and form["information"] and form["folds"] == 2
    html = Path(tmp_path / "c" / "compare.html").read_text()
    assert "polymodal compare" in html and "<svg" in html
    assert json.loads((tmp_path / "c" / "compare.json").read_text())["use"] == form["use"]


def test_labels_of_fewer_rows_than_folds_are_named():
    rows = [{"v": [float(i), float(i % 7)], "y": "rare" if i in (3, 30) else "ab"[i % 2]} for i in range(60)]
    leaderboard = standing(run(rows, "y", fusion=["features"], folds=3, preset="fast", kinds={"v": "vector"}))
    assert "Labels with fewer rows than there are folds" in leaderboard.verdict and "rare (2)" in leaderboard.verdict


def test_baselines_are_of_the_training_rows_of_each_fold_and_of_the_row_before():
    y = np.random.default_rng(0).normal(size=60).cumsum()
    rows = [{"x": float(i % 7), "z": float((i * i) % 11), "y": float(v)} for i, v in enumerate(y)]
    found = run(rows, "y", split="time", fusion=["features"], folds=2, preset="fast")
    answers = {n: {i: p.logits[:, 0].double() for i, p in parts.items()} for n, parts in found.parts.items()}
    task = found.problem.task
    for i, fold in enumerate(found.folds):
        mean = (y[fold.train].mean() - task.center_[0]) / task.scale_[0]
        before = [mean if row == 0 else (y[row - 1] - task.center_[0]) / task.scale_[0] for row in fold.test]
        assert answers["mean (baseline)"][i].tolist() == pytest.approx([mean] * len(fold.test), abs=1e-5)
        assert answers["persistence (baseline)"][i].tolist() == pytest.approx(before, abs=1e-5)
    leaderboard = standing(found)
    assert leaderboard.entries[0].name == "persistence (baseline)" != leaderboard.use
    assert "is worse than persistence (baseline)" in leaderboard.verdict
