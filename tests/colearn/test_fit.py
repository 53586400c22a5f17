"""Co-learning in `fit`: pretraining on rows without labels, what balances, cycles; resumed as it was begun."""

import json

import pandas as pd
import pytest
import torch

from conftest import make_shop
from flat import fit
from polymodal import load
from polymodal.errors import InputError
from polymodal.experiment import pretraining
from polymodal.heads.balanced import Balanced
from polymodal.heads.cyclic import Cyclic
from polymodal.heads.pretraining import KINDS
from polymodal.objectives.colearning import Colearning

TINY = {"target": "kind", "size": "tiny", "epochs": 2, "lr": 0.01, "baselines": False}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return make_shop(tmp_path_factory.mktemp("colearn") / "shop", 40)


@pytest.mark.parametrize("kind", KINDS)
def test_learners_begin_with_what_was_learned_without_labels(shop, kind, monkeypatch):
    begun = []
    plain = pretraining.train

    def seen(learner, *args, **more):
        told = plain(learner, *args, **more)
        with torch.no_grad():
            for p in learner.parameters():
                p += 0.5  # no fresh weights are like these
        begun.append({k: v.clone() for k, v in learner.state_dict().items()})
        return told

    monkeypatch.setattr(pretraining, "train", seen)
    model = fit(shop, **{**TINY, "lr": 1e-30}, fusion="gated", colearning=Colearning(pretrain=kind))
    (state,) = begun
    own = model.learner.state_dict()
    parts = ("encoders.",) if kind == "contrastive" else ("encoders.", "fusion.")
    taken = [k for k in own if k.startswith(parts)]
    assert taken and all(torch.allclose(own[k].cpu(), state[k].cpu()) for k in taken)
    others = [k for k in own if k.startswith("fusion.")] if kind == "contrastive" else []
    assert not any(k in state for k in others), "nothing was learned of the fusion"
    told = model.report.to_json()["colearning"]["pretraining"]
    assert told["kind"] == kind and told["rows"] == 32 and told["unlabelled"] == 0 and told["valid"] == 8
    assert any(line.startswith(f"pretrained ({kind}) on 32 rows") for line in model.report.to_json()["notes"])


def test_rows_without_a_label_count_and_rows_with_one_modality_do_not(shop, tmp_path):
    frame = pd.read_csv(shop)
    frame.loc[:9, "kind"] = None
    frame.loc[[0, 1], ["photo", "note"]] = None
    frame.loc[[0, 1], "seller"] = None
    frame.loc[[0, 1], "price"] = None
    frame["photo"] = [None if p != p else str(shop.parent / p) for p in frame["photo"]]
    more = frame.drop(columns=["kind", "price"])[20:]
    more.to_csv(tmp_path / "more.csv", index=False)
    model = fit(frame, **TINY, fusion="late-mean", valid=shop, colearning=Colearning(
        pretrain="masked", unlabelled=str(tmp_path / "more.csv")))  # fmt: skip
    told = model.report.to_json()["colearning"]["pretraining"]
    assert told["rows"] == 40 - 2 + 20 and told["unlabelled"] == 8 + 20
    assert model.report.to_json()["rows"]["unlabelled"] == 10


def test_what_pretraining_needs(shop, tmp_path):
    frame = pd.read_csv(shop)
    for i, column in enumerate(("photo", "note", "price")):
        frame.loc[[r % 3 != i for r in range(len(frame))], column] = None
    frame["seller"] = None
    with pytest.raises(InputError, match="--pretrain=masked learns from rows with at least two modalities, and there"):
        fit(frame, **TINY, fusion="gated", colearning=Colearning(pretrain="masked"), kinds={"photo": "text"})
    pd.DataFrame({"note": ["a b", "c d"], "other": [1, 2]}).to_csv(tmp_path / "t.csv", index=False)
    asked = Colearning(pretrain="matching", unlabelled=str(tmp_path / "t.csv"))
    with pytest.raises(InputError, match=r"--unlabelled=t\.csv has 1 of the modalities photo, note, table"):
        fit(shop, **TINY, fusion="gated", colearning=asked)


@pytest.mark.parametrize("kind", KINDS)
def test_pretraining_never_sees_labels(shop, kind, monkeypatch):
    plain, learned = pretraining.train, []

    def seen(learner, *args, **more):
        plain(learner, *args, **more)
        learned.append({k: v.clone() for k, v in learner.state_dict().items()})
        raise StopIteration

    monkeypatch.setattr(pretraining, "train", seen)
    frame = pd.read_csv(shop)
    frame["photo"] = [str(shop.parent / p) for p in frame["photo"]]
    other = frame.assign(kind=[None, "poor", "good", "good"] * 10)
    for rows in (frame, other):
        with pytest.raises(StopIteration):
            fit(rows, **TINY, fusion="gated", valid=shop, colearning=Colearning(pretrain=kind))
    assert all(torch.equal(v, learned[1][k]) for k, v in learned[0].items())


@pytest.mark.parametrize(
    ("asked", "fusion", "step"),  # two steps an epoch, two epochs; pretraining has as many, before
    [
        ({"pretrain": "masked", "imputation": "tokens"}, "gated", 3),
        ({"pretrain": "matching"}, "mvae", 7),
        ({"pretrain": "contrastive", "imputation": "predicted", "balance": "blending"}, "gated", 5),
        ({"cyclic": "note"}, "auto", 3),
    ],
)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(shop, tmp_path, interrupted, asked, fusion, step):
    how = {**TINY, "fusion": fusion, "colearning": Colearning(**asked)}
    whole = fit(shop, **how, out=tmp_path / "whole")
    interrupted(step, lambda: fit(shop, **how, out=tmp_path / "part"))
    with pytest.raises(InputError, match=r"can.t be resumed: colearning.* changed since it began"):
        other = {"fusion": "auto", "colearning": Colearning(cyclic="photo")} if "cyclic" in asked else {
            "colearning": Colearning(imputation="tokens")}  # fmt: skip
        fit(shop, **{**how, **other}, out=tmp_path / "part", resume=True)
    again = fit(shop, **how, out=tmp_path / "part", resume=True)
    mine, theirs = (x.learner.state_dict() for x in (again, whole))
    assert all(torch.equal(v, theirs[k]) for k, v in mine.items())
    assert again.report.to_json()["history"] == whole.report.to_json()["history"]


@pytest.mark.parametrize("how", ["ogm-ge", "watch"])
def test_balanced_learners_are_saved_and_loaded(shop, tmp_path, how):
    model = fit(
        shop, **TINY, fusion="gated", colearning=Colearning(balance=how, imputation="tokens"), out=tmp_path / "m"
    )
    again = load(tmp_path / "m")
    head = again.learner.head
    assert isinstance(head, Balanced) and head.how == how and head.fused.filler is not None
    assert "photo" in model.report.history[0]["unimodal"]
    assert again.predict(shop).equals(model.predict(shop))


def test_a_cyclic_model_needs_its_source_alone(shop, tmp_path):
    model = fit(shop, **{**TINY, "baselines": True}, colearning=Colearning(cyclic="note"), out=tmp_path / "m")
    assert isinstance(load(tmp_path / "m").learner.head, Cyclic) and model.modalities == ["note"]
    names = [c["name"] for c in model.report.to_json()["comparison"]["candidates"]]
    assert names == ["cyclic from note", "photo alone", "note alone", "table alone", "concat", "majority (baseline)"]
    assert len(model.predict(pd.read_csv(shop)[["note"]])) == 40


def test_auto_tries_what_was_asked_for_with_every_fusion(shop):
    asked = Colearning(imputation="tokens", pretrain="contrastive")
    model = fit(shop, "kind", size="tiny", epochs=1, preset="fast", time_limit=6, colearning=asked)
    assert (
        model.report.to_json()["colearning"]["pretraining"]["rows"] == 32
        and model.report.to_json()["settings"]["fusion"] == "auto"
    )


def test_the_command_line(shop, run, tmp_path):
    done = run("fit", shop, "-t", "kind", "--fusion", "gated", "--size", "tiny", "--epochs", 1, "--no-baselines",
               "--imputation", "predicted", "--balance", "blending", "--pretrain", "matching", "--modality-dropout", 0.5,
               "--out", tmp_path / "m", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["colearning"]
    assert (told["imputation"], told["balance"], told["modality_dropout"]) == ("predicted", "blending", 0.5)
    shown = run("fit", "--help", COLUMNS="300").stdout
    assert "Co-learning" in shown and all(
        f"--{o}" in shown for o in ("imputation", "init-from", "cyclic", "unlabelled")
    )
