"""`--from`: what is taken over is exactly the other's, what is not is said, and what can't be is refused."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from conftest import make_shop, squares
from flat import fit
from polymodal import load
from polymodal.errors import InputError
from polymodal.objectives.colearning import Colearning
from polymodal.objectives.writing import Writing

FAST = {"size": "tiny", "epochs": 2, "lr": 0.01, "baselines": False, "fusion": "gated"}
STILL = {**FAST, "epochs": 1, "lr": 1e-30}  # weights stay what they began as
WRITES = {"task": "generate", "size": "tiny", "epochs": 1, "batch_size": 8, "baselines": False}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A model of photo, note and numbers, and its table."""
    folder = tmp_path_factory.mktemp("from")
    table = make_shop(folder / "shop", 40)
    return fit(table, "kind", **FAST, out=folder / "model"), table, folder / "model"


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Other rows, with another target, and the price as a modality that is not the source's."""
    folder = tmp_path_factory.mktemp("other")
    path = make_shop(folder / "shop", 32, seed=1)
    frame = pd.read_csv(path)
    frame["weight"] = [i * 0.37 % 5 for i in range(len(frame))]
    frame["note"] = frame["note"].str.replace("lovely", "splendid")
    frame["score"] = (frame["kind"] == "good") * 2.0 + frame["price"] / 100
    frame.drop(columns=["kind", "id"]).to_csv(path, index=False)
    return path


def begun(table, target, model, **more):
    return fit(table, target, **{**STILL, **more}, colearning=Colearning(init_from=str(model)))


def test_weights_and_codecs_are_the_source_s_though_the_task_is_another(source, other):
    model, _, folder = source
    new = begun(other, "score", folder)
    assert new.task.name == "regression"
    for m in ("photo", "note"):
        old = model.learner.encoders[m].state_dict()
        assert all(torch.equal(v, old[k]) for k, v in new.learner.encoders[m].state_dict().items())
        assert new.preprocessor.codecs[m].fingerprint() == model.preprocessor.codecs[m].fingerprint()
    told = new.report.to_json()["colearning"]["from"]
    assert told["taken"] == ["photo", "note"] and "its columns differ" in told["left"]["table"]
    fresh = fit(other, "score", **STILL)
    assert fresh.preprocessor.codecs["note"].fingerprint() != model.preprocessor.codecs["note"].fingerprint()
    assert any(f"begun with {folder}: photo, note" in line for line in new.report.to_json()["notes"])
    assert (
        "the fusion" in told["more"] and "the fusion" in new.report.to_json()["notes"][0]
    )  # the same names, the same widths


def test_the_fusion_goes_along_where_all_shapes_agree(source, tmp_path):
    model, table, folder = source
    new = begun(table, "kind", folder)
    old = model.learner.head.fusion.state_dict()
    assert all(torch.equal(v, old[k]) for k, v in new.learner.head.fusion.state_dict().items())
    assert not torch.equal(new.learner.head.out[1].weight, model.learner.head.out[1].weight), (
        "what answers is learned anew"
    )
    assert begun(table, "kind", folder, fusion="concat").report.to_json()["colearning"]["from"]["more"] == []
    frame = pd.read_csv(table).drop(columns=["price", "seller"])
    fewer = table.parent / "fewer.csv"
    frame.to_csv(fewer, index=False)
    assert begun(fewer, "kind", folder).report.to_json()["colearning"]["from"]["more"] == []


def test_a_copy_learns_and_the_source_stays(source, other):
    before = {k: v.clone() for k, v in load(source[2]).learner.state_dict().items()}
    new = begun(other, "score", source[2], lr=0.01)
    old = source[0].learner.encoders["note"].state_dict()
    assert not all(torch.equal(v, old[k]) for k, v in new.learner.encoders["note"].state_dict().items())
    assert all(torch.equal(v, before[k]) for k, v in load(source[2]).learner.state_dict().items())


def test_an_encoder_that_is_asked_for_wins(source, other):
    new = begun(other, "score", source[2], encoders={"note": "gru"})
    told = new.report.to_json()["colearning"]["from"]
    assert told["taken"] == ["photo"] and told["left"]["note"] == "another encoder is asked for with --encoder"


def test_what_can_not_be_begun_with(source, other, tmp_path):
    with pytest.raises(InputError, match=r"is not a polymodal model: it does not exist; give the folder that fit"):
        begun(other, "score", tmp_path / "nothing")
    frame = pd.read_csv(other)[["weight", "score"]].rename(columns={"weight": "mass"})
    frame["size"] = frame["mass"] * 2 % 3
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"has nothing for this table to begin with. table: its columns differ: mass"):
        begun(tmp_path / "t.csv", "score", source[2])
    features = fit(source[1], "kind", fusion="features", preset="fast", time_limit=5, out=tmp_path / "f")
    assert features.report.to_json()["settings"]["fusion"] == "features"
    with pytest.raises(InputError, match="the model has no encoders that could be taken over: it is Stacked"):
        begun(other, "score", tmp_path / "f")


def test_rows_that_the_source_learned_from_can_not_judge(source):
    _, table, folder = source
    with pytest.raises(InputError, match=r"trained on rows which are validation rows now.*give the --seed"):
        begun(table, "kind", folder, seed=3)
    with pytest.raises(InputError, match="trained on rows which are validation rows now"):
        begun(make_shop(folder.parent / "again", 30, seed=5), "kind", folder, valid=table)


def test_a_run_goes_on_only_with_the_same_source(source, other, tmp_path):
    out = {"out": tmp_path / "m", "resume": True}
    begun(other, "score", source[2], **out)
    changed = fit(source[1], "kind", **{**FAST, "seed": 1}, out=tmp_path / "source")
    assert changed.report.to_json()["seconds"] > 0
    with pytest.raises(InputError, match=r"can't be resumed: codecs, colearning changed|can't be resumed: colearning"):
        begun(other, "score", tmp_path / "source", **out)


def test_a_captioner_goes_on_where_another_stopped(tmp_path):
    table = squares(tmp_path / "data", 12)
    first = fit(table, "caption", **WRITES, lr=0.01, ignore=["caption_id"], out=tmp_path / "m")
    new = fit(
        table,
        "caption",
        **WRITES,
        lr=1e-30,
        ignore=["caption_id"],
        colearning=Colearning(init_from=str(tmp_path / "m")),
    )
    old = first.learner.state_dict()
    assert all(torch.equal(v, old[k]) for k, v in new.learner.state_dict().items() if k != "steps")
    assert new.report.to_json()["colearning"]["from"]["more"] == ["places", "the decoder"]
    with pytest.raises(InputError, match="image: its tokens are 64 wide, and 256 of this --size"):
        fit(table, "caption", **{**WRITES, "size": "small"}, ignore=["caption_id"],
            colearning=Colearning(init_from=str(tmp_path / "m")))  # fmt: skip


def tiny_vit(folder):
    """A pretrained network of random weights, that looks at 2 x 2 places."""
    from transformers import ViTConfig, ViTModel

    form = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    ViTModel(ViTConfig(**form, image_size=16, patch_size=8)).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    look = {"image_processor_type": "ViTImageProcessor", "size": size, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(look))
    return folder


def test_a_network_that_was_frozen_goes_on_learning(tmp_path):
    """The tuned model says at first what the frozen one said; and self-critical epochs go on from it."""
    table, network = squares(tmp_path / "data", 12), tiny_vit(tmp_path / "vit")
    how = {**WRITES, "ignore": ["caption_id"], "encoders": {"image": str(network)}}
    first = fit(table, "caption", **how, lr=0.01, out=tmp_path / "m")
    asked = Colearning(init_from=str(tmp_path / "m"))
    tuned = fit(table, "caption", **how, lr=1e-30, finetune=["image"], colearning=asked, out=tmp_path / "t")
    told = tuned.report.to_json()["colearning"]["from"]
    assert told["taken"] == ["image"] and "the decoder" in told["more"]
    pictures = pd.read_csv(table)[["image"]].drop_duplicates()
    pictures["image"] = [str(table.parent / p) for p in pictures["image"]]
    a, b, c = (m.predict(pictures) for m in (first, tuned, load(tmp_path / "t")))
    assert list(a["prediction"]) == list(b["prediction"]) and b.equals(c)
    assert abs(a["log_probability"] - b["log_probability"]).max() < 0.05  # kept in half precision, and tuned at 5e-5
    again = fit(table, "caption", **how, lr=1e-3, colearning=asked, writing=Writing(self_critical=1))
    assert again.report.to_json()["colearning"]["from"]["left"] == {} and len(again.report.to_json()["history"]) == 2
    other = fit(table, "caption", **{**how, "encoders": {}}, lr=1e-30, writing=Writing(decoder="gru"), colearning=asked)
    assert other.report.to_json()["colearning"]["from"]["more"] == ["places"], (
        "another decoder has no use for these weights"
    )


def test_the_command_line(source, other, run, tmp_path):
    done = run("fit", other, "-t", "score", "--fusion", "gated", "--size", "tiny", "--epochs", 1, "--no-baselines",
               "--init-from", source[2], "--out", tmp_path / "m", "--modality-dropout", 0.1)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"begun with {source[2]}"[:60] in done.stdout.replace("\n", "") and "not table" in done.stdout
    plan = json.loads(Path(tmp_path / "m" / "model.json").read_text())["report"]["plan"]
    assert plan["modality_dropout"] == 0.1 and len(plan["colearning"]["init_from"]) == 32
    wrong = run("fit", other, "-t", "score", "--fusion", "features", "--init-from", source[2], "--out", tmp_path / "n")
    assert wrong.returncode == 2 and "--init-from is of networks, and --fusion=features trains none" in wrong.stderr


def test_of_a_model_that_reads_one_modality_that_one_is_taken(source, tmp_path):
    table = source[1]
    how = {k: v for k, v in FAST.items() if k != "fusion"}
    fit(table, "kind", **{**how, "epochs": 1}, colearning=Colearning(cyclic="note"), out=tmp_path / "m")
    new = begun(table, "kind", tmp_path / "m")
    assert "not photo (the model reads note alone); not table (" in " ".join(new.report.to_json()["notes"])
