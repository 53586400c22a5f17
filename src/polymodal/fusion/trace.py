"""How much of each token is in what a fusion gives: attention rollout along the path of its layers.

    tokens --layer by layer, R = A R / 2 + R / 2--> how much of each is in the answer

The weights A are the means over heads, and half of each step is the residual connection. Abnar & Zuidema 2020, who roll
out self-attention; here the same rule follows the path of each fusion, from its first queries to its pooled tokens.

Axes: b batch, q query, k key, t token, s token of any modality, one modality after another.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.ops import masked_mean


def mix(a_bqk: Tensor, own_bqs: Tensor, context_bks: Tensor) -> Tensor:
    """One residual layer of attention: (own + A context) / 2; a query to which nothing is open stays as it is."""
    weights = a_bqk @ context_bks
    return torch.where(a_bqk.sum(-1, keepdim=True) > 0, (own_bqs + weights) / 2, own_bqs)


def identity(x: Masked) -> Tensor:
    """(B, T, T): each token is its own."""
    return torch.eye(x.mask.shape[1], device=x.mask.device).expand(len(x.mask), -1, -1)


def sources(xs: Sequence[Masked]) -> list[Tensor]:
    """For each modality (B, T_m, S): its tokens among those of all."""
    whole = torch.eye(sum(x.mask.shape[1] for x in xs), device=xs[0].mask.device)
    parts = whole.split([x.mask.shape[1] for x in xs])
    return [p.expand(len(xs[0].mask), -1, -1) for p in parts]


def own(xs: Sequence[Masked], tokens: int) -> Tensor:
    """(B, tokens, S): tokens of the fusion's own begin without anything of the modalities."""
    return torch.zeros(len(xs[0].mask), tokens, sum(x.mask.shape[1] for x in xs), device=xs[0].mask.device)


def over_present(rows: Sequence[Tensor], xs: Sequence[Masked]) -> Tensor:
    """(B, S): the mean over the modalities that are present of one row (B, S) each, as the head takes it."""
    here_bm = torch.stack([x.present() for x in xs], dim=1)
    return masked_mean(Masked(torch.stack(list(rows), dim=1), here_bm))
