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
from polymodal.tasks.base import Metric
from polymodal.tasks.classify import Labelled, decoded, labelled_mean, numpy, truth_and
from polymodal.tasks.labels import key, listed, number, plain


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

    def __init__(self, order: list[Any] | None = None, balance: float = 0.0) -> None:
        self.order, self.balance = order, balance

    def _order(self, labels: list[Any], counts: list[int]) -> tuple[list[Any], list[int]]:
        if self.order is None:
            if any(number(x) is None for x in labels):
                raise InputError(
                    f"the labels {listed(labels)} are not numbers, so their order is not known; give it: "
                    "Ordinal(order=[least, ..., greatest])"
                )
            return labels, counts
        place = {key(plain(x)): i for i, x in enumerate(self.order)}
        if unknown := [x for x in labels if key(x) not in place]:
            raise InputError(f"the labels {listed(unknown)} are not in the order given: {listed(self.order)}")
        seen = dict(zip(map(key, labels), zip(labels, counts, strict=True), strict=True))
        # a level that no training row has keeps its place, so that evaluation may meet it
        found = [seen.get(k, (plain(x), 0)) for k, x in zip(place, self.order, strict=True)]
        return [x for x, _ in found], [n for _, n in found]

    @property
    def outputs(self) -> int:
        """One logit less than there are labels."""
        return len(self.labels_) - 1

    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Mean over labelled rows of weight * mean over k of the cross-entropy of y > k."""
        y_b = torch.where(target.mask, target.values, 0)
        above_bk = y_b[:, None] > torch.arange(self.outputs, device=y_b.device)
        loss_bk = binary_cross_entropy_with_logits(logits, above_bk.to(logits.dtype), reduction="none")
        return labelled_mean(loss_bk.mean(1) * self.row_weight(y_b, logits), target.mask)

    def answers(self, target: Masked) -> NDArray[Any]:
        """(B, K - 1): is it more than the k-th?"""
        return (numpy(target.values)[:, None] > np.arange(self.outputs)).astype(np.float32)

    def classes(self, logits: Tensor) -> Tensor:
        """The median class."""
        return (logits.cummin(1).values > 0).sum(1)

    def decode(self, logits: Tensor) -> Mapping[str, Sequence[Any]]:
        """prediction, its probability, and the probability of each class."""
        above = logits.double().cummin(1).values.sigmoid()
        one, zero = above.new_ones(len(above), 1), above.new_zeros(len(above), 1)
        return decoded(self.labels_, self.classes(logits), -torch.cat([one, above, zero], 1).diff(dim=1))

    def scores(self, logits: Tensor, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """See `metrics.of_ranks`."""
        truth, guess = truth_and(target, self.classes(logits))
        return metrics.of_ranks(truth, guess, weights[:, numpy(target.mask)], len(self.labels_))

    @property
    def metric(self) -> Metric:
        """Mean absolute error, in steps of the order."""
        return Metric("mae", higher=False)
