"""Fusions of decisions: each modality gives logits of its own, and the answers are combined.

b batch, m modality, c logit. l_m is the logits of modality m, f the task's link (softmax, sigmoid or
identity). Weights are renormalised over the modalities that are present in the row.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from polymodal.batch import Masked
from polymodal.fusion.base import Late, one_token, presence
from polymodal.fusion.pooled import each, pooled
from polymodal.ops import agreement, masked_median, masked_softmax, mixture, surest


class LateMean(Late):
    """f(y) = mean of f(l_m) over the modalities that are present: the average of their answers, not of their
    logits.
    """

    paper = "Kittler et al. 1998 (sum rule)"

    def __init__(self, dims: dict[str, int], dim: int, *, link: str = "softmax") -> None:
        super().__init__(dims, dim, link=link)
        self.heads = pooled(dims, dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim) logits."""
        xs = self.ordered(inputs)
        voters = open_where_empty(presence(xs)).to(xs[0].values.dtype)
        logit_bmc = torch.stack(each(self.heads, xs), dim=1)
        return one_token(mixture(logit_bmc, voters / voters.sum(1, keepdim=True), self.link), xs)


class LateWeighted(Late):
    """f(y) = sum_m w_m f(l_m), with w = softmax of a learned score over the modalities that are present."""

    paper = "Kittler et al. 1998 (sum rule); weights learned with the rest"

    def __init__(self, dims: dict[str, int], dim: int, *, link: str = "softmax") -> None:
        super().__init__(dims, dim, link=link)
        self.heads = pooled(dims, dim)
        self.score_m = nn.Parameter(torch.zeros(len(dims)))  # begins as the mean

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim) logits."""
        xs = self.ordered(inputs)
        voters_bm = open_where_empty(presence(xs))
        w_bm = masked_softmax(self.score_m.expand_as(voters_bm), voters_bm, dim=1)
        return one_token(mixture(torch.stack(each(self.heads, xs), dim=1), w_bm, self.link), xs)


class Vote(Late):
    """The majority of the modalities that are present, a tie going to the greater average probability.

    softmax: f(y)_c = (n_c + s_c) / (n + 1), where n_c of n modalities have c as their greatest logit, and
    s = mean of f(l_m). sigmoid: the same for each logit on its own, where n_c modalities have l_m > 0.
    identity: y = median of l_m. A vote has no gradient, so in training mode f(y) = mean of f(l_m): each voter
    learns as in `LateMean`.
    """

    paper = "Lam & Suen 1997"

    def __init__(self, dims: dict[str, int], dim: int, *, link: str = "softmax") -> None:
        super().__init__(dims, dim, link=link)
        self.heads = pooled(dims, dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim) logits."""
        xs = self.ordered(inputs)
        voters_bm = open_where_empty(presence(xs))
        logit_bmc = torch.stack(each(self.heads, xs), dim=1)
        w_bm = voters_bm.to(logit_bmc.dtype)
        soft_bc = mixture(logit_bmc, w_bm / w_bm.sum(1, keepdim=True), self.link)
        return one_token(soft_bc if self.training else majority(logit_bmc, voters_bm, soft_bc, self.link), xs)


class LateProduct(Late):
    """f(y) in proportion to the product of f(l_m) over the modalities that are present: each may veto.

    identity: the mean of the product of normal densities, sum_m w_m l_m, with a learned precision of each modality
    and output, and w the precisions that are present over their sum.
    """

    paper = "Hinton 2002 (products of experts)"

    def __init__(self, dims: dict[str, int], dim: int, *, link: str = "softmax") -> None:
        super().__init__(dims, dim, link=link)
        self.heads = pooled(dims, dim)
        # of the logarithm of the precision; a probability's sureness is in its logits already
        self.score_mc = nn.Parameter(torch.zeros(len(dims), dim)) if link == "identity" else None

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim) logits."""
        xs = self.ordered(inputs)
        voters_bm1 = open_where_empty(presence(xs))[..., None]
        logit_bmc = torch.stack(each(self.heads, xs), dim=1)
        if self.score_mc is None:
            weight_bmc = voters_bm1.to(logit_bmc.dtype).expand_as(logit_bmc)
        else:
            weight_bmc = masked_softmax(self.score_mc.expand_as(logit_bmc), voters_bm1, dim=1)
        return one_token(agreement(logit_bmc, weight_bmc, self.link), xs)


class LateMax(Late):
    """f(y)_c in proportion to the greatest f(l_m)_c over the modalities that are present: the surest one speaks.

    identity: y = the greatest l_m.
    """

    paper = "Kittler et al. 1998 (max rule)"

    def __init__(self, dims: dict[str, int], dim: int, *, link: str = "softmax") -> None:
        super().__init__(dims, dim, link=link)
        self.heads = pooled(dims, dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim) logits."""
        xs = self.ordered(inputs)
        logit_bmc = torch.stack(each(self.heads, xs), dim=1)
        return one_token(surest(logit_bmc, open_where_empty(presence(xs)), self.link), xs)


def majority(logit_bmc: Tensor, voters_bm: Tensor, soft_bc: Tensor, link: str) -> Tensor:
    """(B, M, C) logits of the voters and the (B, C) logits of their average -> (B, C) logits; see `Vote`."""
    if link == "identity":
        return masked_median(logit_bmc, voters_bm)
    if link == "softmax":
        vote_bmc = one_hot(logit_bmc.argmax(-1), logit_bmc.shape[-1])
        soft_bc = soft_bc.softmax(-1)
    else:
        vote_bmc, soft_bc = (logit_bmc > 0).long(), soft_bc.sigmoid()
    n_b1 = voters_bm.sum(1, keepdim=True)
    share_bc = ((vote_bmc * voters_bm[..., None]).sum(1) + soft_bc) / (n_b1 + 1)
    # the margin keeps a unanimous vote of certain voters finite
    share_bc = share_bc.clamp(1e-6, 1 - 1e-6)
    return share_bc.log() if link == "softmax" else share_bc.logit()


def open_where_empty(present_bm: Tensor) -> Tensor:
    """(B, M) the same, but all True in a row that has none, so that an average over it is finite."""
    return present_bm | ~present_bm.any(1, keepdim=True)
