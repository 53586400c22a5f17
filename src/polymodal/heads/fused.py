"""One target from the fusion of all modalities."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from polymodal.batch import Losses, Masked
from polymodal.errors import InputError
from polymodal.fusion.base import Fusion
from polymodal.fusion.fill import Filler
from polymodal.heads.base import Head, Shared, Tokens, encoder_list
from polymodal.ops import masked_mean, widen
from polymodal.output import Scores
from polymodal.tasks.base import Task


class Fused(Head):
    """A fusion, and a linear map to the task's outputs.

    tokens --filler--> tokens --fusion--> tokens --masked mean--> (B, dim) --dropout, linear--> (B, outputs)

    After a late fusion, whose tokens are logits already, nothing is added.

    fusion: built for the encoders' names and widths. filler: what stands in for an absent modality; by default nothing
    does, and the fusion knows of absence. Raises InputError where they do not fit together.
    """

    embeds: ClassVar[bool] = True

    def __init__(self, fusion: Fusion, task: Task, *, dropout: float = 0.1, filler: Filler | None = None) -> None:
        super().__init__()
        if fusion.is_late and fusion.dim != task.outputs:
            raise InputError(
                f"{type(fusion).__name__} is a late fusion, so its dim must be the task's number of outputs, "
                f"{task.outputs}, but it is {fusion.dim}"
            )
        if fusion.is_late and filler is not None:
            raise InputError(
                f"{type(fusion).__name__} is a late fusion, which leaves out what is absent, so nothing can stand in "
                "for it; take an early or sequence fusion, such as gated, or no filler"
            )
        self.fusion, self.task, self.dropout, self.filler = fusion, task, dropout, filler
        self.out = nn.Sequential()
        if not fusion.is_late:
            self.out.extend([nn.Dropout(dropout), nn.Linear(fusion.dim, task.outputs)])

    def check(self, dims: Mapping[str, int]) -> None:
        """The fusion's own names and widths."""
        if dict(dims) != dict(self.fusion.dims):
            raise InputError(
                f"the encoders give {dict(dims)} but {type(self.fusion).__name__} was built for "
                f"{dict(self.fusion.dims)}; build it with dims={{name: encoder.dim}}"
            )

    def infer(self, tokens: Tokens) -> Scores:
        """`task.decode` turns logits into words."""
        return Scores(self._logits(tokens))

    def loss(self, tokens: Tokens, targets: Mapping[str, Masked]) -> Losses:
        """The task's loss over the rows that have a label, and what fusion and filler ask of their weights.

        Where a late fusion has heads that learn to answer on their own, it is the mean of the losses of all its
        answers, each over the rows in which what it reads is present.
        """
        (target,) = targets.values()
        if self.fusion.is_late:
            answers = self.fusion.opinions(tokens)
            losses = [self.task.loss(masked_mean(x), for_rows(target, x.present())) for x in answers]
            loss = torch.stack(losses).mean()
        else:
            loss = self.task.loss(self._logits(tokens), target)
        penalty = self.fusion.penalty(tokens)
        if self.filler is not None:
            penalty = penalty + self.filler.penalty(tokens)
        return Losses(loss + penalty, {"loss": loss, "penalty": penalty})

    def joint(self, tokens: Tokens) -> Masked:
        """What the fusion makes of them."""
        joint: Masked = self.fusion(self.filled(tokens))
        return joint

    def fused_by(self) -> Fusion:
        """The fusion."""
        return self.fusion

    def filled(self, tokens: Tokens) -> Tokens:
        """With what stands in for the absent."""
        return tokens if self.filler is None else self.filler(tokens)

    def shared(self, modalities: Sequence[str]) -> dict[str, Shared]:
        """Fusion and filler; but a late fusion's weights are answers to the target, no knowledge of modalities."""
        if self.fusion.is_late:
            return {}
        key = list(self.fusion.dims.items())
        out = {"the fusion": Shared(self.fusion, key)}
        return out if self.filler is None else {**out, "what stands in": Shared(self.filler, key)}

    def describe(self, encoders: Mapping[str, str]) -> list[str]:
        """Fusion and filler."""
        absent = "" if self.filler is None else f"; in place of the absent: {type(self.filler).__name__}"
        return [f"{encoder_list(encoders)}; fusion: {type(self.fusion).__name__}{absent}"]

    def _logits(self, tokens: Tokens) -> Tensor:
        logits: Tensor = self.out(masked_mean(self.joint(tokens)))
        return logits


def for_rows(target: Masked, rows: Tensor) -> Masked:
    """The target, missing in all other rows."""
    return target.under(target.mask & widen(rows, target.mask.ndim))
