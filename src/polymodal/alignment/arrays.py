"""What comes in: a stream as (T, C), several as `Masked` (B, T, C), and how far the frames of two of them are apart.

Axes: b pair or stream, t frame of the first, u frame of the second, c channel.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.decoders.ctc import real_first
from polymodal.errors import InputError
from polymodal.ops import zeroed

Cost = str | Callable[[Tensor, Tensor], Tensor]


def floats(x: Any) -> Tensor:
    """An array or tensor in its own precision, float32 at least; whole numbers as float64."""
    out = torch.as_tensor(x)
    if not out.is_floating_point():
        return out.double()
    return out.to(torch.promote_types(out.dtype, torch.float32))


def stream(x: Any, name: str) -> Tensor:
    """(T, C), or (T,) for one channel, as (T, C).

    Raises InputError for another shape, no frame or a value that is not finite.
    """
    out = floats(x)
    if out.ndim not in (1, 2) or not out.numel():
        raise InputError(f"{name} has the shape {tuple(out.shape)}; give at least one frame, as (T,) or (T, C)")
    out = out[:, None] if out.ndim == 1 else out
    wrong = ~out.isfinite().all(1)
    if wrong.any():
        where = f"{int(wrong.sum()):,} of {len(out):,} frames, the first is {int(wrong.int().argmax())}"
        raise InputError(f"{name} is not finite at {where}; leave these frames out or fill them in")
    return out


def pair(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Two streams of the same channels and dtype. Raises InputError as `stream`, and where channels differ."""
    x, y = stream(a, "a"), stream(b, "b")
    _same_channels(x, y)
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(x.device, dtype)


def pad(streams: Sequence[Any]) -> Masked:
    """Streams (T, C) or (T,) of any lengths as one: values (B, longest, C), and True where frames are real.

    Raises InputError as `stream`, for no stream, and where channels differ.
    >>> pad([[1.0, 2.0], [3.0]]).mask
    tensor([[ True,  True],
            [ True, False]])
    """
    if not len(streams):
        raise InputError("there is no stream; give at least one")
    rows = [stream(x, f"stream {n}") for n, x in enumerate(streams)]
    channels = {x.shape[1] for x in rows}
    if len(channels) > 1:
        raise InputError(f"the streams have {', '.join(map(str, sorted(channels)))} channels; give all the same")
    lengths = torch.tensor([len(x) for x in rows], device=rows[0].device)
    values = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return Masked(values, torch.arange(values.shape[1], device=values.device) < lengths[:, None])


def pack(x: Masked, name: str) -> tuple[Tensor, Tensor]:
    """The real frames of each row first, in their order (B, L, C), and their numbers (B,).

    L is the most that a row has, at least 1. What follows is finite: the first frame again, of which any cost can be
    taken, zeros where there is none. Raises InputError for other shapes, or where a real value is not finite.
    """
    shape, mask = tuple(x.values.shape), x.mask
    if len(shape) != 3 or tuple(mask.shape) != shape[:2] or not shape[2]:
        raise InputError(
            f"{name} has values {shape} and a mask {tuple(mask.shape)}; give values (B, T, C) and a mask (B, T)"
        )
    values = zeroed(Masked(floats(x.values), mask))
    wrong = ~values.isfinite().all(2)
    if wrong.any():
        row, frame = wrong.nonzero()[0].tolist()
        raise InputError(
            f"{name} is not finite in row {row} at frame {frame}, where its mask is True; set the mask to False there"
        )
    lengths = mask.sum(1)
    longest = max(1, int(lengths.max())) if len(lengths) else 1
    values = torch.nn.functional.pad(values, (0, 0, 0, max(0, longest - shape[1])))
    order = real_first(mask)[:, :longest]
    order = torch.nn.functional.pad(order, (0, longest - order.shape[1]))
    order = torch.where(torch.arange(longest, device=mask.device) < lengths[:, None], order, order[:, :1])
    return values.take_along_dim(order[..., None], 1), lengths


def pairs(a: Masked, b: Masked) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The packed frames and the lengths of both sides of B pairs. Raises InputError as `pack`, and where they differ
    in rows or channels."""
    (x, m), (y, n) = pack(a, "a"), pack(b, "b")
    if len(x) != len(y):
        raise InputError(f"a has {len(x):,} rows and b {len(y):,}; give a row of each for a pair")
    _same_channels(x, y)
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype), m, n


def _same_channels(x: Tensor, y: Tensor) -> None:
    if x.shape[-1] != y.shape[-1]:
        raise InputError(
            f"a has {x.shape[-1]} channels and b has {y.shape[-1]}; give the same, or a matrix of costs to "
            "`warp`, or let `canonical_warping` find what is common"
        )


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """(..., T, C) and (..., U, C) -> (..., T, U): distances, from differences: near frames are exact."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def squared_euclidean(a: Tensor, b: Tensor) -> Tensor:
    """(..., T, C) and (..., U, C) -> (..., T, U): squared Euclidean distances."""
    return euclidean(a, b).square()


COSTS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"euclidean": euclidean, "squared": squared_euclidean}


def local_costs(a: Tensor, b: Tensor, cost: Cost) -> Tensor:
    """(..., T, C) and (..., U, C) -> (..., T, U), by a name of `COSTS` or a function of both.

    Raises InputError for another name, and for a function that gives another shape.
    """
    if not callable(cost):
        if cost not in COSTS:
            raise InputError(f"cost={cost!r} is unknown; give {' or '.join(map(repr, COSTS))}, or a function of (a, b)")
        return COSTS[cost](a, b)
    out, shape = cost(a, b), (*a.shape[:-1], b.shape[-2])
    if tuple(out.shape) != shape:
        raise InputError(f"cost gave the shape {tuple(out.shape)} where {shape} is expected, a cost a pair of frames")
    return out
