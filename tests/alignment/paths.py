"""Every warping path through a small matrix, one after the other: the definition. And streams to align."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked

Path = list[tuple[int, int]]


def every(t: int, u: int) -> Iterator[Path]:
    """From (0, 0) to (t - 1, u - 1) by steps of one in either or in both."""

    def on(path: Path) -> Iterator[Path]:
        i, j = path[-1]
        if (i, j) == (t - 1, u - 1):
            yield path
        for step in ((i + 1, j + 1), (i + 1, j), (i, j + 1)):
            if step[0] < t and step[1] < u:
                yield from on([*path, step])

    return on([(0, 0)])


def summed(costs: np.ndarray, path: Path) -> float:
    return float(sum(costs[i, j] for i, j in path))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ragged(*lengths: int, channels: int = 2, seed: int = 0, junk: float = math.nan) -> Masked:
    """Streams of these lengths whose frames stand anywhere among masked ones."""
    room = max(lengths) + 2
    values = normal(len(lengths), room, channels, seed=seed)
    mask = torch.zeros(len(lengths), room, dtype=torch.bool)
    for b, n in enumerate(lengths):
        mask[b, torch.randperm(room, generator=torch.Generator().manual_seed(b))[:n]] = True
    return Masked(torch.where(mask[..., None], values, junk), mask)
