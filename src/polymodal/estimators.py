"""scikit-learn estimators on DataFrames of raw cells: for `cross_val_score`, `Pipeline`, `GridSearchCV`, `clone`."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.experiment.config import records
from polymodal.experiment.fit import AUTO, fit
from polymodal.model import Model
from polymodal.tasks.base import Task
from polymodal.tasks.classify import Binary, MultiClass
from polymodal.tasks.labels import key, missing, plain
from polymodal.tasks.regress import Regression

TARGET, WEIGHT = "target of the estimator", "weight of the estimator"
KEYWORDS = ("ignore", "preset", "seed", "time_limit")  # of `fit`; the other settings are fields of its records


class _Estimator(BaseEstimator):
    """What both estimators share: settings of `polymodal.fit`, kept under their own names."""

    model_: Model

    def __init__(
        self,
        *,
        fusion: str = AUTO,
        preset: str = "balanced",
        size: str = "small",
        encoders: Mapping[str, str] | None = None,
        finetune: Sequence[str] = (),
        kinds: Mapping[str, str] | None = None,
        ignore: Sequence[str] = (),
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        time_limit: float | str | None = None,
        folder: str | None = None,
        cache: str | None = None,
        n_jobs: int | None = None,
        seed: int = 0,
        metric: str | None = None,
        class_weight: str | Mapping[Any, float] | None = None,
        optimize_threshold: bool = False,
    ) -> None:
        self.fusion, self.preset, self.size, self.encoders, self.finetune = fusion, preset, size, encoders, finetune
        self.kinds, self.ignore, self.epochs, self.batch_size = kinds, ignore, epochs, batch_size
        self.lr, self.time_limit, self.folder, self.cache = lr, time_limit, folder, cache
        self.n_jobs, self.seed = n_jobs, seed
        self.metric, self.class_weight, self.optimize_threshold = metric, class_weight, optimize_threshold

    def _fit(self, X: Any, y: Any, task: Task, sample_weight: Any) -> Self:
        table = self._table(X)
        labels = np.asarray(y)
        if labels.ndim != 1 or len(labels) != table.rows:
            raise InputError(f"y must hold one label for each of the {table.rows} rows, but has shape {labels.shape}")
        if lacking := [i for i, label in enumerate(labels.tolist()) if missing(label)]:
            raise InputError(
                f"y has no label in {len(lacking)} rows, the first at position {lacking[0]}; leave them out"
            )
        options = {k: v for k, v in self.get_params(deep=False).items() if k not in ("folder", *KEYWORDS)}
        frame = table.frame()
        frame[TARGET] = labels
        if sample_weight is not None:
            frame[WEIGHT], options["weight"] = np.asarray(sample_weight), WEIGHT
        whole = Table.read(frame, folder=self.folder)
        keywords = {k: getattr(self, k) for k in KEYWORDS}
        self.model_ = fit(
            whole, TARGET, task=task, config=records(baselines=False, progress=False, **options), **keywords
        )
        self.n_features_in_ = len(table.columns)
        self.feature_names_in_ = np.array(table.columns, dtype=object)
        return self

    def _decoded(self, X: Any) -> pd.DataFrame:
        check_is_fitted(self, "model_")
        return self.model_.predict(self._table(X), cache=self.cache)

    def _table(self, X: Any) -> Table:
        if isinstance(X, np.ndarray):
            raise InputError(
                "polymodal reads columns by name: give a DataFrame (or a list of dicts), not an array; "
                "pd.DataFrame(X, columns=[...]) makes one"
            )
        return Table.read(X, folder=self.folder)


class MultimodalClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A classifier of tables whose columns are text, images, audio, series, vectors and numbers.

    The arguments are those of `polymodal.fit`; `folder` is what relative paths in cells are resolved against. X is a
    DataFrame, y one label a row. A fifth of the rows is held out to choose the best epoch.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on a DataFrame and its labels. sample_weight: (N,) numbers from 0, how much each row counts."""
        self.classes_ = np.unique([label for label in np.asarray(y).ravel() if not missing(label)])
        return self._fit(X, y, Binary() if len(self.classes_) == 2 else MultiClass(), sample_weight)

    def predict(self, X: Any) -> NDArray[Any]:
        """(N,) labels."""
        at = {key(plain(c)): i for i, c in enumerate(self.classes_)}
        return self.classes_[[at[key(x)] for x in self._decoded(X)["prediction"]]]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> NDArray[np.floating]:
        """(N, classes) probabilities, in the order of `classes_`; 0 for a class that training did not hold."""
        columns = self._decoded(X)
        task = self.model_.task
        own = {key(label): columns[f"probability[{label}]"].to_numpy(float) for label in task.labels_}
        none = np.zeros(len(columns))
        return np.stack([own.get(key(plain(c)), none) for c in self.classes_], axis=1)


class MultimodalRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A regressor of tables whose columns are text, images, audio, series, vectors and numbers.

    As MultimodalClassifier; y is one number a row.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on a DataFrame and its numbers. sample_weight: (N,) numbers from 0, how much each row counts."""
        return self._fit(X, y, Regression(), sample_weight)

    def predict(self, X: Any) -> NDArray[np.floating]:
        """(N,) numbers."""
        return self._decoded(X)["prediction"].to_numpy(float)
