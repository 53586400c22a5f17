"""Learners that write text: how one is put together from what a user asks for.

Writing (the config) --task--> Generation --build--> a network with a Writer or a Transcriber, or Seq2Seq
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from polymodal import decoders
from polymodal.data.schema import Schema
from polymodal.decoders.base import Decoder, Decoding
from polymodal.decoders.pretrained import HubDecoder
from polymodal.decoders.tokens import HubTokens
from polymodal.errors import InputError
from polymodal.heads.transcriber import Transcriber
from polymodal.heads.writer import Writer
from polymodal.learners.base import TrainableLearner
from polymodal.learners.encoders import Encoders
from polymodal.learners.families import FAMILIES
from polymodal.learners.network import Network
from polymodal.learners.seq2seq import Seq2Seq
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.pretrained.hub import Hub
from polymodal.modalities.pretrained.source import config
from polymodal.nn import Size
from polymodal.sentences import words
from polymodal.tasks.generate import Generation, references
from polymodal.tasks.vocabulary import VOCABULARIES, Vocabulary, WordList

CTC = "ctc"
SENTENCE = 3  # words: where texts have fewer on average, they have no n-grams that CIDEr-D could count
FEW_WORDS = 100  # so many different words or fewer are written as words, even by CTC
WIDTHS = {  # of decoders, and so of the encoders that they read: more than a classifier needs
    "tiny": {"dim": 64, "layers": 1, "heads": 2},
    "small": {"dim": 256, "layers": 2, "heads": 4},
    "base": {"dim": 512, "layers": 3, "heads": 8},
    "large": {"dim": 768, "layers": 6, "heads": 12},
}


class Writing(NamedTuple):
    """How text is to be written. Where nothing is asked for, what suits the columns.

    decoder: "transformer" (on 6,000 photos it learned in one epoch what a GRU did in five), "gru" (Show, Attend and
    Tell), "gru-dot", "prefix" (a prefix language model), "ctc" (a transcript, in the order of a recording), or the
    name or folder of a pretrained language model or encoder-decoder.
    vocabulary: "words", "bpe" or "characters". min_count: how often a word occurs at least. max_words: the longest text
    that is learned and written. smoothing: of labels. dropout: in the decoder.
    scheduled_sampling: the fraction of the decoder's inputs that are its own samples, at the end of training.
    self_critical: epochs of self-critical training on CIDEr-D after the others. finetune_decoder: a pretrained language
    model learns too (an encoder-decoder always does). language: what an encoder-decoder with several (Whisper) writes.
    decoding: the model's search.
    """

    decoder: str | None = None
    vocabulary: str | None = None
    min_count: int = 2
    max_words: int = 64
    smoothing: float = 0.1
    dropout: float = 0.1
    scheduled_sampling: float = 0.0
    self_critical: int = 0
    finetune_decoder: bool = False
    language: str = "en"
    decoding: Decoding = Decoding()

    def check(self, name: str) -> None:
        """Raises InputError for what can't be asked for, or means nothing to the decoder of this name."""
        own = (*decoders.DECODERS, CTC)
        source = pretrained(name)
        if name not in own and source is None:
            near = difflib.get_close_matches(name, own, 1)[0]
            raise InputError(
                f"unknown decoder {name!r}; did you mean {near!r}? It is one of {', '.join(own)}, or the name or "
                "folder of a pretrained language model or encoder-decoder"
            )
        by_words = not (name == CTC or (source and whole(source)))
        idle = {
            "self_critical": (bool(self.self_critical) and not by_words, "a decoder that writes word by word"),
            "scheduled_sampling": (
                bool(self.scheduled_sampling) and not by_words,
                "a decoder that writes word by word",
            ),
            "finetune_decoder": (
                self.finetune_decoder and not (source and by_words),
                "a pretrained language model as the decoder",
            ),
            "vocabulary": (self.vocabulary is not None and source is not None, "a decoder without its own words"),
        }
        for setting, (vain, needs) in idle.items():
            if vain:
                option = setting.replace("_", "-")
                raise InputError(
                    f"--{option} needs {needs}, and {name} is none; leave it out or choose another --decoder"
                )
        rules = {
            "vocabulary": (self.vocabulary in (None, *VOCABULARIES), f"one of {', '.join(VOCABULARIES)}"),
            "min_count": (self.min_count >= 1, "a whole number from 1"),
            "max_words": (self.max_words >= 1, "a whole number of words from 1"),
            "smoothing": (0 <= self.smoothing < 1, "from 0 to below 1"),
            "dropout": (0 <= self.dropout < 1, "from 0 to below 1"),
            "scheduled_sampling": (0 <= self.scheduled_sampling <= 1, "from 0 to 1"),
            "self_critical": (self.self_critical >= 0, "a whole number of epochs"),
        }
        for setting, (good, range_) in rules.items():
            if not good:
                option, value = setting.replace("_", "-"), getattr(self, setting)
                raise InputError(f"{option} can't be {value!r}; it must be {range_}")

    def task(self, cells: Sequence[Any], schema: Schema) -> Generation:
        """The task, not yet fitted, for these target cells."""
        texts = [references(c) for c in cells]
        few = len({w for row in texts for t in row for w in words(t)}) <= FEW_WORDS
        name = self.chosen(cells, schema)
        self.check(name)
        if source := pretrained(name):
            vocabulary: Vocabulary = HubTokens(source)
        else:
            kind = self.vocabulary or ("characters" if name == CTC and not few else "words")
            vocabulary = WordList(min_count=self.min_count) if kind == "words" else VOCABULARIES[kind]()
        lengths = [len(words(t)) for row in texts for t in row]
        short = sum(lengths) < SENTENCE * len(lengths)
        metric = "wer" if _spoken(texts, schema) else "exact_match" if short else "cider_d"
        limit = self.max_words * vocabulary.per_word
        return Generation(vocabulary, limit, metric, self.smoothing)

    def chosen(self, cells: Sequence[Any], schema: Schema) -> str:
        """The decoder: what is said in a recording is transcribed, anything else is described."""
        return self.decoder or (CTC if _spoken([references(c) for c in cells], schema) else "transformer")

    def parts(self, name: str, kinds: Mapping[str, str]) -> dict[str, tuple[Codec, type[Encoder]]]:
        """Codecs of modalities that a pretrained encoder-decoder reads in its own way; none for other decoders."""
        source = pretrained(name)
        if not source or not whole(source):
            return {}
        hubs = {k: m.hub for k, m in MODALITIES.items() if m.hub is not None and m.hub.whole}
        if len(kinds) != 1 or (kind := next(iter(kinds.values()))) not in hubs:
            columns = ", ".join(f"{m} ({k})" for m, k in kinds.items())
            raise InputError(
                f"{name} reads one image or one recording, but the table has {columns}; leave others out with "
                "--ignore, or choose another --decoder"
            )
        return {m: (hubs[kind](source), Hub) for m in kinds}

    def build(
        self,
        name: str,
        kinds: Mapping[str, str],
        encoders: Callable[[], Mapping[str, Encoder]],
        task: Generation,
        size: Size,
    ) -> TrainableLearner:
        """A fresh learner with this decoder. kinds: of its modalities. Raises InputError where they don't fit."""
        modalities = list(kinds)
        source = pretrained(name)
        if source and whole(source):
            return Seq2Seq(source, modalities[0], task, decoding=self.decoding, language=self.language)
        if name != CTC:
            decoder: Decoder = (
                HubDecoder(source, size.dim, task.outputs, self.finetune_decoder)
                if source
                else decoders.make(name, size.dim, task.outputs, size, self.dropout)
            )
            parts = Encoders(encoders())
            return Network(
                parts,
                Writer(
                    parts.names, decoder, task, decoding=self.decoding, sampling=self.scheduled_sampling,
                    dropout=self.dropout,
                ),
            )  # fmt: skip
        streams = [m for m in modalities if MODALITIES[kinds[m]].stream]
        if not streams:
            raise InputError(
                f"a CTC head transcribes a recording or a series, and there is none among {', '.join(modalities)}; "
                "choose another --decoder"
            )
        read, stream = encoders(), streams[0]
        modality = MODALITIES[kinds[stream]]
        own = type(read[stream]) in modality.encoders.values()  # it reads the codec's frames, not a network's output
        variation = {stream: modality.variation()} if own and modality.variation is not None else None
        layers = max(1, size.layers - 1)
        head = Transcriber(stream, read[stream].dim, task, layers=layers, decoding=self.decoding)
        return Network(Encoders(read, variation), head)

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return {**self._asdict(), "decoding": asdict(self.decoding)}


def pretrained(name: str) -> str | None:
    """The name or folder of a pretrained network; None for a decoder of our own, or something like its name."""
    own = (*decoders.DECODERS, CTC)
    if name in own or (difflib.get_close_matches(name, own, 1) and not Path(name).exists()):
        return None
    return name


def whole(source: str) -> bool:
    """Is it an encoder-decoder, which reads and writes? Else it is a language model, which only writes."""
    return config(source).model_type in FAMILIES


def fits(name: str, kind: str) -> bool:
    """Can a modality of this kind alone be written from by this decoder?"""
    return name != CTC or MODALITIES[kind].stream


def _spoken(texts: Sequence[Sequence[str]], schema: Schema) -> bool:
    """Recordings alone, each with one text: a transcript. Several texts of one recording are descriptions of it."""
    kinds = {kind for kind, _ in schema.modalities().values()}
    speech = bool(kinds) and all(MODALITIES[k].speech for k in kinds)
    return speech and sum(map(len, texts)) < 1.5 * sum(bool(t) for t in texts)
