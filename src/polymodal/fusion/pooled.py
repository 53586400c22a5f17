"""One vector a modality: what every pooled fusion starts from."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.fusion.base import presence
from polymodal.nn import Named, Pool


class Pooled(nn.Module):
    """Masked tokens (B, T, d) -> one vector (B, dim), the zero vector where the row has no token.

    norm(pool(x)), then a linear map to `dim` where that is given. The norm keeps a modality whose encoder
    speaks loudly from drowning the others.
    """

    def __init__(self, width: int, dim: int | None = None) -> None:
        super().__init__()
        self.width, self.dim = width, dim
        self.pool, self.norm = Pool(width), nn.LayerNorm(width)
        self.project = nn.Identity() if dim is None else nn.Linear(width, dim)

    def forward(self, x: Masked) -> Tensor:
        """(B, T, width) tokens -> (B, dim)."""
        y: Tensor = self.project(self.norm(self.pool(x)))
        return torch.where(x.present()[:, None], y, y.new_zeros(()))


def pooled(dims: Mapping[str, int], dim: int | None = None) -> Named:
    """A `Pooled` for each modality, by name."""
    return Named({m: Pooled(d, dim) for m, d in dims.items()})


def each(parts: Named, inputs: list[Masked]) -> list[Any]:
    """Each modality's own part applied to its own tokens; both are in the order of `dims`."""
    # children() keeps the order of the names, and torch.compile can trace it where it can't trace
    # `Named.items`
    return [part(x) for part, x in zip(parts.children(), inputs, strict=True)]


def join(vectors: list[Tensor], inputs: list[Masked]) -> Tensor:
    """(B, sum of widths + M): the vectors side by side, then one presence bit a modality."""
    return torch.cat([*vectors, presence(inputs).to(vectors[0].dtype)], dim=1)
