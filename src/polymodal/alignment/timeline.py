"""Samples of streams that have their own times: in order, at the times of another clock, and in windows of all.

A stream is `Samples`: times in seconds, which rise, and values (N, C), NaN where a channel is unknown. What is unknown
stays so: nothing is made up across a gap.

Axes: n sample, m new time, w window, l sample of a window, c channel.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.alignment.arrays import floats
from polymodal.batch import Masked
from polymodal.errors import InputError

Doubles = NDArray[np.float64]
SLACK = 1e-9  # of a window, by which times that were computed may miss its end


class Samples(NamedTuple):
    """times: (N,) seconds. values: (N, C), or (N,) for one channel; NaN where unknown."""

    times: Any
    values: Any


class Arrivals(NamedTuple):
    """samples: in the order of their times, each time once. late: how many came after one of a later time. duplicates:
    (K,) the times that came more than once, of which the first sample to come is kept."""

    samples: Samples
    late: int
    duplicates: Doubles


def sort_samples(samples: Samples) -> Arrivals:
    """Samples as they came, late ones and duplicates among them, in the order of their times.

    Raises InputError for no sample, unlike lengths, and times that are not finite.
    >>> sort_samples(Samples([0.0, 2.0, 1.0, 2.0], [5.0, 6.0, 7.0, 8.0])).duplicates.tolist()
    [2.0]
    """
    times, values = _arrays(samples, "samples")
    late = int((times < np.maximum.accumulate(times)).sum())
    unique, first, count = np.unique(times, return_index=True, return_counts=True)
    return Arrivals(Samples(unique, values[first]), late, unique[count > 1])


def resample(samples: Samples, times: Any, *, gap: float) -> Masked:
    """The stream at other times (M,): values (M, C) and a mask (M, C) of what is known; what is not is NaN.

    A channel is known at a time of its own samples, and between two of them that are at most `gap` seconds apart, where
    it runs straight. Before its first sample and after its last it is unknown. Nothing is averaged: smooth a stream
    that is faster than the new clock. Raises InputError for times that do not rise, and as `sort_samples`.

    >>> resample(Samples([0.0, 1.0, 5.0], [0.0, 2.0, 3.0]), [0.5, 2.0, 5.0], gap=1.5).values[:, 0]
    tensor([1., nan, 3.])
    """
    if not gap >= 0:
        raise InputError(f"gap={gap:g} must be a number of seconds from 0")
    old, values = ascending(samples, "samples")
    new = np.asarray(times, dtype=np.float64).reshape(-1)
    if not np.isfinite(new).all():
        raise InputError(f"{int((~np.isfinite(new)).sum()):,} of the new times are not finite; leave them out")
    out = torch.stack([_channel(old, column, new, gap) for column in values.T], dim=1)
    return Masked(out, ~out.isnan())


def _channel(old: Doubles, column: Tensor, new: Doubles, gap: float) -> Tensor:
    real = ~column.isnan().numpy()
    if not real.any():
        return column.new_full((len(new),), torch.nan)
    at, y = old[real], column.numpy()[real]
    right = np.searchsorted(at, new).clip(0, len(at) - 1)
    before = np.where(at[right] == new, right, (right - 1).clip(0))
    span = at[right] - at[before]
    share = np.where(span > 0, (new - at[before]) / np.where(span > 0, span, 1.0), 0.0)
    inside = (at[0] <= new) & (new <= at[-1]) & (span <= gap)
    return torch.from_numpy(np.where(inside, y[before] + share * (y[right] - y[before]), np.nan)).to(column.dtype)


class Windows(NamedTuple):
    """starts: (W,) seconds. streams: by name, values (W, L, C) and a mask (W, L, C), where L is the most samples that
    the stream has in a window. times: by name, (W, L) seconds after the start, NaN where there is no sample."""

    starts: Tensor
    streams: dict[str, Masked]
    times: dict[str, Tensor]


def windows(
    streams: Mapping[str, Samples], *, length: float, hop: float, start: float | None = None, end: float | None = None
) -> Windows:
    """Rows of what several streams on one clock have at the same time: sample t is in the window of start s where
    s <= t < s + length, and windows start `hop` seconds apart.

    All windows that fit between start and end, by default the first and the last sample of any stream; a stream has no
    real value in a window where it has no sample. Raises InputError for lengths that are not above 0, no stream, no
    window that fits, times that do not rise, and as `sort_samples`.
    """
    if not (length > 0 and hop > 0):
        raise InputError(f"length={length:g} and hop={hop:g} must be seconds above 0")
    if not streams:
        raise InputError("there is no stream; give at least one")
    each = {name: ascending(x, name) for name, x in streams.items()}
    low = min(times[0] for times, _ in each.values()) if start is None else start
    high = max(times[-1] for times, _ in each.values()) if end is None else end
    if high - low < length * (1 - SLACK):
        room = f"the {high - low:g} s from {low:g} to {high:g}"
        raise InputError(f"no window of {length:g} s fits in {room}; give a shorter length")
    starts = low + hop * np.arange(int((high - low - length * (1 - SLACK)) / hop) + 1)
    rows, offsets = {}, {}
    for name, (times, values) in each.items():
        first, last = (np.searchsorted(times, starts + x) for x in (0.0, length))
        index_wl = first[:, None] + np.arange(max(1, int((last - first).max())))
        inside = torch.from_numpy(index_wl < last[:, None])
        index_wl = index_wl.clip(max=len(times) - 1)
        cells = values[torch.from_numpy(index_wl)]
        rows[name] = Masked(cells, inside[..., None] & ~cells.isnan())
        offsets[name] = torch.where(inside, torch.from_numpy(times[index_wl] - starts[:, None]), torch.nan)
    return Windows(torch.from_numpy(starts), rows, offsets)


def ascending(samples: Samples, name: str) -> tuple[Doubles, Tensor]:
    """Times (N,) and values (N, C) of a stream whose times rise. Raises InputError where they do not, and as
    `sort_samples`."""
    times, values = _arrays(samples, name)
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        at = int(back[0]) + 1
        what = f"sample {at} is at {times[at]:g} s, after one at {times[at - 1]:g} s"
        raise InputError(f"the times of {name} do not rise: {what}; put them in order with sort_samples")
    return times, values


def _arrays(samples: Samples, name: str) -> tuple[Doubles, Tensor]:
    times = np.asarray(samples.times, dtype=np.float64)
    values = floats(samples.values).detach().cpu()
    values = values[:, None] if values.ndim == 1 else values
    if times.ndim != 1 or values.ndim != 2 or len(times) != len(values) or not values.numel():
        shapes = f"times {times.shape} and values {tuple(values.shape)}"
        raise InputError(f"{name} has {shapes}; give (N,) and (N, C) of the same N, 1 at least")
    if not np.isfinite(times).all():
        raise InputError(f"{name} has {int((~np.isfinite(times)).sum()):,} times that are not finite; leave those out")
    return times, values
