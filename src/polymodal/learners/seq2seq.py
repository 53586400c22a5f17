"""A whole pretrained network that writes about one input: it captions an image, or transcribes speech.

    pixels or spectrogram --its encoder--> memory --its decoder, word by word--> text in its own vocabulary

The search is transformers' own (`generate`), under the rules of `decoders.search`.

Axes: b row, n reference or caption, p prompt, t word, v id.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from polymodal.batch import Batch, Losses, Masked
from polymodal.decoders.base import Decoding
from polymodal.decoders.pretrained import opened
from polymodal.decoders.search import CLOSED, Rules, drawn
from polymodal.errors import InputError
from polymodal.learners.base import Generator
from polymodal.modalities.pretrained.source import (
    config,
    copy,
    explained,
    quiet,
    read_json,
    resolve,
    transformers,
    written,
)
from polymodal.ops import zeroed
from polymodal.output import Texts
from polymodal.tasks.generate import Generation


class Seq2Seq(Generator):
    """A pretrained encoder-decoder: VisionEncoderDecoder (TrOCR, ViT-GPT2), BLIP, GIT or Whisper.

    source: name or folder, as in `modalities.pretrained.Hub`. modality: what it reads, prepared by the codec HubImage
    or HubAudio of the same source; values of a row without it are 0. task: with the network's own vocabulary.
    language: of speech, where the network has several ("en", "de" ...).

    Batch norm always stays in eval(): rows must not see each other. Raises InputError for other networks, and for a
    vocabulary or a length of text that the network was not made for.
    """

    def __init__(
        self, source: str, modality: str, task: Generation, *, decoding: Decoding | None = None, language: str = "en"
    ) -> None:
        super().__init__()
        self.source, self.modality, self.task, self.language = source, modality, task, language
        self.decoding = Decoding() if decoding is None else decoding
        self.family = family(source)
        self.network: Any = opened(source, self.family.architecture)
        for part in self.network.modules():
            if hasattr(part, "generation_config"):  # its defaults would be mixed into what is asked for
                part.generation_config = transformers().GenerationConfig()
        if getattr(getattr(self.network, "encoder", None), "pooler", None) is not None:
            self.network.encoder.pooler = None  # not read, so it would never learn
        self.prompt = self.family.prompt(source, self.network, language) or [task.vocabulary.begin]
        self._check()
        self.train()

    @property
    def reads(self) -> Sequence[str]:
        """The one modality."""
        return [self.modality]

    def train(self, mode: bool = True) -> Self:
        """As of any module, but batch norm stays in eval()."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def loss(self, batch: Batch) -> Losses:
        """Cross-entropy of every reference's words, given the words before them."""
        (target,) = batch.targets.values()
        rows, words = self.task.captions(target)
        if not len(rows):
            nothing = next(self.parameters()).flatten()[:0].sum()
            return Losses(nothing, {"loss": nothing})
        logits = self._logits(self._look(batch.inputs)[rows], words)[words.mask]
        loss = self.task.loss(logits, Masked(words.values[words.mask], words.mask[words.mask]))
        return Losses(loss, {"loss": loss})

    def write(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Texts:
        """Captions of each row, the best first. A row without its input gets what is likeliest for zeros.

        Raises InputError for diverse beams, which transformers no longer has.
        """
        return self._written(self._look(inputs), how or self.decoding)

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Texts]:
        """The encoder looks once; each row that is put together is written anew."""
        memory = self._look(inputs)
        return lambda at: self._written(memory[at[self.modality].to(memory.device)], self.decoding)

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config, tokenizer, and a note that weights are elsewhere."""
        copy(self.source, folder, weights=False)
        written(folder)

    def _look(self, inputs: Mapping[str, Masked]) -> Tensor:
        x = zeroed(inputs[self.modality])
        return self.family.look(self.network, x) if len(x) else x

    def _logits(self, memory: Tensor, words: Masked) -> Tensor:
        """(N, T, V) of each word and the end, given the prompt and the words before."""
        before = torch.where(words.mask, words.values, self.task.vocabulary.end)[:, :-1]
        ids = torch.cat([self._prompts(len(memory)), before], dim=1)
        return self.family.logits(self.network, memory, ids)[:, len(self.prompt) - 1 :]

    def _prompts(self, rows: int) -> Tensor:
        return torch.tensor(self.prompt, device=next(self.parameters()).device).expand(rows, -1)

    @torch.no_grad()
    def _written(self, memory: Tensor, how: Decoding) -> Texts:
        how.check(self.task.outputs, self.task.longest_)
        if how.method == "diverse":
            raise InputError(
                "this pretrained network can't search by diverse beams: transformers has dropped them; use --decoding "
                "beam, or sample for captions that differ"
            )
        rules, n = self._rules(how, memory.device), how.captions
        if not len(memory):
            return Texts(rules.shut.new_zeros(0, n, 1), memory.new_zeros(0, n), rules.end)
        if how.method == "sample":
            memory = memory.repeat_interleave(n, 0)
        ids = self._generated(memory, how, rules)
        memory = memory if how.method == "sample" else memory.repeat_interleave(n, 0)
        end = rules.end
        over = (ids == end).cumsum(1) - (ids == end).long() > 0
        ids = torch.where(over, end, ids)
        logits = self._logits(memory, Masked(ids, ~over)).float().index_fill(-1, rules.shut, CLOSED)
        logp = logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]
        total = torch.where(over, 0.0, logp).sum(1)
        rank = (total / (~over).sum(1) ** how.length_penalty).unflatten(0, (-1, n))
        best = rank.argsort(dim=1, descending=True, stable=True)
        return Texts(
            ids.unflatten(0, (-1, n)).take_along_dim(best[..., None], 1),
            total.unflatten(0, (-1, n)).take_along_dim(best, 1),
            end,
        )

    def _generated(self, memory: Tensor, how: Decoding, rules: Rules) -> Tensor:
        """(B N, T) ids behind the prompt, filled with the end."""
        start = len(self.prompt)

        def next_word(ids: Tensor, scores: Tensor) -> Tensor:
            return rules.logp(scores, ids[:, start:])

        def drawn_word(ids: Tensor, scores: Tensor) -> Tensor:
            """0 for the word that is drawn, so that it is the likeliest: each row draws by itself."""
            logp = rules.logp(scores, ids[:, start:])
            word = drawn(logp, u_nt[torch.arange(len(ids)) % how.captions, ids.shape[1] - start].to(ids.device), how)
            return torch.full_like(scores, CLOSED).scatter(1, word[:, None], 0.0)

        random = torch.Generator().manual_seed(how.seed)
        u_nt = torch.rand(how.captions, rules.most + 1, generator=random, dtype=torch.float64)
        choose = drawn_word if how.method == "sample" else next_word
        with quiet():
            ids = self.family.generate(
                self.network,
                memory,
                self._prompts(len(memory)),
                generation_config=transformers().GenerationConfig(**self._form(how, rules)),
                logits_processor=[choose],
            )
        return ids[:, start:]

    def _form(self, how: Decoding, rules: Rules) -> dict[str, Any]:
        """What transformers has to know, next to the rules."""
        form = {
            "max_new_tokens": rules.most + 1,
            "do_sample": False,
            "eos_token_id": rules.end,
            "pad_token_id": rules.end,
            "bos_token_id": self.prompt[0],
            "decoder_start_token_id": self.prompt[0],
        }
        if how.method != "beam":
            return form
        beam = {"num_beams": how.beams, "num_return_sequences": how.captions, "length_penalty": how.length_penalty}
        return form | beam | {"early_stopping": True}

    def _rules(self, how: Decoding, device: torch.device) -> Rules:
        limit, v = self.task.longest_, self.task.vocabulary
        most = max(0, min(limit - 1, how.max_length or limit - 1))
        beyond = range(self.task.outputs, self.family.size(self.network))
        never = {*v.banned, *beyond, *self.family.marks(self.source, self.network)}
        shut = torch.tensor(sorted(never - {v.end}), dtype=torch.int64, device=device)
        return Rules(v.end, shut, min(how.min_length, most), most, how.no_repeat)

    def _check(self) -> None:
        known, wanted = self.family.size(self.network), self.task.outputs
        if wanted > known:
            raise InputError(
                f"{self.source!r} writes {known:,} ids, but the vocabulary has {wanted:,}; use the network's own "
                f"vocabulary: HubTokens({self.source!r})"
            )
        places, length = self.family.places(self.network.config), len(self.prompt) + self.task.longest_ - 1
        if places is not None and length > places:
            raise InputError(
                f"{self.source!r} writes at most {places - len(self.prompt) + 1:,} words with the end, but the task "
                f"asks for {self.task.longest_:,}; lower the task's limit"
            )


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
        seen = transformers().modeling_outputs.BaseModelOutput(last_hidden_state=memory)
        generate = transformers().GenerationMixin.generate
        out: Tensor = generate(net, encoder_outputs=seen, decoder_input_ids=ids, **how)
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
            known = ", ".join(sorted(name.strip("<|>") for name in languages))
            raise InputError(f"{source!r} has no language {language!r}; it has {known}")
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
    with explained(source):
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
    found = (x for name in names for x in (getattr(form, name, None), more.get(name)))
    return next((x for x in found if x is not None), None)


def _ids(x: int | list[int] | None) -> list[int]:
    if x is None:
        return []
    return [int(i) for i in x] if isinstance(x, list) else [int(x)]
