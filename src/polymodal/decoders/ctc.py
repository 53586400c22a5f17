"""Connectionist temporal classification: labels of a sequence of frames, without their alignment.

    memory (B, S, dim) --CTC--> log-probabilities (B, S, size + 1) --ctc_loss--> a scalar
                                                                   --best_path, prefix_beam--> Texts
                                                                   --alignment--> frames of each symbol

An alignment has a label or the blank (the last id, `size`) at every frame. Its text is what is left when repeated ids
are merged and then blanks removed; the probability of a text is the sum over its alignments. Graves et al. 2006. Only
frames under a True mask count, in their order.

Axes: b row, s frame, v label or blank, k hypothesis, n caption, l label of a text.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.ops import zeroed
from polymodal.output import Texts

IMPOSSIBLE = float("-inf")


class CTC(nn.Module):
    """Dropout and a linear map of each frame, then log-softmax: (B, S, dim) -> (B, S, size + 1), the blank last.

    The output at frames under a False mask is finite and has no meaning.
    """

    def __init__(self, dim: int, size: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim, self.size, self.dropout = dim, size, dropout
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, size + 1))

    def forward(self, memory: Masked) -> Tensor:
        """Log-probabilities, in float32 at least."""
        logits: Tensor = self.out(zeroed(memory))
        return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))


class CTCLoss(NamedTuple):
    """loss: the mean of -log P(text) per real label. short: how many rows have too few frames for their text."""

    loss: Tensor
    short: Tensor


def ctc_loss(logp_bsv: Tensor, mask_bs: Tensor, ids: Masked) -> CTCLoss:
    """The sum of -log P(text) over rows, divided by their number of real labels.

    ids: (B, L), padded on the right. The loss and gradient of a row without a frame or without a label are 0. So are
    those of a row with fewer frames than its text needs, which `short` counts.
    """
    frames, lengths = mask_bs.sum(1), ids.mask.sum(1)
    over = too_long(mask_bs, ids)
    rows = ((frames > 0) & (lengths > 0) & ~over).nonzero()[:, 0]
    if not len(rows):
        return CTCLoss(zeroed(Masked(logp_bsv, mask_bs))[:0].sum(), over.sum())
    frames_first = _pack(logp_bsv[rows], mask_bs[rows])
    loss_b = nn.functional.ctc_loss(
        frames_first.transpose(0, 1),
        zeroed(ids)[rows],
        frames[rows],
        lengths[rows],
        blank=logp_bsv.shape[-1] - 1,
        reduction="none",
        zero_infinity=True,  # where a frame gives a label no probability
    )
    return CTCLoss(loss_b.sum() / lengths[rows].sum(), over.sum())


def min_frames(ids: Masked) -> Tensor:
    """(B, L) -> (B,): length of the shortest alignment: a frame a label, and a blank between equal neighbours.

    >>> min_frames(Masked(torch.tensor([[4, 4, 7]]), torch.ones(1, 3, dtype=torch.bool)))
    tensor([4])
    """
    twins = (ids.values[:, 1:] == ids.values[:, :-1]) & ids.mask[:, 1:]
    return ids.mask.sum(1) + twins.sum(1)


def too_long(mask_bs: Tensor, ids: Masked) -> Tensor:
    """(B,) True where a row has frames, but fewer than `min_frames` of its text (B, L)."""
    frames = mask_bs.sum(1)
    return (frames > 0) & (min_frames(ids) > frames)


def real_first(mask: Tensor) -> Tensor:
    """Positions along the last axis, those under a True mask first, otherwise in their order.

    >>> real_first(torch.tensor([[False, True, False, True]]))
    tensor([[1, 3, 0, 2]])
    """
    return (~mask).long().argsort(dim=-1, stable=True)


def best_path(
    logp_bsv: Tensor, mask_bs: Tensor, end: int, excluded: Sequence[int] = (), most: int | None = None
) -> Texts:
    """Best path decoding: the text of the most probable alignment, with its log-probability. (B, 1, L).

    most: maximum length of a text; from where it would be exceeded there are blanks alone.
    """
    logp = _mask_banned(logp_bsv, mask_bs, excluded)
    blank, path_bs = logp.shape[-1] - 1, logp.argmax(-1)
    before = torch.cat([path_bs.new_full((len(path_bs), 1), -1), path_bs[:, :-1]], dim=1)
    emits = (path_bs != before) & (path_bs != blank)
    if most is not None:
        over = emits.cumsum(1) > most
        path_bs, emits = torch.where(over, blank, path_bs), emits & ~over
    total = logp.gather(-1, path_bs[..., None])[..., 0].sum(1)
    return _collect(path_bs[:, None], emits[:, None], total[:, None], end, logp_bsv)


@torch.no_grad()
def prefix_beam(
    logp_bsv: Tensor,
    mask_bs: Tensor,
    end: int,
    *,
    beams: int,
    captions: int = 1,
    excluded: Sequence[int] = (),
    most: int | None = None,
) -> Texts:
    """Prefix beam search with `beams` hypotheses: the `captions` most probable texts. (B, N, L), the best first.

    logprob is the log of the sum over all alignments within the beam. most: maximum length of a text. Where a row has
    fewer possible texts than `captions`, the rest have -inf. Hannun et al. 2014, algorithm 1, without a language model.
    """
    logp = _mask_banned(logp_bsv, mask_bs, excluded)
    beam = _Beam.empty(len(logp), beams)
    steps = []
    for s in range(logp.shape[1]):
        beam, source_bk, symbol_bk = _advance(beam, logp[:, s], most)
        steps.append((source_bk, symbol_bk))
    total_bk, at_bn = beam.total().sort(dim=1, descending=True)
    total_bn, at_bn = total_bk[:, :captions], at_bn[:, :captions]
    symbols = [at_bn.new_zeros(*at_bn.shape, 0)]
    for source_bk, symbol_bk in reversed(steps):
        symbols.append(symbol_bk.gather(1, at_bn)[..., None])
        at_bn = source_bk.gather(1, at_bn)
    symbols_bns = torch.cat(symbols, dim=-1).flip(-1)
    return _collect(symbols_bns, (symbols_bns >= 0) & (total_bn > IMPOSSIBLE)[..., None], total_bn, end, logp_bsv)


def alignment(logp_sv: Tensor, ids: Sequence[int]) -> Tensor:
    """The most probable alignment of `ids` (Viterbi): (L, 2), the first and the last frame of each label.

    Raises InputError where there are too few frames, or no alignment is possible.
    """
    blank, states = logp_sv.shape[-1] - 1, 2 * len(ids) + 1
    state_q = torch.full((states,), blank)
    state_q[1::2] = torch.as_tensor(list(ids), dtype=torch.int64)
    logp_sq = logp_sv.detach().cpu().double()[:, state_q]
    leap = torch.zeros(states, dtype=torch.bool)  # over the blank, to a label that differs from the one before
    leap[3::2] = state_q[3::2] != state_q[1:-2:2]
    score, back = logp_sq.new_full((states,), IMPOSSIBLE), []
    score[0] = 0.0  # the state before the first frame: a blank
    for frame_q in logp_sq:
        from_one, from_two = score.roll(1), torch.where(leap, score.roll(2), IMPOSSIBLE)
        from_one[0] = IMPOSSIBLE
        best, hop_q = torch.stack([score, from_one, from_two]).max(0)
        score = best + frame_q
        back.append(hop_q)
    state = states - 1 if states == 1 or score[-1] >= score[-2] else states - 2
    if score[state] == IMPOSSIBLE:
        raise InputError(f"{len(logp_sv)} frames can't say these {len(ids)} symbols; give a shorter text")
    frames: list[list[int]] = [[] for _ in range(states)]
    for s in reversed(range(len(back))):
        frames[state].append(s)
        state -= int(back[s][state])
    return torch.tensor([[f[-1], f[0]] for f in frames[1::2]], dtype=torch.int64).reshape(-1, 2)


class _Beam(NamedTuple):
    """Hypotheses (B, K): log-probability of their alignments so far that end in a blank, and in their last label.

    key, parent: 64-bit hashes of the text, and of the text without its last label. length: in labels.
    """

    blank: Tensor
    symbol: Tensor
    last: Tensor
    key: Tensor
    parent: Tensor
    length: Tensor

    @classmethod
    def empty(cls, rows: int, beams: int) -> "_Beam":
        """The empty text, and K - 1 impossible hypotheses."""
        never = torch.full((rows, beams), IMPOSSIBLE, dtype=torch.float64)
        blank = never.clone()
        blank[:, 0] = 0.0
        zero = torch.zeros(rows, beams, dtype=torch.int64)
        return cls(blank, never, zero - 1, zero, zero, zero)

    def total(self) -> Tensor:
        """(B, K) log-probability of each hypothesis."""
        return torch.logaddexp(self.blank, self.symbol)


def _advance(beam: _Beam, logp_bv: Tensor, most: int | None) -> tuple[_Beam, Tensor, Tensor]:
    """One more frame: the hypotheses, the parent of each, and the label appended to it (-1 for none)."""
    size, total_bk, last_bk = logp_bv.shape[1] - 1, beam.total(), beam.last.clamp(min=0)
    known_bk = beam.last >= 0
    again_bk = torch.where(known_bk, logp_bv.gather(1, last_bk), IMPOSSIBLE)
    blank_bk, symbol_bk = total_bk + logp_bv[:, -1:], beam.symbol + again_bk
    longer_bkv = total_bk[..., None] + logp_bv[:, None, :-1]
    # a label after itself is a new one only after a blank
    longer_bkv = torch.where(
        known_bk[..., None] & (last_bk[..., None] == torch.arange(size)), (beam.blank + again_bk)[..., None], longer_bkv
    )
    if most is not None:
        longer_bkv = torch.where((beam.length >= most)[..., None], IMPOSSIBLE, longer_bkv)
    # a hypothesis in the beam may also be an extension of its parent: that probability is added to it, not twice
    real_bk = total_bk > IMPOSSIBLE
    child_bkj = (beam.key[:, :, None] == beam.parent[:, None]) & (real_bk & known_bk)[:, None] & real_bk[:, :, None]
    has_bj, parent_bj = child_bkj.any(1), child_bkj.int().argmax(1)
    at_bj = parent_bj * size + last_bk
    flat = longer_bkv.flatten(1)
    symbol_bk = torch.logaddexp(symbol_bk, torch.where(has_bj, flat.gather(1, at_bj), IMPOSSIBLE))
    rows = torch.arange(len(flat))[:, None].expand_as(at_bj)
    flat[rows[has_bj], at_bj[has_bj]] = IMPOSSIBLE
    every = torch.cat([torch.logaddexp(blank_bk, symbol_bk), flat], dim=1)
    score, at = every.topk(beam.key.shape[1], dim=1)
    return _select(beam, beam._replace(blank=blank_bk, symbol=symbol_bk), score, at, size)


def _select(beam: _Beam, same: _Beam, score: Tensor, at: Tensor, size: int) -> tuple[_Beam, Tensor, Tensor]:
    """The hypotheses at these positions of (unextended, extended)."""
    beams = beam.key.shape[1]
    extends = at >= beams
    source = torch.where(extends, (at - beams) // size, at)
    symbol = torch.where(extends, (at - beams) % size, -1)
    parents = _Beam(*(x.gather(1, source) for x in same))
    new = _Beam(
        torch.where(extends, IMPOSSIBLE, parents.blank),
        torch.where(extends, score, parents.symbol),
        torch.where(extends, symbol, parents.last),
        torch.where(extends, _extend_hash(parents.key, symbol), parents.key),
        torch.where(extends, parents.key, parents.parent),
        parents.length + extends,
    )
    return new, source, symbol


def _extend_hash(key: Tensor, symbol: Tensor) -> Tensor:
    """The hash of a text with one more label: multiplications modulo 2^64 and shifts, so that all bits mix."""
    x = (key ^ (symbol + 1)) * -7046029254386353131
    x = (x ^ ((x >> 29) & 0x7FFFFFFFF)) * -4658895280553007687
    return x ^ ((x >> 32) & 0xFFFFFFFF)


def _pack(logp_bsv: Tensor, mask_bs: Tensor) -> Tensor:
    """The real frames of each row first, in their order; after them blanks with probability 1."""
    silent = logp_bsv.new_full(logp_bsv.shape[-1:], IMPOSSIBLE)
    silent[-1] = 0.0
    longest = max(1, *mask_bs.sum(1).tolist()) if len(mask_bs) else 1
    order = real_first(mask_bs)[:, :longest]
    frames_first = logp_bsv.take_along_dim(order[..., None], 1)
    return torch.where(mask_bs.gather(1, order)[..., None], frames_first, silent)


def _mask_banned(logp_bsv: Tensor, mask_bs: Tensor, excluded: Sequence[int]) -> Tensor:
    """The real frames, float64 on the CPU, with -inf for banned labels."""
    logp = _pack(logp_bsv.detach(), mask_bs).cpu().double()
    logp[..., list(excluded)] = IMPOSSIBLE
    return logp


def _collect(ids_bns: Tensor, keep_bns: Tensor, logp_bn: Tensor, end: int, like: Tensor) -> Texts:
    """The ids under a True mask first, then the end-of-text token: at least one position."""
    longest = max(1, int(keep_bns.sum(-1).max()) if keep_bns.numel() else 1)
    order = real_first(keep_bns)[..., :longest]
    ids = torch.where(keep_bns, ids_bns, end).gather(-1, order)
    return Texts(ids.to(like.device), logp_bn.to(like.dtype).to(like.device), end)
