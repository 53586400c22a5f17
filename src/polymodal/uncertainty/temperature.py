"""Probabilities that mean what they say: logits are divided by one temperature. Guo, Pleiss, Sun & Weinberger 2017.

b row, c class or label, k question of an ordinal task. Rows have labels, all of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from polymodal.batch import Masked
from polymodal.data.splits import folds, own
from polymodal.tasks.base import Task
from polymodal.tasks.classify import MultiLabel, Single, numpy
from polymodal.tasks.ordinal import Ordinal
from polymodal.tasks.regress import Regression

Array = NDArray[np.float64]
RANGE = (0.05, 20.0)  # of a temperature
BINS = 15  # of the expected calibration error


def tempered(
    task: Task, logits: Tensor, target: Masked, groups: Sequence[Any] | None
) -> tuple[float, dict[str, float] | None, dict[str, float] | None]:
    """The temperature, and log loss and calibration error before and after.

    After is what each half has by the temperature of the other. The temperature stays 1 where that does not lessen the
    log loss: so few rows then tell nothing. Halves are of whole groups.
    """
    if isinstance(task, Regression) or len(logits) < 2 or not bool(torch.isfinite(logits).all()):
        return 1.0, None, None
    of = groups if groups is not None and len(set(own(groups))) > 1 else None
    crossed = logits.clone()
    for by, held in folds(len(logits), 2, None, of):
        crossed[held] = logits[held] / temperature(task, logits[by], target.take(torch.tensor(by)))
    losses, eces = (
        {"before": f(task, logits, target), "after": f(task, crossed, target)} for f in (log_loss, calibration_error)
    )
    helps = losses["after"] < losses["before"]
    return temperature(task, logits, target) if helps else 1.0, losses, eces


def temperature(task: Task, logits: Tensor, target: Masked) -> float:
    """The T in RANGE that minimises the unweighted log loss of logits / T on n rows.

    Labels are smoothed by 1 / (n + 2), as if one more row had been of any label (Platt 1999): rows that are all right
    would otherwise ask for a certainty that so few can't bear out.
    """
    from scipy.optimize import minimize_scalar

    double, smoothing = logits.double(), 1 / (len(logits) + 2)

    def loss(log_t: float) -> float:
        return log_loss(task, double / float(np.exp(log_t)), target, smoothing)

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded").x))


def log_loss(task: Task, logits: Tensor, target: Masked, smoothing: float = 0.0) -> float:
    """Mean over rows, without class weights, of -log p of the truth; of sigmoids, the mean over those of a row too."""
    double = logits.double()
    if isinstance(task, Single):
        return float(cross_entropy(double, target.values, label_smoothing=smoothing))
    if isinstance(task, Ordinal):
        double, y = double.cummin(1).values, (target.values[:, None] > torch.arange(task.outputs)).double()
    else:
        y = target.values.double()
    return float(binary_cross_entropy_with_logits(double, y * (1 - smoothing) + smoothing / 2))


def calibration_error(task: Task, logits: Tensor, target: Masked) -> float:
    """Sum over BINS bins of confidence of share * |mean confidence - share that is right|. Naeini et al. 2015.

    The confidence is the probability of the predicted class; of label sets, of each label's being there or not.
    """
    if isinstance(task, MultiLabel):
        p_bc = probabilities(task, logits)
        sure, right = np.maximum(p_bc, 1 - p_bc).ravel(), ((p_bc > 0.5) == (numpy(target.values) > 0.5)).ravel()
    else:
        sure, right = confidence(task, logits), numpy(classes(task, logits) == target.values)
    at = np.minimum((sure * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(at, sure - right, BINS)).sum() / max(1, len(sure)))


def brier(task: Task, logits: Tensor, target: Masked) -> float:
    """Mean over rows of the sum over classes of (p - truth)^2 (Brier 1950); of label sets the mean over labels."""
    p_bc = probabilities(task, logits)
    if isinstance(task, MultiLabel):
        return float(((p_bc - numpy(target.values)) ** 2).mean())
    return float(((p_bc - np.eye(p_bc.shape[1])[numpy(target.values)]) ** 2).sum(1).mean())


def quality_of_probabilities(task: Task, logits: Tensor, target: Masked) -> dict[str, float]:
    """log_loss, brier and ece of labelled rows."""
    measures = {"log_loss": log_loss, "brier": brier, "ece": calibration_error}
    return {name: f(task, logits, target) for name, f in measures.items()}


def probabilities(task: Task, logits: Tensor) -> Array:
    """(B, C) probability of each class, or of each label."""
    double = logits.double()
    if isinstance(task, Single):
        return numpy(double.softmax(1))
    if isinstance(task, MultiLabel):
        return numpy(double.sigmoid())
    above = double.cummin(1).values.sigmoid()
    return numpy(-torch.cat([above.new_ones(len(above), 1), above, above.new_zeros(len(above), 1)], 1).diff(dim=1))


def classes(task: Task, logits: Tensor) -> Tensor:
    """(B,) the predicted positions among the labels."""
    assert isinstance(task, Single | Ordinal)
    return task.classes(logits)


def confidence(task: Task, logits: Tensor) -> Array:
    """(B,) probability of the prediction; of label sets, that of the label whose being there or not is least sure."""
    p_bc = probabilities(task, logits)
    if isinstance(task, MultiLabel):
        least: Array = np.maximum(p_bc, 1 - p_bc).min(1)
        return least
    out: Array = np.take_along_axis(p_bc, numpy(classes(task, logits))[:, None], 1)[:, 0]
    return out
