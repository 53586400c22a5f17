"""Encoders of another polymodal model as frozen encoders."""

import shutil

import pytest
import torch

import flat
import polymodal
from conftest import make_shop
from polymodal.errors import InputError
from polymodal.modalities import choose
from polymodal.modalities.vector.encoders import Projection
from polymodal.ops import masked_mean

FIT = dict(ignore=["seller"], fusion="gated", size="tiny", epochs=2, baselines=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    table = make_shop(folder / "shop", 60)
    flat.fit(table, "kind", out=folder / "model", **FIT)
    return table, folder / "model"


def test_it_says_what_the_models_encoder_says(model):
    table, folder = model
    source = polymodal.load(folder)
    codec, encoder = choose("image", str(folder))
    assert encoder is Projection
    cells = [table.parent / f"photos/{i}.png" for i in range(5)]
    got = codec.fit(cells, None).encode_batch([*cells[:2], None, *cells[2:]])
    theirs = source.preprocessor.codecs["photo"]
    want = masked_mean(source.learner.encoders["photo"](theirs.collate([theirs.encode(c) for c in cells])))
    assert got[2] is None and codec.collate(got).mask.tolist() == [[True]] * 2 + [[False]] + [[True]] * 3
    assert torch.allclose(torch.cat([g for g in got if g is not None]).float(), want, atol=2e-3)


@pytest.mark.parametrize("fusion", ["gated", "features"])
def test_a_model_that_uses_it_needs_the_other_no_more(model, tmp_path, fusion):
    table, folder = model
    moved = shutil.copytree(folder, tmp_path / "other")
    more = {**FIT, "fusion": fusion, "preset": "fast", "time_limit": 20}
    new = flat.fit(table, "price", encoders={"photo": f"{moved}:photo"}, **{**more, "ignore": ["seller", "kind"]})
    before = new.predict(table)
    new.save(tmp_path / "new")
    shutil.rmtree(moved)
    assert polymodal.load(tmp_path / "new").predict(table)["prediction"].tolist() == pytest.approx(
        before["prediction"].tolist(), rel=1e-4
    )


def test_its_key_is_of_its_weights(model, tmp_path):
    table, folder = model
    other = tmp_path / "other"
    flat.fit(table, "kind", out=other, **{**FIT, "epochs": 1})
    same = shutil.copytree(folder, tmp_path / "same")
    keys = [choose("image", str(f))[0].fingerprint() for f in (folder, same, other)]
    assert keys[0] == keys[1] != keys[2]


def test_what_is_not_there(model, tmp_path):
    _, folder = model
    with pytest.raises(
        InputError, match=r"asked for an encoder of audio, and the networks that it holds of audio are: none"
    ):
        choose("audio", str(folder))
    with pytest.raises(
        InputError, match=r"encoder of image named 'picture', .* are: photo; name one with MODEL:MODALITY"
    ):
        choose("image", f"{folder}:picture")
    with pytest.raises(InputError, match=r"stays frozen; leave --finetune out"):
        choose("image", str(folder), finetune=True)
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match=r"is no whole polymodal model"):
        choose("image", str(broken))


def test_a_table_that_it_was_trained_on_is_refused_for_the_same_target(model):
    """Its encoder has seen every label, so that no fold would be held out from it."""
    table, folder = model
    with pytest.raises(
        InputError, match=r"--encoder=photo=.*: that model was trained on shop\.csv for the same target"
    ):
        flat.fit(table, "kind", encoders={"photo": str(folder)}, **FIT)
