"""What pretraining asks of rows without labels: modalities of one row teach each other's encoders.

contrastive   which of the batch's photos belongs to this note?              (encoders)
matching      are these a row, or is one of them another row's?              (encoders and fusion)
masked        one modality is hidden: which of the batch's is it?            (encoders and fusion)

`colearn.pretrain.Pretraining` makes a learner of encoders and one of these.

Axes: b batch, m modality, d width.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from polymodal.batch import Losses
from polymodal.fusion.base import Fusion
from polymodal.heads.base import Shared, Tokens
from polymodal.nn import Named
from polymodal.ops import masked_mean

SCALE = math.log(1 / 0.07)  # of cosines, at the start (Radford et al. 2021)
STEEPEST = math.log(100.0)


class PretrainingLoss(NamedTuple):
    """What a row was asked, and how it did: each (B,). asked: whether it was asked at all."""

    loss: Tensor
    right: Tensor
    asked: Tensor


class Questions(nn.Module, ABC):
    """What is asked about rows without a label.

    dims: width of each modality's tokens. fusion: None where the encoders alone are asked. scale: of cosines, learned.
    """

    dims: dict[str, int]
    fusion: Fusion | None
    scale: nn.Parameter | None

    @abstractmethod
    def questions(self, tokens: Tokens) -> list[PretrainingLoss]:
        """What is asked of these rows; the same questions each time where nothing is learned."""

    def loss(self, tokens: Tokens) -> Losses:
        """The mean over rows of the mean over the questions that each was asked."""
        loss, right, asked = self.judged(tokens)
        count = asked.sum().clamp(min=1)
        objective = torch.where(asked, loss, 0).sum() / count
        penalty = objective.new_zeros(()) if self.fusion is None else self.fusion.penalty(tokens)
        share = torch.where(asked, right, 0).sum() / count
        parts = {"objective": objective, "penalty": penalty, "right": share, "asked": asked.sum()}
        return Losses(objective + penalty, parts)

    def shared(self) -> dict[str, Shared]:
        """The fusion, where there is one."""
        return {} if self.fusion is None else {"the fusion": Shared(self.fusion, list(self.fusion.dims.items()))}

    def judged(self, tokens: Tokens) -> PretrainingLoss:
        """Means over the questions that a row was asked; 0 where it was asked none."""
        asked = self.questions(tokens)
        here = torch.stack([q.asked for q in asked])
        count = here.sum(0).clamp(min=1)
        loss, right = (
            torch.where(here, torch.stack([x.float() for x in xs]), 0).sum(0) / count
            for xs in ([q.loss for q in asked], [q.right for q in asked])
        )
        return PretrainingLoss(loss, right, here.any(0))


class Contrastive(Questions):
    """For each pair of modalities, InfoNCE between the means of their tokens, over the rows that have both.

    mean of a modality's tokens --linear, unit length--> (B, dim)
    CLIP, Radford et al. 2021, for each pair of modalities.
    """

    def __init__(self, dims: Mapping[str, int], dim: int) -> None:
        super().__init__()
        self.dims, self.dim, self.fusion = dict(dims), dim, None
        self.maps = Named({m: nn.Linear(d, dim, bias=False) for m, d in dims.items()})
        self.scale: nn.Parameter = nn.Parameter(torch.tensor(SCALE))

    def questions(self, tokens: Tokens) -> list[PretrainingLoss]:
        """A question a pair."""
        x = {m: self.maps[m](masked_mean(t)) for m, t in tokens.items()}
        here = {m: t.present() for m, t in tokens.items()}
        pairs = combinations(self.dims, 2)
        return [info_nce(x[m], x[n], here[m] & here[n], self.scale) for m, n in pairs]


class Masking(Questions):
    """Each modality in turn is hidden, and has to be found among the batch's by what the fusion makes of the others.

    fused others --linear--> (B, dim) <- InfoNCE -> (B, dim) <--linear-- mean of the hidden modality's tokens
    The masked modelling with noise-contrastive estimation of HERO (Li et al. 2020), of whole modalities; the loss is
    that of van den Oord, Li & Vinyals 2018.
    """

    def __init__(self, fusion: Fusion, dim: int) -> None:
        super().__init__()
        self.dims, self.fusion, self.dim = fusion.dims, fusion, dim
        self.maps = Named({m: nn.Linear(d, dim, bias=False) for m, d in fusion.dims.items()})
        self.guesses = Named({m: nn.Linear(fusion.dim, dim) for m in fusion.dims})
        self.scale: nn.Parameter = nn.Parameter(torch.tensor(SCALE))

    def questions(self, tokens: Tokens) -> list[PretrainingLoss]:
        """A question a modality, of rows that have it and another."""
        assert self.fusion is not None
        out = []
        for m, x in tokens.items():
            others = {**tokens, m: x.hidden()}
            some = torch.stack([t.present() for t in others.values()]).any(0)
            guess = self.guesses[m](masked_mean(self.fusion(others)))
            out.append(info_nce(guess, self.maps[m](masked_mean(x)), x.present() & some, self.scale))
        return out


class Matching(Questions):
    """Do the modalities belong to one row? Each row as it is, and with each of its modalities, in turn, another row's.

    fused tokens --linear--> (B,) logit, binary cross-entropy; rows as they are weigh as much as all that are not.
    The alignment task of ViLBERT (Lu et al. 2019), of any number of modalities.
    """

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.dims, self.fusion, self.scale = fusion.dims, fusion, None
        self.out = nn.Linear(fusion.dim, 1)

    def questions(self, tokens: Tokens) -> list[PretrainingLoss]:
        """A question for each modality: the row as it is, and with another row's."""
        here = {m: t.present() for m, t in tokens.items()}
        several = torch.stack([*here.values()]).sum(0) > 1
        true_b = self._logit(tokens)
        out = []
        for m, x in tokens.items():
            index, is_other = swap(here[m] & several, self.training)
            false_b = self._logit({**tokens, m: x.take(index)})
            loss = (softplus(-true_b) + softplus(false_b)) / 2  # binary cross-entropy, of 1 and of 0
            right = ((true_b > 0).float() + (false_b <= 0).float()) / 2
            out.append(PretrainingLoss(loss, right, is_other))
        return out

    def _logit(self, tokens: Tokens) -> Tensor:
        assert self.fusion is not None
        logit: Tensor = self.out(masked_mean(self.fusion(tokens)))[:, 0].float()
        return logit


def info_nce(x_bd: Tensor, y_bd: Tensor, here_b: Tensor, scale: Tensor) -> PretrainingLoss:
    """How well x finds its own y, and y its own x, by the cosine among the rows that have both.

    loss[b] = -(log softmax over k of s cos(x_b, y_k) at k = b + the same with x and y exchanged) / 2, k over rows with
    here, s = exp(scale), at most 100. A row that is alone is asked nothing. right: share of the two that is found.
    """
    x_bd = normalize(torch.where(here_b[:, None], x_bd, 0).float(), dim=1)
    y_bd = normalize(torch.where(here_b[:, None], y_bd, 0).float(), dim=1)
    score = scale.clamp(max=STEEPEST).exp() * x_bd @ y_bd.T
    # closed to all but itself: a row that is left out has a finite loss, and is no rival to any other
    own = torch.eye(len(score), dtype=torch.bool, device=score.device)
    score = torch.where((here_b[:, None] & here_b) | own, score, torch.finfo(score.dtype).min)
    loss = -(score.log_softmax(1).diagonal() + score.log_softmax(0).diagonal()) / 2
    at = torch.arange(len(score), device=score.device)
    right = ((score.argmax(1) == at).float() + (score.argmax(0) == at).float()) / 2
    return PretrainingLoss(loss, right, here_b & (here_b.sum() > 1))


def swap(here_b: Tensor, shuffle: bool) -> tuple[Tensor, Tensor]:
    """(B,) whose modality each row gets, another's among the rows where `here_b`; and (B,) whether it got another's.

    The rows stand in a ring, and each takes that of the row a number of places on: one, or, with chance, any.
    """
    index = torch.arange(len(here_b), device=here_b.device)
    ring = here_b.nonzero()[:, 0]
    if len(ring) < 2:
        return index, torch.zeros_like(here_b)
    index[ring] = ring.roll(int(torch.randint(1, len(ring), ())) if shuffle else 1)
    return index, here_b


KINDS = ("masked", "matching", "contrastive")


def questions(kind: str, fusion: Fusion, dim: int) -> Questions:
    """Fresh ones of `KINDS`; fusion: of the encoders' tokens, and not a late one."""
    if kind == "contrastive":
        return Contrastive(fusion.dims, dim)
    return Matching(fusion) if kind == "matching" else Masking(fusion, dim)
