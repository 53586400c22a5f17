"""Tensor fusion: a weight for every product of one feature (or none) of each modality. In full, and in low
rank.

b batch, m modality, d width, r rank, o output. z_m = (1, x_m); an absent modality is (1, 0 ... 0), so that
what comes out is exactly the fusion of the others.
"""

from collections.abc import Mapping

import torch
from torch import nn

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.fusion.base import Fusion, one_token
from polymodal.fusion.pooled import each, pooled
from polymodal.ops import low_rank, tensor_linear

LARGEST = 2**25  # weights of a tensor fusion: 128 MiB in float32


class Tensor(Fusion):
    """y_o = sum over i, j, k ... of W_ijk...o (z_1)_i (z_2)_j (z_3)_k ..., with z_m = (1, P_m x_m) in R^(1 +
    rank).

    P_m maps a modality's pooled vector to `rank` features, since W has (1 + rank)^M dim entries. Raises
    InputError where they are more than 2^25.
    """

    paper = "Zadeh et al. 2017 (tensor fusion network)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int, *, rank: int = 16) -> None:
        super().__init__(dims, dim)
        if (count := weights(len(dims), rank, dim)) > LARGEST:
            raise InputError(
                f"Tensor over {len(dims)} modalities with rank={rank} and dim={dim} needs {count:,} weights, "
                f"and at most {LARGEST:,} are allowed; give a smaller rank, or use low-rank (LowRank), whose "
                "weights grow with the number of modalities and not exponentially"
            )
        self.rank = rank
        self.parts = pooled(dims, rank)
        shape = [1 + rank] * len(dims) + [dim]
        # each subset of modalities begins with the same share of the output's variance, whatever the size of
        # its block
        scale = torch.tensor([1.0] + [rank**-0.5] * rank)
        weight = torch.randn(shape) * 2 ** (-len(dims) / 2)
        for m in range(len(dims)):
            weight *= scale.reshape([-1 if i == m else 1 for i in range(len(shape))])
        self.weight = nn.Parameter(weight)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        return one_token(tensor_linear(each(self.parts, xs), self.weight), xs)


class LowRank(Fusion):
    """y = b + sum_r v_r * prod_m (F_m,r z_m), with z_m = (1, x_m) and F_m,r in R^(dim x (1 + d_m)).

    It is tensor fusion whose weight has rank `rank` at most; cost and weights are linear in the number of
    modalities.
    """

    paper = "Liu et al. 2018 (low-rank multimodal fusion)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int, *, rank: int = 16) -> None:
        super().__init__(dims, dim)
        self.rank = rank
        self.parts = pooled(dims)
        # factors begin around 1, so that a product of many neither vanishes nor hides a single modality
        self.factors = nn.ParameterList(torch.randn(rank, dim, d) * d**-0.5 for d in dims.values())
        self.constants = nn.ParameterList(torch.ones(rank, dim) for _ in dims)
        self.mix = nn.Parameter(torch.randn(rank) * (rank * 2 ** len(dims)) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        y_bro = low_rank(each(self.parts, xs), list(self.factors), list(self.constants))
        return one_token(self.bias + (self.mix[:, None] * y_bro).sum(1), xs)


def weights(modalities: int, rank: int, dim: int) -> int:
    """How many weights tensor fusion has: (1 + rank)^modalities * dim."""
    return int((1 + rank) ** modalities * dim)
