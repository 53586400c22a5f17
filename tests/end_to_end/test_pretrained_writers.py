"""Pretrained networks that write, by the name of their folder: fit, save, load and predict; tiny random ones."""

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
from polymodal.decoders.base import Decoding
from polymodal.objectives.writing import Writing

WORDS = "<pad> <s> </s> <unk> a one the red green blue square on left right holds something".split()
MARKS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
PART = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


def tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=model, **marks).save_pretrained(folder)


def gpt2(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    form = GPT2Config(**MARKS, vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=128)
    GPT2LMHeadModel(form).save_pretrained(folder)


def captioner(folder: Path) -> None:
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
    from transformers import ViTImageProcessorPil as Processor

    decoder = GPT2Config(
        **MARKS, vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=32, add_cross_attention=True,
        is_decoder=True,
    )  # fmt: skip
    form = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**PART, image_size=16, patch_size=8), decoder, decoder_start_token_id=1, pad_token_id=0
    )
    VisionEncoderDecoderModel(form).save_pretrained(folder)
    Processor(size={"height": 16, "width": 16}).save_pretrained(folder)


def whisper(folder: Path) -> None:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    form = WhisperConfig(
        **MARKS, vocab_size=len(WORDS), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8, max_source_positions=50,
        max_target_positions=16, decoder_start_token_id=1,
    )  # fmt: skip
    WhisperForConditionalGeneration(form).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8, chunk_length=1).save_pretrained(folder)


def clips(folder: Path) -> Path:
    folder.mkdir(parents=True)
    rows = []
    for i in range(12):
        wave = np.sin(np.arange(4_000) * (0.05 + 0.1 * (i % 2))) * 0.5
        soundfile.write(folder / f"{i}.wav", wave, 16_000)
        rows.append({"audio": f"{i}.wav", "said": "a red square" if i % 2 else "the blue square"})
    pd.DataFrame(rows).to_csv(folder / "said.csv", index=False)
    return folder / "said.csv"


@pytest.mark.parametrize("make", [gpt2, captioner, whisper])
def test_a_pretrained_network_is_fitted_saved_and_loaded(make, tmp_path):
    source = tmp_path / "source"
    make(source)
    tokenizer(source)
    table = clips(tmp_path / "t") if make is whisper else squares(tmp_path / "t", 12)
    model = flat.fit(
        table, "said" if make is whisper else "caption", task="generate", size="tiny", epochs=1, out=tmp_path / "m",
        cache=tmp_path / "c", writing=Writing(decoder=str(source), max_words=10),
    )  # fmt: skip
    wanted = model.predict(table)
    shutil.rmtree(source)  # a saved model needs nothing but its folder
    again = polymodal.load(tmp_path / "m")
    pd.testing.assert_frame_equal(again.predict(table), wanted)
    several = again.predict(table, decoding=Decoding(beams=3, captions=2))
    assert (several["log_probability"] >= several["log_probability_2"] - 5).all()
    assert "<" not in "".join(wanted["prediction"])


def test_an_encoder_decoder_reads_one_thing(tmp_path):
    source = tmp_path / "source"
    captioner(source)
    tokenizer(source)
    table = squares(tmp_path / "t", 12)
    frame = pd.read_csv(table).assign(note="a few words that say nothing at all")
    frame["note"] += frame.index.astype(str)
    frame.to_csv(table, index=False)
    with pytest.raises(InputError, match=r"reads one image or one recording, but the table has image \(image\), note"):
        flat.fit(
            table, "caption", task="generate", cache=tmp_path, writing=Writing(decoder=str(source)),
            kinds={"note": "text"},
        )  # fmt: skip
