"""The whole measurement: on a fitted network, on estimators and their average, on texts; the command; bad input."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import flat
from conftest import make_shop, make_tones, squares
from polymodal import fusion
from polymodal.batch import Masked
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.evaluate.intervals import difference, intervals
from polymodal.fusion.base import Late
from polymodal.learners.ensemble import Ensemble
from polymodal.modalities import MODALITIES
from polymodal.model import Model
from polymodal.output import Scores
from polymodal.robustness import robustness
from polymodal.robustness.measure import Reader, Scorer, Source, interval
from polymodal.robustness.plots import plain_name
from polymodal.robustness.portray import brief
from polymodal.robustness.run import AGAINST, Study
from polymodal.tasks.classify import Binary, MultiClass
from polymodal.tasks.regress import Regression
from polymodal.view.console import show

FAST = {"epochs": 2, "size": "tiny", "baselines": False, "ignore": ["id"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("robustness")
    make_shop(place / "shop", 60)
    return place


@pytest.fixture(scope="module")
def shop(folder):
    return folder / "shop" / "shop.csv"


@pytest.fixture(scope="module")
def model(folder, shop):
    return flat.fit(shop, "kind", fusion="gated", group="seller", out=folder / "model", **FAST)


@pytest.fixture(scope="module")
def answer(model, shop):
    return robustness(model, shop, levels=2, against=model)


def test_the_grid_has_each_subset_and_equals_evaluation_without_the_others(model, shop, answer):
    assert answer.subsets[0].present == answer.modalities == ["photo", "note", "table"]
    assert len({tuple(s.present) for s in answer.subsets}) == len(answer.subsets) == 7
    for s in (answer.subsets[0], answer.subsets[2], answer.subsets[-1]):
        gone = [m for m in answer.modalities if m not in s.present]
        slow = model.evaluate(shop, without=gone).metrics[answer.metric]
        assert tuple(s.score) == pytest.approx(tuple(slow))
    assert answer.group == "seller" and answer.rows == 60


def test_scores_and_losses_are_those_of_the_library():
    """The metric on kept bootstrap samples is `intervals`, the loss is `difference`, for every kind of task."""
    g = torch.Generator().manual_seed(0)
    groups = [i % 7 for i in range(40)]
    binary, many = Binary().fit(["a", "b"] * 20), MultiClass().fit([*"aaaaaaaaabbcc"])
    number = Regression().fit([float(i) for i in range(40)])
    both = Regression(columns=["x", "y"]).fit([{"x": float(i), "y": float(-i)} for i in range(40)])
    for task, values, width in (
        (binary, torch.arange(40) % 2, 2),
        (many, torch.arange(40) % 3, 3),
        (number, torch.randn(40, 1, generator=g), 1),
        (both, torch.randn(40, 2, generator=g), 2),
    ):
        mask = torch.ones(40, 2, dtype=torch.bool) if task is both else torch.ones(40, dtype=torch.bool)
        target = Masked(values, mask)
        a, b = (torch.randn(40, width, generator=g) for _ in range(2))
        scorer, name = Scorer(task, target, groups), task.metric.name
        mine, other = scorer.sample(Scores(a)), scorer.sample(Scores(b))
        assert tuple(interval(mine)) == pytest.approx(tuple(intervals(task, Scores(a), target, groups)[name]), abs=1e-6)
        slow = difference(task, Scores(b), Scores(a), target, name, groups)
        assert tuple(scorer.loss(mine, other)) == pytest.approx(tuple(slow), abs=1e-6)


@pytest.mark.parametrize("exact", [6, 0])
def test_rows_with_their_own_patterns_are_answered_as_when_hidden_together(model, shop, monkeypatch, exact):
    """Of few modalities by the kept answers to each pattern, of many by the rows of a pattern alone."""
    monkeypatch.setattr("polymodal.robustness.measure.EXACT", exact)
    reader = Reader(model, Table.read(shop), None, quiet=True)
    keep = np.random.default_rng(0).random((60, 3)) < 0.5
    keep[:2] = False  # nothing at all
    away = {v: ~keep[:, i] for i, m in enumerate(reader.modalities) for v in reader.views(m)}
    slow = model.logits(reader.rows.hidden(away))
    assert torch.allclose(reader.mixed(keep).values, slow, atol=1e-5) and slow.isfinite().all()
    assert len(torch.unique(slow, dim=0)) > 40  # so that an answer of another row would show


def test_a_cell_that_is_moved_in_is_that_of_the_row_it_is_said_to_be_of(model, shop):
    frame, places = pd.read_csv(shop), np.random.default_rng(1).permutation(60)
    whole = Reader(model, Table.read(shop), None, quiet=True)
    for modality, column in (("photo", "photo"), ("note", "note"), ("table", "price")):
        frame.assign(**{column: frame[column].to_numpy()[places]}).to_csv(shop.parent / "moved.csv", index=False)
        slow = Reader(model, Table.read(shop.parent / "moved.csv"), None, quiet=True).pattern((True,) * 3).values
        assert torch.allclose(whole.moved(modality, places).values, slow, atol=1e-5)
        assert not torch.allclose(slow, whole.pattern((True,) * 3).values, atol=1e-3)


def test_removed_cells_start_clean_and_end_near_nothing(answer):
    ways = {a.how for a in answer.absence}
    assert ways == {"mcar", "mar", "mnar"}
    for how in ways:
        points = [a for a in answer.absence if a.how == how]
        assert [p.share for p in points] == [0, 0.1, 0.3, 0.5, 0.7, 0.9]
        assert points[0].score == answer.clean and points[0].loss == (0, 0, 0)
        assert [p.empty for p in points] == pytest.approx([0, 0, 0, 0, 0.1, 0.7])
    assert {a.by for a in answer.absence if a.how == "mar"} == {"seller"}
    assert {a.by for a in answer.absence if a.how == "mnar"} == {"kind"}


def test_every_noise_of_every_modality_is_measured_at_every_level(answer):
    kinds = {"photo": "image", "note": "text", "table": "tabular"}
    wanted = {
        (m, k, level)
        for m, kind in kinds.items()
        for k in [*MODALITIES[kind].noise.kinds, "mismatch"]
        for level in range(2)
    }
    wanted -= {("table", "swaps", level) for level in range(2)}  # its one column is a number
    assert {(x.modality, x.kind, x.level) for x in answer.noise} == wanted
    assert all(x.score == answer.clean and x.loss == (0, 0, 0) for x in answer.noise if x.level == 0)


def test_against_itself_nothing_is_gained_and_areas_have_every_curve(answer):
    assert answer.effective.mean == (0, 0, 0) and all(a[2:] == (0, 0, 0) for a in answer.effective.curves)
    assert {(a.modality, a.kind) for a in answer.relative.curves} == {(x.modality, x.kind) for x in answer.noise}
    assert answer.relative.mean.low < answer.relative.mean.value < answer.relative.mean.high
    form = answer.to_json()["effective"]
    assert {"value", "low", "high", "curves"} == form.keys() and form["curves"][0].keys() == {
        "modality",
        "kind",
        "value",
        "low",
        "high",
    }
    assert any("fuses by Gated" in n for n in map(str, answer.notes))


def test_areas_are_printed_with_their_intervals(answer, capsys):
    show(brief(answer))
    said, mean = capsys.readouterr().out, answer.relative.mean
    assert f"relative robustness {mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]" in said
    assert f"effective robustness +0.000 [+0.000, +0.000] {answer.metric} over the model of --against" in said


def test_the_rival_meets_the_same_noise_and_answers_as_before_to_what_it_does_not_read(model, shop):
    """By hand: the scores of two models on the same spoiled cells and the same bootstrap samples of groups."""
    frame = pd.read_csv(shop)
    late = flat.fit(
        frame[["note", "price", "kind"]], "kind", fusion="late-mean", **{**FAST, "ignore": [], "epochs": 20}
    )
    found = robustness(model, shop, against=late, levels=2, kinds=["blur", "table=mismatch"])
    table = Table.read(shop)
    study, other = Study(model, table, None, 0, True), Reader(late, table, None, quiet=True)
    spoiled = [
        study.reader.moved("table", study._mismatched("table", 1.0)[0]),
        other.moved("table", study._mismatched("table", 1.0)[0]),
    ]
    (f0, f1), (b0, b1) = (
        [study.clean, study.scorer.sample(spoiled[0])],
        [study.scorer.sample(x) for x in (other.pattern((True, True)), spoiled[1])],
    )
    gain = (f1.draws - f0.draws - b1.draws + b0.draws) / 2
    swapped = found.effective.curves[-1]
    assert swapped[:2] == ("table", "mismatch") and b1.value != b0.value
    assert swapped[2:] == pytest.approx(
        [(f1.value - f0.value - b1.value + b0.value) / 2, *np.quantile(gain, [0.025, 0.975])]
    )
    blur = next(x for x in found.noise if x.kind == "blur" and x.level == 1)
    assert found.effective.curves[0].value == pytest.approx(-blur.loss.value / 2)
    assert found.against == "Fused" and not any("effective robustness" in n for n in map(str, found.notes))


def test_noise_of_a_row_is_the_same_whatever_the_other_rows(model, shop):
    table = Table.read(shop)
    for modality, name in (("photo", "gaussian"), ("note", "typos"), ("table", "gaussian")):
        noisy = []
        for part in (table, table.take([5, 31])):
            of = Reader(model, part, None, quiet=True)
            source = Source(of, modality)
            noise = source.noise.kinds[name]
            noisy.append(list(source.noisy(name, noise, noise.severities[-1], 7, of.cells(modality))))
        assert [noisy[0][5], noisy[0][31]] == noisy[1]
        assert noisy[1][0] != Source(of, modality).decoded(0)


def test_absent_stays_absent_and_unreadable_stays_unreadable(model, shop, folder):
    frame = pd.read_csv(shop).head(20)
    frame.loc[3, "photo"] = None
    frame.loc[4, "photo"] = "photos/nowhere 'ü'.png"
    frame.to_csv(shop.parent / "holes.csv", index=False)
    of = Reader(model, Table.read(shop.parent / "holes.csv"), None, quiet=True)
    source, noise = Source(of, "photo"), MODALITIES["image"].noise.kinds["blur"]
    cells = list(source.noisy("blur", noise, 3.0, 0, of.cells("photo")))
    assert cells[3] is None and isinstance(cells[4], Path) and source.decoded(4) is None
    answer = robustness(model, shop.parent / "holes.csv", kinds=["blur"], levels=2)
    assert [b.row for b in answer.bad] == [5]
    assert answer.subsets[-3].present == ["photo"] and answer.subsets[-3].seen == 18


def test_strong_noise_shows_where_the_model_leans_on_what_is_spoiled(tmp_path):
    """A pitch is heard by itself: noise 5 dB above the tone hides it, and the sentence says so."""
    table = make_tones(tmp_path, 36)
    model = flat.fit(table, "pitch", fusion="concat", **{**FAST, "ignore": [], "epochs": 8})
    frame = pd.read_csv(table)
    _, rate = soundfile.read(tmp_path / frame["sound"][0])
    assert rate == 8000
    answer = robustness(model, table, levels=2)
    assert {x.kind for x in answer.noise} == {"white", "babble", "clipping", "dropouts", "mismatch"}
    assert answer.absence == [] and len(answer.subsets) == 1
    assert any("the model reads sound alone, so that absence can't be measured" in n for n in map(str, answer.notes))
    assert any(s.startswith("Worst noise: ") for s in answer.sentences)
    swapped = next(x for x in answer.noise if x.kind == "mismatch" and x.level == 1)
    assert answer.clean.value > 0.8 and swapped.score.value < 0.75 and swapped.loss.low > 0


@pytest.mark.parametrize("rows", [2, 3, 60])
def test_mismatch_is_a_derangement_of_those_that_have_it(model, shop, rows):
    """No row that is touched keeps its own cell, every cell is used once, absent stays absent, and shares are nested."""
    frame = pd.read_csv(shop)
    frame["photo"] = frame["photo"].where(frame.index < rows)
    frame = frame.head(max(rows, 4) + 2 if rows < 60 else 60)
    frame.to_csv(shop.parent / "derange.csv", index=False)
    study, touched = Study(model, Table.read(shop.parent / "derange.csv"), None, 0, True), set()
    for share in (0.01, 0.25, 0.5, 0.75, 1.0):
        places, said = study._mismatched("photo", share)
        moved = set(np.flatnonzero(places != np.arange(len(frame))).tolist())
        assert sorted(places) == list(range(len(frame))) and max(moved) < rows
        assert len(moved) == max(2, round(share * rows)) and touched <= moved
        assert said == f"{len(moved) / len(frame):.0%} of the rows"
        touched = moved
    assert touched == set(range(rows))


def test_estimators_and_averages_are_measured_too(model, shop, folder):
    frame = pd.read_csv(shop)[["note", "price", "kind"]]
    frame["city"] = ["Oslo", "Rome", "Bern"] * 20
    frame.loc[::2, "note"] = None  # so that the table is needed
    stacked = flat.fit(frame, "kind", fusion="features", preset="fast", time_limit=60, baselines=False)
    answer = robustness(stacked, frame, levels=2)
    assert {x.kind for x in answer.noise if x.modality == "table"} == {"gaussian", "swaps", "mismatch"}
    assert len(answer.subsets) == 3 and any(x.score.value != answer.clean.value for x in answer.noise)
    assert {a.by for a in answer.absence if a.how == "mar"} == {"price (table stays)"}
    assert any("so that table stays" in n for n in map(str, answer.notes))
    both = Ensemble({"a": model.learner, "b": model.learner}, {"a": 0.5, "b": 0.5}, model.task)
    average = robustness(Model(model.preprocessor, both), shop, levels=2, kinds=["note=typos"])
    alone = robustness(model, shop, levels=2, kinds=["note=typos"])
    assert [s.score.value for s in average.subsets] == pytest.approx([s.score.value for s in alone.subsets])


def test_series_and_vectors_are_spoiled_in_units_of_their_spread():
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    frame = pd.DataFrame({"y": np.where(label, "up", "down")})
    frame["motion"] = [(np.linspace(0, 40 * k - 20, 12)[:, None] + rng.normal(size=(12, 2))).tolist() for k in label]
    frame["vector"] = [(100 * rng.normal(size=6) + 300 * k).tolist() for k in label]
    kinds = {"motion": "series", "vector": "vector"}
    model = flat.fit(frame, "y", kinds=kinds, fusion="concat", **{**FAST, "ignore": [], "epochs": 8})
    answer = robustness(model, frame, levels=2)
    assert {(x.modality, x.kind) for x in answer.noise} == {
        *(("motion", k) for k in ("jitter", "dropouts", "drift", "mismatch")),
        *(("vector", k) for k in ("gaussian", "mismatch")),
    }
    study = Reader(model, Table.read(frame), None, quiet=True)
    for modality, name in (("motion", "jitter"), ("vector", "gaussian")):
        source = Source(study, modality)
        clean = study.cells(modality)
        noisy = list(source.noisy(name, source.noise.kinds[name], 1.0, 0, clean))
        moved = np.concatenate([y - np.reshape(x, y.shape) for x, y in zip(clean, noisy, strict=True)])
        assert moved.std(0) / source.context == pytest.approx(1, rel=0.35)


def test_texts_are_measured_on_few_rows(tmp_path, monkeypatch):
    frame = pd.read_csv(squares(tmp_path, 12)).drop(columns="caption_id")
    frame["hint"] = [("about", "near", "over")[i % 3] + " here and there" for i in range(36)]
    frame["hint"] = frame.groupby("image")["hint"].transform("first")
    frame.to_csv(tmp_path / "two.csv", index=False)
    asked = {"task": "generate", "kinds": {"hint": "text"}, "epochs": 1, "size": "tiny", "baselines": False}
    model = flat.fit(tmp_path / "two.csv", "caption", **asked)
    monkeypatch.setattr("polymodal.robustness.run.TEXTS", 6)
    answer = robustness(model, tmp_path / "two.csv", levels=2, kinds=["blur"])
    assert answer.rows == 6 and any("6 of 12 rows" in n and "word by word" in n for n in map(str, answer.notes))
    assert answer.metric == model.task.metric.name and len(answer.noise) == 2 and len(answer.subsets) == 3


def test_a_sample_of_rows_is_said_and_repeats(model, shop):
    first, second = (robustness(model, shop, limit=20, noise=False) for _ in range(2))
    assert first == second and first.rows == 20 and first.noise == []
    assert any("20 of 60 rows, drawn by seed 0" in n for n in map(str, first.notes))
    other = robustness(model, shop, limit=20, noise=False, seed=1)
    assert [s.score for s in other.subsets] != [s.score for s in first.subsets]


def test_one_row_says_that_it_is_too_few(model, shop):
    answer = robustness(model, Table.read(shop).take([0]), levels=2)
    assert not any(x.kind == "mismatch" for x in answer.noise)
    assert all("1 row is too few" in s for s in answer.sentences)
    json.dumps(answer.to_json(), allow_nan=False)


def test_the_command_prints_tables_json_and_writes_a_folder(run, folder, shop, model):
    out = folder / "out 'ü'"
    done = run("robustness", folder / "model", shop, "--levels", 2, "--kinds", "typos", "--out", out)
    assert done.returncode == 0, done.stderr
    for text in (
        "With these modalities alone",
        "completely at random",
        "note: typos",
        "Worst of 7 subsets: ",
        "Worst noise: ",
    ):
        assert text in done.stdout
    assert "effective robustness needs a late fusion" in done.stdout and "relative robustness " in done.stdout
    names = sorted(p.name for p in out.iterdir())
    pictures = ["absence", "noise-note", "subsets"]
    assert names == sorted(
        [f"{p}.{e}" for p in pictures for e in ("png", "svg")] + ["robustness.csv", "robustness.json"]
    )
    form = json.loads((out / "robustness.json").read_text())
    assert {"present", "metric", "value", "low", "high", "rows"} <= form["subsets"][0].keys()
    assert {"modality", "kind", "level", "metric", "value", "low", "high"} <= form["noise"][0].keys()
    assert {"how", "share", "value"} <= form["absence"][0].keys() and form["effective"] is None
    assert form["worst"]["subset"]["present"] and form["worst"]["noise"]["kind"] == "typos" and form["sentences"]
    rows = list(csv.DictReader((out / "robustness.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(form["subsets"]) + len(form["absence"]) + len(form["noise"])
    assert math.isclose(float(rows[0]["value"]), form["clean"]["value"])
    again = run("robustness", folder / "model", shop, "--no-noise", "--json", "--limit", 30)
    assert json.loads(again.stdout)["noise"] == [] and json.loads(again.stdout)["rows"] == 30


def test_names_of_files_are_safe_and_apart():
    assert plain_name("../a/b") == "a_b" and plain_name("фото") == "фото" and plain_name("//") == "modality"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kinds", "blurr"], "no noise 'blurr' for this model; it is one of gaussian, blur, jpeg"),
        (["--kinds", "table=swaps"], "(there is no column of categories)"),
        (["--given", "sellr"], "has no column 'sellr'; did you mean 'seller'?"),
        (["--given", "kind"], "that is the target"),
        (["--out", "shop.csv"], "is a file; name a folder"),
    ],
)
def test_what_cannot_be_asked(run, folder, shop, model, options, said):
    options = [shop if o == "shop.csv" else o for o in options]
    done = run("robustness", folder / "model", shop, *options)
    assert done.returncode == 2 and said in " ".join(done.stderr.split())


def test_tables_and_models_that_do_not_fit(model, shop):
    frame = pd.read_csv(shop)
    with pytest.raises(InputError, match="has no column 'kind'"):
        robustness(model, frame.drop(columns="kind"))
    with pytest.raises(InputError, match="has no column 'photo', which the model reads"):
        robustness(model, frame[["kind", "id"]])
    with pytest.raises(InputError, match="none of the 60 rows has a label in 'kind'"):
        robustness(model, frame.assign(kind=None))
    with pytest.raises(InputError, match="levels 1, limit 5, seed 0: expected at least 2, 1 and 0"):
        robustness(model, frame, levels=1, limit=5)
    other = flat.fit(frame[["note", "price"]], "price", fusion="concat", **{**FAST, "ignore": [], "epochs": 1})
    with pytest.raises(InputError, match=r"--against is a model of price .* but this one is of kind"):
        robustness(model, shop, against=other)


def test_the_late_fusion_that_is_advised_is_one():
    name = re.search(r"--fusion (\S+)", AGAINST)
    assert name is not None and issubclass(fusion.find(name[1]), Late)
