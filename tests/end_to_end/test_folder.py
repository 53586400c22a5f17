"""A saved model is the same model; a folder that isn't one, or was altered, is refused with the way out."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

import flat
import polymodal
from conftest import make_shop, make_tones
from polymodal import fusion
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.fusion.base import Fusion, one_token
from polymodal.ops import masked_mean
from polymodal.saving import put_tensors

FIT = dict(epochs=2, size="tiny", baselines=False, fusion="gated")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("saved")
    table = make_shop(folder / "shop", 60)
    return table, flat.fit(table, "kind", **FIT).save(folder / "model")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return shutil.copytree(saved[1], tmp_path / "model")


@pytest.mark.parametrize("name", fusion.FUSIONS)
def test_loaded_model_predicts_the_same(saved, tmp_path, name):
    model = flat.fit(saved[0], "kind", **{**FIT, "fusion": name})
    again = polymodal.load(model.save(tmp_path / "m"))
    pd.testing.assert_frame_equal(model.predict(saved[0]), again.predict(saved[0]), check_exact=True)
    assert again.report.to_json()["settings"]["fusion"] == name


def test_folder_is_plain_files(folder):
    names = {p.name for p in folder.rglob("*")}
    assert names == {"model.json", "weights.safetensors", "manifest.json"}
    json.loads((folder / "model.json").read_text())


def test_whoever_the_umask_lets_can_read_every_file(saved, tmp_path):
    before = os.umask(0o027)
    try:
        model = polymodal.load(saved[1])
        model.save(tmp_path / "model")
        put_tensors(tmp_path / "model" / "more", {"a": torch.zeros(2), "b": torch.zeros(2)})
    finally:
        os.umask(before)
    modes = {p.name: oct(p.stat().st_mode & 0o777) for p in (tmp_path / "model").rglob("*") if p.is_file()}
    assert set(modes.values()) == {"0o640"}, modes


def test_save_replaces_a_model_whole(saved, folder):
    before = polymodal.load(folder)
    other = flat.fit(saved[0], "kind", ignore=["photo"], **FIT)
    other.save(folder)
    assert polymodal.load(folder).modalities == other.modalities != before.modalities


def test_tampered_weights_are_refused(folder):
    raw = bytearray((folder / "weights.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(raw)
    with pytest.raises(InputError, match=r"damaged: weights.safetensors is not what was saved"):
        polymodal.load(folder)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_truncated_file_is_refused(folder, name):
    raw = (folder / name).read_bytes()
    (folder / name).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match=rf"damaged: {name} is not what was saved .*fit again"):
        polymodal.load(folder)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"damaged: {name} is missing"):
        polymodal.load(folder)


def test_broken_manifest_is_refused(folder):
    (folder / "manifest.json").write_text('{"version": 1, "sha')
    with pytest.raises(InputError, match=r"manifest.json can't be read"):
        polymodal.load(folder)


@pytest.mark.parametrize("version, way", [(1, "fit it again with this version"), (99, "update polymodal")])
def test_other_format_version_is_refused(folder, version, way):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))
    with pytest.raises(InputError, match=rf"format version {version}, and this polymodal reads version 6; {way}"):
        polymodal.load(folder)


def test_not_a_model(tmp_path):
    for path, said in [(tmp_path / "none", "does not exist"), (tmp_path, "has no manifest.json")]:
        with pytest.raises(InputError, match=rf"is not a polymodal model: it {said}"):
            polymodal.load(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"is not a folder"):
        polymodal.load(tmp_path / "file")


class First(Fusion):
    """The first modality alone; a user's own class."""

    paper = "none"

    def forward(self, inputs):
        xs = self.ordered(inputs)
        return one_token(masked_mean(xs[0]), xs)


def test_own_class_is_loaded_only_when_it_is_handed_in(saved, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    model = flat.fit(saved[0], "kind", **{**FIT, "fusion": "test_folder:First"})
    model.save(tmp_path / "m")
    with pytest.raises(InputError, match=r"a class 'First' that polymodal does not have.*custom_classes="):
        polymodal.load(tmp_path / "m")
    again = polymodal.load(tmp_path / "m", custom_classes=[First])
    x = {
        m: Masked(torch.ones(1, 1, d), torch.ones(1, 1, dtype=torch.bool))
        for m, d in again.learner.head.fusion.dims.items()
    }
    assert again.learner.head.fusion(x).values.shape == (1, 1, 32)


def test_audio_model_round_trip(tmp_path):
    table = make_tones(tmp_path / "t", 40)
    model = flat.fit(table, "pitch", **{**FIT, "epochs": 12})
    assert model.report.to_json()["valid"]["metrics"]["accuracy"]["value"] > 0.7
    again = polymodal.load(model.save(tmp_path / "m"))
    pd.testing.assert_frame_equal(model.predict(table), again.predict(table))
