"""The contract of a learner: something that answers from inputs alone, and is trained by gradients or otherwise."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from polymodal.batch import Batch, Losses, Masked
from polymodal.decoders.base import Decoding
from polymodal.output import Output, Texts
from polymodal.tasks.base import Task

if TYPE_CHECKING:
    from polymodal.tasks.generate import Generation


Infer = Callable[[Mapping[str, Masked]], Output]  # inputs -> the answer to each row


class Learner(nn.Module, ABC):
    """Answers for the rows of a batch. `task` says what the answers mean."""

    task: Task

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


class Trainable(Learner, ABC):
    """A learner that has a loss: all that the trainer knows.

    progress: how much of training is done, from 0 to 1, as the trainer says before each loss.
    """

    progress = 0.0

    @abstractmethod
    def loss(self, batch: Batch) -> Losses:
        """The loss to minimise on this batch; rows without a label are left out of it.

        Parts whose names begin with "loss of " are kept epoch by epoch.
        """

    def alone(self, inputs: Mapping[str, Masked]) -> dict[str, Tensor]:
        """(B, outputs) logits of heads that answer from one modality, by its name; of rows that lack it, a prior.

        None unless the learner has such heads.
        """
        return {}

    def paces(self) -> Mapping[str, float]:
        """Factors of the learning rate, after `loss`, of the parameters whose names begin so; the names never change.

        None unless the learner has parts that are to be slowed.
        """
        return {}

    def epoch_ended(self, history: Sequence[Mapping[str, float]]) -> None:
        """Called when an epoch was validated, with a line for each until now; what changes has to be a buffer."""
        return

    def forward(self, batch: Batch) -> Losses:
        """`loss`, under the name that wrappers for several processes call."""
        return self.loss(batch)


class Generator(Trainable):
    """A learner that writes text. decoding: how it searches where nothing else is asked for."""

    task: "Generation"
    decoding: Decoding

    @abstractmethod
    def write(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Texts:
        """Captions of each row, the best first, at most `task.longest_` words with the mark of the end.

        Raises InputError for a search that the vocabulary does not allow.
        """

    def infer(self, inputs: Mapping[str, Masked]) -> Texts:
        """Captions of each row, searched for by `decoding`."""
        return self.write(inputs)
