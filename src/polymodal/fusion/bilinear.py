"""Bilinear fusion: every pair of modalities multiplies.

b batch, m and n modality, d rank, o output.
"""

from collections.abc import Mapping

import torch
from torch import nn

from polymodal.batch import Masked
from polymodal.fusion.base import Fusion, one_token
from polymodal.fusion.pooled import each, pooled
from polymodal.ops import pairwise


class Bilinear(Fusion):
    """y = b + sum_m U_m u_m + sum over pairs m < n of u_m^T W_mn u_n, with u_m = P_m x_m in R^rank and W_mn a
    full (rank, rank, dim) form.

    u_m is zero where m is absent, so what comes out is exactly the fusion of the others.
    """

    paper = "Tenenbaum & Freeman 2000; Jayakumar et al. 2020 (multiplicative interactions)"

    def __init__(self, dims: dict[str, int], dim: int, *, rank: int = 32) -> None:
        super().__init__(dims, dim)
        self.rank = rank
        self.parts = pooled(dims, rank)
        self.linear = nn.Linear(len(dims) * rank, dim)
        others = range(len(dims) - 1, 0, -1)
        self.weights = nn.ParameterList(torch.randn(rank, n, rank, dim) / (rank * n**0.5) for n in others)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        u_bmd = torch.stack(each(self.parts, xs), dim=1)
        y_bo = self.linear(u_bmd.flatten(1))
        return one_token(y_bo + pairwise(u_bmd, list(self.weights)) if len(xs) > 1 else y_bo, xs)
