"""What a model has to beat before it has learned anything: answers that read no modality.

b row, k output.

constant      the share of each label, or the mean number, of the training rows, whatever the row
persistence   of rows in the order of time: the target of the row before, which has to be known by then
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Masked
from polymodal.evaluate.compare import CONSTANT, PERSISTENCE, Result
from polymodal.output import Scores
from polymodal.tasks.base import Task

SURE = 8.0  # the logit of a label that is said, against 0 for the others
NAMES = {"softmax": "majority", "sigmoid": "prior", "identity": "mean"}  # what the constant says, by the task's link


def baselines(task: Task, train: Masked, target: Masked, when: Sequence[float] | None) -> list[Result]:
    """The constant, and where rows have times `when`, persistence: each one's answers to the rows of `target`.

    train: labels of training rows. A row before which none has a label is answered by the constant.
    """
    l_bk = constant(task, train).expand(len(target.values), -1)
    out = [Result(f"{NAMES[task.link]} (baseline)", CONSTANT, Scores(l_bk), 0, 0, 0.0)]
    if when is not None:
        y_bk = persistence(task, target, when)
        out.append(
            Result("persistence (baseline)", PERSISTENCE, Scores(torch.where(y_bk.isnan(), l_bk, y_bk)), 0, 0, 0.0)
        )
    return out


def constant(task: Task, train: Masked) -> Tensor:
    """(K,) logits of the same answer to every row: of labels their shares, of which the largest (the median of ranks)
    is predicted; of numbers their mean, which has an r2 of 0 on the rows that it is of.

    scikit-learn's dummy estimators with the strategies "prior" and "mean".
    """
    rows = train.take(train.present())
    mean_k = np.nanmean(_said(task, rows), axis=0)
    if task.link != "identity":
        p_k = mean_k.clip(1e-6, 1 - 1e-6)  # of a label that no row has, nothing is sure
        mean_k = np.log(p_k) - (np.log1p(-p_k) if task.link == "sigmoid" else 0)
    return torch.from_numpy(mean_k).float()


def persistence(task: Task, target: Masked, when: Sequence[float]) -> Tensor:
    """(B, K) logits that say the label of the latest row before; NaN where none before has one.

    when: (B,) ascending with time. Rows of one time do not know each other's label. Hyndman & Athanasopoulos 2021,
    section 5.2 (the naive method).
    """
    order = np.argsort(when, kind="stable")
    rows, times = order[target.present().numpy()[order]], np.asarray(when)
    before = np.searchsorted(times[rows], times, side="left") - 1
    y_bk = _said(task, target) if task.link == "identity" else SURE * (2 * _said(task, target) - 1)
    out = np.full(y_bk.shape, np.nan)
    out[before >= 0] = y_bk[rows[before[before >= 0]]]
    return torch.from_numpy(out).float()


def _said(task: Task, target: Masked) -> NDArray[np.float64]:
    """(B, K) the labels as a learner without an error answers them: 0 and 1, or numbers."""
    answers = task.answers(target)
    return np.eye(task.outputs)[answers] if task.link == "softmax" else np.asarray(answers, dtype=np.float64)
