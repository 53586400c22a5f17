"""Many modalities -> a sequence of words.

inputs --encoder of each--> tokens + vectors of their modality and place --joined--> memory --decoder--> words

The decoder's attention is the fusion: each word looks at whatever tokens of whatever modality help it, absent ones
being masked. Captioning (image), visual question answering (image + question), speech recognition (audio) and
multimodal translation (image + text) are this one learner on different columns.

Axes: b batch, s memory token, d width, n caption, t word, v word of the vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polymodal.batch import Batch, Losses, Masked
from polymodal.decoders.base import Decoder, Decoding, State
from polymodal.decoders.search import search
from polymodal.errors import InputError
from polymodal.learners.base import Generator
from polymodal.modalities.base import Encoder
from polymodal.nn import Named
from polymodal.ops import zeroed
from polymodal.output import Texts
from polymodal.sentences import Cider
from polymodal.tasks.generate import Generation


class Memory(NamedTuple):
    """What a decoder looks at. tokens: (B, S, D), of which the first means "nothing" and is always there.

    spans: by modality, the tokens [start, end) that are its own.
    """

    tokens: Masked
    spans: dict[str, tuple[int, int]]


class Translator(Generator):
    """Encoders, and a decoder that attends over the tokens of all of them.

    encoders: by modality name, in any order, all of the decoder's `dim`. decoder: built for `task.outputs` ids.
    decoding: how captions are searched for. sampled: share of a caption's words that are replaced by the decoder's own
    in training (scheduled sampling, Bengio et al. 2015; all words are drawn at once, Duckworth et al. 2019): it rises
    linearly to this in the first half of training.

    Raises InputError where the parts do not fit together.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        decoder: Decoder,
        task: Generation,
        *,
        decoding: Decoding | None = None,
        sampled: float = 0.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if wrong := {m: e.dim for m, e in encoders.items() if e.dim != decoder.dim}:
            raise InputError(f"the encoders give {wrong} but the decoder reads tokens of width {decoder.dim}")
        if decoder.size != task.outputs:
            raise InputError(
                f"the vocabulary has {task.outputs:,} words, but the decoder was built for {decoder.size:,}; the "
                "vocabulary was cut or exchanged: use the one that the decoder was trained with, or fit again"
            )
        self.encoders, self.decoder, self.task = Named(encoders), decoder, task
        self.decoding = Decoding() if decoding is None else decoding
        self.sampled, self.dropout = sampled, dropout
        self.origin = nn.Parameter(torch.randn(len(encoders) + 1, decoder.dim) * 0.02)
        # convolutions and frozen networks say what is there, and "left of" is a matter of where
        self.place = nn.Parameter(torch.randn(len(encoders), PLACES, decoder.dim) * 0.02)
        self.drop = nn.Dropout(dropout)
        self.reward: Cider | None = None

    @property
    def reads(self) -> Sequence[str]:
        """The modalities that it has encoders for."""
        return self.encoders.names

    def memory(self, inputs: Mapping[str, Masked]) -> Memory:
        """The tokens of all modalities, one after another."""
        return self._joined(self._tokens(inputs))

    def write(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Texts:
        """Captions of each row, the best first. A row with nothing present gets what is likeliest without a look."""
        return self._searched(self.decoder.start(self.memory(inputs).tokens), how or self.decoding)

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Texts]:
        """The encoders look once; each row that is put together is written anew."""
        tokens = self._tokens(inputs)

        def answer(at: Mapping[str, Tensor]) -> Texts:
            memory = self._joined({m: t.take(at[m].to(t.mask.device)) for m, t in tokens.items()})
            return self._searched(self.decoder.start(memory.tokens), self.decoding)

        return answer

    def loss(self, batch: Batch) -> Losses:
        """Cross-entropy of every reference's words, or, with a `reward`, the self-critical loss.

        Logits are computed only where a word is, and captions of like length go through the decoder together. The
        memory of a row is computed once, however many references it has.
        """
        (target,) = batch.targets.values()
        rows, words = self.task.captions(target)
        memory = self.memory(batch.inputs).tokens
        if not len(rows):
            nothing = memory.values[:0].sum()
            return Losses(nothing, {"loss": nothing})
        start = self.decoder.start(memory)
        if self.reward is not None and self.training:
            return self._self_critical(batch, start, target)
        hidden, ids, penalty = [], [], memory.values.new_zeros(())
        for group in words.mask.sum(1).argsort(stable=True).split(TOGETHER):
            some = trimmed(words.take(group))
            state, given = start.take(rows[group]), begun(some, self.task.vocabulary.begin)
            if self.sampled and self.training:
                given = self._mixed(state, given)
            forced = self.decoder.forced(state, given)
            hidden.append(forced.hidden[some.mask])
            ids.append(some.values[some.mask])
            penalty = penalty + forced.penalty * (len(group) / len(rows))
        asked = Masked(torch.cat(ids), torch.ones_like(torch.cat(ids), dtype=torch.bool))
        loss = self.task.loss(self.decoder.logits(torch.cat(hidden)), asked)
        return Losses(loss + penalty, {"loss": loss, "penalty": penalty})

    def _self_critical(self, batch: Batch, start: State, target: Masked) -> Losses:
        """Minus the log-probability of captions that are drawn, each times its reward above that of its row's others.

        The reward is CIDEr-D against the row's references. Rennie et al. 2017, eq. 8; the mean reward of the row's
        other draws, in place of the greedy caption's, is Luo 2020, which has less variance.
        """
        assert self.reward is not None
        labelled = target.present().nonzero()[:, 0]
        references = [r for r in self.task.texts(target) if r]
        seed = int(torch.randint(2**31, ()))
        self.eval()  # drawn as it would be when nothing is learned
        with torch.no_grad():
            sober = self.decoder.start(self.memory(batch.inputs).tokens).take(labelled)
            each = torch.arange(len(references), device=labelled.device)  # rows draw apart from each other
            drawn = self._searched(sober, Decoding("sample", captions=DRAWN, seed=seed), each).ids.flatten(0, 1)
        self.train()
        reward = self.reward.reward(self.task.written(drawn), [r for r in references for _ in range(DRAWN)])
        reward_bn = torch.as_tensor(reward, dtype=torch.float32, device=drawn.device).unflatten(0, (-1, DRAWN))
        above = (reward_bn - reward_bn.mean(1, keepdim=True)).flatten() * DRAWN / (DRAWN - 1)
        words = ended(drawn, self.task.vocabulary.end)
        state = start.take(labelled.repeat_interleave(DRAWN))
        forced = self.decoder.forced(state, begun(words, self.task.vocabulary.begin))
        logits = self.decoder.logits(forced.hidden[words.mask]).float()
        shut = torch.tensor(self.task.vocabulary.banned, dtype=torch.int64, device=logits.device)
        logp = logits.index_fill(1, shut, -torch.inf).log_softmax(-1)  # as the search has it
        logp = logp.gather(1, words.values[words.mask][:, None])[:, 0]
        loss = -(above[words.mask.nonzero()[:, 0]] * logp).sum() / words.mask.sum().clamp(min=1)
        return Losses(loss, {"loss": loss, "reward": reward_bn.mean()})

    def _mixed(self, state: State, given: Masked) -> Masked:
        """Some of the given words replaced by what the decoder draws after the words before them."""
        share = self.sampled * min(1.0, 2 * self.progress)
        with torch.no_grad():
            logits = self.decoder.logits(self.decoder.forced(state, given).hidden[:, :-1])
            logits[..., [*self.task.vocabulary.banned, self.task.vocabulary.end]] = -torch.inf
            own = torch.distributions.Categorical(logits=logits.float()).sample()
        swap = torch.rand(own.shape, device=own.device) < share
        values = torch.cat([given.values[:, :1], torch.where(swap, own, given.values[:, 1:])], dim=1)
        return Masked(values, given.mask)

    def _searched(self, state: State, how: Decoding, keys: Tensor | None = None) -> Texts:
        how.check(self.task.outputs, self.task.longest_)
        v, limit = self.task.vocabulary, self.task.longest_
        return search(self.decoder, state, begin=v.begin, end=v.end, banned=v.banned, how=how, limit=limit, keys=keys)

    def _tokens(self, inputs: Mapping[str, Masked]) -> dict[str, Masked]:
        return {m: encoder(inputs[m]) for m, encoder in self.encoders.items()}

    def _joined(self, tokens: Mapping[str, Masked]) -> Memory:
        rows = next(iter(tokens.values())).mask
        values = [self.origin[0].expand(len(rows), 1, -1)]
        masks, spans, at = [rows.new_ones(len(rows), 1)], {}, 1
        for i, (m, x) in enumerate(tokens.items(), 1):
            y = x.values + self.origin[i]
            near = min(PLACES, y.shape[1])
            y = torch.cat([y[:, :near] + self.place[i - 1, :near], y[:, near:]], dim=1)
            values.append(zeroed(Masked(self.drop(y), x.mask)))
            masks.append(x.mask)
            spans[m] = (at, at + x.mask.shape[1])
            at = spans[m][1]
        return Memory(Masked(torch.cat([v.to(values[-1].dtype) for v in values], 1), torch.cat(masks, 1)), spans)


DRAWN = 4  # captions of a row that self-critical training draws: of one alone the gradient is mostly noise
PLACES = 256  # tokens of a modality that have a vector of their place
TOGETHER = 96  # captions of like length that go through the decoder together


def trimmed(words: Masked) -> Masked:
    """Up to the longest of these captions."""
    longest = int(words.mask.sum(1).max())
    return Masked(words.values[:, :longest], words.mask[:, :longest])


def begun(words: Masked, begin: int) -> Masked:
    """What a decoder is given to write these words: each word's predecessor, the mark of the beginning first."""
    return Masked(torch.cat([torch.full_like(words.values[:, :1], begin), words.values[:, :-1]], dim=1), words.mask)


def ended(ids: Tensor, end: int) -> Masked:
    """(N, T) ids that are filled with the mark of the end -> the words, their first end included, as real."""
    before = (ids == end).cumsum(1) - (ids == end).long()
    return Masked(ids, before == 0)
