"""A whole pretrained network that writes about one input: it captions an image, or transcribes speech.

    pixels or spectrogram --its encoder--> memory --its decoder, word by word--> text in its own vocabulary

The search is transformers' own (`generate`), under the rules of `decoders.search`.

Axes: b row, n reference or caption, p prompt, t word, v id.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from polymodal.batch import Batch, Losses, Masked
from polymodal.decoders.base import Decoding
from polymodal.decoders.pretrained import load_network
from polymodal.decoders.search import IMPOSSIBLE, Rules, sample_tokens
from polymodal.errors import InputError
from polymodal.heads.base import Shared
from polymodal.heads.writer import written_by
from polymodal.learners.base import TrainableLearner
from polymodal.learners.families import family
from polymodal.modalities.pretrained.source import (
    check_written,
    copy,
    quiet,
    transformers,
)
from polymodal.ops import zeroed
from polymodal.output import Texts
from polymodal.spec import spec
from polymodal.tasks.generate import Generation


class Seq2Seq(TrainableLearner):
    """A pretrained encoder-decoder: VisionEncoderDecoder (TrOCR, ViT-GPT2), BLIP, GIT or Whisper.

    source: name or folder, as in `modalities.pretrained.Hub`. modality: what it reads, prepared by the codec HubImage
    or HubAudio of the same source; values of a row without it are 0. task: with the network's own vocabulary.
    language: of speech, where the network has several ("en", "de" ...).

    Batch norm always stays in eval(): rows must not see each other. Raises InputError for other networks, and for a
    vocabulary or a length of text that the network was not made for.
    """

    task: Generation

    def __init__(
        self, source: str, modality: str, task: Generation, *, decoding: Decoding | None = None, language: str = "en"
    ) -> None:
        super().__init__()
        self.source, self.modality, self.task, self.language = source, modality, task, language
        self.decoding: Decoding = Decoding() if decoding is None else decoding
        self.family = family(source)
        self.network: Any = load_network(source, self.family.architecture)
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

    def infer(self, inputs: Mapping[str, Masked]) -> Texts:
        """Captions of each row, searched for by `decoding`."""
        return self.write(inputs)

    def write(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Texts:
        """Captions of each row, the best first. A row without its input gets what is likeliest for zeros.

        Raises InputError for diverse beams, which transformers no longer has.
        """
        return self._written(self._look(inputs), how or self.decoding)

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Texts]:
        """The encoder looks once; each row that is put together is written anew."""
        memory = self._look(inputs)
        return lambda at: self._written(memory[at[self.modality].to(memory.device)], self.decoding)

    def shared(self) -> dict[str, Shared]:
        """The network, for the same words."""
        return {"the network": Shared(self.network, spec(self.task.vocabulary))}

    def describe(self) -> list[str]:
        """Its words and its search."""
        return written_by(type(self).__name__, self.reads, self.task, self.decoding)

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config, tokenizer, and a note that weights are elsewhere."""
        copy(self.source, folder, weights=False)
        check_written(folder)

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
            return Texts(rules.banned.new_zeros(0, n, 1), memory.new_zeros(0, n), rules.end)
        if how.method == "sample":
            memory = memory.repeat_interleave(n, 0)
        ids = self._generated(memory, how, rules)
        memory = memory if how.method == "sample" else memory.repeat_interleave(n, 0)
        end = rules.end
        over = (ids == end).cumsum(1) - (ids == end).long() > 0
        ids = torch.where(over, end, ids)
        logits = self._logits(memory, Masked(ids, ~over)).float().index_fill(-1, rules.banned, IMPOSSIBLE)
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
            word = sample_tokens(
                logp, u_nt[torch.arange(len(ids)) % how.captions, ids.shape[1] - start].to(ids.device), how
            )
            return torch.full_like(scores, IMPOSSIBLE).scatter(1, word[:, None], 0.0)

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
        size, needs = self.family.size(self.network), self.task.outputs
        if needs > size:
            raise InputError(
                f"{self.source!r} writes {size:,} ids, but the vocabulary has {needs:,}; use the network's own "
                f"vocabulary: HubTokens({self.source!r})"
            )
        places, length = self.family.places(self.network.config), len(self.prompt) + self.task.longest_ - 1
        if places is not None and length > places:
            raise InputError(
                f"{self.source!r} writes at most {places - len(self.prompt) + 1:,} words with the end, but the task "
                f"asks for {self.task.longest_:,}; lower the task's limit"
            )
