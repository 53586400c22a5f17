"""Networks that read the plain columns of a row.

    [0.41, 7, nan] --TabularMLP--> a token (1, dim)

Axes: b batch, f field (an encoded number or category; a date takes several), d width.
"""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped
from torch.nn.functional import embedding

from polymodal.batch import Masked
from polymodal.modalities.base import Encoder
from polymodal.nn import Block, Size
from polymodal.ops import zeroed


class Reader(Encoder):
    """What networks that read fields share."""

    split: "Fields"

    def entrance(self) -> nn.Module:
        """What takes the fields apart."""
        return self.split

    def owners(self, owner: Tensor, values: Tensor) -> Tensor:
        """Of numbers, then of the embedding of each category."""
        nominal = owner[self.split.nominal]
        width = (values.shape[1] - len(self.split.numeric)) // max(1, len(nominal))
        return torch.cat([owner[self.split.numeric], nominal.repeat_interleave(width)])


class TabularMLP(Reader):
    """All fields of a row -> one token (B, 1, dim), by residual perceptron layers.

    In: numbers, one presence bit a field, and an embedding of each category. Then `layers` times
    x + dropout(W GELU(V norm(x))); Gorishniy et al. 2021, "ResNet".
    """

    def __init__(self, fields: list[int], dim: int, *, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.fields, self.dim, self.layers, self.dropout = fields, dim, layers, dropout
        self.split = Fields(fields, min(dim, 16))
        categories = sum(n > 0 for n in fields)
        # a linear map first: a norm over raw numbers would leave of a single one only its sign
        self.enter = nn.Linear(2 * len(fields) + categories * (min(dim, 16) - 1), dim)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(dim),
                nn.Linear(dim, 2 * dim),
                nn.GELU(),
                nn.Dropout(dropout),
                nn.Linear(2 * dim, dim),
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The perceptron for these fields."""
        return cls(codec.fields, size.dim, layers=size.layers)

    def forward(self, x: Masked) -> Masked:
        """(B, F) -> (B, 1, dim)."""
        numbers_bn, categories_bcd = self.split(x)
        y_bd = self.enter(torch.cat([numbers_bn, x.mask.to(numbers_bn.dtype), categories_bcd.flatten(1)], dim=1))
        for block in self.blocks:
            y_bd = y_bd + dropped(block(y_bd), self.dropout, self.training)
        mask = x.mask.any(1, keepdim=True)
        return Masked(zeroed(Masked(self.norm(y_bd)[:, None], mask)), mask)


class FTTransformer(Reader):
    """One token a field (B, F, dim), which then attend to each other. Gorishniy et al. 2021.

    Token of field j: bias_j + x_j weight_j for a number, bias_j + embedding_j[x_j] for a category; a missing
    one gives no token.
    """

    def __init__(self, fields: list[int], dim: int, *, layers: int = 2, heads: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.fields, self.dim, self.layers, self.heads, self.dropout = fields, dim, layers, heads, dropout
        self.split = Fields(fields, dim)
        self.weight = nn.Parameter(torch.randn(sum(n == 0 for n in fields), dim) * dim**-0.5)
        self.bias = nn.Parameter(torch.randn(len(fields), dim) * dim**-0.5)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The transformer for these fields."""
        return cls(codec.fields, size.dim, layers=size.layers, heads=size.heads)

    def forward(self, x: Masked) -> Masked:
        """(B, F) -> (B, F, dim)."""
        numbers_bn, categories_bcd = self.split(x)
        tokens = torch.cat([numbers_bn[..., None] * self.weight, categories_bcd], dim=1)
        y = Masked(tokens[:, self.split.order] + self.bias, x.mask)
        for block in self.blocks:
            y = block(y)
        return Masked(zeroed(Masked(self.norm(y.values), x.mask)), x.mask)


class Fields(nn.Module):
    """Takes fields (B, F) apart: numbers (B, N) and embeddings of categories (B, C, width), 0 where missing.

    `order` puts numbers followed by categories back into the order of the fields.
    """

    numeric: Tensor
    nominal: Tensor
    order: Tensor
    first: Tensor
    last: Tensor

    def __init__(self, fields: list[int], width: int) -> None:
        super().__init__()
        sizes = torch.tensor(fields, dtype=torch.long)
        numeric, nominal = (sizes == 0).nonzero()[:, 0], (sizes > 0).nonzero()[:, 0]
        first = sizes[nominal].cumsum(0) - sizes[nominal]
        constants = {
            "numeric": numeric,
            "nominal": nominal,
            "order": torch.cat([numeric, nominal]).argsort(),
            "first": first,
            "last": sizes[nominal] - 1,
        }
        for name, x in constants.items():
            self.register_buffer(name, x, persistent=False)
        # one table for all columns; an unknown category begins, and unless trained stays, at 0
        self.table = nn.Parameter(torch.randn(sum(fields), width) * width**-0.5)
        with torch.no_grad():
            self.table[first] = 0.0

    def forward(self, x: Masked) -> tuple[Tensor, Tensor]:
        """(B, F) -> (B, N) and (B, C, width)."""
        x_bf = zeroed(x)
        place_bc = x_bf[:, self.nominal].long().clamp(min=0).minimum(self.last)
        vectors = embedding(place_bc + self.first, self.table)
        mask_bc = x.mask[:, self.nominal]
        return x_bf[:, self.numeric], zeroed(Masked(vectors, mask_bc))
