"""Many modalities -> one target."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from polymodal.batch import Batch, Losses, Masked
from polymodal.errors import InputError
from polymodal.fusion.base import Fusion, Late
from polymodal.fusion.fill import Filler
from polymodal.learners.base import Trainable
from polymodal.modalities.base import Encoder
from polymodal.nn import Named
from polymodal.ops import masked_mean, widened
from polymodal.output import Scores
from polymodal.tasks.base import Task


class Predictor(Trainable):
    """Encoders, a fusion, and a linear head for the task.

    inputs --encoder of each--> tokens --filler--> tokens --fusion--> tokens --masked mean--> (B, dim)
        --dropout, linear--> (B, outputs)

    After a late fusion, whose tokens are logits already, no head is added.

    encoders: by modality name, in any order. fusion: built for the same names and the encoders' `dim`. filler: what
    stands in for an absent modality; by default nothing does, and the fusion knows of absence.
    Raises InputError where they do not fit together.
    """

    def __init__(
        self, encoders: Mapping[str, Encoder], fusion: Fusion, task: Task, *, dropout: float = 0.1,
        filler: Filler | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if {m: e.dim for m, e in encoders.items()} != dict(fusion.dims):
            raise InputError(
                f"the encoders give { {m: e.dim for m, e in encoders.items()} } but {type(fusion).__name__} was "
                f"built for {dict(fusion.dims)}; build it with dims={{name: encoder.dim}}"
            )
        if isinstance(fusion, Late) and fusion.dim != task.outputs:
            raise InputError(
                f"{type(fusion).__name__} is a late fusion, so its dim must be the task's number of outputs, "
                f"{task.outputs}, but it is {fusion.dim}"
            )
        late = isinstance(fusion, Late)
        if late and filler is not None:
            raise InputError(
                f"{type(fusion).__name__} is a late fusion, which leaves out what is absent, so nothing can stand in "
                "for it; take an early or sequence fusion, such as gated, or no filler"
            )
        self.encoders, self.fusion, self.task, self.dropout = Named(encoders), fusion, task, dropout
        self.filler = filler
        self.head = nn.Identity() if late else nn.Sequential(nn.Dropout(dropout), nn.Linear(fusion.dim, task.outputs))

    @property
    def reads(self) -> Sequence[str]:
        """The modalities that it has encoders for."""
        return self.encoders.names

    def infer(self, inputs: Mapping[str, Masked]) -> Scores:
        """`task.decode` turns logits into words. Rows with nothing present get a prior."""
        return Scores(self._fused(self._tokens(inputs)))

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Scores]:
        """The encoders look once; the fusion answers for each row that is put together."""
        tokens = self._tokens(inputs)
        return lambda at: Scores(self._fused({m: t.take(at[m].to(t.mask.device)) for m, t in tokens.items()}))

    def loss(self, batch: Batch) -> Losses:
        """The task's loss over the rows that have a label, and what the fusion asks of its weights.

        Where a late fusion has heads that learn to answer on their own, it is the mean of the losses of all its
        answers, each over the rows in which what it reads is present.
        """
        (target,) = batch.targets.values()
        return self._judged(self._tokens(batch.inputs), target)

    def _judged(self, tokens: Mapping[str, Masked], target: Masked) -> Losses:
        if isinstance(self.fusion, Late):
            answers = self.fusion.opinions(tokens)
            losses = [self.task.loss(masked_mean(x), asked(target, x.present())) for x in answers]
            loss = torch.stack(losses).mean()
        else:
            loss = self.task.loss(self._fused(tokens), target)
        penalty = self.fusion.penalty(tokens)
        if self.filler is not None:
            penalty = penalty + self.filler.penalty(tokens)
        return Losses(loss + penalty, {"loss": loss, "penalty": penalty})

    def embed(self, inputs: Mapping[str, Masked]) -> dict[str, Masked]:
        """By modality (B, dim) means of its tokens, and as "" the (B, fusion.dim) that the head reads.

        A mask (B, 1) says of each row whether there was anything; no modality is called "".
        """
        tokens = self._tokens(inputs)
        joint = self.fusion(self._filled(tokens))
        return {m: Masked(masked_mean(x), x.present()[:, None]) for m, x in {**tokens, "": joint}.items()}

    def _filled(self, tokens: Mapping[str, Masked]) -> Mapping[str, Masked]:
        return tokens if self.filler is None else self.filler(tokens)

    def _fused(self, tokens: Mapping[str, Masked]) -> Tensor:
        logits: Tensor = self.head(masked_mean(self.fusion(self._filled(tokens))))
        return logits

    def _tokens(self, inputs: Mapping[str, Masked]) -> dict[str, Masked]:
        return {m: encoder(inputs[m]) for m, encoder in self.encoders.items()}


def asked(target: Masked, rows: Tensor) -> Masked:
    """The target, missing in all other rows."""
    return Masked(target.values, target.mask & widened(rows, target.mask.ndim))
