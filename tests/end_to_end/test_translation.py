"""From a table with a column of sentences to a model that writes them, and what can go wrong on the way."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import flat
import polymodal
from conftest import squares
from polymodal import InputError
from polymodal.data.references import gather_references, merge_references
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.decoders.base import Decoding
from polymodal.objectives.writing import Writing

FAST = {"task": "generate", "size": "tiny", "batch_size": 8}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[Path, polymodal.Model, Path]:
    folder = tmp_path_factory.mktemp("captions")
    table = squares(folder / "train")
    out = folder / "model"
    model = flat.fit(
        table, "caption", out=out, epochs=30, lr=0.003, cache=folder / "cache", writing=Writing(decoder="transformer"),
        **FAST,
    )  # fmt: skip
    return table, model, out


def test_a_captioner_describes_pictures_that_it_never_saw(fitted, tmp_path):
    _, model, _ = fitted
    answer = model.evaluate(squares(tmp_path / "new", 30, seed=5))
    assert answer.rows == 30 and answer.metric == "cider_d"  # a row a picture, not a sentence
    assert answer.metrics["exact_match"].value >= 0.5
    assert answer.metrics["bleu_1"].low <= answer.metrics["bleu_1"].value <= answer.metrics["bleu_1"].high
    names = "cider_d bleu_1 bleu_2 bleu_3 bleu_4 meteor_exact_stem rouge_l chrf wer cer exact_match distinct_1 novelty"
    assert set(names.split()) <= answer.metrics.keys()


def test_fit_reports_rows_that_were_gathered(fitted):
    _, model, _ = fitted
    assert model.report.to_json()["rows"] == {"train": 48, "valid": 12, "unlabelled": 0}
    column = model.preprocessor.schema.columns["caption_id"]
    assert column.kind == "id" and "numbers the references" in column.reason


def test_a_saved_captioner_writes_the_same(fitted, tmp_path):
    table, model, out = fitted
    again = polymodal.load(out)
    pd.testing.assert_frame_equal(again.predict(table), model.predict(table))


def test_several_captions_come_with_their_probabilities(fitted):
    table, model, _ = fitted
    frame = model.predict(table, decoding=Decoding(beams=6, captions=3))
    assert list(frame) == [
        "prediction", "log_probability", "prediction_2", "log_probability_2", "prediction_3", "log_probability_3",
    ]  # fmt: skip
    assert len(frame) == 180 and (frame["prediction"] != frame["prediction_2"]).all()
    drawn = model.predict(table, decoding=Decoding("sample", captions=2, temperature=2.0, seed=3))
    assert (drawn["prediction"] != drawn["prediction_2"]).any()
    same = model.predict(table, decoding=Decoding("sample", captions=2, temperature=2.0, seed=3))
    pd.testing.assert_frame_equal(drawn, same)


def test_one_row_alone_gets_what_it_gets_among_others(fitted):
    table, model, _ = fitted
    frame = pd.read_csv(table)
    frame["image"] = str(table.parent) + "/" + frame["image"]
    whole = model.predict(frame)
    assert model.predict(frame.iloc[[4]])["prediction"].iloc[0] == whole["prediction"][4]
    assert len(model.predict(pd.DataFrame({"image": [None, frame["image"][0]]}))) == 2


def test_a_lighter_copy_writes_the_same(fitted, monkeypatch):
    from polymodal import quantize

    table, model, _ = fitted
    wanted = model.predict(table)["prediction"]
    assert (model.lighter("bf16").predict(table)["prediction"] == wanted).mean() > 0.7  # ties between true sentences
    monkeypatch.setattr(quantize.int8, "__defaults__", (1,))  # small maps too
    light = model.lighter("int8")
    assert any(isinstance(m, quantize.Int8) for m in light.learner.modules())
    assert (light.predict(table)["prediction"] == wanted).mean() > 0.7
    assert not any(isinstance(m, quantize.Int8) for m in model.learner.modules())
    with pytest.raises(InputError, match="precision can't be 'int4'; it must be one of no, bf16, int8"):
        model.lighter("int4")


def test_captions_of_one_input_become_one_row():
    frame = pd.DataFrame(
        {
            "photo": ["a.png", "b.png", "a.png", None, None],
            "question": ["what?", "what?", "what?", None, None],
            "nr": [0, 0, 1, 0, 1],
            "answer": ["x", "y", "z", "u", "v"],
        }
    )
    table = Table.read(frame)
    schema = merge_references(table, Schema.infer(table, "answer", kinds={"photo": "image", "question": "text"}))
    whole = gather_references(table, schema)
    assert whole.cells("answer") == [["x", "z"], ["y"], ["u"], ["v"]]  # nothing to read: each a row of its own
    assert [whole.row_number(i) for i in range(4)] == [1, 2, 4, 5]


def test_a_language_is_no_number_of_a_reference():
    rows = [{"photo": f"{i}.png", "language": k, "caption": f"{k} {i}"} for i in range(9) for k in ("en", "de")]
    table = Table.read(rows)
    schema = Schema.infer(table, "caption", kinds={"photo": "image"})
    assert merge_references(table, schema).columns["language"].kind == "category"


@pytest.mark.parametrize("form", ["columns", "lists"])
def test_references_may_be_columns_or_lists(tmp_path, form):
    frame = pd.read_csv(squares(tmp_path / "t", 24))
    wide = frame.pivot(index="image", columns="caption_id", values="caption").reset_index()
    wide.columns = ["image", "one", "two", "three"]
    if form == "lists":
        texts = wide[["one", "two", "three"]].apply(lambda row: json.dumps(list(row)), axis=1)
        wide = pd.DataFrame({"image": wide["image"], "texts": texts})
    path = tmp_path / "t" / "wide.csv"
    wide.to_csv(path, index=False)
    target = ["one", "two", "three"] if form == "columns" else "texts"
    model = flat.fit(path, target, epochs=1, cache=tmp_path / "c", **FAST)
    assert model.task.name == "generate" and model.report.to_json()["rows"]["train"] > 15
    assert len(model.task.seen_) > 6


def test_files_that_are_in_two_tables_are_refused_unless_meant(fitted, tmp_path):
    table, _, _ = fitted
    with pytest.raises(InputError, match=r"60 files of the validation table.*0\.png.*--allow-overlap"):
        flat.fit(table, "caption", valid=table, **FAST)
    model = flat.fit(table, "caption", valid=table, allow_overlap=True, epochs=1, cache=tmp_path, **FAST)
    assert model.report.to_json()["rows"]["valid"] == 60


def test_pictures_stay_on_one_side_of_the_split(tmp_path):
    folder = squares(tmp_path / "t", 12).parent
    rows = [
        {"image": f"{i}.png", "question": q, "answer": a}
        for i in range(12)
        for q, a in (("what is this thing?", "it is a square"), ("where is it to be seen?", "on this very picture"))
    ]
    path = folder / "questions.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    from polymodal.experiment import problem
    from polymodal.experiment.config import Columns

    goal = problem.state(path, "answer", task="generate", columns=Columns(kinds={"question": "text"}))
    train, valid = goal.split(0)
    images = goal.table.cells("image")
    assert valid and not {images[i] for i in train} & {images[i] for i in valid}


def test_self_critical_epochs_follow_the_others(tmp_path):
    table = squares(tmp_path / "t", 24)
    model = flat.fit(
        table,
        "caption",
        epochs=2,
        cache=tmp_path / "c",
        writing=Writing(self_critical=1, scheduled_sampling=0.2),
        **FAST,
    )
    assert [line["epoch"] for line in model.report.to_json()["history"]] == [0, 1, 2]
    assert model.report.to_json()["writing"]["self_critical"] == 1


def test_a_vocabulary_that_is_cut_short_is_told(fitted, tmp_path):
    _, _, out = fitted
    folder = tmp_path / "cut"
    shutil.copytree(out, folder)
    form = json.loads((folder / "model.json").read_text())
    vocabulary = form["learner"]["args"]["head"]["args"]["task"]["args"]["vocabulary"]
    vocabulary["fitted"]["words_"] = vocabulary["fitted"]["words_"][:-3]
    (folder / "model.json").write_text(json.dumps(form))
    with pytest.raises(InputError, match=r"damaged: model\.json"):
        polymodal.load(folder)
    from polymodal.folder import MANIFEST, _sum

    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["sha256"]["model.json"] = _sum(folder / "model.json")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="the vocabulary was cut or exchanged"):
        polymodal.load(folder)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"fusion": "gated"}, "joins modalities for a label"),
        ({"writing": Writing(decoder="grue")}, "unknown decoder 'grue'; did you mean 'gru'"),
        ({"writing": Writing(decoder="ctc")}, "a CTC head transcribes a recording or a series"),
        ({"writing": Writing(vocabulary="letters")}, "vocabulary can't be 'letters'; it must be one of words, bpe"),
        ({"writing": Writing(smoothing=1.0)}, "smoothing can't be 1.0"),
        ({"metric": "bleu"}, "the task generate has no metric 'bleu'; did you mean 'bleu_4'"),
        (
            {"writing": Writing(finetune_decoder=True)},
            "--finetune-decoder needs a pretrained language model as the decoder, and transformer is",
        ),
        ({"writing": Writing(decoder="ctc", self_critical=1)}, "--self-critical needs a decoder that writes word by"),
        ({"writing": Writing(decoder="no/such/network")}, "no/such/network"),
    ],
)
def test_bad_settings_are_told(fitted, tmp_path, settings, said):
    table, _, _ = fitted
    with pytest.raises(InputError, match=said):
        flat.fit(table, "caption", cache=tmp_path, **{**FAST, **settings})


def test_empty_captions_and_rows_without_a_picture_are_counted(tmp_path):
    table, held = squares(tmp_path / "t", 12), squares(tmp_path / "v", 6, seed=3)
    frame = pd.read_csv(table)
    frame.loc[frame["image"] == "0.png", "caption"] = None  # a picture without a caption
    frame.loc[frame["image"] == "1.png", "image"] = None  # captions without a picture
    frame.loc[frame["image"] == "2.png", "caption"] = "far too long " * 4_000
    frame.to_csv(table, index=False)
    model = flat.fit(table, "caption", valid=held, epochs=1, cache=tmp_path / "c", **FAST)
    assert model.report.to_json()["rows"]["unlabelled"] == 1
    assert "3 texts are longer than 64 words; they were learned up to there." in model.report.to_json()["notes"]
    assert all(math.isfinite(line["loss"]) for line in model.report.to_json()["history"])


def test_compare_says_that_it_tries_fusions(fitted):
    with pytest.raises(
        InputError, match=r"compare tries fusions.*but caption is text; fit a model with each --decoder"
    ):
        flat.run(fitted[0], "caption", task="generate")


def test_schema_shows_what_writes(fitted, capsys):
    from polymodal.report import brief
    from polymodal.view.console import show

    show(brief.schema(fitted[1]))
    shown = capsys.readouterr().out
    assert "CrossTransformer on image" in shown and "WordList of" in shown and "caption: generate" in shown


def test_numbers_as_text_and_gathered_rows_are_told(tmp_path):
    table = squares(tmp_path / "t", 12)
    frame = pd.read_csv(table).assign(caption=lambda f: f["caption_id"] + 10)
    frame.to_csv(table, index=False)
    model = flat.fit(table, "caption", epochs=1, cache=tmp_path / "c", **FAST)
    assert model.task.metric.name == "exact_match"
    assert "36 rows are 12 inputs with several references" in model.report.to_json()["reason"]
    assert any("holds numbers" in line for line in model.report.to_json()["notes"])


def test_asking_for_a_decoder_asks_for_text(fitted, tmp_path):
    from polymodal.experiment import problem

    frame = pd.read_csv(fitted[0]).assign(caption="yes")
    frame.loc[::2, "caption"] = "no"
    assert problem.state(frame, "caption").task.name == "binary"
    assert problem.state(frame, "caption", writing=Writing(decoder="gru")).task.name == "generate"


def test_a_transcriber_is_fitted_and_texts_too_long_for_their_sound_are_told(tmp_path):
    rows = []
    for i in range(12):
        wave = np.sin(np.arange(3_000) * (0.1 + 0.2 * (i % 2))) * 0.5
        soundfile.write(tmp_path / f"{i}.wav", wave, 8_000)
        rows.append({"audio": f"{i}.wav", "said": ("low tone " if i % 2 else "high tone ") * (20 if i == 3 else 1)})
    pd.DataFrame(rows).to_csv(tmp_path / "said.csv", index=False)
    held = pd.DataFrame([{"audio": str(tmp_path / "0.wav"), "said": "high tone"}])
    model = flat.fit(
        tmp_path / "said.csv", "said", valid=held, allow_overlap=True, epochs=1, cache=tmp_path / "c", **FAST
    )
    assert model.learner.kind == "Transcriber" and model.task.metric.name == "wer"
    told = "1 texts have more symbols than their recording has frames: nothing was learned of them."
    assert told in model.report.to_json()["notes"]
