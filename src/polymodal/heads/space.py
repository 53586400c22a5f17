"""One space for several modalities: what belongs together lies together.

tokens of each modality --pool, norm, linear, unit length--> a point (B, dim)

Axes: b or c row, m or n modality, d width.
"""

from collections.abc import Callable, Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from polymodal.batch import Losses, Masked
from polymodal.fusion.pooled import pooled
from polymodal.heads.base import Tokens
from polymodal.heads.pretraining import SCALE, STEEPEST

MARGIN = 0.2  # of cosines, in the ranking loss
BIAS = -10.0  # of the sigmoid loss at the start: most pairs do not belong together
LOWEST = -1e4  # of what can be no rival


class Space(nn.Module):
    """Points of unit length, one a modality and row, and the loss that draws those of a row together.

    dims: width of each modality's tokens. loss: one of `LOSSES`. scale, bias: of cosines, learned.
    """

    def __init__(self, dims: Mapping[str, int], dim: int, loss: str = "info-nce") -> None:
        super().__init__()
        self.dims, self.dim, self.loss = dict(dims), dim, loss
        self.maps = pooled(self.dims, dim)
        self.scale, self.bias = nn.Parameter(torch.tensor(SCALE)), nn.Parameter(torch.tensor(BIAS))

    def forward(self, tokens: Tokens) -> dict[str, Masked]:
        """(B, dim) points of each modality."""
        out = {}
        for m, x in tokens.items():
            here = x.present()
            z_bd = normalize(self.maps[m](x).float(), dim=1)
            out[m] = Masked(torch.where(here[:, None], z_bd, 0), here)
        return out

    def losses(self, tokens: Tokens, cells: Mapping[str, Tensor]) -> Losses:
        """The mean over pairs of modalities, each over the rows that have both.

        cells: by modality (B,) a number a row, the same for equal cells. Rows that share a cell of either modality are
        positives of each other, never negatives: five captions of one photo all belong to it.
        """
        points, of = self(tokens), LOSSES[self.loss]
        total, count = self.scale.new_zeros(()), self.scale.new_zeros(())
        for m, n in combinations(self.dims, 2):
            (x_bd, here), (y_bd, there) = points[m], points[n]
            both = here & there
            own = torch.eye(len(both), dtype=torch.bool, device=both.device)
            same = (cells[m][:, None] == cells[m]) | (cells[n][:, None] == cells[n]) | own
            open_bc = both[:, None] & both
            score = x_bd @ y_bd.T
            loss_b = (
                of(self, score, same & open_bc, ~same & open_bc) + of(self, score.T, same & open_bc, ~same & open_bc)
            ) / 2
            several = both & (both.sum() > 1)
            total = total + torch.where(several, loss_b, 0).sum()
            count = count + several.sum()
        loss = total / count.clamp(min=1)
        return Losses(loss, {"loss": loss})


def info_nce(space: Space, score: Tensor, same: Tensor, other: Tensor) -> Tensor:
    """(B,) mean over a row's positives p of -log exp(s c_p) / (exp(s c_p) + sum over its negatives of exp(s c_n)), with
    s = exp(scale), at most 100. CLIP, Radford et al. 2021; of several positives none is in another's sum.
    """
    logits = space.scale.clamp(max=STEEPEST).exp() * score
    rivals = torch.where(other, logits, LOWEST).logsumexp(1, keepdim=True)
    return _mean(softplus(rivals - logits), same)


def sigmoid(space: Space, score: Tensor, same: Tensor, other: Tensor) -> Tensor:
    """(B,) sum over all pairs of a row of the logistic loss of s c + bias. SigLIP, Zhai et al. 2023."""
    logits = space.scale.clamp(max=STEEPEST).exp() * score + space.bias
    return torch.where(same, softplus(-logits), 0).sum(1) + torch.where(other, softplus(logits), 0).sum(1)


def triplet(space: Space, score: Tensor, same: Tensor, other: Tensor) -> Tensor:
    """(B,) mean over a row's positives of max(0, MARGIN + the hardest negative's cosine - its own). VSE++, Faghri et
    al. 2018."""
    hardest = torch.where(other, score, LOWEST).amax(1, keepdim=True)
    return _mean((MARGIN + hardest - score).relu(), same)


def _mean(x: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, x, 0).sum(1) / where.sum(1).clamp(min=1)


LOSSES: dict[str, Callable[[Space, Tensor, Tensor, Tensor], Tensor]] = {
    "info-nce": info_nce, "sigmoid": sigmoid, "triplet": triplet
}  # fmt: skip
