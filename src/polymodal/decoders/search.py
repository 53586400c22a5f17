"""Generation of captions with a decoder: greedy, sampling and beam search, batched over rows.

A caption is tokens followed by the end-of-text token, also where the limit cuts it off. Banned tokens are excluded
before the softmax. `no_repeat`, `min_length` and the limit exclude tokens after it, without renormalisation, so that
log-probabilities stay those of the model; where no token is left, the end is allowed.

Axes: b row, k beam of a row, m row or beam that is not finished, t token, v token of the vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from polymodal.decoders.base import Decoder, Decoding, State
from polymodal.output import Texts

IMPOSSIBLE = -torch.inf


@torch.no_grad()
def search(
    decoder: Decoder,
    state: State,
    *,
    begin: int,
    end: int,
    excluded: Sequence[int],
    how: Decoding,
    limit: int,
    keys: Tensor | None = None,
) -> Texts:
    """Captions of each row of `state`, an initial state.

    limit: maximum number of ids of a caption, its end included; `how.max_length` can lower it. Rows are independent.
    Beams of a row are distinct; where there are fewer captions than `how.captions`, as of a vocabulary of two tokens,
    the rest are empty with a log-probability of -inf. Samples need not be distinct.

    keys: (B,) integers; in sampling, rows with the same key use the same random numbers. Without keys all rows do, so
    that the sample of a row depends on itself and the seed alone. The caller has checked `how`.
    """
    rows, device = _rows(state), next(iter((*state.memory.values(), *state.past.values()))).device
    most = max(0, min(limit - 1, how.max_length or limit - 1))
    banned_ids = torch.tensor(sorted(set(excluded) - {end}), dtype=torch.int64, device=device)
    rules = Rules(end, banned_ids, min(how.min_length, most), most, how.no_repeat)
    first = torch.full((rows,), begin, dtype=torch.int64, device=device)
    if how.method in ("beam", "diverse"):
        return BeamSearch(decoder, rules, how).search(state, first)
    if how.method == "greedy":
        ids, logprob = generate_one(decoder, state, first, rules, lambda logp, live, t: logp.max(-1).indices)
        return _trim(Texts(ids[:, None], logprob[:, None], end))
    return _sample(decoder, state, first, rules, how, keys)


class Rules(NamedTuple):
    """Constraints on the next token. banned: excluded ids. least, most: length of a caption, its end not counted."""

    end: int
    banned: Tensor
    least: int
    most: int
    no_repeat: int

    def logp(self, logits_mv: Tensor, words_mt: Tensor) -> Tensor:
        """(M, V) log-probabilities of the next token after these, -inf where excluded. Overwrites the logits."""
        logits = logits_mv.to(torch.promote_types(logits_mv.dtype, torch.float32))
        logp = logits.index_fill_(1, self.banned, IMPOSSIBLE).log_softmax(-1)
        t, end = words_mt.shape[1], logp[:, self.end]
        last = end.clone()
        if t >= self.most:
            logp.fill_(IMPOSSIBLE)
        repeats = 0 < self.no_repeat <= t < self.most
        if repeats:
            ngrams = words_mt.unfold(1, self.no_repeat, 1)
            again = (ngrams[..., :-1] == words_mt[:, None, t - self.no_repeat + 1 :]).all(-1)
            row, place = again.nonzero(as_tuple=True)
            logp[row, ngrams[row, place, -1]] = IMPOSSIBLE
        if t < self.least:
            end.fill_(IMPOSSIBLE)
        else:
            end.copy_(last)
        if repeats or logp.shape[1] == len(self.banned) + 1:  # only then may no token be left
            end.copy_(torch.where(logp.amax(1) == IMPOSSIBLE, last, end))
        return logp


def generate_one(
    decoder: Decoder, state: State, first: Tensor, rules: Rules, pick: Callable[[Tensor, Tensor, int], Tensor]
) -> tuple[Tensor, Tensor]:
    """One caption a row; pick: (M, V) log-probabilities, their rows (M,) and t -> (M,) tokens.

    -> ids (B, most + 1) padded with the end, and the log-probabilities (B,) of the captions.
    """
    ids = first.new_full((len(first), rules.most + 1), rules.end)
    live, word, ended = torch.arange(len(first), device=first.device), first, torch.zeros_like(first, dtype=torch.bool)
    total: Tensor | None = None
    for t in range(rules.most + 1):
        hidden, state = decoder.step(state, word)
        logp = rules.logp(decoder.logits(hidden), ids[live, :t])
        total = logp.new_zeros(len(first)) if total is None else total
        word = torch.where(ended, rules.end, pick(logp, live, t))
        ids[live, t] = word
        total[live] += torch.where(ended, 0.0, logp.gather(1, word[:, None])[:, 0])
        ended = word == rules.end
        active = int((~ended).sum())
        if active == 0:
            break
        if active <= len(live) * KEEP:
            going = (~ended).nonzero()[:, 0]
            state, live, word, ended = state.take(going), live[going], word[going], ended[going]
    assert total is not None
    return ids, total


KEEP = 0.75  # finished rows are dropped when at most this fraction is active: each drop copies the others' memory


def _sample(decoder: Decoder, state: State, first: Tensor, rules: Rules, how: Decoding, keys: Tensor | None) -> Texts:
    rows, n = len(first), how.captions
    random = torch.Generator().manual_seed(how.seed)
    u_nt = torch.rand(n, rules.most + 1, generator=random, dtype=torch.float64).to(first.device)
    shift_b = torch.zeros(rows, dtype=torch.float64, device=first.device) if keys is None else keys.double() * GOLDEN
    each = torch.arange(rows, device=first.device).repeat_interleave(n)

    def pick(logp: Tensor, live: Tensor, t: int) -> Tensor:
        return sample_tokens(logp, (u_nt[live % n, t] + shift_b[live // n]) % 1, how)

    ids, total = generate_one(decoder, state.take(each) if n > 1 else state, first[each], rules, pick)
    words = (ids != rules.end).sum(1) + 1
    rank = (total / words**how.length_penalty).unflatten(0, (rows, n)).argsort(dim=1, descending=True, stable=True)
    best = _take(ids.unflatten(0, (rows, n)), total.unflatten(0, (rows, n)), rank)
    return _trim(Texts(*best, rules.end))


GOLDEN = 0.6180339887498949  # multiples of it, modulo 1, lie far apart


def sample_tokens(logp_mv: Tensor, u_m: Tensor, how: Decoding) -> Tensor:
    """(M,) ids by inverse transform sampling, after temperature, then top_k, then top_p.

    The nucleus is the smallest set of most probable tokens whose probabilities sum to at least top_p. u_m: in [0, 1).
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
    u = torch.minimum(u_m * whole, torch.nextafter(whole, torch.zeros_like(whole)))  # never past the last token
    at = torch.searchsorted(below, u[:, None], right=True).clamp(max=p.shape[1] - 1)
    return (at if order is None else order.gather(1, at))[:, 0]


class BeamSearch:
    """Beam search of every row, in groups of beams that are extended one after another; ordinary with one group.

    At each step the `2 beams / groups` best extensions of a group are candidates. Of the best `beams / groups`, those
    that end are finished hypotheses; the best that do not end are the beams of the next step. A group is done when it
    has finished as many hypotheses as it has beams. The diversity penalty changes the ranking of candidates, not their
    log-probability; it does not apply to the end. What another group has finished at this step is not finished again.
    """

    def __init__(self, decoder: Decoder, rules: Rules, how: Decoding) -> None:
        self.decoder, self.rules, self.how = decoder, rules, how
        self.groups = (how.groups or how.beams) if how.method == "diverse" else 1
        self.width = how.beams // self.groups

    def search(self, state: State, first: Tensor) -> Texts:
        """The best captions of each row; first: (B,) the begin-of-text token."""
        rows, beams, end = len(first), self.how.beams, self.rules.end
        every = torch.arange(rows * beams, device=first.device).unflatten(0, (rows, beams))
        state = state.take(every.flatten() // beams) if beams > 1 else state
        word_bk, words = first[:, None].expand(-1, beams), first.new_full((rows, beams, self.rules.most + 1), end)
        live, score, pool = every[:, 0] // beams, None, None
        for t in range(self.rules.most + 1):
            hidden, state = self.decoder.step(state, word_bk.flatten())
            logp = self.rules.logp(self.decoder.logits(hidden), words[..., :t].flatten(0, 1)).unflatten(0, (-1, beams))
            if score is None or pool is None:
                score = torch.full_like(logp[..., 0], IMPOSSIBLE)
                score[:, :: self.width] = 0
                pool = Hypotheses(torch.full_like(score, IMPOSSIBLE), torch.full_like(score, IMPOSSIBLE), words.clone())
            parent, word_bk, score, ends = self._advance(logp, score, words, pool, live, t)
            if bool(ends.all()):
                break
            words = words.gather(1, parent[..., None].expand_as(words))
            words[..., t] = word_bk
            state = state.reorder((every[: len(live), :1] + parent).flatten()) if beams > 1 else state
            if int((~ends).sum()) <= len(live) * KEEP:
                going = (~ends).nonzero()[:, 0]
                live, word_bk, words, score = live[going], word_bk[going], words[going], score[going]
                state = state.take(every[going].flatten())
        assert pool is not None
        return _trim(pool.best(self.how.captions, end))

    def _advance(
        self, logp: Tensor, score: Tensor, words: Tensor, pool: "Hypotheses", live: Tensor, t: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(M, K) parents, tokens and scores of the next beams, and (M,) whether the row is done. Adds to the pool."""
        end, width = self.rules.end, self.width
        counts = torch.zeros_like(logp[:, 0]) if self.groups > 1 else None  # (M, V) by earlier groups, at this step
        picks, ends = [], torch.zeros_like(score, dtype=torch.int64)
        for g in range(0, self.how.beams, width):
            total = score[:, g : g + width, None] + logp[:, g : g + width]
            if g:
                total[..., end] = torch.where(
                    _finished_by_others(words[..., :t], ends, g, width), IMPOSSIBLE, total[..., end]
                )
            parent, word, value = self._candidates(total, counts, g)
            ending = (word == end)[:, :width] & (value[:, :width] > IMPOSSIBLE) & ~pool.full(live, g, width)
            if bool(ending.any()):
                ends.scatter_add_(1, parent[:, :width], ending.long())  # a parent may occur twice
                logprob = torch.where(ending, value[:, :width], IMPOSSIBLE)
                pool.add(live, g, parent[:, :width], logprob, words, t, self.how)
            # a group that is done has no more beams
            value = torch.where((word == end) | pool.full(live, g, width), IMPOSSIBLE, value)
            keep = (word == end).long().argsort(dim=1, stable=True)[:, :width]
            picks.append(tuple(x.gather(1, keep) for x in (parent, word, value)))
            if counts is not None:
                counts.scatter_add_(1, picks[-1][1], (picks[-1][2] > IMPOSSIBLE).to(counts.dtype))
        parent, word, value = (torch.cat(x, dim=1) for x in zip(*picks, strict=True))
        return parent, word, value, (value == IMPOSSIBLE).all(1)

    def _candidates(self, total: Tensor, counts: Tensor | None, g: int) -> tuple[Tensor, Tensor, Tensor]:
        """The best extensions of the group at g: parents, tokens and scores, each (M, 2 width)."""
        size = total.shape[-1]
        rank = total if counts is None else total - self.how.diversity * counts[:, None]
        at = rank.flatten(1).topk(min(2 * self.width, self.width * size), dim=1).indices
        return at // size + g, at % size, total.flatten(1).gather(1, at)


def _finished_by_others(words_mkt: Tensor, ended_mk: Tensor, g: int, width: int) -> Tensor:
    """(M, width) whether an earlier group has just finished what a beam of the group at g is so far."""
    same = (words_mkt[:, g : g + width, None] == words_mkt[:, None, :g]).all(-1)
    return (same & (ended_mk[:, None, :g] > 0)).any(-1)


class Hypotheses(NamedTuple):
    """Finished hypotheses of every row, by group. rank, logprob: (B, K), -inf where there is none yet."""

    rank: Tensor
    logprob: Tensor
    ids: Tensor

    def full(self, live: Tensor, g: int, width: int) -> Tensor:
        """(M, 1) whether the group at g has finished as many hypotheses as it has beams."""
        return (self.rank[live, g : g + width] > IMPOSSIBLE).all(1, keepdim=True)

    def add(self, live: Tensor, g: int, parent: Tensor, logprob: Tensor, words: Tensor, t: int, how: Decoding) -> None:
        """Finish hypotheses of t tokens, those of their parents; the group keeps its best."""
        width = parent.shape[1]
        new = Hypotheses(
            logprob / (t + 1) ** how.length_penalty,
            logprob,
            words.gather(1, parent[..., None].expand(-1, -1, words.shape[2])),
        )
        both = Hypotheses(*(torch.cat([a[live, g : g + width], b], dim=1) for a, b in zip(self, new, strict=True)))
        keep = both.rank.argsort(dim=1, descending=True, stable=True)[:, :width]
        self.rank[live, g : g + width] = both.rank.gather(1, keep)
        best = _take(both.ids, both.logprob, keep)
        self.ids[live, g : g + width], self.logprob[live, g : g + width] = best

    def best(self, captions: int, end: int) -> Texts:
        """The best of all groups."""
        rank = self.rank.argsort(dim=1, descending=True, stable=True)[:, :captions]
        return Texts(*_take(self.ids, self.logprob, rank), end)


def _take(ids: Tensor, logprob: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """The captions at these (B, N) positions of each row."""
    return ids.gather(1, rank[..., None].expand(-1, -1, ids.shape[2])), logprob.gather(1, rank)


def _trim(texts: Texts) -> Texts:
    """Without the columns in which every caption has ended."""
    words = (texts.ids != texts.end).flatten(0, 1).any(0).nonzero()
    return texts._replace(ids=texts.ids[..., : int(words[-1]) + 2 if len(words) else 1])


def _rows(state: State) -> int:
    return len(next(iter((*state.past.values(), *state.memory.values()))))
