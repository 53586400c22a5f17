"""Fusions of one vector a modality, by sums, products, concatenation and gates.

b batch, m modality, d width. P_m x_m is modality m's pooled tokens, normalised and mapped linearly to `dim`.
"""

from collections.abc import Mapping

import torch
from torch import nn

from polymodal.batch import Masked
from polymodal.fusion.base import Fusion, one_token, presence
from polymodal.fusion.pooled import each, join, pooled
from polymodal.nn import MLP
from polymodal.ops import masked_mean, masked_softmax


class Mean(Fusion):
    """y = mean of P_m x_m over the modalities m that are present."""

    paper = "Baltrusaitis, Ahuja & Morency 2019, sec. 5.1"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int) -> None:
        super().__init__(dims, dim)
        self.parts = pooled(dims, dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        x_bmd = torch.stack(each(self.parts, xs), dim=1)
        return one_token(masked_mean(Masked(x_bmd, presence(xs))), xs)


class Sum(Fusion):
    """y = sum of P_m x_m over the modalities m that are present."""

    paper = "Baltrusaitis, Ahuja & Morency 2019, sec. 5.1"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int) -> None:
        super().__init__(dims, dim)
        self.parts = pooled(dims, dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        return one_token(torch.stack(each(self.parts, xs)).sum(0), xs)


class WeightedSum(Fusion):
    """y = sum_m w_m P_m x_m, with w = softmax of a learned score over the modalities that are present."""

    paper = "Baltrusaitis, Ahuja & Morency 2019, sec. 5.1"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int) -> None:
        super().__init__(dims, dim)
        self.parts = pooled(dims, dim)
        self.score_m = nn.Parameter(torch.zeros(len(dims)))  # begins as the mean

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        here_bm = presence(xs)
        w_bm = masked_softmax(self.score_m.expand_as(here_bm), here_bm, dim=1)
        return one_token((w_bm[..., None] * torch.stack(each(self.parts, xs), dim=1)).sum(1), xs)


class Product(Fusion):
    """y = prod over the modalities m that are present of (1 + P_m x_m), elementwise.

    The 1 keeps each modality's own part in the expansion, and makes what is absent the factor 1 exactly.
    """

    paper = "Kim et al. 2017 (Hadamard product for low-rank bilinear pooling)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int) -> None:
        super().__init__(dims, dim)
        self.parts = pooled(dims, dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        factors = each(self.parts, xs)
        y_bd = 1 + factors[0]
        for factor in factors[1:]:
            y_bd = y_bd * (1 + factor)
        return one_token(y_bd, xs)


class Concat(Fusion):
    """y = MLP([x_1, ..., x_M, p_1, ..., p_M]): the baseline that every other fusion has to beat.

    x_m is the pooled and normalised vector of modality m, zero where absent, and p_m in {0, 1} says whether
    it is present. The MLP has one hidden layer of twice the width, so interactions between modalities can be
    learned.
    """

    paper = "Ngiam et al. 2011"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int, *, dropout: float = 0.1) -> None:
        super().__init__(dims, dim)
        self.dropout = dropout
        self.parts = pooled(dims)
        self.mlp = MLP([sum(dims.values()) + len(dims), 2 * dim, dim], dropout)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        return one_token(self.mlp(join(each(self.parts, xs), xs)), xs)


class Gated(Fusion):
    """y = sum_m z_m * h_m, with h_m = tanh(P_m x_m) and gates z_m = sigmoid(V_m [x_1, ..., x_M, p_1, ...,
    p_M]).

    Each gate sees all modalities and which of them are present; h_m is zero where m is absent.
    """

    paper = "Arevalo et al. 2017 (gated multimodal unit)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int) -> None:
        super().__init__(dims, dim)
        self.parts = pooled(dims)
        self.maps = nn.ModuleList(nn.Linear(d, dim) for d in dims.values())
        self.gate = nn.Linear(sum(dims.values()) + len(dims), len(dims) * dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        vectors = each(self.parts, xs)
        z_bmd = self.gate(join(vectors, xs)).sigmoid().unflatten(1, (len(xs), self.dim))
        h_bmd = torch.stack([to(x) for to, x in zip(self.maps, vectors, strict=True)], dim=1).tanh()
        h_bmd = torch.where(presence(xs)[..., None], h_bmd, h_bmd.new_zeros(()))
        return one_token((z_bmd * h_bmd).sum(1), xs)
