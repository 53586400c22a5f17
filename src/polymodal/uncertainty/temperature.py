"""Probabilities that mean what they say: logits are divided by one temperature. Guo, Pleiss, Sun & Weinberger 2017.

Rows have labels, all of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.data.splits import folds, own
from polymodal.tasks.base import Task

RANGE = (0.05, 20.0)  # of a temperature
BINS = 15  # of the expected calibration error


def search_temperature(
    task: Task, logits: Tensor, target: Masked, groups: Sequence[Any] | None
) -> tuple[float, dict[str, float] | None, dict[str, float] | None]:
    """The temperature, and log loss and calibration error before and after.

    After is what each half has by the temperature of the other. The temperature stays 1 where that does not lessen the
    log loss: so few rows then tell nothing. Halves are of whole groups.
    """
    if "calibrate" not in task.capabilities or len(logits) < 2 or not bool(torch.isfinite(logits).all()):
        return 1.0, None, None
    of = groups if groups is not None and len(set(own(groups))) > 1 else None
    cross_fitted = logits.clone()
    for by, others in folds(len(logits), 2, None, of):
        cross_fitted[others] = logits[others] / temperature(task, logits[by], target.take(torch.tensor(by)))
    losses = {"before": task.log_loss(logits, target), "after": task.log_loss(cross_fitted, target)}
    eces = {when: calibration_error(task, x, target) for when, x in (("before", logits), ("after", cross_fitted))}
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
        return task.log_loss(double / float(np.exp(log_t)), target, smoothing)

    return float(np.exp(minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded").x))


def calibration_error(task: Task, logits: Tensor, target: Masked) -> float:
    """Sum over BINS bins of confidence of share * |mean confidence - share that is right|, over all decisions.

    Naeini et al. 2015. The confidence is the probability of the predicted class; of label sets, of each label's being
    there or not.
    """
    sure, right = (x.ravel() for x in task.decisions(logits, target))
    at = np.minimum((sure * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(at, sure - right, BINS)).sum() / max(1, len(sure)))


def quality_of_probabilities(task: Task, logits: Tensor, target: Masked) -> dict[str, float]:
    """log_loss, brier and ece of labelled rows."""
    return {
        "log_loss": task.log_loss(logits, target),
        "brier": task.brier(logits, target),
        "ece": calibration_error(task, logits, target),
    }
