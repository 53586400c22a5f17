"""A learner that answers with points: encoders, and one space for all of them.

inputs --encoder of each--> tokens --space--> a point of each modality
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from polymodal.batch import Batch, Losses, Masked
from polymodal.heads.base import Shared
from polymodal.heads.space import Space
from polymodal.learners.base import TrainableLearner, Vectors, evaluating
from polymodal.learners.encoders import Encoders, distinct
from polymodal.modalities.base import Encoder
from polymodal.output import Points


class Aligner(TrainableLearner):
    """Encoders of two modalities or more, and a space that they share. It predicts nothing, so it has no task."""

    predicts = False
    embeds = "points of the shared space"

    def __init__(self, encoders: Encoders, space: Space) -> None:
        super().__init__()
        self.encoders, self.space = encoders, space

    @property
    def reads(self) -> Sequence[str]:
        """All modalities that it has encoders for."""
        return self.encoders.names

    def infer(self, inputs: Mapping[str, Masked]) -> Points:
        """Points of the modalities that are among the inputs; of others they are absent."""
        given = [m for m in self.reads if m in inputs]
        points = self.space(self.encoders(inputs, given))
        rows = next(iter(points.values())).mask
        empty = Masked(rows.new_zeros((len(rows), self.space.dim), dtype=torch.float32), torch.zeros_like(rows))
        every = [points.get(m, empty) for m in self.reads]
        return Points(torch.stack([z.values for z in every], 1), torch.stack([z.mask for z in every], 1))

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Points]:
        """Each modality has a point of its own, which is looked up."""
        points = self.infer(inputs)

        def answer(at: Mapping[str, Tensor]) -> Points:
            columns = [Points(*(x[at[m], i] for x in points)) for i, m in enumerate(self.reads)]
            return Points(*(torch.stack(x, 1) for x in zip(*columns, strict=True)))

        return answer

    def loss(self, batch: Batch) -> Losses:
        """The space's, of rows that have two modalities or more."""
        cells = {m: distinct(x)[1] for m, x in batch.inputs.items()}
        return self.space.losses(self.encoders(batch.inputs), cells)

    @torch.no_grad()
    def embed(self, inputs: Mapping[str, Masked]) -> dict[str, Vectors]:
        """By modality the points of rows, and as "" the mean of those that a row has."""
        with evaluating(self):
            points = self.infer(inputs).cpu()
        here = points.present
        mean = points.values.sum(1) / here.sum(1, keepdim=True).clamp(min=1)
        out = {m: Vectors(points.values[:, i].numpy(), here[:, i].numpy()) for i, m in enumerate(self.reads)}
        return {**out, "": Vectors(mean.numpy(), here.any(1).numpy())}

    def describe(self) -> list[str]:
        """The encoders and the space."""
        names = ", ".join(f"{m} by {type(e).__name__}" for m, e in self.encoders.items())
        return [f"{names}; one space of {self.space.dim} dimensions, learned by {self.space.loss}"]

    def sources(self) -> dict[str, Encoder]:
        """All encoders."""
        return dict(self.encoders.items())

    def shared(self) -> dict[str, Shared]:
        """The space is of no use to a task's head."""
        return {}
