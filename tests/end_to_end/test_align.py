"""`align`, `embed` and `evaluate` of an aligned model, as a user runs them."""

import json

import numpy as np
import pandas as pd
import pytest

import polymodal
from polymodal.errors import InputError
from polymodal.experiment import align as aligning
from polymodal.experiment.config import Run, Search, Training

WORDS = ["hen", "fox", "cow", "owl", "elk", "cat", "emu", "bat"]


def pairs(n: int, seed: int = 0) -> pd.DataFrame:
    """A note names two animals; the vector has a place for each; the price tells nothing."""
    g = np.random.default_rng(seed)
    k = g.integers(0, len(WORDS), (n, 2))
    vectors = [(np.eye(len(WORDS))[a] + np.eye(len(WORDS))[b] + g.normal(0, 0.1, len(WORDS))).round(4) for a, b in k]
    notes = [f"the {WORDS[a]} saw a {WORDS[b]} no {i}" for i, (a, b) in enumerate(k)]
    frame = pd.DataFrame({"id": [f"r{i}" for i in range(n)], "note": notes, "vector": [v.tolist() for v in vectors]})
    frame.loc[::10, "note"] = None
    return frame


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("align") / "pairs.jsonl"
    pairs(160).to_json(path, orient="records", lines=True)
    return path


@pytest.fixture(scope="module")
def aligned(table):
    out = table.parent / "cca"
    return polymodal.align(table, ["note", "vector"], method="cca", out=out, config=[Run(progress=False)]), out


def test_what_belongs_together_is_found_in_new_rows(aligned):
    model, _ = aligned
    found = model.evaluate(pairs(60, seed=1), progress=False)
    assert {(d.source, d.target) for d in found.directions} == {("note", "vector"), ("vector", "note")}
    for d in found.directions:
        assert d.metrics["recall@5"].value > 0.6 > 0.2 > d.chance["recall@5"]
        assert d.queries == 54 and d.gallery in (54, 60)
        assert d.metrics["recall@1"].low <= d.metrics["recall@1"].value <= d.metrics["recall@1"].high


def test_a_model_that_is_read_back_gives_the_same_points(aligned, table):
    model, out = aligned
    again = polymodal.load(out)
    assert not again.predicts and sorted(again.modalities) == ["note", "vector"]
    frame = pairs(30, seed=2)
    for column in ("", "note", "vector"):
        np.testing.assert_allclose(again.embed(frame, column), model.embed(frame, column), atol=1e-6)
    notes = model.embed(frame, "note")
    assert np.isnan(notes[::10]).all() and np.allclose(np.linalg.norm(notes[1], axis=-1), 1, atol=1e-5)
    alone = model.embed(frame[["vector"]], "vector")
    np.testing.assert_allclose(alone, model.embed(frame, "vector"), atol=1e-6)
    assert not np.isnan(model.embed(frame)).any(), "a row has the mean of what it has"


def test_a_network_learns_it_and_is_resumed(table, tmp_path):
    config = [Run(progress=False), Search(size="tiny"), Training(epochs=12, batch_size=16, lr=3e-3)]
    model = polymodal.align(table, ["note", "vector"], method="info-nce", dim=32, out=tmp_path / "m", config=config)
    (history, valid) = model.report.history, model.report.valid
    assert history[-1]["loss"] < history[0]["loss"] and max(h["mrr"] for h in history) > 0.3
    assert valid["directions"][0]["metrics"]["mrr"]["value"] > 0.3
    with pytest.raises(InputError, match="holds a model"):
        polymodal.align(table, ["note", "vector"], out=tmp_path / "m", config=config)
    resume = [Run(progress=False, resume=True), *config[1:]]
    again = polymodal.align(table, ["note", "vector"], method="info-nce", dim=32, out=tmp_path / "m", config=resume)
    np.testing.assert_allclose(again.embed(pairs(9)), model.embed(pairs(9)), atol=1e-5)
    with pytest.raises(InputError, match=r"can.t be resumed: dim .it was 32. changed"):
        polymodal.align(table, ["note", "vector"], method="info-nce", dim=16, out=tmp_path / "m", config=resume)


def test_auto_takes_the_better_one_and_says_both(table):
    config = [Run(progress=False), Search(size="tiny"), Training(epochs=1)]
    model = polymodal.align(table, ["note", "vector"], config=config)
    assert model.report.settings["method"] == "cca" and len(model.report.notes) == 2
    assert "info-nce: mrr" in model.report.notes[1]


def test_rows_that_share_a_cell_are_on_one_side():
    frame = pd.DataFrame({"a": ["x y"] * 3 + [f"z {i}" for i in range(47)], "b": [f"w {i}" for i in range(50)]})
    frame.loc[40:44, "b"] = "one caption"
    table = polymodal.Table.read(frame)
    schema = polymodal.Schema.infer(table, None, None, {"a": "text", "b": "text"})
    for seed in range(5):
        train, held = aligning._split(table, schema, seed)
        assert train.rows + held.rows == 50 and held.rows >= 5
        for column in "ab":
            assert not set(train.cells(column)) & set(held.cells(column))


def test_bad_options(table):
    for options, match in (
        ({"method": "clip"}, "unknown method 'clip'; it is one of auto, cca, info-nce, sigmoid, triplet"),
        ({"dim": 1}, "dim can't be 1"),
        ({"columns": ["note", "picture"]}, "no column 'picture'"),
        ({"columns": ["note"]}, "two modalities or more can be aligned, and pairs.jsonl has 1"),
    ):
        with pytest.raises(InputError, match=match):
            polymodal.align(table, **{"columns": ["note", "vector"], **options})
    few = {"columns": ["note", "vector"], "method": "cca", "config": [Run(progress=False)]}
    for frame, match in (
        (pairs(40)[1:2], "no row of .* can be held out: there is but one"),
        (pairs(40).assign(vector=[[1.0, 2.0] if i % 3 else None for i in range(40)]), "nothing of 'vector' differs"),
    ):
        with pytest.raises(InputError, match=match):
            polymodal.align(frame, **few)
    frame = pairs(40)
    frame["note"] = frame["note"].where(frame.index < 20)
    frame["vector"] = frame["vector"].where(frame.index >= 20)
    with pytest.raises(InputError, match="rows with two of note, vector are what is learned from, and there are 0"):
        polymodal.align(frame, ["note", "vector"], method="cca", config=[Run(progress=False)])


def test_commands(aligned, table, run, tmp_path):
    _, model = aligned
    done = run("evaluate", model, table, "--json")
    assert json.loads(done.stdout)["directions"][0]["metrics"]["recall@1"]["value"] > 0.3
    shown = run("evaluate", model, table).stdout
    assert "note -> vector" in shown and "R@1" in shown
    done = run("embed", model, table, "--column", "note", "--out", tmp_path / "p.npy", "--json")
    points = np.load(tmp_path / "p.npy")
    assert json.loads(done.stdout) == {
        "file": str(tmp_path / "p.npy"), "rows": 160, "dimensions": 256, "without": 16, "bad": []
    }  # fmt: skip
    assert points.shape == (160, 256) and np.isnan(points).any(1).sum() == 16
    run("embed", model, table, "--out", tmp_path / "p.csv")
    assert pd.read_csv(tmp_path / "p.csv").shape == (160, 256)
    for args, match in (
        (("embed", model, table, "--column", "x", "--out", tmp_path / "q.npy"), "the model has no modality 'x'"),
        (("embed", model, table, "--out", tmp_path / "q.txt"), "expected .parquet, .csv or .tsv"),
        (("predict", model, table), "is an aligned model: it predicts nothing"),
    ):
        done = run(*args)
        assert done.returncode == 2 and match in done.stderr and "Traceback" not in done.stderr
    done = run("align", table, "--columns", "note,vector", "--method", "cca", "--out", tmp_path / "again")
    assert done.returncode == 0 and "R@1" in done.stdout and "polymodal embed" in done.stdout
