"""Pretrained networks by their laws, on tiny random ones that are made here: no network access."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError, Unreadable
from polymodal.modalities.audio.hub import HubAudio
from polymodal.modalities.image.hub import HubImage
from polymodal.modalities.pretrained import source
from polymodal.modalities.pretrained.hub import Frozen, Hub
from polymodal.modalities.pretrained.network import receptive, reduce
from polymodal.modalities.text import hub as hub_text
from polymodal.modalities.text.hub import HubText
from polymodal.nn import SIZES
from polymodal.spec import build, spec, table

CLASSES = table([Frozen, Hub, HubText, HubImage, HubAudio])
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat on a mat and dog ran".split()
TINY, DIM = SIZES["tiny"], SIZES["tiny"].dim


def bert(folder: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizer

    (folder / "v").mkdir(parents=True)
    (folder / "v" / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer.from_pretrained(folder / "v", model_max_length=40).save_pretrained(folder)
    form = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40,
    )  # fmt: skip
    BertModel(form).save_pretrained(folder)


def vit(folder: Path) -> None:
    from transformers import ViTConfig, ViTModel

    form = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=24,
        patch_size=8,
    )
    ViTModel(form).save_pretrained(folder)
    picture(folder, "ViTImageProcessor", 24)


def mobilenet(folder: Path) -> None:
    from transformers import MobileNetV2Config, MobileNetV2Model

    MobileNetV2Model(MobileNetV2Config(image_size=48, depth_multiplier=0.35, min_depth=4)).save_pretrained(folder)
    picture(folder, "MobileNetV2ImageProcessor", 48)


def picture(folder: Path, kind: str, side: int) -> None:
    size = {"height": side, "width": side}
    form = {"image_processor_type": kind, "size": size, "crop_size": size, "do_center_crop": False}
    form |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(form))


def wav2vec2(folder: Path, norm: str = "group") -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    form = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8, 8, 8),
        conv_kernel=(10, 3, 3), conv_stride=(5, 2, 2), num_feat_extract_layers=3, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, feat_extract_norm=norm,
    )  # fmt: skip
    Wav2Vec2Model(form).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(folder)


def whisper(folder: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    form = WhisperConfig(
        vocab_size=20, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8,
        max_source_positions=50, max_target_positions=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    WhisperModel(form).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8, chunk_length=1, n_samples=16_000).save_pretrained(folder)


def clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    part = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = part | {"vocab_size": len(WORDS), "max_position_embeddings": 40, "eos_token_id": 3}
    CLIPModel(CLIPConfig(text_config=text, vision_config=part | {"image_size": 16, "patch_size": 8})).save_pretrained(
        folder
    )
    picture(folder, "CLIPImageProcessor", 16)


MAKE = {
    "bert": bert,
    "vit": vit,
    "mobilenet": mobilenet,
    "wav2vec2": wav2vec2,
    "whisper": whisper,
    "clip": clip,
}
CODEC = {"bert": HubText, "vit": HubImage, "mobilenet": HubImage, "wav2vec2": HubAudio, "whisper": HubAudio,
         "clip": HubImage}  # fmt: skip
g = np.random.default_rng(0)
CELLS: dict[str, list[Any]] = {
    "text": ["the cat sat", "a dog ran on and on and on the mat", "cat", "a dog"],
    "image": [g.integers(0, 256, (20 + 9 * i, 30, 3), dtype=np.uint8) for i in range(4)],
    "audio": [(g.normal(0, 0.1, n), 8000) for n in (900, 1500, 7, 900)],
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("networks")
    with source.quiet():
        for name, make in MAKE.items():
            make(root / name)
    return {name: root / name for name in MAKE}


@pytest.fixture(params=list(MAKE))
def codec(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Any:
    return CODEC[request.param](str(folders[request.param])).fit([], TINY)


def batch(codec: Any, gap: bool = True) -> Masked:
    cells = [codec.encode(c) for c in CELLS[codec.kind]]
    return codec.collate([cells[0], None, *cells[1:]] if gap else cells)


def hub(codec: Any) -> Hub:
    torch.manual_seed(0)
    return Hub.for_codec(codec, TINY).eval()


def doubled(x: Masked) -> Masked:
    return Masked(x.values.double(), x.mask) if x.values.is_floating_point() else x


def test_shapes_and_masks(codec: Any) -> None:
    x = batch(codec)
    y = hub(codec)(x)
    assert x.mask.shape == x.values.shape[: x.mask.ndim] and y.values.shape[2] == DIM
    assert y.present().tolist() == [True, False, True, True, True]
    assert torch.isfinite(y.values).all() and not y.values[~y.mask].any()


def test_all_missing_is_finite(codec: Any) -> None:
    y = hub(codec)(codec.collate([None, None]))
    assert not y.mask.any() and torch.isfinite(y.values).all()


@pytest.mark.parametrize("junk", [1e30, float("nan"), float("inf")])
def test_masked_values_never_matter(codec: Any, junk: float) -> None:
    x, net = batch(codec), hub(codec)
    wide = x.mask.reshape(x.mask.shape + (1,) * (x.values.ndim - x.mask.ndim))
    dirty = torch.where(wide, x.values, (5 if junk == 1e30 else 3) if x.values.dtype == torch.int64 else junk)
    assert torch.equal(net(x).values, net(Masked(dirty, x.mask)).values)


def test_masked_nan_reaches_no_gradient_and_every_parameter_learns(codec: Any) -> None:
    x, net = batch(codec), hub(codec)
    if x.values.is_floating_point():
        wide = x.mask.reshape(x.mask.shape + (1,) * (x.values.ndim - x.mask.ndim))
        x = Masked(torch.where(wide, x.values, torch.nan), x.mask)
    (net(x).values * torch.randn(DIM)).sum().backward()
    for name, p in net.named_parameters():
        if not p.requires_grad or "post_layernorm" in name:  # CLIP uses that norm for its pooled vector only
            continue
        assert p.grad is not None and torch.isfinite(p.grad).all(), name


def test_rows_alone_equal_rows_in_a_batch(codec: Any) -> None:
    """So neither batch norm nor another row's length nor padding matters."""
    net, frozen = hub(codec).train().double(), Frozen(codec)
    for m in net.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.0
    for m in net.network.modules():
        for name in (
            "attention_dropout",
            "dropout",
            "dropout_prob",
        ):  # attention's is a number, by several names
            if isinstance(getattr(m, name, None), float):
                setattr(m, name, 0.0)
    together = net(doubled(batch(codec, gap=False)))
    many = frozen.encode_batch(CELLS[codec.kind])
    for i, cell in enumerate(CELLS[codec.kind]):
        alone = net(doubled(codec.collate([codec.encode(cell)])))
        assert torch.allclose(alone.values[alone.mask], together.values[i][together.mask[i]], atol=1e-8)
        one = frozen.encode(cell)
        assert one is not None and torch.allclose(one.float(), many[i].float(), atol=2e-3)


@pytest.mark.parametrize("name", ["bert", "wav2vec2"])
def test_padding_length_never_matters(name: str, folders: dict[str, Path]) -> None:
    codec = CODEC[name](str(folders[name])).fit([], TINY)
    x, net = batch(codec), hub(codec)
    longer = Masked(nn.functional.pad(x.values, (0, 9), value=4), nn.functional.pad(x.mask, (0, 9)))
    a, b = net(x), net(longer)
    assert torch.allclose(a.values[a.mask], b.values[b.mask], atol=1e-5)


def test_batch_norm_stays_as_it_came(folders: dict[str, Path]) -> None:
    codec = HubImage(str(folders["mobilenet"])).fit([], TINY)
    net = Hub.for_codec(codec, TINY).train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms) and net.out.training
    before = [m.running_mean.clone() for m in norms]
    net(batch(codec))
    assert all(torch.equal(a, m.running_mean) for a, m in zip(before, norms, strict=True))


def test_spec_round_trip_and_pickling(codec: Any) -> None:
    frozen = Frozen(codec, tokens=2).fit([], TINY)
    again = build(json.loads(json.dumps(spec(frozen))), CLASSES)
    moved = pickle.loads(pickle.dumps(frozen))
    assert len(pickle.dumps(frozen)) < 2000
    cell = CELLS[codec.kind][1]
    for other in (again, moved):
        assert other.width_ == frozen.width_ and other.kind == codec.kind and other.takes_files == codec.takes_files
        assert other.fingerprint() == frozen.fingerprint()
        assert torch.equal(other.encode(cell), frozen.encode(cell))


def test_a_saved_folder_stands_in_for_the_source(codec: Any, tmp_path: Path) -> None:
    frozen, net = Frozen(codec).fit([], TINY), hub(codec)
    cell = CELLS[codec.kind][0]
    want, tokens, key = frozen.encode(cell), net(batch(codec)), frozen.fingerprint()
    frozen.save_source(tmp_path / "frozen")
    other = build(spec(frozen), CLASSES)
    other.source = str(tmp_path / "frozen")
    assert torch.equal(other.encode(cell), want) and other.fingerprint() == key

    codec.save_source(tmp_path / "tuned")
    net.save_source(tmp_path / "tuned")
    net.save_source(tmp_path / "tuned")
    assert not list((tmp_path / "tuned").glob("*.safetensors"))
    moved = build(spec(codec), CLASSES)
    moved.source = str(tmp_path / "tuned")
    fresh = Hub.for_codec(moved, TINY).eval()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh(batch(moved)).values, tokens.values)


def test_frozen_tokens(codec: Any) -> None:
    frozen = Frozen(codec, tokens=4).fit([], TINY)
    cells = [*CELLS[codec.kind], None]
    out = frozen.encode_batch(cells)
    assert out[-1] is None and all(1 <= len(y) <= 4 and y.shape[1] == frozen.width_ for y in out[:-1])
    assert all(y.dtype == torch.float16 and torch.isfinite(y).all() and not y.requires_grad for y in out[:-1])
    x = frozen.collate(out)
    assert x.present().tolist() == [True] * 4 + [False]
    assert Frozen(codec).encode(cells[0]).shape == (1, frozen.width_)
    assert Frozen(codec).fit([], TINY).collate([None]).values.shape == (1, 1, frozen.width_)


def test_frozen_reports_what_it_cannot_read(folders: dict[str, Path], tmp_path: Path) -> None:
    frozen = Frozen(HubImage(str(folders["vit"]))).fit([], TINY)
    good = Image.new("RGB", (9, 9))
    out = frozen.encode_batch([good, tmp_path / "no.png", None] * 30)
    assert [type(y) for y in out[:3]] == [Tensor, Unreadable, type(None)] and len(out) == 90
    assert "no.png does not exist" in str(out[1])
    with pytest.raises(Unreadable, match="does not exist"):
        frozen.encode(tmp_path / "no.png")


def test_pooling_is_the_mean_of_real_tokens_and_as_the_folder_says(folders: dict[str, Path], tmp_path: Path) -> None:
    frozen = Frozen(HubText(str(folders["bert"]))).fit([], TINY)
    net = source.network(frozen.source, frozen.inner.tower).module
    ids = frozen.inner.encode("the cat sat")
    y = net(input_ids=ids[None], attention_mask=torch.ones(1, len(ids))).last_hidden_state[0]
    assert torch.allclose(frozen.encode("the cat sat")[0].float(), y.mean(0), atol=2e-3)

    frozen.save_source(tmp_path / "st")
    steps = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    form = [{"path": p, "type": f"sentence_transformers.models.{t}"} for p, t in steps]
    (tmp_path / "st" / "modules.json").write_text(json.dumps(form))
    (tmp_path / "st" / "1_Pooling").mkdir()
    (tmp_path / "st" / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    frozen.source = str(tmp_path / "st")
    assert torch.allclose(frozen.encode("the cat sat")[0].float(), y[0] / y[0].norm(), atol=2e-3)


def test_reduced_averages_neighbours() -> None:
    y = torch.arange(16.0)[:, None]
    assert reduce(y, None, 4)[:, 0].tolist() == [1.5, 5.5, 9.5, 13.5]
    assert reduce(y, (4, 4), 4)[:, 0].tolist() == [2.5, 4.5, 10.5, 12.5]
    assert reduce(y, (4, 4), 16) is y and len(reduce(y, (2, 8), 5)) <= 5 and len(reduce(y, (8, 2), 3)) <= 3


def test_texts_are_bounded(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    codec = HubText(str(folders["bert"])).fit([], SIZES["base"])
    assert codec.length_ == 40  # the network's own limit
    lengths, tokenizer = [], hub_text.tokenizer_of(codec.source)
    monkeypatch.setattr(hub_text, "tokenizer_of", lambda *a: lambda t, **k: lengths.append(len(t)) or tokenizer(t, **k))
    x = codec.encode("the cat " * 1_250_000)
    assert x is not None and len(x) == 40
    assert max(lengths) < 10_000, "the tokenizer is handed all ten megabytes"
    assert codec.encode("  \n ") is None and codec.encode(None) is None and codec.encode(7) is not None


def test_weights_decide_the_fingerprint(folders: dict[str, Path], tmp_path: Path) -> None:
    frozen = Frozen(HubText(str(folders["bert"]))).fit([], TINY)
    key = frozen.fingerprint()
    assert Frozen(HubText(str(folders["bert"])), tokens=2).fit([], TINY).fingerprint() != key
    frozen.save_source(tmp_path)
    other = Frozen(HubText(str(tmp_path))).fit([], TINY)
    assert other.fingerprint() == key  # the same files elsewhere
    file = tmp_path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert other.fingerprint() != key and other.inner.fingerprint() == frozen.inner.fingerprint()


def test_an_unusable_folder_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"has no config.json; it holds notes.txt"):
        source.resolve(str(tmp_path))
    with pytest.raises(InputError, match="is a file; expected a folder"):
        source.resolve(str(tmp_path / "notes.txt"))
    (tmp_path / "config.json").write_text('{"model_type": "no-such-network"}')
    with pytest.raises(InputError, match="transformers can't load"):
        HubText(str(tmp_path)).fit([], TINY)


def test_pickled_and_missing_weights_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    HubText(str(folders["bert"])).save_source(tmp_path)
    with pytest.raises(InputError, match="has no safetensors weights; save it again"):
        Hub(str(tmp_path), DIM)
    net = source.network(str(folders["bert"]), hub_text.HubText.tower).module
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    for make in (lambda: Hub(str(tmp_path), DIM), lambda: Frozen(HubText(str(tmp_path))).fit([], TINY)):
        with pytest.raises(InputError, match=r"only pytorch_model.bin, which may run code"):
            make()


def test_incomplete_weights_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    Frozen(HubText(str(folders["bert"]))).save_source(tmp_path)
    file = tmp_path / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if "layer.1.output" not in k}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack 4 of the network's tensors"):
        Hub(str(tmp_path), DIM)


def test_a_random_pooler_is_not_used(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    Frozen(HubImage(str(folders["vit"]))).save_source(tmp_path)
    assert source.network(str(tmp_path), HubImage.tower).pooler
    source.cached.cache_clear()
    file = tmp_path / "model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "pooler" not in k}, file, metadata={"format": "pt"})
    assert not source.network(str(tmp_path), HubImage.tower).pooler
    frozen = Frozen(HubImage(str(tmp_path))).fit([], TINY)
    first = frozen.encode(CELLS["image"][0])
    source.cached.cache_clear()
    assert torch.equal(frozen.encode(CELLS["image"][0]), first)


@pytest.mark.parametrize("name", ["no-such/network", "a b", "/no/such/folder", "x/y/z"])
def test_an_unknown_name_is_an_error_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    calls = []

    def unreachable(*args: object, **kwargs: object) -> str:
        calls.append(args)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(InputError, match=r"no pretrained network '.*(?s:.*)no route(?s:.*)Give the path of a folder"):
        HubText(name).fit([], TINY)
    assert len(calls) <= 1, "asked again and again"


def test_a_package_that_carries_a_network(folders: dict[str, Path], tmp_path: Path, monkeypatch: Any) -> None:
    info, inside = tmp_path / "tiny_bert_model-1.0.dist-info", tmp_path / "tiny_bert_model" / "model"
    Frozen(HubText(str(folders["bert"]))).save_source(inside)
    (inside / "1_Pooling").mkdir()
    (inside / "1_Pooling" / "config.json").write_text("{}")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-bert-model\nVersion: 1.0\n")
    files = ["tiny_bert_model/model/1_Pooling/config.json", "tiny_bert_model/model/config.json"]
    (info / "RECORD").write_text("".join(f"{f},,\n" for f in files))
    monkeypatch.syspath_prepend(tmp_path)
    assert source.resolve("tiny-bert-model") == str(inside)


def test_missing_transformers_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install polymodal\[hub\]"):
        source.transformers()


def test_a_broken_torchvision_is_named(folders: dict[str, Path]) -> None:
    with pytest.raises(ImportError, match="pip uninstall torchvision"), source.explain_errors("folder"):
        try:
            raise RuntimeError("operator torchvision::nms does not exist")
        except RuntimeError as e:
            raise ModuleNotFoundError("Could not import module 'ViTModel'") from e


def test_loading_is_silent(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity()
    for name in ("clip", "mobilenet"):
        Hub.for_codec(CODEC[name](str(folders[name])).fit([], TINY), TINY)
    out = capfd.readouterr()
    assert out.out == "" and out.err == "" and logging.get_verbosity() == before


def test_padding_group_norm_would_be_seen(folders: dict[str, Path]) -> None:
    """The premise of running clips by length: this network's own answer changes with padding."""
    net = source.network(str(folders["wav2vec2"]), HubAudio.tower).module
    x = torch.randn(1, 900)
    a, b = net(x).last_hidden_state, net(nn.functional.pad(x, (0, 900))).last_hidden_state
    assert (a - b[:, : a.shape[1]]).abs().max() > 1e-3
    assert receptive(net) == 10 + 2 * 5 + 2 * 10
