"""Search for captions: from a decoder's probabilities of the next word to whole captions, over all rows at once.

A caption is words and then the mark of the end, which is always there, whatever stopped it. What is banned has no
probability: it is taken out before the softmax. `no_repeat`, `min_length` and the limit forbid a word or the end but do
not give its probability to others, so that log-probabilities stay those of the model; where they leave nothing, the
end is allowed.

Axes: b row, k beam of a row, m row or beam that is still being written, t word, v id.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from polymodal.decoders.base import Decoder, Decoding, State
from polymodal.output import Texts

CLOSED = -torch.inf


@torch.no_grad()
def search(
    decoder: Decoder,
    state: State,
    *,
    begin: int,
    end: int,
    banned: Sequence[int],
    how: Decoding,
    limit: int,
    keys: Tensor | None = None,
) -> Texts:
    """Captions of each row of `state`, which is as `start` gave it.

    limit: the most ids of a caption, its end included; `how.max_length` can lower it. A row does not depend on the
    others. Beams of a row are never the same; where there are fewer captions than asked for, as of a vocabulary of two
    words, the rest are empty with a log-probability of -inf. Drawn captions may be the same.

    keys: (B,) whole numbers; in sampling, rows of one key draw with the same random numbers. Without keys all rows do,
    so that what a row draws is decided by itself and the seed alone. The caller has checked `how`.
    """
    rows, device = _rows(state), next(iter((*state.fixed.values(), *state.moving.values()))).device
    most = max(0, min(limit - 1, how.max_length or limit - 1))
    shut = torch.tensor(sorted(set(banned) - {end}), dtype=torch.int64, device=device)
    rules = Rules(end, shut, min(how.min_length, most), most, how.no_repeat)
    first = torch.full((rows,), begin, dtype=torch.int64, device=device)
    if how.method in ("beam", "diverse"):
        return Beams(decoder, rules, how).search(state, first)
    if how.method == "greedy":
        ids, logprob = chain(decoder, state, first, rules, lambda logp, live, t: logp.max(-1).indices)
        return _trimmed(Texts(ids[:, None], logprob[:, None], end))
    return _sampled(decoder, state, first, rules, how, keys)


class Rules(NamedTuple):
    """Which ids may come next. shut: ids that never do. least, most: words of a caption, its end not counted."""

    end: int
    shut: Tensor
    least: int
    most: int
    no_repeat: int

    def logp(self, logits_mv: Tensor, words_mt: Tensor) -> Tensor:
        """(M, V) log-probabilities of the id after these words, -inf where it may not come. The logits are used up."""
        logits = logits_mv.to(torch.promote_types(logits_mv.dtype, torch.float32))
        logp = logits.index_fill_(1, self.shut, CLOSED).log_softmax(-1)
        t, end = words_mt.shape[1], logp[:, self.end]
        last = end.clone()
        if t >= self.most:
            logp.fill_(CLOSED)
        repeats = 0 < self.no_repeat <= t < self.most
        if repeats:
            ngrams = words_mt.unfold(1, self.no_repeat, 1)
            again = (ngrams[..., :-1] == words_mt[:, None, t - self.no_repeat + 1 :]).all(-1)
            row, place = again.nonzero(as_tuple=True)
            logp[row, ngrams[row, place, -1]] = CLOSED
        if t < self.least:
            end.fill_(CLOSED)
        else:
            end.copy_(last)
        if repeats or logp.shape[1] == len(self.shut) + 1:  # only then may nothing be left
            end.copy_(torch.where(logp.amax(1) == CLOSED, last, end))
        return logp


def chain(
    decoder: Decoder, state: State, first: Tensor, rules: Rules, pick: Callable[[Tensor, Tensor, int], Tensor]
) -> tuple[Tensor, Tensor]:
    """One caption a row, each word picked from (M, V) log-probabilities, the rows (M,) that they are of, and t.

    -> ids (B, most + 1) filled with the end, and their summed log-probabilities (B,).
    """
    ids = first.new_full((len(first), rules.most + 1), rules.end)
    live, word, done = torch.arange(len(first), device=first.device), first, torch.zeros_like(first, dtype=torch.bool)
    total: Tensor | None = None
    for t in range(rules.most + 1):
        hidden, state = decoder.step(state, word)
        logp = rules.logp(decoder.logits(hidden), ids[live, :t])
        total = logp.new_zeros(len(first)) if total is None else total
        word = torch.where(done, rules.end, pick(logp, live, t))
        ids[live, t] = word
        total[live] += torch.where(done, 0.0, logp.gather(1, word[:, None])[:, 0])
        done = word == rules.end
        left = int((~done).sum())
        if left == 0:
            break
        if left <= len(live) * KEEP:
            going = (~done).nonzero()[:, 0]
            state, live, word, done = state.take(going), live[going], word[going], done[going]
    assert total is not None
    return ids, total


KEEP = 0.75  # finished rows are dropped once no more than this share is left: each drop copies the memory of the rest


def _sampled(decoder: Decoder, state: State, first: Tensor, rules: Rules, how: Decoding, keys: Tensor | None) -> Texts:
    rows, n = len(first), how.captions
    random = torch.Generator().manual_seed(how.seed)
    u_nt = torch.rand(n, rules.most + 1, generator=random, dtype=torch.float64).to(first.device)
    turn_b = torch.zeros(rows, dtype=torch.float64, device=first.device) if keys is None else keys.double() * GOLDEN
    each = torch.arange(rows, device=first.device).repeat_interleave(n)

    def pick(logp: Tensor, live: Tensor, t: int) -> Tensor:
        return drawn(logp, (u_nt[live % n, t] + turn_b[live // n]) % 1, how)

    ids, total = chain(decoder, state.take(each) if n > 1 else state, first[each], rules, pick)
    words = (ids != rules.end).sum(1) + 1
    rank = (total / words**how.length_penalty).unflatten(0, (rows, n)).argsort(dim=1, descending=True, stable=True)
    best = _ranked(ids.unflatten(0, (rows, n)), total.unflatten(0, (rows, n)), rank)
    return _trimmed(Texts(*best, rules.end))


GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, lie far apart


def drawn(logp_mv: Tensor, u_m: Tensor, how: Decoding) -> Tensor:
    """(M,) ids drawn by inversion of the distribution that is shaped by temperature, then top_k, then top_p.

    The nucleus is the smallest set of likeliest words whose probabilities sum to at least top_p. u_m: in [0, 1).
    """
    logp = logp_mv.double() / how.temperature
    order = None
    if how.top_k or how.top_p < 1:
        logp, order = logp.topk(min(how.top_k or logp.shape[1], logp.shape[1]), dim=1)
    p = logp.softmax(1)
    if how.top_p < 1:
        p = torch.where(p.cumsum(1) - p < how.top_p, p, 0.0)
    below = p.cumsum(1)
    whole = below[:, -1]
    u = torch.minimum(u_m * whole, torch.nextafter(whole, torch.zeros_like(whole)))  # never past the last real word
    at = torch.searchsorted(below, u[:, None], right=True).clamp(max=p.shape[1] - 1)
    return (at if order is None else order.gather(1, at))[:, 0]


class Beams:
    """Beam search of every row, in groups of beams that are chosen one after another; one group is the ordinary kind.

    At each step the `2 beams / groups` best continuations of a group are looked at. Of the best `beams / groups` those
    that end are finished captions; the best that do not end are the beams of the next step. A group is done when it has
    finished as many captions as it has beams. Diversity ranks continuations, and is no part of a log-probability; the
    end is no word, so that no group is kept from ending. What another group has finished at this step is not finished
    again.
    """

    def __init__(self, decoder: Decoder, rules: Rules, how: Decoding) -> None:
        self.decoder, self.rules, self.how = decoder, rules, how
        self.groups = (how.groups or how.beams) if how.method == "diverse" else 1
        self.width = how.beams // self.groups

    def search(self, state: State, first: Tensor) -> Texts:
        """The best captions of each row; first: (B,) the mark of the beginning."""
        rows, beams, end = len(first), self.how.beams, self.rules.end
        every = torch.arange(rows * beams, device=first.device).unflatten(0, (rows, beams))
        state = state.take(every.flatten() // beams) if beams > 1 else state
        word_bk, words = first[:, None].expand(-1, beams), first.new_full((rows, beams, self.rules.most + 1), end)
        live, score, pool = every[:, 0] // beams, None, None
        for t in range(self.rules.most + 1):
            hidden, state = self.decoder.step(state, word_bk.flatten())
            logp = self.rules.logp(self.decoder.logits(hidden), words[..., :t].flatten(0, 1)).unflatten(0, (-1, beams))
            if score is None or pool is None:
                score = torch.full_like(logp[..., 0], CLOSED)
                score[:, :: self.width] = 0
                pool = Pool(torch.full_like(score, CLOSED), torch.full_like(score, CLOSED), words.clone())
            parent, word_bk, score, done = self._chosen(logp, score, words, pool, live, t)
            if bool(done.all()):
                break
            words = words.gather(1, parent[..., None].expand_as(words))
            words[..., t] = word_bk
            state = state.follow((every[: len(live), :1] + parent).flatten()) if beams > 1 else state
            if int((~done).sum()) <= len(live) * KEEP:
                going = (~done).nonzero()[:, 0]
                live, word_bk, words, score = live[going], word_bk[going], words[going], score[going]
                state = state.take(every[going].flatten())
        assert pool is not None
        return _trimmed(pool.best(self.how.captions, end))

    def _chosen(
        self, logp: Tensor, score: Tensor, words: Tensor, pool: "Pool", live: Tensor, t: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(M, K) parents, words and scores of the next beams, and (M,) whether the row is done. Fills the pool."""
        end, width = self.rules.end, self.width
        taken = torch.zeros_like(logp[:, 0]) if self.groups > 1 else None  # (M, V) how often, at this step
        chosen, ended = [], torch.zeros_like(score, dtype=torch.int64)
        for g in range(0, self.how.beams, width):
            total = score[:, g : g + width, None] + logp[:, g : g + width]
            if g:
                total[..., end] = torch.where(_same(words[..., :t], ended, g, width), CLOSED, total[..., end])
            parent, word, value = self._candidates(total, taken, g)
            finished = (word == end)[:, :width] & (value[:, :width] > CLOSED) & ~pool.full(live, g, width)
            if bool(finished.any()):
                ended.scatter_add_(1, parent[:, :width], finished.long())  # a parent may be there twice
                logprob = torch.where(finished, value[:, :width], CLOSED)
                pool.add(live, g, parent[:, :width], logprob, words, t, self.how)
            # a group that is done chooses no more words
            value = torch.where((word == end) | pool.full(live, g, width), CLOSED, value)
            keep = (word == end).long().argsort(dim=1, stable=True)[:, :width]
            chosen.append(tuple(x.gather(1, keep) for x in (parent, word, value)))
            if taken is not None:
                taken.scatter_add_(1, chosen[-1][1], (chosen[-1][2] > CLOSED).to(taken.dtype))
        parent, word, value = (torch.cat(x, dim=1) for x in zip(*chosen, strict=True))
        return parent, word, value, (value == CLOSED).all(1)

    def _candidates(self, total: Tensor, taken: Tensor | None, g: int) -> tuple[Tensor, Tensor, Tensor]:
        """The best continuations of the group that begins at g: parents, words and scores, each (M, 2 width)."""
        size = total.shape[-1]
        rank = total if taken is None else total - self.how.diversity * taken[:, None]
        at = rank.flatten(1).topk(min(2 * self.width, self.width * size), dim=1).indices
        return at // size + g, at % size, total.flatten(1).gather(1, at)


def _same(words_mkt: Tensor, ended_mk: Tensor, g: int, width: int) -> Tensor:
    """(M, width) whether the words of a beam of the group that begins at g have just been ended by an earlier group."""
    same = (words_mkt[:, g : g + width, None] == words_mkt[:, None, :g]).all(-1)
    return (same & (ended_mk[:, None, :g] > 0)).any(-1)


class Pool(NamedTuple):
    """Finished captions of every row, a part for each group. rank, logprob: (B, K), -inf where none is yet."""

    rank: Tensor
    logprob: Tensor
    ids: Tensor

    def full(self, live: Tensor, g: int, width: int) -> Tensor:
        """(M, 1) whether the group that begins at g has finished all its captions."""
        return (self.rank[live, g : g + width] > CLOSED).all(1, keepdim=True)

    def add(self, live: Tensor, g: int, parent: Tensor, logprob: Tensor, words: Tensor, t: int, how: Decoding) -> None:
        """Captions of t words that end here, the words of their parents: the best of them and of the group stay."""
        width = parent.shape[1]
        new = Pool(
            logprob / (t + 1) ** how.length_penalty,
            logprob,
            words.gather(1, parent[..., None].expand(-1, -1, words.shape[2])),
        )
        both = Pool(*(torch.cat([a[live, g : g + width], b], dim=1) for a, b in zip(self, new, strict=True)))
        keep = both.rank.argsort(dim=1, descending=True, stable=True)[:, :width]
        self.rank[live, g : g + width] = both.rank.gather(1, keep)
        best = _ranked(both.ids, both.logprob, keep)
        self.ids[live, g : g + width], self.logprob[live, g : g + width] = best

    def best(self, captions: int, end: int) -> Texts:
        """The best of all groups."""
        rank = self.rank.argsort(dim=1, descending=True, stable=True)[:, :captions]
        return Texts(*_ranked(self.ids, self.logprob, rank), end)


def _ranked(ids: Tensor, logprob: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """The captions at these (B, N) places of each row."""
    return ids.gather(1, rank[..., None].expand(-1, -1, ids.shape[2])), logprob.gather(1, rank)


def _trimmed(found: Texts) -> Texts:
    """Without the columns that hold nothing but what comes after an end."""
    words = (found.ids != found.end).flatten(0, 1).any(0).nonzero()
    return found._replace(ids=found.ids[..., : int(words[-1]) + 2 if len(words) else 1])


def _rows(state: State) -> int:
    return len(next(iter((*state.moving.values(), *state.fixed.values()))))
