"""What stands in for a modality that a row lacks, before the fusion sees it.

b batch, t token, d width, m modality.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.fusion.base import presence
from polymodal.fusion.pooled import each, pooled
from polymodal.nn import MLP, Named
from polymodal.ops import masked_mean


class Filler(nn.Module, ABC):
    """Tokens of all modalities -> the same, with something in place of what is absent.

    dims: width of each modality's tokens, by its name. A row in which every modality is absent stays so. What is
    present is passed on as it is.
    """

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__()
        self.dims = dims

    @abstractmethod
    def forward(self, tokens: Mapping[str, Masked]) -> dict[str, Masked]:
        """(B, T_m, dims[m]) by modality -> the same names and widths."""

    @abstractmethod
    def penalty(self, tokens: Mapping[str, Masked]) -> Tensor:
        """Scalar that a learner adds to its loss; 0 where it asks nothing."""


class AbsentTokens(Filler):
    """One learned vector a modality, which is its only token in a row that lacks it.

    The same vector stands there in training and in prediction, so a fusion learns what "no photo" means, and a
    modality that is hidden is a modality that was never there. A learned prompt for each missing modality, as in Lee
    et al. 2023 (multimodal prompting with missing modalities).
    """

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__(dims)
        self.tokens = nn.ParameterList([torch.randn(d) * 0.02 for d in dims.values()])

    def forward(self, tokens: Mapping[str, Masked]) -> dict[str, Masked]:
        """(B, T_m, dims[m]) by modality -> the same, with a learned first token where a modality is absent."""
        here_bm = presence([tokens[m] for m in self.dims])
        away_bm = here_bm.any(1, keepdim=True) & ~here_bm
        return {
            m: stood_in(tokens[m], token, away_bm[:, i])
            for i, (m, token) in enumerate(zip(self.dims, self.tokens, strict=True))
        }

    def penalty(self, tokens: Mapping[str, Masked]) -> Tensor:
        """0."""
        return torch.zeros((), device=tokens[next(iter(self.dims))].mask.device)


class Imputed(Filler):
    """The mean token of an absent modality, as a small network guesses it from the modalities that are there.

    guess_m = MLP_m([mean of P_k x_k over the k != m that are present, their presence bits]), where P_k x_k is the
    pooled and normalised x_k, mapped to `dim`. It is the only token of m in a row that lacks m.

    The network learns from rows that have m and others, by `penalty`, and from the task wherever it fills. To
    reconstruct what is missing from what is there is the idea of Ma et al. 2021 (SMIL) and of Zhao, Li & Jin 2021
    (missing modality imagination); here without their priors and cycles.

    dim: width of what the others say together. weight: of the penalty beside the task's loss.
    """

    def __init__(self, dims: dict[str, int], dim: int = 64, *, dropout: float = 0.1, weight: float = 0.1) -> None:
        super().__init__(dims)
        self.dim, self.dropout, self.weight = dim, dropout, weight
        self.parts = pooled(dims, dim)
        self.guess = Named({m: MLP([dim + len(dims), 2 * dim, d], dropout) for m, d in dims.items()})

    def forward(self, tokens: Mapping[str, Masked]) -> dict[str, Masked]:
        """(B, T_m, dims[m]) by modality -> the same, with a guessed first token where a modality is absent."""
        here_bm = presence([tokens[m] for m in self.dims])
        away_bm = here_bm.any(1, keepdim=True) & ~here_bm
        guesses = self.guesses(tokens)
        return {m: stood_in(tokens[m], guesses[m], away_bm[:, i]) for i, m in enumerate(self.dims)}

    def guesses(self, tokens: Mapping[str, Masked]) -> dict[str, Tensor]:
        """(B, dims[m]) by modality m: its mean token, guessed from the others alone, whether it is there or not."""
        xs = [tokens[m] for m in self.dims]
        here_bm = presence(xs)
        said_bmd = torch.stack(each(self.parts, xs), dim=1)
        out = {}
        for i, (m, guess) in enumerate(self.guess.items()):
            others_bm = here_bm & (torch.arange(len(xs), device=here_bm.device) != i)
            context_bd = masked_mean(Masked(said_bmd, others_bm))
            out[m] = guess(torch.cat([context_bd, others_bm.to(context_bd.dtype)], dim=1))
        return out

    def penalty(self, tokens: Mapping[str, Masked]) -> Tensor:
        """weight times the mean over m of sum_b |guess_m - y_m|^2 / (sum_b |y_m - mean y_m|^2 + 0.01 sum_b |y_m|^2).

        y_m is the mean token of m, through which no gradient flows; b runs over the rows that have m and another
        modality. To guess the mean of the batch, whatever the others are, costs about 1; a modality without such a
        row costs nothing.
        """
        here_bm = presence([tokens[m] for m in self.dims])
        guesses, errors = self.guesses(tokens), []
        for i, m in enumerate(self.dims):
            rows_b = here_bm[:, i] & (here_bm.sum(1) > 1)
            y_bd = masked_mean(tokens[m]).detach()
            errors.append(_relative(guesses[m], y_bd, rows_b))
        return self.weight * torch.stack(errors).mean()


def stood_in(x: Masked, token: Tensor, rows_b: Tensor) -> Masked:
    """The first token of these rows, which have none that is real, replaced by `token`, (D,) or (B, D), and real."""
    first_t = torch.arange(x.mask.shape[1], device=x.mask.device) == 0
    place_bt = rows_b[:, None] & first_t
    token_btd = token.to(x.values.dtype).expand(len(x.mask), x.values.shape[-1])[:, None]
    return Masked(torch.where(place_bt[..., None], token_btd, x.values), x.mask | place_bt)


def _relative(guess_bd: Tensor, y_bd: Tensor, rows_b: Tensor) -> Tensor:
    """The squared error over these rows in units of the spread; the hundredth of the size is for rows that are alike.

    0, with a gradient of 0, where there is no such row.
    """
    keep = rows_b[:, None]
    count = rows_b.sum().clamp(min=1)
    y_bd = torch.where(keep, y_bd, 0)
    spread = torch.where(keep, y_bd - y_bd.sum(0) / count, 0).square().sum() + 0.01 * y_bd.square().sum()
    error = torch.where(keep, guess_bd - y_bd, 0).square().sum()
    return error / spread.clamp(min=torch.finfo(spread.dtype).tiny ** 0.5)
