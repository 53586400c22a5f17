"""`fit` on every task, kind of column and way of splitting, through the public interface."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import flat
import polymodal
from conftest import make_shop
from polymodal import InputError

FAST = dict(fusion="gated", epochs=3, size="tiny", baselines=False)


def rows(n: int = 80, seed: int = 0) -> list[dict]:
    """Numbers, words, a series and a vector, with targets of every kind that depend on them."""
    g = np.random.default_rng(seed)
    out = []
    for i in range(n):
        x, kind = g.normal(), str(g.choice(["oak", "fir", "elm"]))
        wave = np.sin(np.arange(int(g.integers(20, 30))) * (0.3 + 0.3 * (x > 0))) + g.normal(0, 0.1)
        tags = [t for t, yes in (("warm", x > 0), ("tall", kind == "oak"), ("wet", g.random() > 0.5)) if yes]
        out.append(
            {
                "x": round(float(x), 3), "tree": kind, "day": f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}", "wave": wave.tolist(),
                "vector": g.normal(x, 1, 6).tolist(), "note": f"a {kind} seen by the {g.choice(['road', 'river'])} today",
                "height": 3 * x + (kind == "oak") + float(g.normal(0, 0.1)), "width": -2 * x, "tags": tags,
                "grade": int(np.clip(round(x + 2), 0, 4)), "owner": f"o{i % 8}",
            }
        )  # fmt: skip
    return out


TARGETS = ["height", "width", "tags", "grade"]


def fit(target, **more):
    targets = [target] if isinstance(target, str) else target
    settings = {**FAST, "ignore": [t for t in TARGETS if t not in targets], **more}
    return flat.fit(rows(), target, **settings)


@pytest.mark.parametrize(
    "target, task, metrics",
    [
        ("height", "regression", {"mae", "rmse", "r2", "pearson"}),
        (["height", "width"], "regression", {"mae", "r2", "mae[height]", "mae[width]"}),
        ("tags", "multilabel", {"micro_f1", "macro_f1", "average_precision"}),
        ("grade", "multiclass", {"accuracy", "macro_f1", "roc_auc"}),
    ],
    ids=["regression", "two targets", "multilabel", "multiclass"],
)
def test_tasks(target, task, metrics, tmp_path):
    model = fit(target)
    assert model.task.name == task and metrics <= model.report.to_json()["valid"]["metrics"].keys()
    assert set(model.modalities) == {"wave", "vector", "note", "table"}
    again = polymodal.load(model.save(tmp_path / "m"))
    a, b = model.predict(rows(20, seed=1)), again.predict(rows(20, seed=1))
    pd.testing.assert_frame_equal(a, b)
    assert len(a) == 20


def test_ordinal_by_name():
    model = fit("grade", task="ordinal")
    assert model.task.name == "ordinal" and "quadratic_kappa" in model.report.to_json()["valid"]["metrics"]


def test_regression_learns():
    model = fit("height", epochs=40)
    assert model.report.to_json()["valid"]["metrics"]["r2"]["value"] > 0.5


def test_groups_never_part_and_intervals_are_over_groups(monkeypatch):
    from polymodal.experiment import problem

    seen = []
    split = problem._split
    monkeypatch.setattr(problem, "_split", lambda goal, *a: seen.append((goal.table, *split(goal, *a))) or seen[-1][1:])
    model = fit("grade", group="owner")
    ((table, train, valid),) = seen
    owners = table.cells("owner")
    assert not {owners[i] for i in train} & {owners[i] for i in valid}
    assert (
        model.report.to_json()["valid"]["group"] == "owner"
        and "owner" not in model.preprocessor.schema.modalities()["table"][1]
    )


def test_rows_without_a_label_are_counted_and_left_out():
    table = rows()
    for i in range(10):
        table[i]["grade"] = None
    model = flat.fit(table, "grade", ignore=["height", "width", "tags"], **FAST)
    assert model.report.to_json()["rows"] == {"train": 66, "valid": 14, "unlabelled": 10}


def test_codecs_see_training_rows_only():
    """A word that only validation rows hold is unknown to the model."""
    valid = rows(20, seed=2)
    for r in valid:
        r["note"] = "xylophone music"
    model = fit("grade", valid=valid)
    assert "xylophone" not in json.dumps(model.preprocessor.codecs["note"].vocabulary_)


def test_half_of_all_cells_absent():
    g = np.random.default_rng(0)
    table = [{k: (None if k not in TARGETS and g.random() < 0.5 else v) for k, v in r.items()} for r in rows()]
    model = flat.fit(table, "grade", ignore=["height", "width", "tags"], **FAST)
    assert np.isfinite(model.report.to_json()["history"][-1]["valid_loss"])
    assert len(model.predict(table)) == 80


def test_every_source_of_a_table_is_the_same_table(tmp_path):
    import polars as pl

    frame = pd.DataFrame(rows()).drop(columns=["height", "width", "tags"])
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "t.parquet")
    sources = [frame, tmp_path / "t.jsonl", tmp_path / "t.parquet", pl.from_pandas(frame), frame.to_dict("records")]
    answers = [flat.fit(s, "grade", **FAST).report.to_json()["valid"]["metrics"]["accuracy"] for s in sources]
    assert all(a == answers[0] for a in answers)


def test_encoders_by_name(shop):
    model = flat.fit(shop, "kind", encoders={"note": "bytes+gru", "photo": "vit", "table": "ft-transformer"}, **FAST)
    parts = {m: type(e).__name__ for m, e in model.learner.encoders.items()}
    assert parts == {"note": "TextGRU", "photo": "ViT", "table": "FTTransformer"}


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    """A tiny random BERT with a tokenizer, saved to disk."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"lovely awful really very this it was box came today well hm".split()]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]")
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tune", [(), ("note",)], ids=["frozen", "tuned"])
def test_pretrained_by_folder_and_a_model_folder_that_needs_nothing_else(bert, tmp_path, tune):
    table = make_shop(tmp_path / "shop", 60)
    moved = tmp_path / "bert"
    __import__("shutil").copytree(bert, moved)
    model = flat.fit(table, "kind", encoders={"note": str(moved)}, finetune=tune, **FAST)
    learned = {n.split(".")[1] for n, _ in model.learner.named_parameters() if ".network." in n}
    assert bool(learned) == bool(tune)
    expected = model.predict(table)
    model.save(tmp_path / "m")
    moved.rename(tmp_path / "gone")
    os.environ["HF_HUB_OFFLINE"] = "1"
    pd.testing.assert_frame_equal(expected, polymodal.load(tmp_path / "m").predict(table), rtol=1e-4, atol=1e-5)


def test_bf16(shop):
    model = flat.fit(shop, "kind", precision="bf16", **FAST)
    assert np.isfinite(model.report.to_json()["history"][-1]["loss"])


def test_too_few_labels_and_groups():
    with pytest.raises(InputError, match=r"only 3 of 80 rows have a label"):
        flat.fit([{**r, "grade": r["grade"] if i < 3 else None} for i, r in enumerate(rows())], "grade", **FAST)
    with pytest.raises(InputError, match=r"group column has 1 distinct"):
        flat.fit([{**r, "owner": "me"} for r in rows()], "grade", group="owner", **FAST)
    with pytest.raises(InputError, match=r"no validation row has a label"):
        fit("grade", valid=[{**r, "grade": None} for r in rows(10)])


def test_rare_labels_stay_in_training():
    table = [{**r, "tags": [*r["tags"], f"rare{i}"] if i % 10 == 0 else r["tags"]} for i, r in enumerate(rows())]
    for seed in range(3):
        flat.fit(table, "tags", ignore=["height", "width", "grade"], seed=seed, **{**FAST, "epochs": 1})


def test_label_sets_are_written_so_that_they_can_be_read_again(tmp_path, run):
    fit("tags").save(tmp_path / "m")
    pd.DataFrame(rows(12)).drop(columns=["height", "width", "grade"]).to_json(
        tmp_path / "t.jsonl", orient="records", lines=True
    )
    done = run("predict", tmp_path / "m", tmp_path / "t.jsonl", "--out", tmp_path / "p.csv")
    assert done.returncode == 0, done.stderr
    assert all(isinstance(json.loads(cell), list) for cell in pd.read_csv(tmp_path / "p.csv")["prediction"])
