"""The network that reads ready-made vectors, and what a frozen network says.

Axes: b batch, t token, d width.
"""

from typing import Any, Self

from torch import nn

from polymodal.batch import Masked
from polymodal.modalities.base import Encoder
from polymodal.nn import Size
from polymodal.ops import zeroed


class Projection(Encoder):
    """Each vector by itself: dropout, a linear map, norm, GELU, dropout.

    Dropout comes first because ready-made features are many and rows few.
    """

    def __init__(self, width: int, dim: int, *, dropout: float = 0.3) -> None:
        super().__init__()
        self.width, self.dim, self.dropout = width, dim, dropout
        first = nn.Linear(width, dim)
        self.layers = nn.Sequential(nn.Dropout(dropout), first, nn.LayerNorm(dim), nn.GELU(), nn.Dropout(dropout))
        # before the norm a bias would drown vectors of small length, as unit embeddings of many dimensions are
        nn.init.zeros_(first.bias)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The map for vectors of this width."""
        return cls(codec.width_, size.dim)

    def forward(self, x: Masked) -> Masked:
        """(B, T, width) -> (B, T, dim)."""
        # a frozen network's outputs are kept in half precision
        y = self.layers(zeroed(x).to(next(self.parameters()).dtype))
        return Masked(zeroed(Masked(y, x.mask)), x.mask)
