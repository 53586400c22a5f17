"""All that the trainer knows of a learner."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from polymodal.batch import Batch, Losses, Masked


class Learner(nn.Module, ABC):
    """A trainable whole: something that has a loss on a batch, and predicts from inputs alone."""

    @abstractmethod
    def loss(self, batch: Batch) -> Losses:
        """The loss to minimise on this batch; rows without a label are left out of it."""

    @abstractmethod
    def predict(self, inputs: Mapping[str, Masked]) -> Tensor:
        """What the task's `decode` reads."""

    def forward(self, batch: Batch) -> Losses:
        """`loss`, under the name that wrappers for several processes call."""
        return self.loss(batch)
