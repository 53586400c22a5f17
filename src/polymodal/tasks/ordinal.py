"""Classes with an order: grades, stars, stages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from polymodal import metrics
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.output import Output, logits_of
from polymodal.tasks.base import Array, Quantities, Quantity
from polymodal.tasks.classify import (
    Labelled,
    binary_log_loss,
    decode_labels,
    labelled_mean,
    numpy,
    truth_and,
    weighted,
)
from polymodal.tasks.labels import key, list_text, number, plain
from polymodal.tasks.regions import worse_tail

RANK = "expected rank"  # the least label has rank 1


class Ordinal(Labelled):
    """One of K ordered labels, by K - 1 questions: is it more than the k-th?

    sigmoid(l_k) = P(y > k), l in R^(K-1). In prediction l is made monotone by its running minimum; the
    prediction is the median class, the number of k with P(y > k) > 1/2, which is what least absolute error
    asks for. The loss is the mean over k of the binary cross-entropy. Frank & Hall 2001; Cao, Mirjalili &
    Raschka 2020.

    order: all labels from least to greatest; None is numeric order, for numeric labels. balance is as in
    `MultiClass`, but 0 unless given, since weights pull the median away from the middle.
    """

    name = "ordinal"
    link = "sigmoid"

    def __init__(
        self, order: list[Any] | None = None, balance: float | Mapping[str, float] = 0.0, measure: str | None = None
    ) -> None:
        self.order, self.balance, self.measure = order, balance, measure

    def _order(self, labels: list[Any], counts: list[int]) -> tuple[list[Any], list[int]]:
        if self.order is None:
            if any(number(x) is None for x in labels):
                raise InputError(
                    f"the labels {list_text(labels)} are not numbers, so their order is not known; give it: "
                    "Ordinal(order=[least, ..., greatest])"
                )
            return labels, counts
        place = {key(plain(x)): i for i, x in enumerate(self.order)}
        if unknown := [x for x in labels if key(x) not in place]:
            raise InputError(f"the labels {list_text(unknown)} are not in the order given: {list_text(self.order)}")
        by_key = dict(zip(map(key, labels), zip(labels, counts, strict=True), strict=True))
        # a level that no training row has keeps its place, so that evaluation may meet it
        levels = [by_key.get(k, (plain(x), 0)) for k, x in zip(place, self.order, strict=True)]
        return [x for x, _ in levels], [n for _, n in levels]

    @property
    def outputs(self) -> int:
        """One logit less than there are labels."""
        return len(self.labels_) - 1

    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Mean over labelled rows of weight * mean over k of the cross-entropy of y > k."""
        y_b = torch.where(target.mask, target.values, 0)
        above_bk = y_b[:, None] > torch.arange(self.outputs, device=y_b.device)
        loss_bk = binary_cross_entropy_with_logits(logits, above_bk.to(logits.dtype), reduction="none")
        return labelled_mean(loss_bk.mean(1) * self.row_weight(y_b, logits), target)

    def answers(self, target: Masked) -> NDArray[Any]:
        """(B, K - 1): is it more than the k-th?"""
        return (numpy(target.values)[:, None] > np.arange(self.outputs)).astype(np.float32)

    def classes(self, logits: Tensor) -> Tensor:
        """The median class."""
        return (logits.cummin(1).values > 0).sum(1)

    def decode(self, output: Output) -> Mapping[str, Sequence[Any]]:
        """prediction, its probability, and the probability of each class."""
        logits = logits_of(output)
        return decode_labels(self.labels_, self.classes(logits), -_surviving(logits).diff(dim=1))

    def scores(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """See `metrics.of_ranks`."""
        truth, guess = truth_and(target, self.classes(logits_of(output)))
        return metrics.of_ranks(truth, guess, weighted(weights, target)[:, numpy(target.mask)], len(self.labels_))

    @property
    def measures(self) -> Sequence[str]:
        """See `metrics.of_ranks`."""
        return ["mae", "accuracy", "quadratic_kappa", "macro_f1"]

    @property
    def usual_measure(self) -> str:
        """Mean absolute error, in steps of the order."""
        return "mae"

    def probabilities(self, logits: Tensor) -> Array:
        """(B, C) P(y > k - 1) - P(y > k)."""
        return numpy(-_surviving(logits).diff(dim=1))

    def log_loss(self, logits: Tensor, target: Masked, smoothing: float = 0.0) -> float:
        """Mean over rows and questions of the binary cross-entropy."""
        above_bk = target.values[:, None] > torch.arange(self.outputs)
        return binary_log_loss(_monotone(logits), above_bk.double(), smoothing)

    def label_scores(self, logits: Tensor) -> Array:
        """(B, C) log odds of the worse tail."""
        return numpy(worse_tail(_monotone(logits)))

    @property
    def quantities(self) -> Quantities:
        """The expected rank, 1 + sum over k of P(y > k), and the probability of each label."""
        rank = Quantity(RANK, f"the {RANK}")
        return Quantities([rank, *super().quantities.every], rank.meaning)

    def values(self, logits: Tensor) -> Array:
        """(B, 1 + C) the expected rank, and probabilities."""
        p_bc = self.probabilities(logits)
        rank_b = p_bc @ np.arange(1.0, len(self.labels_) + 1)
        return np.concatenate([rank_b[:, None], p_bc], axis=1)

    def evidence(self, logits: Tensor, at: int) -> Tensor:
        """(B,) the expected rank, or log odds of a label."""
        if at == 0:
            return 1 + _monotone(logits).sigmoid().sum(1)
        above = _surviving(logits)
        p = (above[:, at - 1] - above[:, at]).clamp(1e-9, 1 - 1e-9)
        return p.log() - (1 - p).log()


def _monotone(logits: Tensor) -> Tensor:
    """(B, K) logits that never rise from one question to the next."""
    return logits.double().cummin(1).values


def _surviving(logits: Tensor) -> Tensor:
    """(B, K + 2) P(y > k), from the 1 before the least label to the 0 after the greatest."""
    above = _monotone(logits).sigmoid()
    return torch.cat([above.new_ones(len(above), 1), above, above.new_zeros(len(above), 1)], 1)
