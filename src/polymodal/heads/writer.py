"""Tokens of many modalities -> a sequence of words.

tokens + vectors of their modality and place --joined--> memory --decoder--> words

The decoder's attention is the fusion: each word looks at whatever tokens of whatever modality help it, absent ones
being masked. Captioning (image), visual question answering (image + question), speech recognition (audio) and
multimodal translation (image + text) are this one head on different columns.

Axes: b batch, s memory token, d width, n caption, t word, v word of the vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from polymodal.batch import Losses, Masked
from polymodal.decoders.base import Decoder, Decoding, State
from polymodal.decoders.search import search
from polymodal.errors import InputError
from polymodal.heads.base import Attended, Head, Shared, Tokens
from polymodal.ops import zeroed
from polymodal.output import Texts
from polymodal.spec import spec
from polymodal.tasks.generate import Generation


class Memory(NamedTuple):
    """What a decoder looks at. tokens: (B, S, D), of which the first means "nothing" and is always there.

    spans: by modality, the tokens [start, end) that are its own.
    """

    tokens: Masked
    spans: dict[str, tuple[int, int]]


class Writer(Head):
    """A decoder that attends over the tokens of all modalities.

    modalities: their names, in the order of the encoders, all of whose tokens have the decoder's `dim`. decoder: built
    for `task.outputs` ids. decoding: how captions are searched for. sampling: share of a caption's words that are
    replaced by the decoder's own in training (scheduled sampling, Bengio et al. 2015; all words are drawn at once,
    Duckworth et al. 2019): it rises linearly to this in the first half of training.

    Raises InputError where the parts do not fit together.
    """

    task: Generation
    explains: ClassVar[bool] = True

    def __init__(
        self, modalities: Sequence[str], decoder: Decoder, task: Generation, *, decoding: Decoding | None = None,
        sampling: float = 0.0, dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        if decoder.size != task.outputs:
            raise InputError(
                f"the vocabulary has {task.outputs:,} words, but the decoder was built for {decoder.size:,}; the "
                "vocabulary was cut or exchanged: use the one that the decoder was trained with, or fit again"
            )
        self.modalities, self.decoder, self.task = list(modalities), decoder, task
        self.decoding: Decoding = Decoding() if decoding is None else decoding
        self.sampling, self.dropout = sampling, dropout
        self.marks = Marks(len(self.modalities), decoder.dim)
        self.drop = nn.Dropout(dropout)

    def check(self, dims: Mapping[str, int]) -> None:
        """All of the decoder's width."""
        if wrong := {m: d for m, d in dims.items() if d != self.decoder.dim}:
            raise InputError(f"the encoders give {wrong} but the decoder reads tokens of width {self.decoder.dim}")

    def infer(self, tokens: Tokens) -> Texts:
        """Captions of each row, searched for by `decoding`."""
        return self.write(tokens)

    def write(self, tokens: Tokens, how: Decoding | None = None) -> Texts:
        """Captions of each row, the best first, at most `task.longest_` words with the mark of the end.

        A row with nothing present gets what is likeliest without a look. Raises InputError for a search that the
        vocabulary does not allow.
        """
        return self.search(self.decoder.start(self.memory(tokens).tokens), how or self.decoding)

    def memory(self, tokens: Tokens) -> Memory:
        """The tokens of all modalities, one after another."""
        rows = next(iter(tokens.values())).mask
        values = [self.marks.origin[0].expand(len(rows), 1, -1)]
        masks, spans, at = [rows.new_ones(len(rows), 1)], {}, 1
        for i, m in enumerate(self.modalities):
            x = tokens[m]
            values.append(zeroed(Masked(self.drop(self.marks(x.values, i)), x.mask)))
            masks.append(x.mask)
            spans[m] = (at, at + x.mask.shape[1])
            at = spans[m][1]
        return Memory(Masked(torch.cat([v.to(values[-1].dtype) for v in values], 1), torch.cat(masks, 1)), spans)

    def search(self, state: State, how: Decoding, keys: Tensor | None = None) -> Texts:
        """Captions from a state; see `decoders.search.search`."""
        how.check(self.task.outputs, self.task.longest_)
        v, limit = self.task.vocabulary, self.task.longest_
        return search(self.decoder, state, begin=v.begin, end=v.end, excluded=v.banned, how=how, limit=limit, keys=keys)

    def loss(self, tokens: Tokens, targets: Mapping[str, Masked]) -> Losses:
        """Cross-entropy of every reference's words.

        Logits are computed only where a word is, and captions of like length go through the decoder together. The
        memory of a row is computed once, however many references it has.
        """
        (target,) = targets.values()
        rows, words = self.task.captions(target)
        memory = self.memory(tokens).tokens
        if not len(rows):
            nothing = memory.values[:0].sum()
            return Losses(nothing, {"loss": nothing})
        start = self.decoder.start(memory)
        states, ids, penalty = [], [], memory.values.new_zeros(())
        for group in words.mask.sum(1).argsort(stable=True).split(TOGETHER):
            some = trim(words.take(group))
            state, inputs = start.take(rows[group]), with_begin(some, self.task.vocabulary.begin)
            if self.sampling and self.training:
                inputs = self._mixed(state, inputs)
            run = self.decoder.teacher_forcing(state, inputs)
            states.append(run.hidden[some.mask])
            ids.append(some.values[some.mask])
            penalty = penalty + run.penalty * (len(group) / len(rows))
        truth = Masked(torch.cat(ids), torch.ones_like(torch.cat(ids), dtype=torch.bool))
        loss = self.task.loss(self.decoder.logits(torch.cat(states)), truth)
        return Losses(loss + penalty, {"loss": loss, "penalty": penalty})

    def logp(self, state: State, words: Masked) -> Tensor:
        """(K,) log-probabilities of the real ones of these words (N, T), one caption after another, as a search has
        them."""
        run = self.decoder.teacher_forcing(state, with_begin(words, self.task.vocabulary.begin))
        logits = self.decoder.logits(run.hidden[words.mask]).float()
        shut = torch.tensor(self.task.vocabulary.banned, dtype=torch.int64, device=logits.device)
        logp = logits.index_fill(1, shut, -torch.inf).log_softmax(-1)
        return logp.gather(1, words.values[words.mask][:, None])[:, 0]

    @torch.no_grad()
    def attend(self, tokens: Tokens, how: Decoding | None = None) -> Attended:
        """The best caption of the one row, and the decoder's attention as it writes each word."""
        vocabulary = self.task.vocabulary
        words = with_end(self.write(tokens, how).best, vocabulary.end)
        memory = self.memory(tokens)
        state = self.decoder.start(memory.tokens)
        attention, logp = self.decoder.attention(state, with_begin(words, vocabulary.begin)), self.logp(state, words)
        count = int(words.mask.sum()) - 1  # the mark of the end is always there, whatever stopped the search
        ids = words.values[0, :count].tolist()
        a_ws = attention[0, :count].double().cpu().numpy()
        real = memory.tokens.mask[0].cpu().numpy()
        maps = {m: a_ws[:, i:j][:, real[i:j]] for m, (i, j) in memory.spans.items() if real[i:j].any()}
        logprob = logp.double().cpu().numpy()
        return Attended(vocabulary.text(ids), vocabulary.tokens(ids), logprob, maps, a_ws[:, 0])

    def shared(self, modalities: Sequence[str]) -> dict[str, Shared]:
        """Places and decoder, for the same words."""
        words = spec(self.task.vocabulary)
        return {"places": Shared(self.marks, [words, list(modalities)]), "the decoder": Shared(self.decoder, words)}

    def describe(self, encoders: Mapping[str, str]) -> list[str]:
        """The decoder, its words and its search."""
        return written_by(type(self.decoder).__name__, list(encoders), self.task, self.decoding)

    def _mixed(self, state: State, inputs: Masked) -> Masked:
        """Some of the given words replaced by what the decoder draws after the words before them."""
        share = self.sampling * min(1.0, 2 * self.progress)
        with torch.no_grad():
            logits = self.decoder.logits(self.decoder.teacher_forcing(state, inputs).hidden[:, :-1])
            logits[..., [*self.task.vocabulary.banned, self.task.vocabulary.end]] = -torch.inf
            own = torch.distributions.Categorical(logits=logits.float()).sample()
        swap = torch.rand(own.shape, device=own.device) < share
        values = torch.cat([inputs.values[:, :1], torch.where(swap, own, inputs.values[:, 1:])], dim=1)
        return Masked(values, inputs.mask)


class Marks(nn.Module):
    """Vectors of each modality, and of the places of its tokens; the first is of "nothing".

    Convolutions and frozen networks say what is there, and "left of" is a matter of where.
    """

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__()
        self.origin = nn.Parameter(torch.randn(modalities + 1, dim) * 0.02)
        self.place = nn.Parameter(torch.randn(modalities, PLACES, dim) * 0.02)

    def forward(self, x_btd: Tensor, modality: int) -> Tensor:
        """Tokens of the modality at this position, marked."""
        y = x_btd + self.origin[modality + 1]
        near = min(PLACES, y.shape[1])
        return torch.cat([y[:, :near] + self.place[modality, :near], y[:, near:]], dim=1)


PLACES = 256  # tokens of a modality that have a vector of their place
TOGETHER = 96  # captions of like length that go through the decoder together


def trim(words: Masked) -> Masked:
    """Up to the longest of these captions."""
    longest = int(words.mask.sum(1).max())
    return Masked(words.values[:, :longest], words.mask[:, :longest])


def with_begin(words: Masked, begin: int) -> Masked:
    """What a decoder is given to write these words: each word's predecessor, the mark of the beginning first."""
    return Masked(torch.cat([torch.full_like(words.values[:, :1], begin), words.values[:, :-1]], dim=1), words.mask)


def with_end(ids: Tensor, end: int) -> Masked:
    """(N, T) ids that are filled with the mark of the end -> the words, their first end included, as real."""
    before = (ids == end).cumsum(1) - (ids == end).long()
    return Masked(ids, before == 0)


def written_by(what: str, modalities: Sequence[str], task: Generation, decoding: Decoding) -> list[str]:
    """How texts are written, in lines."""
    words = f"{type(task.vocabulary).__name__} of {task.outputs:,} ids, texts of up to {task.longest_ - 1:,}"
    return [f"{what} on {', '.join(modalities)}", f"  {words}", f"  {decoding}"]
