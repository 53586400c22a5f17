"""Bilinear fusion: every pair of modalities multiplies, feature by feature.

b batch, m and n modality, d width, o output.
"""

from collections.abc import Mapping

import torch
from torch import nn

from polymodal.batch import Masked
from polymodal.fusion.base import Fusion, one_token
from polymodal.fusion.pooled import each, pooled
from polymodal.ops import pairwise


class Bilinear(Fusion):
    """y = b + sum_m U_m x_m + sum over pairs m < n of x_m^T W_mn x_n, with W_mn a full (d_m, d_n, dim) form.

    x_m is the pooled vector of modality m, zero where m is absent, so what comes out is exactly the fusion of the
    others. rank: first map every x_m linearly to so many features; None takes them whole.
    """

    paper = "Tenenbaum & Freeman 2000; Jayakumar et al. 2020 (multiplicative interactions)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int, *, rank: int | None = None) -> None:
        super().__init__(dims, dim)
        self.rank = rank
        self.parts = pooled(dims, rank)
        widths = list(dims.values()) if rank is None else [rank] * len(dims)
        self.linear = nn.Linear(sum(widths), dim)
        # an output of variance around 1 from each modality with all its partners
        shapes = [(d, sum(widths[m + 1 :]), dim) for m, d in enumerate(widths[:-1])]
        self.weights = nn.ParameterList(torch.randn(shape) * (shape[0] * shape[1]) ** -0.5 for shape in shapes)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        vectors = each(self.parts, xs)
        y_bo = self.linear(torch.cat(vectors, dim=1))
        return one_token(y_bo + pairwise(vectors, list(self.weights)) if len(xs) > 1 else y_bo, xs)


def pair_weights(widths: list[int], dim: int) -> int:
    """How many weights the forms of all pairs have."""
    return sum(a * b for m, a in enumerate(widths) for b in widths[m + 1 :]) * dim
