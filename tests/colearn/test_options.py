"""What may be asked of co-learning: errors that name the option and the way out, and what comes of what may be."""

import pytest
import torch

from conftest import make_shop
from flat import fit
from polymodal import load
from polymodal.errors import InputError
from polymodal.fusion import AbsentTokens, Imputed
from polymodal.modalities.vector.encoders import Projection
from polymodal.nn import SIZES
from polymodal.objectives.colearning import Colearning
from polymodal.tasks.classify import Binary

FAST = {"target": "kind", "size": "tiny", "epochs": 2, "lr": 0.01, "fusion": "gated", "baselines": False}


@pytest.mark.parametrize(
    ("asked", "fusion", "said"),
    [
        ({"imputation": "zeros"}, "gated", "--imputation can't be 'zeros'; it is one of none, tokens, predicted"),
        ({"balance": "fair"}, "gated", "--balance can't be 'fair'; it is one of none, watch, ogm-ge, blending"),
        ({"pretrain": "mlm"}, "gated", "--pretrain can't be 'mlm'; it is one of masked, matching, contrastive"),
        (
            {"imputation": "tokens"},
            "features",
            "--imputation is of networks, and --fusion=features trains none; name a fusion",
        ),
        ({"init_from": "m", "balance": "blending"}, "features", "--balance, --init-from are of networks"),
        ({"unlabelled": "more.csv"}, "gated", "--unlabelled=more.csv is for pretraining, and none is asked for; add"),
        ({"imputation": "tokens"}, "late-mean", "--imputation=tokens: late-mean is a late fusion, which leaves out"),
        ({"cyclic": "photo"}, "gated", "so --fusion=gated has no place in it; leave one of them out"),
        ({"cyclic": "photo", "balance": "ogm-ge"}, "auto", "so --balance means nothing to it; leave it out"),
    ],
)
def test_what_can_not_be_asked(asked, fusion, said):
    with pytest.raises(InputError) as e:
        Colearning(**asked).check(fusion)
    assert said in str(e.value)


def test_modality_dropout_is_of_networks_and_a_chance(tmp_path):
    with pytest.raises(InputError, match="--modality-dropout is of networks, and --fusion=features trains none"):
        Colearning().check("features", 0.5)
    table = make_shop(tmp_path / "shop", 12)
    with pytest.raises(InputError, match="modality-dropout can't be 1; it must be a chance from 0 to below 1"):
        fit(table, **FAST, modality_dropout=1)


def test_help_needs_another_modality():
    for asked in ({"imputation": "tokens"}, {"balance": "ogm-ge"}, {"pretrain": "masked"}):
        (option,) = Colearning(**asked).options()
        with pytest.raises(InputError, match=f"{option} needs at least two modalities .* there is one, 'photo'"):
            Colearning(**asked).check_modalities(["photo"])
    Colearning(init_from="model").check_modalities(["photo"])
    with pytest.raises(InputError, match="--cyclic=sound: no modality has this name; there are: photo, note"):
        Colearning(cyclic="sound").check_modalities(["photo", "note"])


def test_a_model_that_writes_knows_two_of_them():
    Colearning(init_from="model").check_writing()
    with pytest.raises(
        InputError, match=r"--imputation, --pretrain are for models that predict a label.*--init-from and --mod"
    ):
        Colearning(imputation="tokens", pretrain="masked").check_writing()


def built(fusion="gated", names="ab", **asked):
    task = Binary().fit(["x", "y"] * 3)
    how = Colearning(**asked)
    return how.build(fusion, {m: Projection(3, 8) for m in names}, task, SIZES["tiny"])


def test_learners_that_come_of_it():
    assert built().head.filler is None
    assert (
        type(built(imputation="tokens").head.filler) is AbsentTokens
        and type(built(imputation="predicted").head.filler) is Imputed
    )
    assert built(imputation="tokens", names="a").head.filler is None, (
        "a modality alone has nothing that could be filled in"
    )
    assert built("late-mean", imputation="tokens").head.filler is None, "auto tries late fusions too"


def test_a_run_is_about_the_rows_of_a_table_and_not_its_name(tmp_path):
    def key(line):
        (tmp_path / "more.csv").write_text(f"note,price\n{line}\n", encoding="utf-8")
        return Colearning(pretrain="masked", unlabelled=str(tmp_path / "more.csv")).key()

    assert key("a,1") == key("a,1") != key("a,2") and Colearning().key() is None


def test_what_was_asked_is_recorded_and_a_run_goes_on_with_nothing_else(tmp_path):
    table = make_shop(tmp_path / "shop", 24)
    model = fit(table, **FAST, colearning=Colearning(imputation="tokens"), modality_dropout=0.5, out=tmp_path / "m")
    assert (
        model.report.to_json()["colearning"]["imputation"] == "tokens"
        and model.report.to_json()["settings"]["modality_dropout"] == 0.5
    )
    assert type(load(tmp_path / "m").learner.head.filler) is AbsentTokens
    again = {**FAST, "out": tmp_path / "m", "resume": True, "modality_dropout": 0.5}
    assert (
        fit(table, **again, colearning=Colearning(imputation="tokens")).report.to_json()["seconds"]
        == model.report.to_json()["seconds"]
    )
    with pytest.raises(InputError, match="can't be resumed: colearning changed since it began"):
        fit(table, **again, colearning=Colearning(imputation="predicted"))
    with pytest.raises(InputError, match=r"can.t be resumed: modality_dropout .it was 0.5. changed since it began"):
        fit(table, **{**again, "modality_dropout": 0.1}, colearning=Colearning(imputation="tokens"))
    assert torch.is_tensor(next(model.learner.head.filler.parameters()))
