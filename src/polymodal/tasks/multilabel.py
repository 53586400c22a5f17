"""Any number of labels a row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from polymodal import metrics
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.output import Output, logits_of
from polymodal.tasks.base import Array, Bools, Extreme, Quantities
from polymodal.tasks.classify import (
    Classes,
    binary_log_loss,
    check_decisions,
    labelled_mean,
    log_odds,
    numpy,
    truth_and,
    weighted,
)
from polymodal.tasks.labels import count, key, list_text, missing, separator_of, several

OF_SETS = ("accuracy", "micro_f1", "macro_f1", "hamming_loss")


class MultiLabel(Classes):
    """Any number of K labels at once, none included: one sigmoid each.

    A cell is a list, a JSON list as text, or text with a separator: the first of ``|``, ``;`` and ``,`` that
    the training cells hold, or the one given. An empty list is a label (none of them); an empty cell is a
    missing one. In the loss a positive of label c weighs (negatives / positives) ** balance, or what a mapping says.
    """

    name = "multilabel"
    link = "sigmoid"

    def __init__(
        self, balance: float | Mapping[str, float] = 0.5, separator: str | None = None, measure: str | None = None
    ) -> None:
        self.balance, self.separator, self.measure = balance, separator, measure
        self.labels_, self.counts_ = [], []
        self.rows_: int = 0
        self.separator_: str | None = separator

    def fit(self, cells: Iterable[Any]) -> Self:
        """Learn the separator, the labels, and how many rows have each."""
        filled_cells = [c for c in cells if not missing(c)]
        self.separator_ = separator_of(filled_cells) if self.separator is None else self.separator
        rows = [several(c, self.separator_) for c in filled_cells]
        self.labels_, self.counts_ = count(x for row in rows for x in row)
        self.rows_ = len(rows)
        for learned in ("_index", "thresholds_"):
            self.__dict__.pop(learned, None)
        if not self.labels_:
            raise InputError("no row has a label, so there is nothing to learn; name another target column")
        if all(c == self.rows_ for c in self.counts_):
            raise InputError(
                f"the target is constant: all {self.rows_:,} labelled rows have {list_text(self.labels_)}; "
                "there is nothing to learn from it, so name another target column"
            )
        return self

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
            out[self._position(label)] = 1
        return out

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, K) float32 and the (B,) mask."""
        empty = torch.zeros(len(self.labels_))
        values = torch.stack([empty if c is None else c for c in cells]) if cells else empty[None][:0]
        return Masked(values, torch.tensor([c is not None for c in cells], dtype=torch.bool))

    def labels_of(self, cell: Any) -> list[str]:
        """Those of the set."""
        return [key(x) for x in several(cell, self.separator_)]

    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Mean over labelled rows and labels of the weighted binary cross-entropy."""
        y_bk = torch.where(target.mask[:, None], target.values, 0).to(logits.dtype)
        weight = self._of_positives(logits)
        loss_bk = binary_cross_entropy_with_logits(logits, y_bk, pos_weight=weight, reduction="none")
        return labelled_mean(loss_bk.mean(1), target)

    def answers(self, target: Masked) -> NDArray[Any]:
        """(B, K) ones for the labels that the row has."""
        return numpy(target.values)

    def _of_positives(self, like: Tensor) -> Tensor:
        counts = like.new_tensor(self.counts_)
        return self.label_weights(lambda balance: ((self.rows_ - counts).clamp(min=1) / counts) ** balance, like)

    def row_weights(self, target: Masked) -> NDArray[Any]:
        """(B, K) those of the loss, of each label with mean 1 over the training rows."""
        w_k, n_k = numpy(self._of_positives(torch.zeros(1))), np.asarray(self.counts_)
        w_bk: NDArray[Any] = (
            np.where(numpy(target.values) > 0.5, w_k, 1.0) * self.rows_ / (w_k * n_k + self.rows_ - n_k)
        )
        return w_bk if target.weight is None else w_bk * numpy(target.weight)[:, None]

    def decode(self, output: Output) -> Mapping[str, Sequence[Any]]:
        """prediction, a list of the labels more likely than their threshold, and the probability of each."""
        logits = logits_of(output)
        p_bk = logits.double().sigmoid()
        labels = [[self.labels_[i] for i in np.flatnonzero(row)] for row in self._sets(logits)]
        each = {f"probability[{label}]": p_bk[:, i].tolist() for i, label in enumerate(self.labels_)}
        return {"prediction": labels, **each}

    def scores(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """See `metrics.of_label_sets`."""
        truth, score = truth_and(target, self._decided(logits_of(output)))
        return metrics.of_label_sets(truth > 0.5, score, weighted(weights, target)[:, numpy(target.mask)])

    def score(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> NDArray[np.floating]:
        """(R,) the metric alone: of decisions, the ranks that other metrics need take far longer."""
        if self.metric.name not in OF_SETS:
            return super().score(output, target, weights)
        truth, guess = truth_and(target, self._decided(logits_of(output)) > 0)
        weights = weighted(weights, target)[:, numpy(target.mask)]
        return metrics.of_guesses(truth > 0.5, guess, weights)[self.metric.name]

    def check_thresholds(self) -> None:
        """Of F1 and the like, which are not those by default."""
        check_decisions(self.measure, OF_SETS)

    def margins(self, logits: Tensor) -> Array:
        """(B, K) of each label."""
        return numpy(logits.double())

    def moved(self, logits: Tensor, log_odds: Array) -> Tensor:
        """The logit of each label is less by its threshold."""
        return logits - logits.new_tensor(log_odds)

    def _decided(self, logits: Tensor) -> Tensor:
        """(B, K) above 0 for the labels that are decided for."""
        return self.moved(logits.double(), log_odds(self.thresholds_)) if self.thresholds_ else logits.double()

    def _sets(self, logits: Tensor) -> Bools:
        return numpy(self._decided(logits) > 0)

    @property
    def measures(self) -> Sequence[str]:
        """See `metrics.of_label_sets`."""
        return [*OF_SETS, "average_precision", "roc_auc"]

    @property
    def usual_measure(self) -> str:
        """Average precision, the mean over labels: it moves before any probability crosses one half, unlike
        F1.
        """
        return "average_precision"

    def probabilities(self, logits: Tensor) -> Array:
        """(B, K) that each label is there."""
        return numpy(logits.double().sigmoid())

    def confidence(self, logits: Tensor) -> Array:
        """(B,) of the label whose being there or not is least sure."""
        p_bk = self.probabilities(logits)
        least: Array = np.where(self._sets(logits), p_bk, 1 - p_bk).min(1)
        return least

    def decisions(self, logits: Tensor, target: Masked) -> tuple[Array, Bools]:
        """(B, K) of each label, whether it is there or not."""
        p_bk, yes_bk = self.probabilities(logits), self._sets(logits)
        return np.where(yes_bk, p_bk, 1 - p_bk), yes_bk == (numpy(target.values) > 0.5)

    def log_loss(self, logits: Tensor, target: Masked, smoothing: float = 0.0) -> float:
        """Mean over rows and labels of the binary cross-entropy."""
        return binary_log_loss(logits.double(), target.values.double(), smoothing)

    def brier(self, logits: Tensor, target: Masked) -> float:
        """Mean over rows and labels."""
        return float(((self.probabilities(logits) - numpy(target.values)) ** 2).mean())

    def label_scores(self, logits: Tensor) -> Array:
        """(B, K) log odds against each label."""
        return numpy(-logits.double())

    def nonconformity(self, logits: Tensor, target: Masked) -> Array:
        """(B,) the greatest score of the labels that the row has; -inf where it has none."""
        out: Array = np.where(numpy(target.values) > 0.5, self.label_scores(logits), -np.inf).max(1)
        return out

    @property
    def quantities(self) -> Quantities:
        """The probability of each label."""
        return super().quantities._replace(usual="each row's predicted answer")

    def evidence(self, logits: Tensor, at: int) -> Tensor:
        """(B,) log odds of the label."""
        return logits.double()[:, at]

    def usual_quantity(self, logits: Tensor) -> NDArray[np.int64]:
        """(B,) the likeliest label."""
        return np.asarray(self.probabilities(logits).argmax(1), dtype=np.int64)

    def extremes(self, output: Output, target: Masked) -> tuple[list[Extreme], list[str]]:
        """By the log loss of the row."""
        logits = logits_of(output)
        p_nk, y_nk = self.probabilities(logits), numpy(target.values) > 0.5
        loss = -np.log(np.where(y_nk, p_nk, 1 - p_nk).clip(1e-12)).mean(1)
        right, sure = (self._sets(logits) == y_nk).all(1), self.confidence(logits)
        return [
            Extreme("Best", "All labels are right, with the least log loss.", loss, right),
            Extreme("Worst", "Some label is wrong, though the least sure of them was surest.", -sure, ~right),
            Extreme("Most surprising", "The greatest log loss, of the rows not shown above.",
                    -loss, np.ones(len(loss), bool)),
        ], [f"Its log loss, a label, is {x:.3f}." for x in loss]  # fmt: skip
