"""A learner that is trained by gradients: encoders, and a head.

inputs --encoder of each--> tokens --head--> the answer
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polymodal.batch import Batch, Losses, Masked
from polymodal.decoders.base import Decoding
from polymodal.fusion.base import Fusion
from polymodal.fusion.fill import Filler
from polymodal.heads.base import Attended, Head, Shared, Tokens
from polymodal.heads.fused import Fused
from polymodal.learners.base import TrainableLearner, Vectors, evaluating
from polymodal.learners.encoders import Encoders
from polymodal.modalities.base import Encoder
from polymodal.nn import at
from polymodal.ops import masked_mean
from polymodal.output import Output, Texts
from polymodal.tasks.base import Task

Criterion = Callable[["Network", Batch], Losses]


class Network(TrainableLearner):
    """Encoders, and a head on their tokens.

    criterion: a loss in the place of the head's own, in training, while it is set. Raises InputError where they do not
    fit together.
    """

    def __init__(self, encoders: Encoders, head: Head) -> None:
        super().__init__()
        head.check(encoders.dims)
        self.encoders, self.head, self.task = encoders, head, head.task
        self.embeds = "the network's embeddings" if head.embeds else None
        self.explains, self.bounded = head.explains, head.bounded
        self.criterion: Criterion | None = None

    @property
    def decoding(self) -> Decoding | None:
        """The head's."""
        return self.head.decoding

    @decoding.setter
    def decoding(self, how: Decoding | None) -> None:
        self.head.decoding = how

    @property
    def reads(self) -> Sequence[str]:
        """The modalities that it has encoders for, as far as the head wants them."""
        return self.head.reads(self.encoders.names)

    @property
    def kind(self) -> str:
        """That of its head."""
        return type(self.head).__name__

    def tokens(self, inputs: Mapping[str, Masked]) -> dict[str, Masked]:
        """What the head sees of them in prediction."""
        tokens: dict[str, Masked] = self.encoders(inputs, self.reads)
        return tokens

    def infer(self, inputs: Mapping[str, Masked]) -> Output:
        """The head's answer."""
        return self.head.infer(self.tokens(inputs))

    def write(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Texts:
        """The head's texts."""
        return self.head.write(self.tokens(inputs), how)

    def attend(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Attended:
        """The head's text and what it attended to."""
        with evaluating(self):
            return self.head.attend(self.tokens(inputs), how)

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Output]:
        """The encoders look once; the head answers for each row that is put together."""
        return self.encoders.recombine(inputs, self.head.infer, self.reads)

    def loss(self, batch: Batch) -> Losses:
        """The head's loss."""
        self.head.progress = self.progress
        if self.criterion is not None and self.training:
            return self.criterion(self, batch)
        return self.head.loss(self.encoders(batch.inputs), batch.targets)

    @torch.no_grad()
    def embed(self, inputs: Mapping[str, Masked]) -> dict[str, Vectors]:
        """By modality (B, dim) means of its tokens, and as "" that of the tokens of all together, which is answered
        from."""
        tokens = self.tokens(inputs)
        joint = self.head.joint(tokens)
        if joint is None:
            return {}
        return {
            m: Vectors(masked_mean(x).float().cpu().numpy(), x.present().cpu().numpy())
            for m, x in {**tokens, "": joint}.items()
        }

    def describe(self) -> list[str]:
        """The encoders and the head."""
        return self.head.describe({m: type(e).__name__ for m, e in self.encoders.items()})

    def sources(self) -> dict[str, Encoder]:
        """All encoders, those too that only training needs."""
        return dict(self.encoders.items())

    def shared(self) -> dict[str, Shared]:
        """What the head shares."""
        return self.head.shared(self.encoders.names)

    def fused_by(self) -> Fusion | None:
        """The head's fusion."""
        return self.head.fused_by()

    def filled(self, tokens: Tokens) -> Tokens:
        """As the head's fusion sees them."""
        return self.head.filled(tokens)

    def unimodal_names(self) -> Sequence[str]:
        """Those of the head."""
        return self.head.unimodal_names()

    def unimodal(self, inputs: Mapping[str, Masked]) -> dict[str, Tensor]:
        """Those of the head."""
        return self.head.unimodal(self.encoders(inputs, self.unimodal_names()))

    def lr_scales(self) -> Mapping[str, float]:
        """Of the encoders, as the head says."""
        return {f"encoders.encoders.{at(m)}.": scale for m, scale in self.head.lr_scales().items()}

    def epoch_ended(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Tell the head."""
        self.head.epoch_ended(history)

    def unlearnable(self, batch: Batch) -> int:
        """Those of the head, of the inputs as they are."""
        with evaluating(self):
            return self.head.unlearnable(self.encoders(batch.inputs), batch.targets)


def Predictor(
    encoders: Mapping[str, Encoder], fusion: Fusion, task: Task, *, dropout: float = 0.1, filler: Filler | None = None
) -> Network:
    """Many modalities -> one target: encoders, a fusion, and a linear head for the task.

    encoders: by modality name, in any order. fusion: built for the same names and the encoders' `dim`. filler: what
    stands in for an absent modality. Raises InputError where they do not fit together.
    """
    return Network(Encoders(encoders), Fused(fusion, task, dropout=dropout, filler=filler))
