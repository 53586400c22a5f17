"""Categories as trees see them: what the labels of their training rows say, and how many those are.

A training row's own label must not tell what its category says, or a category of one row would be its label: training
rows are read by the labels of other rows (cross-fitted), all later rows by those of all training rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import KFold
from sklearn.preprocessing import TargetEncoder

Numbers = NDArray[np.float32]
FEWEST = 10  # rows with a label from which a category is read
OUTPUTS = 10  # classes or numbers of a target: of more, only how frequent a category is


class Categories(BaseEstimator):
    """Codes (N, C), NaN where missing -> (N, C * K + C): target statistics, then shares of training rows.

    link: of the task. Target statistics are scikit-learn's, shrunk to the mean of all rows by an empirical Bayes
    estimate (Micci-Barreca 2001): the mean of each number, or the share of each class. A missing cell is a category
    too; one that training rows never held has the mean of all rows.
    """

    def __init__(self, link: str, seed: int = 0) -> None:
        self.link, self.seed = link, seed

    def fit_transform(self, codes: Numbers, y: NDArray[Any]) -> Numbers:
        """(N, D) of the training rows. y: as `Task.answers` gives it, NaN where a row has no label."""
        self.shares_ = [dict(zip(*self._counts(c), strict=True)) for c in codes.T]
        self.encoders_: list[TargetEncoder] = []
        targets = [y] if y.ndim == 1 else list(y.T)
        classes = len(np.unique(y[~np.isnan(y)])) if self.link == "softmax" else len(targets)
        out = [self._frequencies(codes)]
        for target in targets if classes <= OUTPUTS else ():
            at = np.flatnonzero(~np.isnan(target))
            distinct = len(np.unique(target[at]))
            if len(at) < FEWEST or distinct < 2:
                continue
            kind = "continuous" if self.link == "identity" else "binary" if distinct == 2 else "multiclass"
            encoder = TargetEncoder(target_type=kind, cv=KFold(5, shuffle=True, random_state=self.seed))
            own = encoder.fit_transform(codes[at], target[at])
            x = np.asarray(encoder.transform(codes))
            x[at] = own
            self.encoders_.append(encoder.set_params(cv=5))  # the splitter has done its work, and is not kept
            out.append(x)
        return np.concatenate(out, axis=1).astype(np.float32)

    def transform(self, codes: Numbers) -> Numbers:
        """(N, D) of any rows."""
        parts = [self._frequencies(codes), *(np.asarray(e.transform(codes)) for e in self.encoders_)]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _counts(self, codes: Numbers) -> tuple[list[float], list[float]]:
        values, counts = np.unique(codes[~np.isnan(codes)], return_counts=True)
        return values.tolist(), (counts / len(codes)).tolist()

    def _frequencies(self, codes: Numbers) -> Numbers:
        """(N, C) the share of training rows that hold each row's category; NaN where it is missing."""
        each = [
            [np.nan if np.isnan(c) else shares.get(float(c), 0.0) for c in column]
            for column, shares in zip(codes.T, self.shares_, strict=True)
        ]
        return np.asarray(each, dtype=np.float32).T.reshape(len(codes), -1)
