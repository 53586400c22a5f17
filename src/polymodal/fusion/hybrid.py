"""Fusions of decisions whose heads also learn to answer on their own: stacking, and joint with unimodal heads.

b batch, m modality, c logit. l_m is the logits of modality m, f the task's link (softmax, sigmoid or identity).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.fusion.base import Fusion, Late, one_token, presence
from polymodal.fusion.late import open_where_empty
from polymodal.fusion.pooled import each, pooled
from polymodal.nn import Named
from polymodal.ops import masked_mean, masked_softmax, mixture, zeroed


class Stacking(Late):
    """y = b + sum over the modalities that are present of (A_m g(l_m) + c_m): a linear model of all their answers.

    g is the logarithm of the link: log softmax, log sigmoid, or identity. Each l_m is also trained to answer on its
    own, so that what is stacked is answers. c_m is the weight of the presence bit; an absent modality has no part.
    All are trained together, where Wolpert trains the linear model on answers to rows that were held out.
    """

    paper = "Wolpert 1992 (stacked generalization)"

    def __init__(self, dims: dict[str, int], dim: int, *, link: str = "softmax") -> None:
        super().__init__(dims, dim, link=link)
        self.heads = pooled(dims, dim)
        self.maps = Named({m: nn.Linear(dim, dim) for m in dims})
        self.bias = nn.Parameter(torch.zeros(dim))
        for linear in self.maps.children():  # begins as the mean of log answers
            linear.load_state_dict({"weight": torch.eye(dim) / len(dims), "bias": torch.zeros(dim)})

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim) logits."""
        return self.opinions(inputs)[0]

    def opinions(self, inputs: Mapping[str, Masked]) -> list[Masked]:
        """The stacked answer, then each modality's own, real where it is present."""
        xs = self.ordered(inputs)
        logits = each(self.heads, xs)
        terms = [of(self._log_answer(x)) for of, x in zip(self.maps.children(), logits, strict=True)]
        y_bc = self.bias + zeroed(Masked(torch.stack(terms, dim=1), presence(xs))).sum(1)
        return [one_token(y_bc, xs), *alone(logits, xs)]

    def _log_answer(self, logit_bc: Tensor) -> Tensor:
        if self.link == "identity":
            return logit_bc
        return logit_bc.log_softmax(-1) if self.link == "softmax" else logsigmoid(logit_bc)


class Hybrid(Late):
    """f(y) = w_0 f(l_0) + sum_m w_m f(l_m): a head on the `joint` fusion of all, and a head on each modality.

    w is the softmax of a learned score over the joint head and the modalities that are present. The mixture, l_0 and
    each l_m are all trained to answer, so that no modality is left undertrained behind a louder one. joint: an early or
    sequence fusion of the same modalities, of any width; l_0 is a linear map of the mean of its tokens.
    """

    paper = "Wu, Cai & Meng 2006; Baltrusaitis, Ahuja & Morency 2019, sec. 5.1"
    family = "hybrid"

    def __init__(self, dims: dict[str, int], dim: int, *, joint: Fusion, link: str = "softmax") -> None:
        super().__init__(dims, dim, link=link)
        if dict(joint.dims) != dict(dims) or isinstance(joint, Late):
            raise InputError(
                f"Hybrid was given {type(joint).__name__} over {dict(joint.dims)} as its joint fusion; expected an "
                f"early or sequence fusion over {dict(dims)}, such as Gated(dims, 64)"
            )
        self.joint = joint
        self.joint_head = nn.Linear(joint.dim, dim)
        self.heads = pooled(dims, dim)
        self.score_m = nn.Parameter(torch.zeros(1 + len(dims)))  # the joint head's first; begins as the mean

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim) logits."""
        return self.opinions(inputs)[0]

    def opinions(self, inputs: Mapping[str, Masked]) -> list[Masked]:
        """The mixture, the joint head's answer, then each modality's own, real where it is present."""
        xs = self.ordered(inputs)
        joint_bc = self.joint_head(masked_mean(self.joint(inputs)))
        logits = each(self.heads, xs)
        here_bm = presence(xs)
        voters_bm = open_where_empty(torch.cat([here_bm.any(1, keepdim=True), here_bm], dim=1))
        w_bm = masked_softmax(self.score_m.expand_as(voters_bm), voters_bm, dim=1)
        y_bc = mixture(torch.stack([joint_bc, *logits], dim=1), w_bm, self.link)
        return [one_token(y_bc, xs), one_token(joint_bc, xs), *alone(logits, xs)]

    def penalty(self, inputs: Mapping[str, Masked]) -> Tensor:
        """That of the joint fusion."""
        return self.joint.penalty(inputs)


def alone(logits: list[Tensor], inputs: list[Masked]) -> list[Masked]:
    """Each modality's (B, C) logits as (B, 1, C), real where the modality is present."""
    return [Masked(logit[:, None], x.present()[:, None]) for logit, x in zip(logits, inputs, strict=True)]
