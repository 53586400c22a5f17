"""`polymodal features`: a table of named numbers, one row a row."""

import json

import numpy as np
import pandas as pd
import pytest

from conftest import make_shop, make_tones
from polymodal.data.cache import usage
from polymodal.errors import InputError
from polymodal.extract import features
from polymodal.modalities import MODALITIES


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return make_shop(tmp_path_factory.mktemp("features") / "shop", 30)


def test_names_rows_and_what_is_kept(shop):
    found = features(shop, select={"photo": "color,hog", "note": "statistics"})
    frame = found.frame
    assert list(frame.columns[:4]) == ["id", "price", "seller", "kind"] and len(frame) == 30
    assert {"photo.red_mean", "note.words"} <= set(frame.columns)
    assert set(found.counts) == {"photo: color", "photo: hog", "note: statistics"}
    assert sum(found.counts.values()) == frame.shape[1] - 4 and frame.columns.is_unique
    kinds = pd.read_csv(shop)["kind"]
    assert (frame["kind"] == kinds).all()


def test_default_features_of_sounds_have_names_that_a_person_understands(tmp_path):
    frame = features(make_tones(tmp_path / "t", 12)).frame
    assert any(c.startswith("sound.") and c.endswith("_hz") for c in frame.columns)
    high = frame["pitch"] == "high"
    centroid = next(c for c in frame.columns if "centroid_hz_mean" in c)
    assert frame.loc[high, centroid].min() > frame.loc[~high, centroid].max()


def test_absent_and_unreadable_cells_are_rows_of_nan_and_counted(shop, tmp_path):
    frame = pd.read_csv(shop)
    frame["photo"] = [str(shop.parent / p) for p in frame["photo"]]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    frame.loc[3, "photo"], frame.loc[5, "photo"], frame.loc[5, "note"] = str(bad), None, None
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = features(tmp_path / "t.csv", select={"photo": "color", "note": "tfidf"})
    photo = [c for c in found.frame if c.startswith("photo.")]
    note = [c for c in found.frame if c.startswith("note.")]
    empty = found.frame[photo].isna().all(axis=1)
    assert np.flatnonzero(empty).tolist() == [3, 5] and np.flatnonzero(
        found.frame[note].isna().all(axis=1)
    ).tolist() == [5]
    assert [(b.row, b.column) for b in found.bad] == [(4, "photo")]


def test_vocabulary_of_another_table(shop, tmp_path):
    other = make_shop(tmp_path / "other", 20, seed=3)
    first = features(shop, select={"note": "bag", "photo": "color"})
    second = features(other, learn=shop, select={"note": "bag", "photo": "color"})
    assert list(first.frame.columns) == list(second.frame.columns) and len(second.frame) == 20


def test_sparse_features_keep_the_frequent_and_count_the_rest():
    rows = [{"text": f"common word{i} other{i} more{i} again{i} last{i}"} for i in range(300)]
    found = features(rows, select={"text": "tfidf"}, kinds={"text": "text"})
    assert found.counts == {"text: tfidf": 1000} and found.left_out["text: tfidf"] > 1000
    assert "text.word=common" in found.frame


def test_a_second_run_reads_the_cache(shop, tmp_path):
    features(shop, select={"photo": "hog"}, cache=tmp_path)
    before = {e.name: e.records for e in usage(tmp_path)}
    features(shop, select={"photo": "hog"}, cache=tmp_path)
    assert before and {e.name: e.records for e in usage(tmp_path)} == before


@pytest.mark.parametrize(
    "more, said",
    [
        ({"select": {"phota": "hog"}}, r"'phota' is no column with features; there are: photo, note"),
        ({"select": {"photo": "hug"}}, r"no features 'hug' of image; there are: color, hog"),
        ({"select": {"note": "wordvectors"}}, r"features 'wordvectors' of text are written wordvectors:FILE"),
        ({"select": {"note": "bag:x"}}, r"are written bag$"),
        ({"select": {"note": "wordvectors:none.txt"}}, r"none\.txt"),
        ({"ignore": ["photo", "note"]}, r"has no column of text, image, audio, series to extract features from"),
    ],
)
def test_bad_input(shop, more, said):
    with pytest.raises(InputError, match=said):
        features(shop, **more)


def test_word_vectors_from_a_file(shop, tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("lovely 1 0\nawful -1 0\nbox 0 1\n")
    assert features(shop, select={"note": f"wordvectors:{path}"}, ignore=["photo"]).counts == {
        f"note: wordvectors:{path}": 2
    }
    path.write_text("lovely 1 0\nawful -1 x\nbox 0 1\n")
    with pytest.raises(InputError, match=r"line 2.*mend or remove that line"):
        features(shop, select={"note": f"wordvectors:{path}"})
    path.write_text("bonjour 1 0\nmonde -1 1\n")
    with pytest.raises(InputError, match=r"none of the .* distinct words of the column stands in"):
        features(shop, select={"note": f"wordvectors:{path}"})


def test_defaults_are_known():
    assert all(set(m.default_extractors) <= set(m.extractors) for m in MODALITIES.values())
    assert all(bool(m.default_extractors) == bool(m.extractors) for m in MODALITIES.values())


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_command(shop, tmp_path, run, suffix):
    out = tmp_path / f"f.{suffix}"
    done = run("features", shop, "--select", "photo=color", "--select", "note=statistics", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    form = json.loads(done.stdout)
    frame = pd.read_parquet(out) if suffix == "parquet" else pd.read_csv(out, sep="\t" if suffix == "tsv" else ",")
    assert frame.shape == (30, form["columns"]) and form["rows"] == 30
    assert "photo: color" in run("features", shop, "--ignore", "note", "--select", "photo=color", "--out", out).stdout


def test_command_refuses_other_files(shop, tmp_path, run):
    done = run("features", shop, "--select", "photo=color", "--out", tmp_path / "f.xlsx")
    assert done.returncode == 2 and "expected .parquet, .csv or .tsv" in done.stderr and "Traceback" not in done.stderr


def test_a_command_names_all_that_each_kind_of_column_has(run):
    shown = run("modalities", COLUMNS="300").stdout
    blocks = dict(block.split(": ", 1) for block in shown.replace("\n  ", " | ").strip().splitlines())
    form = json.loads(run("modalities", "--json").stdout)["modalities"]
    for m, block, of in zip(MODALITIES.values(), blocks.items(), form, strict=True):
        assert block[0].split(", ") == list(m.kinds) == of["kinds"]
        names = {*m.codecs, *m.encoders, *m.extractors, *m.noise.kinds, "mismatch"}
        assert names <= set(block[1].replace("*", "").replace(",", " ").split())
        assert [n for n, default in of["features"].items() if default] == list(m.default_extractors)
