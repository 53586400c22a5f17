"""The contract of a learner: something that answers from inputs alone, and is trained by gradients or otherwise."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from polymodal.batch import Batch, Losses, Masked
from polymodal.decoders.base import Decoding
from polymodal.errors import InputError
from polymodal.fusion.base import Fusion
from polymodal.heads.base import Attended, Shared, Tokens, no_texts
from polymodal.modalities.base import Encoder
from polymodal.output import Output, Texts
from polymodal.tasks.base import Task

Infer = Callable[[Mapping[str, Masked]], Output]  # inputs -> the answer to each row


class Vectors(NamedTuple):
    """(N, D) of rows in one space, dense or sparse, and (N,) which of them have anything in it."""

    values: Any
    present: NDArray[np.bool_]


class Part(NamedTuple):
    """A learner that answers by itself, with its name and its weight in the whole."""

    name: str
    weight: float
    learner: "Learner"


class Learner(nn.Module, ABC):
    """Answers for the rows of a batch. `task` says what the answers mean.

    predicts: whether it has a task. embeds: what `embed` gives, in words; None where it gives nothing. explains:
    whether `attend` does. bounded: whether a reference can be too long to be learned from. decoding: how a learner
    that writes searches where nothing else is asked for.
    """

    task: Task
    predicts: ClassVar[bool] = True
    embeds: str | None = None
    explains: bool = False
    bounded: bool = False
    decoding: Decoding | None = None

    @property
    @abstractmethod
    def reads(self) -> Sequence[str]:
        """Names of the inputs that `infer` wants."""

    @abstractmethod
    def infer(self, inputs: Mapping[str, Masked]) -> Output:
        """The answer to each row, which the task reads."""

    @abstractmethod
    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Output]:
        """A function from places, one tensor an input, to what `infer` gives for rows put together of these.

        Each input is looked at once, however many rows it becomes a part of.
        """

    @abstractmethod
    def describe(self) -> list[str]:
        """What answers, and how it is put together, a line or more; lines after the first are indented."""

    @property
    def kind(self) -> str:
        """What it is called where all of its kind are meant."""
        return type(self).__name__

    def write(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Texts:
        """Texts of each row, the best first. Raises InputError of a learner that writes none."""
        raise no_texts(self.task)

    def attend(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Attended:
        """The best text of the one row of a batch, and what its words attended to; of a learner that `explains`.

        Raises InputError of another.
        """
        raise InputError(
            f"this model writes by a {self.kind}, and explain is not there yet for such models: it "
            "shows what each word attended to, of a model whose decoder attends to its inputs (gru, gru-dot, "
            "transformer, prefix), or when it was said (ctc)"
        )

    def embed(self, inputs: Mapping[str, Masked]) -> dict[str, Vectors]:
        """By modality or view the vectors of rows, and as "" those of all together; no modality is called so.

        Nothing unless `embeds`.
        """
        return {}

    def parts(self) -> list[Part]:
        """The learners that answer by themselves, the weightiest first: the learner, or of an ensemble its members."""
        return [Part("", 1.0, self)]

    def sources(self) -> dict[str, Encoder]:
        """The learner's own encoders, by modality."""
        return {}

    def shared(self) -> dict[str, Shared]:
        """By what it is called, what a fresh learner of the same form may begin with, beside encoders."""
        return {}

    def fused_by(self) -> Fusion | None:
        """The fusion, of a network that has one."""
        return None

    def filled(self, tokens: Tokens) -> Tokens:
        """Tokens of all modalities as the fusion sees them."""
        return tokens

    def deployed(self) -> "Learner":
        """What a model keeps of it: without what only training needs."""
        return self

    def unlearnable(self, batch: Batch) -> int:
        """How many references can't be learned from, and are left out of the loss."""
        return 0


class Trainable(nn.Module, ABC):
    """What has a loss: all that the trainer knows.

    progress: how much of training is done, from 0 to 1, as the trainer says before each loss.
    """

    progress: float = 0.0

    @abstractmethod
    def loss(self, batch: Batch) -> Losses:
        """The loss to minimise on this batch; rows without a label are left out of it."""

    def unimodal_names(self) -> Sequence[str]:
        """Modalities that have a head of their own: none, unless it says otherwise."""
        return ()

    def unimodal(self, inputs: Mapping[str, Masked]) -> dict[str, Tensor]:
        """(B, outputs) logits of these heads, by modality; of rows that lack it, a prior."""
        return {}

    def lr_scales(self) -> Mapping[str, float]:
        """Factors of the learning rate, after `loss`, of the parameters whose names begin so; the names never change.

        None unless the learner has parts that are to be slowed.
        """
        return {}

    def epoch_ended(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Called when an epoch was validated, with a line for each until now; what changes has to be a buffer."""
        return

    def forward(self, batch: Batch) -> Losses:
        """`loss`, under the name that wrappers for several processes call."""
        return self.loss(batch)


class TrainableLearner(Learner, Trainable, ABC):
    """Both: what is trained to become a model."""


@contextmanager
def evaluating(learner: nn.Module) -> Iterator[None]:
    """Without dropout, and as it was before afterwards."""
    was = learner.training
    learner.eval()
    try:
        yield
    finally:
        learner.train(was)
