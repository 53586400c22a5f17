"""A product of experts: each modality says where it thinks the truth lies, and how sure it is of it.

b batch, m modality, d width. P_m x_m is modality m's pooled tokens, normalised and mapped linearly to twice `dim`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.fusion.base import Fusion, one_token, presence
from polymodal.fusion.pooled import each, pooled


class MVAE(Fusion):
    """y ~ N(mean, variance), the product of the normal densities of the modalities present and of the prior N(0, I).

    (mu_m, log s_m) = P_m x_m;  1 / variance = 1 + sum_m 1 / s_m;  mean = variance * sum_m mu_m / s_m

    What is absent is no factor of the product, so that absence needs no learning: of nothing the prior comes out. In
    training y is a sample (reparameterised), in evaluation the mean.

    The paper's variational autoencoder reconstructs each modality from y. Here the loss of the task stands in the
    place of the reconstructions, which makes it a variational information bottleneck (Alemi et al. 2017): the
    penalty, beta times KL(N(mean, variance) || N(0, I)) in nats, prices what y tells of its inputs.
    """

    paper = "Wu & Goodman 2018 (MVAE); Alemi et al. 2017"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int, *, beta: float = 1e-3) -> None:
        super().__init__(dims, dim)
        self.beta = beta
        self.parts = pooled(dims, 2 * dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        mean_bd, variance_bd = self.joint(inputs)
        y_bd = mean_bd
        if self.training:
            y_bd = mean_bd + variance_bd.sqrt() * torch.randn_like(mean_bd)
        return one_token(y_bd, self.ordered(inputs))

    def joint(self, inputs: Mapping[str, Masked]) -> tuple[Tensor, Tensor]:
        """(B, dim) mean and variance of the product."""
        xs = self.ordered(inputs)
        mean_bmd, log_bmd = torch.stack(each(self.parts, xs), dim=1).chunk(2, dim=-1)
        return product_of_normals(mean_bmd, log_bmd, presence(xs))

    def penalty(self, inputs: Mapping[str, Masked]) -> Tensor:
        """beta times the divergence from the prior: the mean over the rows in which anything is present."""
        mean_bd, variance_bd = self.joint(inputs)
        here_b = presence(self.ordered(inputs)).any(1)
        # a row with nothing is the prior itself, and adds 0
        nats_b = 0.5 * (variance_bd + mean_bd.square() - 1 - variance_bd.log()).sum(1)
        return self.beta * nats_b.sum() / here_b.sum().clamp(min=1)


def product_of_normals(mean_bmd: Tensor, log_bmd: Tensor, present_bm: Tensor) -> tuple[Tensor, Tensor]:
    """(B, D) mean and variance of the normalised product of N(0, 1) and of N(mean, exp(log)) of what is present.

    >>> mean, log = torch.tensor([[[3.0], [9.0]]]), torch.zeros(1, 2, 1)
    >>> product_of_normals(mean, log, torch.tensor([[True, False]]))
    (tensor([[1.5000]]), tensor([[0.5000]]))
    """
    keep = present_bm[..., None]
    precision_bmd = torch.where(keep, torch.where(keep, -log_bmd, 0.0).exp(), 0.0)
    variance_bd = 1 / (1 + precision_bmd.sum(1))
    return variance_bd * (precision_bmd * torch.where(keep, mean_bmd, 0.0)).sum(1), variance_bd
