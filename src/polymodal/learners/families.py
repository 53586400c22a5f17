"""How pretrained encoder-decoders are asked: they look once, then answer for words, or write; a class a family.

Axes: n reference or caption, p prompt, t word, v id.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from polymodal.errors import InputError
from polymodal.modalities.pretrained.source import config, explain_errors, read_json, resolve, transformers


class Family(ABC):
    """How the networks of one kind are asked: look once, then answer for words, or write."""

    architecture: ClassVar[str] = "AutoModelForImageTextToText"

    def prompt(self, source: str, net: Any, language: str) -> list[int]:
        """Ids that come before the first word; none where nothing says which."""
        return _ids(_setting(source, net.config, "decoder_start_token_id", "bos_token_id"))

    def marks(self, source: str, net: Any) -> Sequence[int]:
        """Ids of no text, which its tokenizer may take for one."""
        return ()

    @abstractmethod
    def look(self, net: Any, x: Tensor) -> Tensor:
        """Pixels or spectrogram -> memory, one row for each."""

    @abstractmethod
    def logits(self, net: Any, memory: Tensor, ids: Tensor) -> Tensor:
        """(N, P + T) prompt and words -> (N, P + T, V) logits of what comes next."""

    @abstractmethod
    def generate(self, net: Any, memory: Tensor, ids: Tensor, **how: Any) -> Tensor:
        """transformers' own search behind the prompt (B, P) -> (B N, P + T)."""

    def size(self, net: Any) -> int:
        """How many ids it writes."""
        return int(net.get_output_embeddings().out_features)

    @abstractmethod
    def places(self, form: Any) -> int | None:
        """The most ids that it reads at once; None where there is no limit."""


class EncoderDecoder(Family):
    """An encoder and a decoder that attends to it."""

    def look(self, net: Any, x: Tensor) -> Tensor:
        """The encoder's last layer."""
        memory: Tensor = net.get_encoder()(x).last_hidden_state
        return memory

    def logits(self, net: Any, memory: Tensor, ids: Tensor) -> Tensor:
        """The decoder with cross-attention."""
        logits: Tensor = net(encoder_outputs=(memory,), decoder_input_ids=ids, use_cache=False).logits
        return logits

    def generate(self, net: Any, memory: Tensor, ids: Tensor, **how: Any) -> Tensor:
        """The search that all encoder-decoders share: Whisper's own is for recordings that are cut into pieces."""
        memory_of = transformers().modeling_outputs.BaseModelOutput(last_hidden_state=memory)
        generate = transformers().GenerationMixin.generate
        out: Tensor = generate(net, encoder_outputs=memory_of, decoder_input_ids=ids, **how)
        return out

    def places(self, form: Any) -> int | None:
        """Of the decoder."""
        return getattr(form.decoder, "max_position_embeddings", None)


class Whisper(EncoderDecoder):
    """Speech, with a prompt of marks: language, transcription, no times. Radford et al. 2023."""

    architecture: ClassVar[str] = "AutoModelForSpeechSeq2Seq"

    def prompt(self, source: str, net: Any, language: str) -> list[int]:
        """<start> <language> <transcribe> <no times>, those of them that the network has."""
        form = read_json(Path(resolve(source)) / "generation_config.json", {})
        languages = form.get("lang_to_id") or {}
        if languages and f"<|{language}|>" not in languages:
            names = ", ".join(sorted(name.strip("<|>") for name in languages))
            raise InputError(f"{source!r} has no language {language!r}; it has {names}")
        return [
            *super().prompt(source, net, language),
            *_ids(languages.get(f"<|{language}|>")),
            *_ids((form.get("task_to_id") or {}).get("transcribe") if languages else None),
            *_ids(form.get("no_timestamps_token_id")),
        ]

    def marks(self, source: str, net: Any) -> Sequence[int]:
        """The times: whatever comes behind the mark that there are none."""
        form = read_json(Path(resolve(source)) / "generation_config.json", {})
        return [i for last in _ids(form.get("no_timestamps_token_id")) for i in range(last + 1, self.size(net))]

    def places(self, form: Any) -> int | None:
        """Of the decoder."""
        return int(form.max_target_positions)


class Blip(Family):
    """An image transformer, and BERT as a decoder that attends to it. Li et al. 2022."""

    def prompt(self, source: str, net: Any, language: str) -> list[int]:
        """The mark that its decoder begins with."""
        return _ids(net.config.text_config.bos_token_id)

    def look(self, net: Any, x: Tensor) -> Tensor:
        """The last layer of the image transformer."""
        memory: Tensor = net.vision_model(pixel_values=x).last_hidden_state
        return memory

    def logits(self, net: Any, memory: Tensor, ids: Tensor) -> Tensor:
        """The decoder with cross-attention."""
        out: Tensor = net.text_decoder(input_ids=ids, encoder_hidden_states=memory, use_cache=False).logits
        return out

    def generate(self, net: Any, memory: Tensor, ids: Tensor, **how: Any) -> Tensor:
        """The decoder's own."""
        mask = torch.ones(memory.shape[:2], dtype=torch.int64, device=memory.device)
        out: Tensor = net.text_decoder.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            encoder_hidden_states=memory,
            encoder_attention_mask=mask,
            **how,
        )
        return out

    def size(self, net: Any) -> int:
        """Of the decoder."""
        return super().size(net.text_decoder)

    def places(self, form: Any) -> int | None:
        """Of the decoder."""
        return int(form.text_config.max_position_embeddings)


class Git(Family):
    """One transformer over the image's patches and the words; its memory are the pixels. Wang et al. 2022."""

    def look(self, net: Any, x: Tensor) -> Tensor:
        """The pixels as they are: patches and words are read together."""
        return x

    def logits(self, net: Any, memory: Tensor, ids: Tensor) -> Tensor:
        """What comes behind the patches."""
        out: Tensor = net(input_ids=ids, pixel_values=memory, use_cache=False).logits
        return out[:, -ids.shape[1] :]

    def generate(self, net: Any, memory: Tensor, ids: Tensor, **how: Any) -> Tensor:
        """Its own."""
        out: Tensor = net.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=memory, **how)
        return out

    def places(self, form: Any) -> int | None:
        """Of the words; patches have places of their own."""
        return int(form.max_position_embeddings)


FAMILIES: dict[str, Family] = {
    "vision-encoder-decoder": EncoderDecoder(),
    "blip": Blip(),
    "git": Git(),
    "whisper": Whisper(),
}


def family(source: str) -> Family:
    """How the network is asked; raises InputError for one of an unknown kind."""
    with explain_errors(source):
        kind = config(source).model_type
    if kind not in FAMILIES:
        raise InputError(
            f"{source!r} is a network of the kind {kind!r}, which can't write texts as a whole; those that can are "
            f"{', '.join(FAMILIES)}"
        )
    return FAMILIES[kind]


def _setting(source: str, form: Any, *names: str) -> int | list[int] | None:
    """The first of these that the config, or what is said about generation, has."""
    more = read_json(Path(resolve(source)) / "generation_config.json", {})
    values = (x for name in names for x in (getattr(form, name, None), more.get(name)))
    return next((x for x in values if x is not None), None)


def _ids(x: int | list[int] | None) -> list[int]:
    if x is None:
        return []
    return [int(i) for i in x] if isinstance(x, list) else [int(x)]
