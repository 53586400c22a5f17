"""Connectionist temporal classification: symbols out of frames, with no word of which frame says which.

    memory (B, S, dim) --CTC--> log-probabilities (B, S, size + 1) --ctc_loss--> a scalar
                                                                   --best_path, prefix_beam--> Texts
                                                                   --alignment--> frames of each symbol

An alignment names a symbol or the blank (the last id, `size`) at every frame. It says the text that is left when runs
of one id are written once and blanks are dropped; a text is as likely as all its alignments together. Graves et al.
2006. Only frames under a True mask count, in their order; those between them might as well not be there.

Axes: b row, s frame, v symbol or blank, k beam, n caption, l symbol of a text.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.ops import zeroed
from polymodal.output import Texts

NEVER = float("-inf")


class CTC(nn.Module):
    """Dropout and a linear map of each frame, then log-softmax: (B, S, dim) -> (B, S, size + 1), the blank last.

    What stands at frames under a False mask is finite and means nothing.
    """

    def __init__(self, dim: int, size: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim, self.size, self.dropout = dim, size, dropout
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, size + 1))

    def forward(self, memory: Masked) -> Tensor:
        """Log-probabilities, in float32 at least."""
        logits: Tensor = self.out(zeroed(memory))
        return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))


class Aligned(NamedTuple):
    """loss: the mean of -log P(text) over real symbols. short: rows that have too few frames to say their text."""

    loss: Tensor
    short: Tensor


def ctc_loss(logp_bsv: Tensor, mask_bs: Tensor, ids: Masked) -> Aligned:
    """The sum of -log P(text) over rows, divided by their number of real symbols.

    ids: (B, L), the real ones of a row first. A row without a frame or without a symbol takes no part: its loss and
    gradient are 0. So are those of a row with fewer frames than its text needs, which `short` counts.
    """
    frames, wanted = mask_bs.sum(1), ids.mask.sum(1)
    over = too_long(mask_bs, ids)
    rows = ((frames > 0) & (wanted > 0) & ~over).nonzero()[:, 0]
    if not len(rows):
        return Aligned(zeroed(Masked(logp_bsv, mask_bs))[:0].sum(), over.sum())
    packed = _packed(logp_bsv[rows], mask_bs[rows])
    loss_b = nn.functional.ctc_loss(
        packed.transpose(0, 1),
        zeroed(ids)[rows],
        frames[rows],
        wanted[rows],
        blank=logp_bsv.shape[-1] - 1,
        reduction="none",
        zero_infinity=True,  # a text that some frame makes impossible
    )
    return Aligned(loss_b.sum() / wanted[rows].sum(), over.sum())


def needed(ids: Masked) -> Tensor:
    """(B, L) -> (B,): frames of the shortest alignment: one a symbol, and a blank between two that are the same.

    >>> needed(Masked(torch.tensor([[4, 4, 7]]), torch.ones(1, 3, dtype=torch.bool)))
    tensor([4])
    """
    twins = (ids.values[:, 1:] == ids.values[:, :-1]) & ids.mask[:, 1:]
    return ids.mask.sum(1) + twins.sum(1)


def too_long(mask_bs: Tensor, ids: Masked) -> Tensor:
    """(B,) True where a row has frames, but fewer than its text (B, L) needs."""
    frames = mask_bs.sum(1)
    return (frames > 0) & (needed(ids) > frames)


def real_first(mask: Tensor) -> Tensor:
    """Places along the last axis, the real ones first; among the real ones, and among the others, in their order.

    >>> real_first(torch.tensor([[False, True, False, True]]))
    tensor([[1, 3, 0, 2]])
    """
    return (~mask).long().argsort(dim=-1, stable=True)


def best_path(
    logp_bsv: Tensor, mask_bs: Tensor, end: int, banned: Sequence[int] = (), most: int | None = None
) -> Texts:
    """What the likeliest id of every frame says; logprob is that of this one alignment. (B, 1, L).

    most: symbols of a text at most; where one more would begin, nothing but blanks come from there on.
    """
    logp = _writable(logp_bsv, mask_bs, banned)
    blank, path_bs = logp.shape[-1] - 1, logp.argmax(-1)
    before = torch.cat([path_bs.new_full((len(path_bs), 1), -1), path_bs[:, :-1]], dim=1)
    written = (path_bs != before) & (path_bs != blank)
    if most is not None:
        over = written.cumsum(1) > most
        path_bs, written = torch.where(over, blank, path_bs), written & ~over
    total = logp.gather(-1, path_bs[..., None])[..., 0].sum(1)
    return _gathered(path_bs[:, None], written[:, None], total[:, None], end, logp_bsv)


@torch.no_grad()
def prefix_beam(
    logp_bsv: Tensor,
    mask_bs: Tensor,
    end: int,
    *,
    beams: int,
    captions: int = 1,
    banned: Sequence[int] = (),
    most: int | None = None,
) -> Texts:
    """The `captions` likeliest of the `beams` texts that are kept at every frame. (B, N, L), the best first.

    logprob is the log of the sum over all alignments that were kept. most: symbols of a text at most; longer ones are
    never kept. A row that can say fewer texts than `captions` has -inf for the rest. Hannun et al. 2014, algorithm 1,
    without a language model.
    """
    logp = _writable(logp_bsv, mask_bs, banned)
    beam = _Beam.empty(len(logp), beams)
    steps = []
    for s in range(logp.shape[1]):
        beam, source_bk, symbol_bk = _advanced(beam, logp[:, s], most)
        steps.append((source_bk, symbol_bk))
    total_bk, at_bn = beam.total().sort(dim=1, descending=True)
    total_bn, at_bn = total_bk[:, :captions], at_bn[:, :captions]
    said = [at_bn.new_zeros(*at_bn.shape, 0)]
    for source_bk, symbol_bk in reversed(steps):
        said.append(symbol_bk.gather(1, at_bn)[..., None])
        at_bn = source_bk.gather(1, at_bn)
    said_bns = torch.cat(said, dim=-1).flip(-1)
    return _gathered(said_bns, (said_bns >= 0) & (total_bn > NEVER)[..., None], total_bn, end, logp_bsv)


def alignment(logp_sv: Tensor, ids: Sequence[int]) -> Tensor:
    """The likeliest alignment that says `ids`: (L, 2), the first and the last frame of each symbol (Viterbi).

    Raises InputError where there are too few frames, or none of these alignments is possible.
    """
    blank, states = logp_sv.shape[-1] - 1, 2 * len(ids) + 1
    state_q = torch.full((states,), blank)
    state_q[1::2] = torch.as_tensor(list(ids), dtype=torch.int64)
    logp_sq = logp_sv.detach().cpu().double()[:, state_q]
    leap = torch.zeros(states, dtype=torch.bool)  # over the blank, onto a symbol that differs from the one before
    leap[3::2] = state_q[3::2] != state_q[1:-2:2]
    score, back = logp_sq.new_full((states,), NEVER), []
    score[0] = 0.0  # before the first frame, as if a blank had been there
    for frame_q in logp_sq:
        from_one, from_two = score.roll(1), torch.where(leap, score.roll(2), NEVER)
        from_one[0] = NEVER
        best, hop_q = torch.stack([score, from_one, from_two]).max(0)
        score = best + frame_q
        back.append(hop_q)
    state = states - 1 if states == 1 or score[-1] >= score[-2] else states - 2
    if score[state] == NEVER:
        raise InputError(f"{len(logp_sv)} frames can't say these {len(ids)} symbols; give a shorter text")
    frames: list[list[int]] = [[] for _ in range(states)]
    for s in reversed(range(len(back))):
        frames[state].append(s)
        state -= int(back[s][state])
    return torch.tensor([[f[-1], f[0]] for f in frames[1::2]], dtype=torch.int64).reshape(-1, 2)


class _Beam(NamedTuple):
    """Texts that are kept, (B, K): how likely they are said by now with a blank last, or with their last symbol last.

    key stands for the whole text, and parent for the text without its last symbol: 64-bit hashes. length: symbols.
    """

    blank: Tensor
    symbol: Tensor
    last: Tensor
    key: Tensor
    parent: Tensor
    length: Tensor

    @classmethod
    def empty(cls, rows: int, beams: int) -> "_Beam":
        """The empty text, and places that hold none."""
        never = torch.full((rows, beams), NEVER, dtype=torch.float64)
        blank = never.clone()
        blank[:, 0] = 0.0
        zero = torch.zeros(rows, beams, dtype=torch.int64)
        return cls(blank, never, zero - 1, zero, zero, zero)

    def total(self) -> Tensor:
        """(B, K) log-probability of each text."""
        return torch.logaddexp(self.blank, self.symbol)


def _advanced(beam: _Beam, logp_bv: Tensor, most: int | None) -> tuple[_Beam, Tensor, Tensor]:
    """One frame more: the texts, where each came from, and the symbol that it was given (-1 for none)."""
    size, total_bk, last_bk = logp_bv.shape[1] - 1, beam.total(), beam.last.clamp(min=0)
    known_bk = beam.last >= 0
    again_bk = torch.where(known_bk, logp_bv.gather(1, last_bk), NEVER)
    blank_bk, symbol_bk = total_bk + logp_bv[:, -1:], beam.symbol + again_bk
    longer_bkv = total_bk[..., None] + logp_bv[:, None, :-1]
    # a symbol after itself is a new one only where a blank stands between
    longer_bkv = torch.where(
        known_bk[..., None] & (last_bk[..., None] == torch.arange(size)), (beam.blank + again_bk)[..., None], longer_bkv
    )
    if most is not None:
        longer_bkv = torch.where((beam.length >= most)[..., None], NEVER, longer_bkv)
    # a text that is in the beam may be reached from its parent too: there its share is added, and left out here
    real_bk = total_bk > NEVER
    child_bkj = (beam.key[:, :, None] == beam.parent[:, None]) & (real_bk & known_bk)[:, None] & real_bk[:, :, None]
    has_bj, parent_bj = child_bkj.any(1), child_bkj.int().argmax(1)
    at_bj = parent_bj * size + last_bk
    flat = longer_bkv.flatten(1)
    symbol_bk = torch.logaddexp(symbol_bk, torch.where(has_bj, flat.gather(1, at_bj), NEVER))
    rows = torch.arange(len(flat))[:, None].expand_as(at_bj)
    flat[rows[has_bj], at_bj[has_bj]] = NEVER
    every = torch.cat([torch.logaddexp(blank_bk, symbol_bk), flat], dim=1)
    score, at = every.topk(beam.key.shape[1], dim=1)
    return _chosen(beam, beam._replace(blank=blank_bk, symbol=symbol_bk), score, at, size)


def _chosen(beam: _Beam, stayed: _Beam, score: Tensor, at: Tensor, size: int) -> tuple[_Beam, Tensor, Tensor]:
    """The texts at these places of (those that stayed, those that grew)."""
    beams = beam.key.shape[1]
    grown = at >= beams
    source = torch.where(grown, (at - beams) // size, at)
    symbol = torch.where(grown, (at - beams) % size, -1)
    kept = _Beam(*(x.gather(1, source) for x in stayed))
    new = _Beam(
        torch.where(grown, NEVER, kept.blank),
        torch.where(grown, score, kept.symbol),
        torch.where(grown, symbol, kept.last),
        torch.where(grown, _hashed(kept.key, symbol), kept.key),
        torch.where(grown, kept.key, kept.parent),
        kept.length + grown,
    )
    return new, source, symbol


def _hashed(key: Tensor, symbol: Tensor) -> Tensor:
    """The key of a text with one symbol more: multiplications modulo 2^64 and shifts, so that all bits mix."""
    x = (key ^ (symbol + 1)) * -7046029254386353131
    x = (x ^ ((x >> 29) & 0x7FFFFFFFF)) * -4658895280553007687
    return x ^ ((x >> 32) & 0xFFFFFFFF)


def _packed(logp_bsv: Tensor, mask_bs: Tensor) -> Tensor:
    """The real frames of each row first, in their order; after them nothing but blanks."""
    silent = logp_bsv.new_full(logp_bsv.shape[-1:], NEVER)
    silent[-1] = 0.0
    longest = max(1, *mask_bs.sum(1).tolist()) if len(mask_bs) else 1
    order = real_first(mask_bs)[:, :longest]
    packed = logp_bsv.take_along_dim(order[..., None], 1)
    return torch.where(mask_bs.gather(1, order)[..., None], packed, silent)


def _writable(logp_bsv: Tensor, mask_bs: Tensor, banned: Sequence[int]) -> Tensor:
    """The real frames, float64 on the CPU, with -inf for what must not be written."""
    logp = _packed(logp_bsv.detach(), mask_bs).cpu().double()
    logp[..., list(banned)] = NEVER
    return logp


def _gathered(ids_bns: Tensor, keep_bns: Tensor, logp_bn: Tensor, end: int, like: Tensor) -> Texts:
    """The ids that are kept, at the front, the mark of the end after them: at least one place."""
    longest = max(1, int(keep_bns.sum(-1).max()) if keep_bns.numel() else 1)
    order = real_first(keep_bns)[..., :longest]
    ids = torch.where(keep_bns, ids_bns, end).gather(-1, order)
    return Texts(ids.to(like.device), logp_bn.to(like.dtype).to(like.device), end)
