"""Forced alignment: which frames say each label of a text that is known.

The labels come from a network with a CTC head, which gives each frame probabilities of labels and of the blank (Graves
et al. 2006); `decoders.ctc.alignment` finds the most probable path through them (Viterbi).

Axes: t frame, v label or blank, l label of the text.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polymodal.alignment.arrays import floats
from polymodal.batch import Masked
from polymodal.decoders.ctc import alignment, min_frames
from polymodal.errors import InputError


class Span(NamedTuple):
    """A label in the frames from `start` to before `end`. confidence: the geometric mean of its probabilities there."""

    label: int
    start: int
    end: int
    confidence: float


def forced_alignment(logp: Any, labels: Sequence[int], *, blank: int = -1) -> list[Span]:
    """The span of each label, in order, of the most probable CTC path of this text.

    logp: (T, V) log-probabilities of each frame. blank: its column, the last by default. Frames between spans are
    blanks. Raises InputError for another shape, NaN or numbers above 0, labels that are no column or the blank, fewer
    frames than the text needs, and a text without a possible path.

    >>> logp = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2]]).log()
    >>> [(s.label, s.start, s.end, round(s.confidence, 2)) for s in forced_alignment(logp, [0, 1])]
    [(0, 0, 1, 0.8), (1, 2, 4, 0.75)]
    """
    logp_tv = floats(logp).detach()
    if logp_tv.ndim != 2 or logp_tv.shape[1] < 2:
        raise InputError(
            f"logp has the shape {tuple(logp_tv.shape)}; give (T, V), a column a label and one for the blank"
        )
    if not (logp_tv <= 1e-4).all():
        raise InputError(f"logp goes up to {float(logp_tv.max()):g}; give log-probabilities, as log_softmax gives them")
    size = logp_tv.shape[1]
    if not -size <= blank < size:
        raise InputError(
            f"blank={blank} is none of the {size} columns of logp; give 0 to {size - 1}, or -1 for the last"
        )
    blank %= size
    ids = torch.as_tensor(labels, dtype=torch.int64).reshape(-1)
    wrong = (ids < 0) | (ids >= size) | (ids == blank)
    if wrong.any():
        at = int(wrong.int().argmax())
        columns = f"columns of logp from 0 to {size - 1} but for the blank, {blank}"
        raise InputError(f"label {at} is {int(ids[at])}; give {columns}")
    least = int(min_frames(Masked(ids[None], torch.ones_like(ids, dtype=torch.bool)[None])))
    if least > len(logp_tv):
        need = f"need {least:,} (one each, and a blank between equal neighbours)"
        raise InputError(f"{len(logp_tv):,} frames can't say these {len(ids):,} labels, which {need}; give more frames")
    order = [*(v for v in range(size) if v != blank), blank]
    frames = alignment(logp_tv[:, order], [order.index(int(v)) for v in ids])
    return [_span(logp_tv, int(v), start, last + 1) for v, (start, last) in zip(ids, frames.tolist(), strict=True)]


def _span(logp_tv: Tensor, label: int, start: int, end: int) -> Span:
    return Span(label, start, end, float(logp_tv[start:end, label].mean().exp()))


class Monotone(NamedTuple):
    """keys: (Q,) the key of each query, never before that of an earlier one. share: of the mass of the attention that
    lies on them."""

    keys: Tensor
    share: float


def monotone_path(attention: Any) -> Monotone:
    """The path through a soft attention (Q, K), a key a query and never backwards, on which most of its mass lies.

    A share near 1 says that the attention is an alignment that runs in one direction. Raises InputError for another
    shape, negative weights, those that are not finite, and no mass at all.

    >>> monotone_path([[0.9, 0.1, 0.0], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3]]).keys
    tensor([0, 2, 2])
    """
    mass_qk = floats(attention).detach()
    if mass_qk.ndim != 2 or not mass_qk.numel():
        raise InputError(f"the attention has the shape {tuple(mass_qk.shape)}; give (Q, K), with a weight at least")
    if not (mass_qk.isfinite() & (mass_qk >= 0)).all() or not mass_qk.any():
        raise InputError("the attention has weights that are negative or not finite, or all 0; give those of softmax")
    best_k, sources = torch.zeros_like(mass_qk[0]), []
    for row_k in mass_qk:
        best_k, source_k = best_k.cummax(0)
        best_k = best_k + row_k
        sources.append(source_k)
    key = int(best_k.argmax())
    share, keys = float(best_k[key] / mass_qk.sum()), []
    for source_k in reversed(sources):
        keys.append(key)
        key = int(source_k[key])
    return Monotone(torch.tensor(keys[::-1]), share)
