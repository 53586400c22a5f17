"""Explaining captions: places against what encoders really see, attention against the decoder step by step, and what is drawn."""

import base64
import hashlib
import io
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor, nn

from polymodal import decoders
from polymodal.batch import Masked
from polymodal.data.encode import Bad
from polymodal.decoders.base import Decoding
from polymodal.explain import pages
from polymodal.explain.attention import Explanation
from polymodal.heads.writer import Writer
from polymodal.learners.encoders import Encoders
from polymodal.learners.network import Network
from polymodal.modalities import MODALITIES
from polymodal.modalities.audio.codec import LogMel
from polymodal.modalities.audio.encoders import AudioConv, AudioTransformer
from polymodal.modalities.audio.place import Seconds, half
from polymodal.modalities.image.codec import Pixels
from polymodal.modalities.image.encoders import ConvNet, ViT
from polymodal.modalities.image.place import THIRDS, WHOLE, Grid, windows
from polymodal.modalities.image.segments import grid_of, seen_box
from polymodal.modalities.places import Place, Sequence
from polymodal.nn import SIZES
from polymodal.output import Texts
from polymodal.tasks.generate import Generation
from polymodal.tasks.vocabulary import WordList
from polymodal.view import cell, sheet
from polymodal.view import page as view
from polymodal.view.text import plain

NASTY = '<b>"quo\'te" & </script> {{ e }} 照片 $x\x07'
TINY = SIZES["tiny"]


# --- places -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [ConvNet, ViT])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (29, 50), (61, 33)])
def test_a_changed_patch_changes_the_token_that_lies_there(encoder: Any, height: int, width: int) -> None:
    torch.manual_seed(0)
    codec = Pixels()
    codec.height_, codec.width_ = height, width
    net = encoder.for_codec(codec, TINY).eval()
    net.stack = nn.ModuleList() if encoder is ViT else None  # attention among patches spreads a change
    g = np.random.default_rng(0)
    for y, x in ((0.1, 0.15), (0.85, 0.2), (0.5, 0.9)):
        grey = np.full((height * 3, width * 2, 3), 128, dtype=np.uint8)  # the cell has another shape than the codec
        spot = grey.copy()
        rows, columns = (round(y * height * 3), round(x * width * 2))
        spot[rows - 6 : rows + 6, columns - 4 : columns + 4] = g.integers(0, 255, 3)
        a, b = (net(codec.collate([codec.encode(c)])).values[0] for c in (grey, spot))
        found = MODALITIES["image"].place(codec, grey, "a.png", len(a))
        assert isinstance(found, Grid) and found.height * found.width == len(a)
        change = (a - b).norm(dim=1).detach().double().numpy()[None]
        heat = found.over(change, 90, 90)[0]
        top = np.array(np.unravel_index(heat.argmax(), heat.shape)) / 90
        assert abs(top[0] - y) < 1.2 / found.height and abs(top[1] - x) < 1.2 / found.width


@pytest.mark.parametrize("encoder", [AudioConv, AudioTransformer])
@pytest.mark.parametrize("length", [0.31, 1.0, 2.507])
def test_a_token_depends_most_on_the_frames_of_its_seconds(encoder: Any, length: float) -> None:
    torch.manual_seed(0)
    codec, rate = LogMel(8), 8000
    codec.rate_ = rate
    net = encoder.for_codec(codec, TINY).eval()
    if encoder is AudioTransformer:
        net.stack = nn.ModuleList()  # attention among frames would look anywhere
    noise = np.random.default_rng(0).normal(0, 0.1, round(length * rate)).astype(np.float32)
    frames = codec.collate([codec.encode((noise, rate))])
    frames = Masked(frames.values.float().requires_grad_(), frames.mask)
    tokens = net(frames).values[0]
    found = MODALITIES["audio"].place(codec, (noise, rate), "a.wav", len(tokens))
    assert isinstance(found, Seconds) and len(found.edges) == len(tokens) + 1
    assert found.duration == pytest.approx(length, abs=1e-3) and found.edges[-2] < length <= found.edges[-1] + 1e-6
    step = found.edges[1] - found.edges[0]
    for t in (1, len(tokens) // 2, len(tokens) - 2):  # the outermost see one side only
        (slope,) = torch.autograd.grad(tokens[t].square().sum(), frames.values, retain_graph=True)
        weight = slope[0].square().sum(1)
        centre = float((weight * torch.arange(len(weight)) * 0.01).sum() / weight.sum())
        assert found.edges[t] - step / 2 <= centre <= found.edges[t + 1] + step / 2


def test_what_is_cut_off_is_no_part_of_the_seconds() -> None:
    codec = LogMel(8, seconds=1.0)
    codec.rate_ = 8000
    tokens = math.ceil(100 / 8)
    found = MODALITIES["audio"].place(codec, (np.zeros(24000, dtype=np.float32), 8000), "a.wav", tokens)
    assert isinstance(found, Seconds) and found.duration == 1.0 and found.edges[-1] == pytest.approx(1.04)
    short = MODALITIES["audio"].place(codec, (np.zeros(400, dtype=np.float32), 8000), "a.wav", 2)  # 5 frames by fours
    assert isinstance(short, Seconds) and np.allclose(short.edges, [0, 0.04, 0.08])


def test_tokens_of_frozen_networks(tmp_path: Path) -> None:
    hub = pytest.importorskip("transformers")
    from polymodal.modalities.audio.hub import HubAudio
    from polymodal.modalities.image.hub import HubImage
    from polymodal.modalities.pretrained.hub import Frozen

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    hub.ViTModel(hub.ViTConfig(image_size=32, patch_size=8, **small)).save_pretrained(tmp_path / "vit")
    resnet = hub.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    hub.ResNetModel(resnet).save_pretrained(tmp_path / "resnet")
    form = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(form))
    crop = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 40}, "do_center_crop": True}
    form = {**crop, "crop_size": {"height": 32, "width": 32}}
    (tmp_path / "resnet" / "preprocessor_config.json").write_text(json.dumps(form))
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    for name, tokens, expected in (
        ("vit", 49, (4, 4, 1, 0)),  # 16 patches and the class token
        ("vit", 6, (4, 4, 1, 17)),  # means over the sequence, whose length the memory does not show
        ("vit", 1, (1, 1, 0, 0)),
        ("resnet", 49, (4, 4, 0, 0)),
        ("resnet", 6, (2, 3, 0, 0)),
    ):
        codec = Frozen(HubImage(str(tmp_path / name)), tokens).fit([image], TINY)
        x = codec.encode(image)
        assert x is not None
        found = MODALITIES["image"].place(codec, image, None, len(x))
        assert isinstance(found, Grid) and (found.height, found.width, found.lead, found.pooled) == expected
        box = WHOLE if name == "vit" else (14 / 60, 0.1, 46 / 60, 0.9)
        assert np.allclose(found.box, box, atol=0.02)
        assert found.grid(np.ones((1, len(x)))).shape == (1, *expected[:2])
    whisper = hub.WhisperConfig(
        d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, max_source_positions=50, vocab_size=20,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    hub.WhisperModel(whisper).save_pretrained(tmp_path / "whisper")
    hub.WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(tmp_path / "whisper")
    clip = (np.random.default_rng(0).normal(0, 0.1, 6400).astype(np.float32), 16000)
    codec = Frozen(HubAudio(str(tmp_path / "whisper")), 10).fit([clip], TINY)
    x = codec.encode(clip)
    assert x is not None and len(x) == 10
    found = MODALITIES["audio"].place(codec, clip, None, 10)  # 0.4 s of sound, padded with silence to 1 s
    assert isinstance(found, Seconds) and found.duration == pytest.approx(0.4)
    assert np.allclose(found.edges, np.arange(11) / 10)
    assert found.words(np.eye(10)[[1, 7]]) == ["0.10-0.20 s", "after the end"]


@pytest.mark.parametrize(("tokens", "count"), [(1, 7), (4, 9), (16, 197), (49, 50), (5, 5)])
def test_windows_are_those_of_the_pooling(tokens: int, count: int) -> None:
    rows = torch.eye(count, dtype=torch.float64)
    pooled = nn.functional.adaptive_avg_pool1d(rows[None], tokens)[0].T
    assert np.allclose(windows(tokens, count), pooled.numpy(), atol=1e-12)


def test_pooled_tokens_are_spread_over_the_patches_that_they_are_means_of() -> None:
    g = np.random.default_rng(0)
    a_ws = g.dirichlet(np.ones(6), 2)
    pooled = Grid(None, "", 4, 5, lead=1, pooled=21).grid(a_ws)
    by_hand = np.zeros((2, 21))
    for i in range(6):
        start, stop = i * 21 // 6, -(-(i + 1) * 21 // 6)
        for k in range(start, stop):
            by_hand[:, k] += a_ws[:, i] / (stop - start)
    assert np.allclose(pooled.reshape(2, -1), by_hand[:, 1:])
    plain = Grid(None, "", 2, 3, lead=0).grid(a_ws)
    assert plain.shape == (2, 2, 3) and plain[1, 1, 0] == a_ws[1, 3]


@pytest.mark.parametrize(
    ("tokens", "side", "expected"),
    [
        (49, (224, 224), (7, 7, 0)),
        (197, (224, 224), (14, 14, 1)),  # a class token
        (198, (224, 224), (14, 14, 2)),
        (261, (224, 224), (16, 16, 5)),  # a class token and four registers, patches of 14
        (42, (48, 55), (6, 7, 0)),
        (7 * 10, (55, 73), (7, 10, 0)),
        (1, (30, 30), (1, 1, 0)),
        (997, (100, 300), None),  # a prime far from any grid
    ],
)
def test_the_grid_of_a_number_of_tokens(tokens: int, side: tuple[int, int], expected: Any) -> None:
    assert grid_of(tokens, *side) == expected


@pytest.mark.parametrize("size", [(640, 480), (300, 900), (64, 64), (1000, 999)])
def test_what_a_processor_cuts_out_is_found(size: tuple[int, int]) -> None:
    class Crop:
        def encode(self, image: Image.Image) -> Tensor:
            scale = 72 / min(image.size)
            w, h = round(image.width * scale), round(image.height * scale)
            small = image.resize((w, h), Image.Resampling.BICUBIC)
            x, y = (w - 64) // 2, (h - 64) // 2
            pixels = np.asarray(small.crop((x, y, x + 64, y + 64))) / 255
            return torch.tensor((pixels - 0.48) / 0.27).permute(2, 0, 1)

    w, h = size
    left, top, right, bottom = seen_box(Crop(), w, h)  # type: ignore[arg-type]
    scale = 72 / min(size)
    for low, high, side in ((left, right, w * scale), (top, bottom, h * scale)):
        assert low == pytest.approx((side - 64) / 2 / side, abs=0.012)
        assert high == pytest.approx((side + 64) / 2 / side, abs=0.012)

    class Stretch:
        def encode(self, image: Image.Image) -> Tensor:
            return torch.tensor(np.asarray(image.resize((32, 32))) / 127 - 1).permute(2, 0, 1)

    assert seen_box(Stretch(), w, h) == WHOLE  # type: ignore[arg-type]


def test_a_token_lights_its_own_cell_of_the_box_and_nothing_beyond() -> None:
    box = (0.25, 0.0, 0.75, 1.0)
    for token in range(12):
        one = np.zeros((1, 12))
        one[0, token] = 1
        out = Grid(None, "", 3, 4, box=box).over(one, 60, 80)
        assert out.shape == (1, 60, 80) and out.min() == 0 and not out[0, :, :20].any() and not out[0, :, 60:].any()
        y, x = np.unravel_index(out[0].argmax(), (60, 80))
        row, column = divmod(token, 4)
        assert row * 20 <= y < row * 20 + 20 and 20 + column * 10 <= x < 30 + column * 10
    smooth = Grid(None, "", 1, 2).over(np.array([[0.0, 1.0]]), 1, 40)[0, 0]
    assert (np.diff(smooth) >= -1e-6).all() and 0.2 < smooth[20] < 0.8


def test_places_in_words() -> None:
    for i in range(9):
        one = np.full((1, 9), 1e-3)
        one[0, i] = 1
        assert Grid(None, "", 3, 3).words(one) == [THIRDS[i // 3][i % 3]]
    even = np.ones((1, 35))
    assert Grid(None, "", 5, 7).words(even) == ["spread out"] == Grid(None, "", 1, 1).words(np.ones((1, 1)))
    between = np.zeros((1, 36))
    between[0, [15, 21]] = 1  # two cells in the middle of the right half: no ninth's border parts them
    assert Grid(None, "", 6, 6).words(between) in (["right"], ["centre"])
    middle = np.zeros((1, 49))
    middle[0, 2 * 7 + 3] = 1  # its centre lies at 0.36 of the height
    assert Grid(None, "", 7, 7).words(middle) == ["centre"]
    clip = Seconds(None, "", [0.0, 0.5, 1.0, 1.5, 2.0], 1.8)
    assert clip.words(np.array([[0.0, 0.1, 0.2, 0.7], [0.25] * 4])) == ["1.50-1.80 s", "throughout"]
    long = Seconds(None, "", [0.0, 1.0, 2.0, 3.0, 4.0], 4.0)
    assert long.words(np.array([[0.9, 0.1, 0, 0]])) == ["0.0-1.0 s"]
    assert Sequence(3).words(np.array([[0.1, 0.6, 0.3]])) == ["token 2 of 3"] and Sequence(1).words(even[:, :1]) == [""]


def test_half_is_the_shortest_run_by_brute_force() -> None:
    g = np.random.default_rng(0)
    for _ in range(200):
        a = g.dirichlet(np.full(int(g.integers(1, 9)), 0.5))
        runs = [(j - i, -a[i:j].sum(), i, j) for i in range(len(a)) for j in range(i + 1, len(a) + 1)]
        length, mass, *_ = min(r for r in runs if -r[1] >= a.sum() / 2 - 1e-12)
        start, stop = half(a)
        assert stop - start == length and a[start:stop].sum() == pytest.approx(-mass)


# --- attention ----------------------------------------------------------------------------------------


def translator(decoder: str, longest: int = 9) -> tuple[Network, dict[str, Masked]]:
    torch.manual_seed(1)
    task = Generation(WordList(min_count=1)).fit(["a red dog barks", "the green bird sings all day long"])
    task.longest_ = longest
    photo = ConvNet(32, [0.5] * 3, [0.25] * 3, [16, 32])
    sound = AudioConv(8, 32, [16, 32])
    size = TINY._replace(dim=32, layers=1, heads=2)
    encoders = Encoders({"photo": photo, "sound": sound})
    learner = Network(encoders, Writer(encoders.names, decoders.make(decoder, 32, task.outputs, size), task)).eval()
    with torch.no_grad():
        for p in learner.head.decoder.parameters():
            p.mul_(2.5)  # attention and words that are far from even
    g = torch.Generator().manual_seed(0)
    inputs = {
        "photo": Masked(torch.randint(0, 255, (1, 3, 16, 24), generator=g, dtype=torch.uint8), torch.ones(1) > 0),
        "sound": Masked(torch.randn(1, 21, 8, generator=g), torch.arange(21)[None] < 17),
    }
    return learner, inputs


def spoken(learner: Network, found: Texts) -> list[int]:
    """The words of the best text of the first row."""
    ids = found.best[0].tolist()
    return ids[: ids.index(found.end)] if found.end in ids else ids


@pytest.mark.parametrize("decoder", ["gru", "gru-dot", "transformer", "prefix"])
def test_attention_and_chances_are_those_of_the_decoder_word_by_word(decoder: str) -> None:
    learner, inputs = translator(decoder)
    how = Decoding("greedy")
    found = learner.attend(inputs, how)
    written = learner.write(inputs, how)
    ids = spoken(learner, written)
    assert found.text == learner.task.written(written.ids[:, 0])[0] and len(ids) >= 2
    assert found.maps["photo"].shape == (len(ids), 4 * 6)
    assert found.maps["sound"].shape == (len(ids), 5)  # 17 real frames, halved twice
    total = sum(m.sum(1) for m in found.maps.values()) + found.nothing
    assert np.allclose(total, 1, atol=1e-5)
    with torch.no_grad():
        memory = learner.head.memory(learner.tokens(inputs))
        begin, state = learner.task.vocabulary.begin, learner.head.decoder.start(memory.tokens)
        moving, sofar = state, [begin]
        for i, word in enumerate([*ids, learner.task.vocabulary.end][: len(found.logprob)]):
            hidden, moving = learner.head.decoder.step(moving, torch.tensor([sofar[-1]]))
            logits = learner.head.decoder.logits(hidden)[0]
            allowed = [v for v in range(len(logits)) if v not in learner.task.vocabulary.banned]
            logp = logits[word] - logits[allowed].logsumexp(0)
            assert found.logprob[i] == pytest.approx(float(logp), abs=1e-4)
            if i < len(ids):
                given = Masked(torch.tensor([sofar]), torch.ones(1, len(sofar)) > 0)
                row = learner.head.decoder.attention(state, given)[0, -1].numpy()
                for m, (start, stop) in memory.spans.items():
                    assert np.allclose(row[start:stop][: found.maps[m].shape[1]], found.maps[m][i], atol=1e-5)
                assert row[0] == pytest.approx(found.nothing[i], abs=1e-5)
            sofar.append(word)


@pytest.mark.parametrize("how", [Decoding(), Decoding("greedy", min_length=2), Decoding("greedy", max_length=1)])
def test_the_chances_of_words_and_end_are_those_of_the_caption(how: Decoding) -> None:
    learner, inputs = translator("gru", longest=3)
    found = learner.attend(inputs, how)
    with torch.no_grad():
        written = learner.write(inputs, how)
    ids = spoken(learner, written)
    assert found.logprob.sum() == pytest.approx(float(written.logprob[0, 0]), abs=1e-4)
    assert len(found.logprob) == len(ids) + 1 and len(ids) <= (how.max_length or 2)


def test_an_absent_modality_has_no_map_and_gets_nothing() -> None:
    learner, inputs = translator("gru")
    found = learner.attend({**inputs, "sound": inputs["sound"].hidden()})
    assert list(found.maps) == ["photo"] and np.allclose(found.maps["photo"].sum(1) + found.nothing, 1, atol=1e-5)
    blind = learner.attend({m: x.hidden() for m, x in inputs.items()})
    assert not blind.maps and np.allclose(blind.nothing, 1, atol=1e-5)


# --- what is drawn ------------------------------------------------------------------------------------


def made(tmp_path: Path, words: list[str], pictures: int = 1, side: int = 120, seconds: float = 0.6) -> Explanation:
    g = np.random.default_rng(0)
    n = len(words)
    maps: dict[str, np.ndarray] = {}
    where: dict[str, Place] = {}
    shares = g.dirichlet(np.ones(pictures + 3), n)
    for i in range(pictures):
        path = tmp_path / f"照片 '{i}' & <b>.png"
        Image.fromarray(g.integers(0, 255, (side, side * 3 // 2, 3), dtype=np.uint8)).save(path)
        maps[f"photo{i}"] = g.dirichlet(np.full(12, 0.3), n) * shares[:, [i]]
        where[f"photo{i}"] = Grid(path, path.name, 3, 4)
    wave = g.normal(0, 0.2, round(seconds * 16000)).astype(np.float32)
    maps["sound"] = g.dirichlet(np.full(8, 0.3), n) * shares[:, [-3]]
    where["sound"] = Seconds((wave, 16000), "a.wav", [seconds * i / 8 for i in range(9)], seconds)
    maps["question"], where["question"] = g.dirichlet(np.ones(5), n) * shares[:, [-2]], Sequence(5)
    return Explanation("t.csv", 3, " ".join(words), words, -g.random(n), -0.1, maps, shares[:, -1], where, [NASTY, "a dog"], ["video"], [Bad(3, "video", NASTY, "no")])  # fmt: skip


def html_of(e: Explanation, command: str = "") -> str:
    return view.page(pages.caption(e, command=command))


def test_light_is_the_formula() -> None:
    image = Image.fromarray(np.full((4, 4, 3), 200, dtype=np.uint8))
    light = np.ones((4, 4))
    assert np.array_equal(np.asarray(cell.light(image, light)), np.asarray(image))
    light[:] = 0.25
    assert np.allclose(np.asarray(cell.light(image, light)), 200 * (1 - 0.75 * cell.SHADE), atol=200 / cell.LEVELS)
    light[:, 2:] = 1
    out = np.asarray(cell.light(image, light))
    assert (out[:, 2] == cell.LIGHT).all() and (out[:, 3] == 200).all()  # the line around what gets half or more
    scaled = cell.to_unit(np.array([[1.0, 4.0], [0.0, 0.0]]))
    assert scaled.tolist() == [[0.25, 1.0], [0.0, 0.0]]


def test_the_picture_shows_every_word_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    assert pages.WORDS == 40
    monkeypatch.setattr(pages, "WORDS", 4)
    sizes = {}
    for words in (2, 4, 5, 7):
        e = made(tmp_path, [NASTY, *["dog"] * (words - 1)])
        with Image.open(io.BytesIO(sheet.png(pages.caption(e)))) as image:
            assert image.format == "PNG"
            sizes[words] = image.size
    assert {w for w, _ in sizes.values()} == {1100} and sizes[2][1] < sizes[4][1]
    assert 0 < sizes[5][1] - sizes[4][1] < 40 and sizes[7] == sizes[5]  # the line that says so


def test_a_caption_without_words_is_drawn_all_the_same(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    e = made(tmp_path, ["dog"])
    e = e._replace(
        text="", words=[], logprob=e.logprob[:0], nothing=e.nothing[:0], maps={m: a[:0] for m, a in e.maps.items()}
    )
    assert (
        sheet.png(pages.caption(e)).startswith(b"\x89PNG") and "(no word)" in html_of(e) and e.to_json()["words"] == []
    )


def test_pictures_without_matplotlib_say_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'polymodal\[explain\]'"):
        sheet.png(pages.caption(made(tmp_path, ["dog"])))


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Seen:
    seen = Seen()
    seen.feed(html)
    seen.close()
    assert not seen.open
    return seen


def decoded(uri: str | None) -> bytes:
    return base64.b64decode(str(uri).partition("base64,")[2])


def test_the_page_stands_alone_escaped_and_for_everybody(tmp_path: Path) -> None:
    e = made(tmp_path, ["a", NASTY, "dog"])
    html = html_of(e, f"polymodal explain {NASTY}")
    seen = parsed(html)
    names = [t for t, _ in seen.tags]
    assert (
        names.count("script") == 1 and names.count("b") == 0 and not {"link", "iframe", "object", "base"} & set(names)
    )
    links = [str(v) for _, a in seen.tags for k, v in a.items() if k in ("src", "href", "srcset", "action")]
    assert links and all(v.startswith("data:") for v in links)
    assert "@import" not in html and "url(" not in html and not any(k.startswith("on") for _, a in seen.tags for k in a)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    allowed = next(str(a["content"]) for _, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert allowed.startswith("default-src 'none'")
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in allowed
    buttons = [a for t, a in seen.tags if t == "button"]
    assert [a["data-word"] for a in buttons] == ["0", "1", "2"] and all(a["aria-pressed"] == "false" for a in buttons)
    assert [a["data-said"] for a in buttons] == [plain(s) for s in e.sentences()]
    overlays = [a for t, a in seen.tags if t == "img" and "data-map" in a]
    assert len(overlays) == 3 * 3 and all("hidden" in a and a["alt"] == "" for a in overlays)
    assert all(a["alt"] for t, a in seen.tags if t == "img" and "data-map" not in a)
    assert all(a.get("scope") in ("row", "col") for t, a in seen.tags if t == "th") and names.count("caption") == 1
    ids = [a["id"] for _, a in seen.tags if "id" in a]
    assert len(ids) == len(set(ids)) and names.count("h1") == 1
    assert {i for _, a in seen.tags for i in str(a.get("aria-labelledby") or "").split()} <= set(ids)
    assert plain(NASTY) in seen.text and "照片" in html and "video" in html
    assert next(a for t, a in seen.tags if t == "html")["lang"] == "en"


def test_maps_and_sound_on_the_page_are_those_of_the_explanation(tmp_path: Path) -> None:
    e = made(tmp_path, ["a", "dog"])
    e.maps["photo0"][1] = np.eye(12)[7] * 0.5  # the last patch of the middle line
    seen = parsed(html_of(e))
    overlays = [a["src"] for t, a in seen.tags if t == "img" and a.get("data-map") == "1"]
    alpha = np.asarray(Image.open(io.BytesIO(decoded(overlays[0]))).convert("RGBA")).astype(float)
    h, w = alpha.shape[:2]
    assert (h / w) == pytest.approx(2 / 3, abs=0.02)
    bright = (alpha[..., 3] < 30) & (alpha[..., 0] == 0)
    y, x = np.argwhere(bright).mean(0) / (h, w)
    assert abs(y - 0.5) < 0.05 and 0.8 < x < 0.95 and 0 < bright.mean() < 1 / 9
    strip = np.asarray(Image.open(io.BytesIO(decoded(overlays[1]))).convert("RGBA")).astype(float)
    light = 1 - strip[0, :, 3] / 255 / cell.SHADE
    expected = e.maps["sound"][1] / e.maps["sound"][1].max()
    assert np.allclose(light.reshape(8, -1), expected[:, None], atol=0.01)
    (audio,) = [a["src"] for t, a in seen.tags if t == "audio"]
    x_n, rate = soundfile.read(io.BytesIO(decoded(audio)), dtype="float32")
    assert rate == 16000 and np.allclose(x_n, e.where["sound"].cell[0], atol=1e-3)  # type: ignore[union-attr]


def test_a_page_stays_below_a_megabyte(tmp_path: Path) -> None:
    e = made(tmp_path, ["word"] * 60, pictures=2, side=600, seconds=30.0)
    html = html_of(e)
    assert len(html.encode()) < view.LARGEST and "20 more words are not shown" in html
    assert len([a for t, a in parsed(html).tags if t == "button"]) == pages.WORDS


def test_json_says_all_of_it(tmp_path: Path) -> None:
    e = made(tmp_path, ["a", NASTY])
    form = json.loads(json.dumps(e.to_json(), allow_nan=False))
    assert [w["word"] for w in form["words"]] == e.words and form["row"] == 3 and form["references"] == e.references
    for i, w in enumerate(form["words"]):
        assert sum(w["share"].values()) + w["nothing"] == pytest.approx(1, abs=1e-5)
        assert w["logprob"] == pytest.approx(e.logprob[i], abs=1e-6)
        for m, told in e.told().items():
            assert w["where"][m] == told[i]
    for m, a_ws in e.maps.items():
        assert np.allclose(form["maps"][m]["attention"], a_ws, atol=1e-6)
    assert form["maps"]["photo0"]["grid"] == [3, 4] and len(form["maps"]["sound"]["edges"]) == 9
