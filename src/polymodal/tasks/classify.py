"""Classes: one of two, one of many, or any number at once.

n labelled row, c class. Imbalance: a row of class c weighs n_c ** -balance in the loss, normalised so that
the mean weight over the training rows is 1. balance = 0 leaves the classes as they are, 1 gives each the same
total weight, and the default 0.5 lies between: rare classes are heard without drowning the common ones.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from polymodal import metrics
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.tasks.base import Metric, Task
from polymodal.tasks.labels import count, key, listed, missing, plain, separator_of, several, shown

SKEWED = 3.0  # above this ratio of the largest class to the smallest, accuracy says little


class Labelled(Task):
    """A task of which each row has one label out of `labels_`; `counts_` says how many training rows have
    each.
    """

    balance: float
    labels_: list[Any]
    counts_: list[int]

    def fit(self, cells: Iterable[Any]) -> Self:
        """Learn the labels and how many rows have each."""
        labels, counts = count(plain(c) for c in cells if not missing(c))
        self._check(labels, counts)
        self.__dict__.pop("_index", None)
        self.labels_, self.counts_ = self._order(labels, counts)
        return self

    def _check(self, labels: list[Any], counts: list[int]) -> None:
        if not labels:
            raise InputError("no row has a label, so there is nothing to learn; name another target column")
        if len(labels) == 1:
            raise InputError(
                f"the target is constant: {shown(labels[0])} in all {counts[0]:,} labelled rows; there is "
                "nothing to learn from it, so name another target column"
            )

    def _order(self, labels: list[Any], counts: list[int]) -> tuple[list[Any], list[int]]:
        return labels, counts

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key(label): i for i, label in enumerate(self.labels_)}

    def encode(self, cell: Any) -> Tensor | None:
        """() int64, the position of the label in `labels_`; None where it is missing."""
        if missing(cell):
            return None
        label = plain(cell)
        if (i := self._index.get(key(label))) is None:
            raise InputError(
                f"the label {shown(label)} was never seen in training; the known ones are {listed(self.labels_)}"
            )
        return torch.tensor(i)

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B,) int64 and the (B,) mask."""
        values = torch.tensor([0 if c is None else int(c) for c in cells], dtype=torch.int64)
        return Masked(values, torch.tensor([c is not None for c in cells], dtype=torch.bool))

    def strata(self, cells: Sequence[Any]) -> list[Any]:
        """The label of each cell, as text."""
        return [None if missing(c) else key(plain(c)) for c in cells]

    @abstractmethod
    def classes(self, logits: Tensor) -> Tensor:
        """(B, outputs) -> (B,) the predicted positions in `labels_`."""

    def confusion(self, logits: Tensor, target: Masked) -> tuple[list[Any], list[list[int]]]:
        """Labels, and counts of labelled rows by (true, predicted)."""
        truth, guess = truth_and(target, self.classes(logits))
        table = metrics.confusion(truth, guess, np.ones((1, len(truth))), len(self.labels_))[0]
        return self.labels_, table.round().astype(int).tolist()

    def row_weight(self, target_b: Tensor, like: Tensor) -> Tensor:
        """(B,) n_c ** -balance of each row's class, normalised to mean 1 over the training rows."""
        counts = like.new_tensor(self.counts_)
        w_c = counts.clamp(min=1) ** -self.balance
        return (w_c * counts.sum() / (w_c * counts).sum())[target_b]


class Single(Labelled):
    """One logit a class and a softmax over them: what Binary and MultiClass share."""

    link = "softmax"

    @abstractmethod
    def __init__(self, balance: float = 0.5) -> None:
        """Each task of this kind says its own."""

    @property
    def outputs(self) -> int:
        """One logit a class."""
        return len(self.labels_)

    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Mean over labelled rows of weight * cross-entropy."""
        y_b = torch.where(target.mask, target.values, 0)
        loss_b = cross_entropy(logits, y_b, reduction="none") * self.row_weight(y_b, logits)
        return labelled_mean(loss_b, target.mask)

    def answers(self, target: Masked) -> NDArray[Any]:
        """(B,) positions in `labels_`."""
        return numpy(target.values)

    def classes(self, logits: Tensor) -> Tensor:
        """The greatest logit."""
        return logits.argmax(1)

    def decode(self, logits: Tensor) -> Mapping[str, Sequence[Any]]:
        """prediction, its probability, and the probability of each class."""
        p_bc = logits.double().softmax(1)
        return decoded(self.labels_, self.classes(logits), p_bc)

    @property
    def metric(self) -> Metric:
        """Accuracy where the classes are of like size; macro F1 where one is over 3 times as large as
        another.
        """
        skewed = max(self.counts_) > SKEWED * min(self.counts_)
        return Metric("macro_f1" if skewed else "accuracy", higher=True)

    def scores(self, logits: Tensor, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """See `metrics.of_classes`; a binary task also has f1 and average_precision of its second label."""
        truth, p = truth_and(target, logits.double().softmax(1))
        return metrics.of_classes(truth, p, weights[:, numpy(target.mask)])


class Binary(Single):
    """One of two labels. `labels_[1]` is the positive one: the greater, or the later in the alphabet."""

    name = "binary"

    def __init__(self, balance: float = 0.5) -> None:
        self.balance = balance

    def _check(self, labels: list[Any], counts: list[int]) -> None:
        super()._check(labels, counts)
        if len(labels) > 2:
            raise InputError(
                f"a binary task has two labels, but there are {len(labels)}: {listed(labels)}; use the task multiclass"
            )


class MultiClass(Single):
    """One of K labels."""

    name = "multiclass"

    def __init__(self, balance: float = 0.5) -> None:
        self.balance = balance


class MultiLabel(Task):
    """Any number of K labels at once, none included: one sigmoid each.

    A cell is a list, a JSON list as text, or text with a separator: the first of ``|``, ``;`` and ``,`` that
    the training cells hold, or the one given. An empty list is a label (none of them); an empty cell is a
    missing one. In the loss a positive of label c weighs (negatives / positives) ** balance.
    """

    name = "multilabel"
    link = "sigmoid"

    def __init__(self, balance: float = 0.5, separator: str | None = None) -> None:
        self.balance, self.separator = balance, separator
        self.labels_: list[Any] = []
        self.counts_: list[int] = []
        self.rows_: int = 0
        self.separator_: str | None = separator

    def fit(self, cells: Iterable[Any]) -> Self:
        """Learn the separator, the labels, and how many rows have each."""
        known = [c for c in cells if not missing(c)]
        self.separator_ = separator_of(known) if self.separator is None else self.separator
        rows = [several(c, self.separator_) for c in known]
        self.labels_, self.counts_ = count(x for row in rows for x in row)
        self.rows_ = len(rows)
        self.__dict__.pop("_index", None)
        if not self.labels_:
            raise InputError("no row has a label, so there is nothing to learn; name another target column")
        if all(c == self.rows_ for c in self.counts_):
            raise InputError(
                f"the target is constant: all {self.rows_:,} labelled rows have {listed(self.labels_)}; "
                "there is nothing to learn from it, so name another target column"
            )
        return self

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key(label): i for i, label in enumerate(self.labels_)}

    @property
    def outputs(self) -> int:
        """One logit a label."""
        return len(self.labels_)

    def encode(self, cell: Any) -> Tensor | None:
        """(K,) float32, 1 for each label that the row has; None where the cell is missing."""
        if missing(cell):
            return None
        out = torch.zeros(len(self.labels_))
        for label in several(cell, self.separator_):
            if (i := self._index.get(key(label))) is None:
                raise InputError(
                    f"the label {shown(label)} was never seen in training; the known ones are {listed(self.labels_)}"
                )
            out[i] = 1
        return out

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, K) float32 and the (B,) mask."""
        empty = torch.zeros(len(self.labels_))
        values = torch.stack([empty if c is None else c for c in cells]) if cells else empty[None][:0]
        return Masked(values, torch.tensor([c is not None for c in cells], dtype=torch.bool))

    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Mean over labelled rows and labels of the weighted binary cross-entropy."""
        y_bk = torch.where(target.mask[:, None], target.values, 0).to(logits.dtype)
        counts = logits.new_tensor(self.counts_)
        weight = ((self.rows_ - counts).clamp(min=1) / counts) ** self.balance
        loss_bk = binary_cross_entropy_with_logits(logits, y_bk, pos_weight=weight, reduction="none")
        return labelled_mean(loss_bk.mean(1), target.mask)

    def answers(self, target: Masked) -> NDArray[Any]:
        """(B, K) ones for the labels that the row has."""
        return numpy(target.values)

    def decode(self, logits: Tensor) -> Mapping[str, Sequence[Any]]:
        """prediction, a list of the labels more likely than not, and the probability of each."""
        p_bk = logits.double().sigmoid()
        chosen = [[self.labels_[i] for i in np.flatnonzero(row)] for row in numpy(p_bk > 0.5)]
        each = {f"probability[{label}]": p_bk[:, i].tolist() for i, label in enumerate(self.labels_)}
        return {"prediction": chosen, **each}

    def scores(self, logits: Tensor, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """See `metrics.of_label_sets`."""
        truth, score = truth_and(target, logits.double())
        return metrics.of_label_sets(truth > 0.5, score, weights[:, numpy(target.mask)])

    @property
    def metric(self) -> Metric:
        """Average precision, the mean over labels: it moves before any probability crosses one half, unlike
        F1.
        """
        return Metric("average_precision", higher=True)


def labelled_mean(loss_b: Tensor, mask_b: Tensor) -> Tensor:
    """Mean over the True rows; 0, with a gradient of 0, where there is none."""
    return torch.where(mask_b, loss_b, 0).sum() / mask_b.sum().clamp(min=1)


def decoded(labels: Sequence[Any], chosen_b: Tensor, p_bc: Tensor) -> dict[str, Sequence[Any]]:
    """Columns of the prediction table for one label a row."""
    best = p_bc.gather(1, chosen_b[:, None])[:, 0]
    each = {f"probability[{label}]": p_bc[:, i].tolist() for i, label in enumerate(labels)}
    return {"prediction": [labels[i] for i in chosen_b.tolist()], "probability": best.tolist(), **each}


def numpy(x: Tensor) -> NDArray[Any]:
    """The tensor as an array, without its history."""
    return np.asarray(x.detach().cpu())


def truth_and(target: Masked, what: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels and predictions of the labelled rows."""
    keep = numpy(target.mask)
    return numpy(target.values)[keep], numpy(what)[keep]
