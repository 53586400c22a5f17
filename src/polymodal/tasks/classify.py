"""Classes: what all tasks of labels share, and one of two labels or one of many.

n labelled row, c class. Imbalance: a row of class c weighs n_c ** -balance in the loss, normalised so that
the mean weight over the training rows is 1. balance = 0 leaves the classes as they are, 1 gives each the same
total weight, and the default 0.5 lies between: rare classes are heard without drowning the common ones. A mapping
of labels to weights, from 0, says it outright; a label that is not in it weighs 1.
"""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from polymodal import metrics
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.ops import widen
from polymodal.output import Output, logits_of
from polymodal.tasks.base import (
    Array,
    Bools,
    Capability,
    Extreme,
    Quantities,
    Quantity,
    Region,
    Task,
)
from polymodal.tasks.labels import count, key, label_text, list_text, missing, number, plain
from polymodal.tasks.regions import LabelSets, against_each, take

OF_DECISIONS = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")
OF_TWO = ("f1", "average_precision")  # of the second of two labels
BALANCES = {"balanced": 1.0, "none": 0.0}
SKEW = 3.0  # above this ratio of the largest class to the smallest, accuracy says little


class Classes(Task):
    """A task of which a row has labels out of `labels_`; `counts_` says how many training rows have each."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset({"calibrate", "abstain", "conformal", "explain_parts"})
    balance: float | Mapping[str, float]
    labels_: list[Any]
    counts_: list[int]

    def weighing(self, classes: str | Mapping[Any, float]) -> Self:
        """balance = 1 or 0, or the mapping."""
        out = copy.deepcopy(self)
        if isinstance(classes, Mapping):
            out.balance = {key(plain(label)): _weight(label, w) for label, w in classes.items()}
        elif classes in BALANCES:
            out.balance = BALANCES[classes]
        else:
            raise InputError(f"--class-weight can't be {classes!r}; it is one of {', '.join(BALANCES)}")
        return out

    def label_weights(self, balance: Callable[[float], Tensor], like: Tensor) -> Tensor:
        """(C,) of each label: as it was given, or by the exponent. Raises InputError for a label that is not there."""
        if not isinstance(self.balance, Mapping):
            return balance(self.balance)
        if strange := [label for label in self.balance if label not in self._index]:
            raise InputError(
                f"class weights name the label {label_text(strange[0])}, which no training row has; the labels are "
                f"{list_text(self.labels_)}"
            )
        return like.new_tensor([self.balance.get(key(label), 1.0) for label in self.labels_])

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key(label): i for i, label in enumerate(self.labels_)}

    def _position(self, label: Any) -> int:
        if (i := self._index.get(key(label))) is None:
            raise InputError(
                f"the label {label_text(label)} was never seen in training; the known ones are "
                f"{list_text(self.labels_)}"
            )
        return i

    def differs(self, cell: Any, prediction: Any) -> bool:
        """Whether the labels are others."""
        return not missing(cell) and {*self.labels_of(cell)} != {*self.labels_of(prediction)}

    @abstractmethod
    def label_scores(self, logits: Tensor) -> Array:
        """(B, C) the nonconformity of each label; see `regions`."""

    def region(self, logits: Tensor, limits: Array) -> Region:
        """The sets of labels whose scores are at most the limits."""
        return LabelSets(self.labels_, self.label_scores(logits) <= limits[:, None])

    @property
    def quantities(self) -> Quantities:
        """The probability of each label."""
        every = [Quantity(k, f"the probability of {k}", "log odds") for k in map(key, self.labels_)]
        return Quantities(every, "the probability of each row's predicted label")

    def values(self, logits: Tensor) -> Array:
        """(B, C) probabilities."""
        return self.probabilities(logits)


class Labelled(Classes):
    """A task of which each row has one label out of `labels_`."""

    capabilities = Classes.capabilities | {"confusion"}

    def fit(self, cells: Iterable[Any]) -> Self:
        """Learn the labels and how many rows have each."""
        labels, counts = count(plain(c) for c in cells if not missing(c))
        self._check(labels, counts)
        for learned in ("_index", "thresholds_"):
            self.__dict__.pop(learned, None)
        self.labels_, self.counts_ = self._order(labels, counts)
        return self

    def _check(self, labels: list[Any], counts: list[int]) -> None:
        if not labels:
            raise InputError("no row has a label, so there is nothing to learn; name another target column")
        if len(labels) == 1:
            raise InputError(
                f"the target is constant: {label_text(labels[0])} in all {counts[0]:,} labelled rows; there is "
                "nothing to learn from it, so name another target column"
            )

    def _order(self, labels: list[Any], counts: list[int]) -> tuple[list[Any], list[int]]:
        return labels, counts

    def encode(self, cell: Any) -> Tensor | None:
        """() int64, the position of the label in `labels_`; None where it is missing."""
        return None if missing(cell) else torch.tensor(self._position(plain(cell)))

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B,) int64 and the (B,) mask."""
        values = torch.tensor([0 if c is None else int(c) for c in cells], dtype=torch.int64)
        return Masked(values, torch.tensor([c is not None for c in cells], dtype=torch.bool))

    def strata(self, cells: Sequence[Any]) -> list[Any]:
        """The label of each cell, as text."""
        return [None if missing(c) else key(plain(c)) for c in cells]

    def labels_of(self, cell: Any) -> list[str]:
        """The one label."""
        return [key(plain(cell))]

    @abstractmethod
    def classes(self, logits: Tensor) -> Tensor:
        """(B, outputs) -> (B,) the predicted positions in `labels_`."""

    def confusion(self, output: Output, target: Masked) -> tuple[list[Any], list[list[int]]]:
        """Labels, and counts of labelled rows by (true, predicted)."""
        truth, guess = truth_and(target, self.classes(logits_of(output)))
        table = metrics.confusion(truth, guess, np.ones((1, len(truth))), len(self.labels_))[0]
        return self.labels_, table.round().astype(int).tolist()

    def confidence(self, logits: Tensor) -> Array:
        """(B,) the probability of the predicted class."""
        return take(self.probabilities(logits), numpy(self.classes(logits)))

    def decisions(self, logits: Tensor, target: Masked) -> tuple[Array, Bools]:
        """(B, 1) the confidence, and whether the predicted class is the true one."""
        right = numpy(self.classes(logits) == target.values)
        return self.confidence(logits)[:, None], right[:, None]

    def brier(self, logits: Tensor, target: Masked) -> float:
        """Mean over rows of the sum over classes."""
        p_bc = self.probabilities(logits)
        return float(((p_bc - np.eye(p_bc.shape[1])[numpy(target.values)]) ** 2).sum(1).mean())

    def nonconformity(self, logits: Tensor, target: Masked) -> Array:
        """(B,) the score of the true label."""
        return take(self.label_scores(logits), numpy(target.values))

    def extremes(self, output: Output, target: Masked) -> tuple[list[Extreme], list[str]]:
        """By the probability of the true label."""
        logits = logits_of(output)
        chance = take(self.probabilities(logits), numpy(target.values))
        sure, right = self.confidence(logits), numpy(self.classes(logits) == target.values)
        return [
            Extreme("Best", "Right, and the true label is given the greatest chance.", -chance, right),
            Extreme("Worst", "Wrong, and the surest of it.", -sure, ~right),
            Extreme("Most surprising", "The true label is given the least chance, of the rows not shown above.",
                    chance, np.ones(len(chance), bool)),
        ], [f"It gives the true label a chance of {c:.1%}." for c in chance]  # fmt: skip

    def row_weight(self, target_b: Tensor, like: Tensor) -> Tensor:
        """(B,) n_c ** -balance of each row's class, normalised to mean 1 over the training rows."""
        counts = like.new_tensor(self.counts_)
        w_c = self.label_weights(lambda balance: counts.clamp(min=1) ** -balance, like)
        return (w_c * counts.sum() / (w_c * counts).sum().clamp(min=1e-9))[target_b]

    def row_weights(self, target: Masked) -> NDArray[Any]:
        """(B,) those of the loss."""
        own = 1 if target.weight is None else numpy(target.weight)
        return numpy(self.row_weight(target.values, torch.zeros(1))) * own


class Single(Labelled):
    """One logit a class and a softmax over them: what Binary and MultiClass share."""

    link = "softmax"

    @abstractmethod
    def __init__(self, balance: float | Mapping[str, float] = 0.5, measure: str | None = None) -> None:
        """Each task of this kind says its own."""

    @property
    def outputs(self) -> int:
        """One logit a class."""
        return len(self.labels_)

    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Mean over labelled rows of weight * cross-entropy."""
        y_b = torch.where(target.mask, target.values, 0)
        loss_b = cross_entropy(logits, y_b, reduction="none") * self.row_weight(y_b, logits)
        return labelled_mean(loss_b, target)

    def answers(self, target: Masked) -> NDArray[Any]:
        """(B,) positions in `labels_`."""
        return numpy(target.values)

    def classes(self, logits: Tensor) -> Tensor:
        """The greatest logit."""
        return logits.argmax(1)

    def decode(self, output: Output) -> Mapping[str, Sequence[Any]]:
        """prediction, its probability, and the probability of each class."""
        logits = logits_of(output)
        return decode_labels(self.labels_, self.classes(logits), logits.double().softmax(1))

    @property
    def measures(self) -> Sequence[str]:
        """See `metrics.of_classes`."""
        return [*OF_DECISIONS, "roc_auc", "log_loss"]

    @property
    def usual_measure(self) -> str:
        """Accuracy where the classes are of like size; macro F1 where one is over 3 times as large as
        another.
        """
        return "macro_f1" if max(self.counts_) > SKEW * min(self.counts_) else "accuracy"

    def scores(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """See `metrics.of_classes`; a binary task also has f1 and average_precision of its second label."""
        logits = logits_of(output)
        truth, p = truth_and(target, logits.double().softmax(1))
        guess = numpy(self.classes(logits))[numpy(target.mask)]
        return metrics.of_classes(truth, p, weighted(weights, target)[:, numpy(target.mask)], guess)

    def score(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> NDArray[np.floating]:
        """(R,) the metric alone: of decisions, the ranks that other metrics need take far longer."""
        name, weights = self.metric.name, weighted(weights, target)[:, numpy(target.mask)]
        if (score := metrics.OF_CLASSES.get(name)) is not None:
            return score(*truth_and(target, logits_of(output).double().softmax(1)), weights)
        truth, guess = truth_and(target, self.classes(logits_of(output)))
        return metrics.of_confusion(metrics.confusion(truth, guess, weights, len(self.labels_)))[name]

    def probabilities(self, logits: Tensor) -> Array:
        """(B, C) the softmax."""
        return numpy(logits.double().softmax(1))

    def log_loss(self, logits: Tensor, target: Masked, smoothing: float = 0.0) -> float:
        """The cross-entropy."""
        return float(cross_entropy(logits.double(), target.values, label_smoothing=smoothing))

    def label_scores(self, logits: Tensor) -> Array:
        """(B, C) log odds against each label."""
        return numpy(against_each(logits))

    def evidence(self, logits: Tensor, at: int) -> Tensor:
        """(B,) log odds of the label."""
        y = logits.double()
        others = torch.cat([y[:, :at], y[:, at + 1 :]], dim=1)
        return y[:, at] - others.logsumexp(1)

    def usual_quantity(self, logits: Tensor) -> NDArray[np.int64]:
        """(B,) the predicted label."""
        return numpy(self.classes(logits)).astype(np.int64)


class Binary(Single):
    """One of two labels. `labels_[1]` is the positive one: the greater, or the later in the alphabet."""

    name = "binary"

    def __init__(self, balance: float | Mapping[str, float] = 0.5, measure: str | None = None) -> None:
        self.balance, self.measure = balance, measure

    @property
    def measures(self) -> Sequence[str]:
        """Also those of the second label."""
        return [*super().measures, *OF_TWO]

    def classes(self, logits: Tensor) -> Tensor:
        """The second label where its probability is above the threshold."""
        cut = log_odds(self.thresholds_)[0] if self.thresholds_ else 0.0
        return (logits[:, 1] - logits[:, 0] > cut).long()

    def check_thresholds(self) -> None:
        """Of accuracy, F1 and the like, which are those by default."""
        check_decisions(self.measure, [None, *OF_DECISIONS, "f1"])

    def margins(self, logits: Tensor) -> Array:
        """(B, 1) of the second label."""
        return numpy((logits[:, 1:] - logits[:, :1]).double())

    def moved(self, logits: Tensor, log_odds: Array) -> Tensor:
        """The logit of the second label is less by the threshold."""
        return logits - logits.new_tensor([0.0, float(log_odds[0])])

    def _check(self, labels: list[Any], counts: list[int]) -> None:
        super()._check(labels, counts)
        if len(labels) > 2:
            raise InputError(
                f"a binary task has two labels, but there are {len(labels)}: {list_text(labels)}; "
                f"use the task multiclass"
            )


class MultiClass(Single):
    """One of K labels."""

    name = "multiclass"

    def __init__(self, balance: float | Mapping[str, float] = 0.5, measure: str | None = None) -> None:
        self.balance, self.measure = balance, measure


def log_odds(thresholds: Sequence[float]) -> Array:
    """Of each probability."""
    p: Array = np.asarray(thresholds, dtype=np.float64)
    return np.log(p) - np.log1p(-p)


def check_decisions(measure: str | None, names: Sequence[str | None]) -> None:
    """Raises InputError for a metric that no threshold changes."""
    if measure not in names:
        raise InputError(
            f"--optimize-threshold needs a metric of decisions, and {measure or 'average_precision'} is none; add "
            f"--metric with one of {', '.join(filter(None, names))}"
        )


def _weight(label: Any, weight: Any) -> float:
    """The weight of a label. Raises InputError for what is no number from 0."""
    value = number(weight)
    if value is None or value < 0:
        raise InputError(f"the weight of the label {label_text(label)} can't be {weight!r}; it is a number from 0")
    return value


def labelled_mean(loss_b: Tensor, target: Masked) -> Tensor:
    """Mean over the True rows or cells of weight times loss; 0, with a gradient of 0, where there is none."""
    if target.weight is not None:
        loss_b = loss_b * widen(target.weight.to(loss_b.dtype), loss_b.ndim)
    return torch.where(target.mask, loss_b, 0).sum() / target.mask.sum().clamp(min=1)


def weighted(counts: NDArray[np.floating], target: Masked) -> NDArray[np.floating]:
    """(R, N) counts of rows, times the rows' own weights."""
    return counts if target.weight is None else counts * numpy(target.weight)


def binary_log_loss(logits: Tensor, y: Tensor, smoothing: float) -> float:
    """Mean of -log p of each of many yes or no."""
    return float(binary_cross_entropy_with_logits(logits, y * (1 - smoothing) + smoothing / 2))


def decode_labels(labels: Sequence[Any], chosen_b: Tensor, p_bc: Tensor) -> dict[str, Sequence[Any]]:
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
