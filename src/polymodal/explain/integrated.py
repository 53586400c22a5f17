"""Integrated gradients of an answer with respect to what is continuous in a view: numbers, pixels, embedded tokens.

    score[s] = sum over values i of part s of (x_i - x'_i) * integral over a, 0 to 1, of df(x' + a (x - x')) / dx_i

x' is what an absent value is to the network: 0 in its own units, which is the training mean or median, and for a token
the embedding 0; of a picture the training mean of each channel. Over all values the scores sum to f(x) - f(x').
Sundararajan, Taly & Yan 2017, by captum.

Axes: n step of the path, s part.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.explain.answers import Floats
from polymodal.learners.base import Learner, evaluating
from polymodal.modalities.base import Encoder
from polymodal.modalities.segments import Cut, Open
from polymodal.output import logits_of

# A norm makes an answer of a direction, so that it jumps where the path leaves a baseline of 0: the path is cut where
# such a jump would hide, and each stretch has steps of its own
KNOTS = (0.0, 0.001, 0.01, 0.1, 1.0)
STEPS = (6, 24, 96)  # of a stretch: more where the scores don't sum to what they should
CLOSE = 0.02  # of the sum of |scores|
BATCH = 32  # steps that are computed together


class Entry(NamedTuple):
    """Where a path enters: at a module whose output is replaced, or, for None, at the values of a view.

    values, blank: (1, ...) what is there, and what is at the path's beginning. owner: the part of each value, -1: none.
    """

    view: str
    module: nn.Module | None
    values: Tensor
    blank: Tensor
    owner: Tensor


class Integrated(NamedTuple):
    """scores: (S,). value, blank: f(x) and f(x'). gap: how far the scores of all values are from their difference."""

    scores: Floats
    value: float
    blank: float
    gap: float


def networks(learner: Learner) -> list[dict[str, Encoder]]:
    """The encoders of each network that a learner consists of; none where any part of it has no gradient."""
    sources = [p.learner.sources() for p in learner.parts()]
    return sources if all(sources) else []


def can(learner: Learner, cut: Cut) -> bool:
    """Does the learner have gradients from every view of the cut cell, and is captum there."""
    try:
        import captum  # noqa: F401
    except ImportError:
        return False
    nets = networks(learner)
    views = cut.open
    if not nets or len(views) < len(cut.views):
        return False
    floats = {v: x.x.values.is_floating_point() or x.blank is not None for v, x in views.items()}
    return all(floats[v] or e.entrance() is not None for net in nets for v, e in net.items() if v in views)


def integrated(
    learner: Learner, inputs: Mapping[str, Masked], cut: Cut, at: int, steps: Sequence[int] = STEPS,
    temperature: float = 1.0,
) -> Integrated:  # fmt: skip
    """The scores of the parts of one row; see the head of this file.

    inputs: of one row, all views. at: which of the task's quantities is explained, by `Task.evidence`, which does not
    fade where the model is sure. temperature: what the learner's logits are divided by in the probabilities
    that are shown. Raises InputError for a learner that has no gradient there.
    """
    if not can(learner, cut):
        raise InputError(
            "integrated gradients need a network that reads the modality itself, and captum (pip install "
            "polymodal[explain]); this model reads it through features or a frozen network: take the method occlusion"
        )
    from captum.attr import IntegratedGradients

    with evaluating(learner):
        entries = list(_entries(learner, inputs, cut))

        def f(*values: Tensor) -> Tensor:
            return learner.task.evidence(_answer(learner, inputs, cut, entries, values) / temperature, at)

        xs, blanks = tuple(e.values for e in entries), tuple(e.blank for e in entries)
        with torch.backends.cudnn.flags(enabled=False), torch.no_grad():  # its recurrent nets have no slopes in eval
            value, blank = float(f(*xs)), float(f(*blanks))
        path = [tuple(b + k * (x - b) for x, b in zip(xs, blanks, strict=True)) for k in KNOTS]
        scores_s, gap = torch.zeros(cut.parts + 1), np.inf
        for count in steps:
            with torch.backends.cudnn.flags(enabled=False):
                stretches = [
                    IntegratedGradients(f).attribute(end, start, n_steps=count, internal_batch_size=BATCH)
                    for start, end in pairwise(path)
                ]
            slopes = [torch.stack(parts).detach().double().sum(0) for parts in zip(*stretches, strict=True)]
            scores_s = _by_part(entries, slopes, cut.parts)
            gap = abs(float(scores_s.sum()) - (value - blank))
            if gap <= CLOSE * float(scores_s.abs().sum()) + 1e-6:
                break
    return Integrated(scores_s[:-1].numpy(), value, blank, gap)


def _by_part(entries: Sequence[Entry], slopes: Sequence[Tensor], parts: int) -> Tensor:
    """(S + 1,) sums over the values of each part; the last is that of values of no part."""
    out = torch.zeros(parts + 1, dtype=torch.float64)
    for entry, slope in zip(entries, slopes, strict=True):
        out.index_add_(0, entry.owner.flatten().cpu() % (parts + 1), slope.flatten().cpu())
    return out


def _entries(learner: Learner, inputs: Mapping[str, Masked], cut: Cut) -> Iterator[Entry]:
    """One for each module at which a path enters, and one for each view that enters by its values."""
    raw = set()
    for net in networks(learner):
        for v, encoder in net.items():
            if (view := cut.open.get(v)) is None:
                continue
            if (module := encoder.entrance()) is not None:
                yield _within(v, module, encoder, inputs[v], view)
            elif v not in raw:
                raw.add(v)
                x = inputs[v].values.to(next(encoder.parameters()).dtype)
                blank = torch.zeros_like(x) if view.blank is None else view.blank.to(x.dtype).expand_as(x)
                yield Entry(v, None, x, blank, view.owners())


@torch.no_grad()
def _within(v: str, module: nn.Module, encoder: Encoder, x: Masked, view: Open) -> Entry:
    """The entry at a module, whose output is seen once."""
    outputs: list[Tensor] = []
    hook = module.register_forward_hook(lambda _, args, out: outputs.append(tensor_of(out)))
    encoder(x)
    hook.remove()
    (values,) = outputs
    owner = encoder.owners(view.owner, values)
    # what is of no part, as the marks around a text, stays as it is
    return Entry(v, module, values, torch.where(owner[None] < 0, values, torch.zeros_like(values)), owner)


def _answer(
    learner: Learner, inputs: Mapping[str, Masked], cut: Cut, entries: Sequence[Entry], values: Sequence[Tensor]
) -> Tensor:
    """(N, outputs) logits where N values are given at each entry; all else is that of the row."""
    count = len(values[0])
    repeats = {v: Masked(*(y.expand(count, *y.shape[1:]) for y in inputs[v])) for v in cut.views}
    with ExitStack() as stack:
        for entry, x in zip(entries, values, strict=True):
            if entry.module is None:
                repeats[entry.view] = Masked(x, repeats[entry.view].mask)
            else:
                stack.enter_context(replace(entry.module, x))
        return logits(learner, inputs, repeats, count)


def logits(learner: Learner, inputs: Mapping[str, Masked], changes: Mapping[str, Masked], count: int) -> Tensor:
    """(P, outputs) of a row of which some views are changed in P ways; the others are looked at once."""
    answer = learner.recombine({v: changes.get(v, inputs[v]) for v in learner.reads})
    each, one = torch.arange(count), torch.zeros(count, dtype=torch.long)
    return logits_of(answer({v: each if v in changes else one for v in learner.reads}))


@contextmanager
def replace(module: nn.Module, values: Tensor) -> Iterator[None]:
    """While inside, the module gives these values instead of its own."""
    hook = module.register_forward_hook(lambda _, args, out: like(out, values))
    try:
        yield
    finally:
        hook.remove()


def tensor_of(out: Any) -> Tensor:
    """What a module gives, as one tensor (B, ...)."""
    if isinstance(out, Masked):
        return out.values
    return torch.cat([out[0], out[1].flatten(1)], dim=1) if isinstance(out, tuple) else out


def like(out: Any, values: Tensor) -> Any:
    """The reverse: values in the form in which the module gives its own."""
    if isinstance(out, Masked):
        return Masked(values, out.mask)
    if isinstance(out, tuple):
        numbers, rest = values.split([out[0].shape[1], values.shape[1] - out[0].shape[1]], dim=1)
        return numbers, rest.unflatten(1, out[1].shape[1:])
    return values
