"""The contract of a task, in prose: the only place that knows what the target means.

cell --encode--> Tensor or None --collate--> Masked      logits --decode--> columns of a prediction table
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Masked


class Metric(NamedTuple):
    """The metric by which models of this task are chosen, and whether more of it is better."""

    name: str
    higher: bool


class Task(ABC):
    """What the target is, how a prediction is scored against it, and how it is said.

    The target's cells arrive raw (None where the label is missing); with several target columns each cell is a
    mapping of column to value. Settings and fitted attributes are kept as in a codec.
    """

    name: ClassVar[str]  # "binary", "multiclass" ...
    whole: ClassVar[frozenset[str]] = frozenset()  # metrics of a set of rows, such as its variety: no sample has them
    link: ClassVar[str]  # from logits to the scale of the answer: "softmax", "sigmoid" or "identity"

    @abstractmethod
    def fit(self, cells: Iterable[Any]) -> Self:
        """Learn classes, weights or the scale from training cells. Raises InputError where nothing can be learned
        from them (no label at all, a constant target), naming what was seen and the way out. Returns self."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many logits a row has."""

    @abstractmethod
    def encode(self, cell: Any) -> Tensor | None:
        """The label as a tensor; None where it is missing. Raises InputError for one never seen in training."""

    @abstractmethod
    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """Labels of one batch: mask (B,), or (B, K) where each of K targets may be missing on its own."""

    @abstractmethod
    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Scalar mean loss over labelled rows; 0, with a gradient of 0, where none is labelled."""

    @abstractmethod
    def answers(self, target: Masked) -> NDArray[Any]:
        """What a learner without a loss of its own is to answer: class positions (B,) where the link is softmax, else
        (B, outputs) zeros and ones for sigmoid, numbers for identity, NaN where one is missing."""

    @abstractmethod
    def decode(self, logits: Tensor) -> Mapping[str, Sequence[Any]]:
        """(B, outputs) -> columns of the prediction table: "prediction", then "probability" and one
        "probability[label]" a class where the task has them."""

    @abstractmethod
    def scores(self, logits: Tensor, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """Each metric under each row of `weights` (R, N): counts of a bootstrap sample, or ones. Values are (R,),
        NaN where a metric is undefined. Rows without a label are left out."""

    def confusion(self, logits: Tensor, target: Masked) -> tuple[list[Any], list[list[int]]] | None:
        """Labels, and counts of labelled rows by (true, predicted); None for a task without classes."""
        return None

    def strata(self, cells: Sequence[Any]) -> list[Any] | None:
        """What a split should keep in proportion: a class or bin a cell (none missing); None where nothing."""
        return None

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """The metric of early stopping and of comparisons: one of those of `scores`."""
