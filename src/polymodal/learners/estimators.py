"""Estimators of the small-data path: scikit-learn's and LightGBM, behind one pair of functions.

An estimator is fitted on a matrix and answers with logits, whatever the task: classes by one classifier, questions
(labels, thresholds) by one classifier each, numbers by one regressor each.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.hardware import cores
from polymodal.learners.matrix import Matrix, Sight

FLOOR = 1e-5  # no probability is taken to be smaller: a forest's 0 is not certainty


Make = Callable[[int, int], Any]  # an estimator, by a seed and the number of classes


class Kind(NamedTuple):
    """How an estimator is made, and what it wants to see."""

    classifier: Make
    regressor: Make
    sight: Sight
    weighted: bool = True  # takes sample weights
    stacks: bool = False  # worth fitting on the answers of others too
    apart: bool = False  # worth fitting on each view of a modality by itself too
    counts: bool = False  # worth fitting only where a view is of counts


def logistic(c: float) -> Make:
    """Logistic regression; its blocks have rows of unit length, so `c` means the same for every table."""

    def make(seed: int, outputs: int) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=c, max_iter=300, tol=1e-3)

    return make


def ridge(alpha: float) -> Make:
    """Ridge regression."""

    def make(seed: int, outputs: int) -> Any:
        from sklearn.linear_model import Ridge

        return Ridge(alpha=alpha)

    return make


def kernel(head: Make) -> Make:
    """A linear estimator on a Gaussian kernel, exact up to 800 rows, beyond that by Nystroem's method.

    Williams & Seeger 2001.
    """

    def make(seed: int, outputs: int) -> Any:
        from sklearn.kernel_approximation import Nystroem
        from sklearn.pipeline import make_pipeline

        return make_pipeline(Nystroem(n_components=800, random_state=seed), head(seed, outputs))

    return make


def neighbours(name: str) -> Make:
    """The 15 nearest rows, each weighed by 1 / distance."""

    def make(seed: int, outputs: int) -> Any:
        from sklearn import neighbors

        return getattr(neighbors, name)(n_neighbors=15, weights="distance", algorithm="brute")

    return make


def forest(name: str) -> Make:
    """Extremely randomised trees, each split by the best of 40% of the columns. Geurts, Ernst & Wehenkel 2006."""

    def make(seed: int, outputs: int) -> Any:
        from sklearn import ensemble

        return getattr(ensemble, name)(
            n_estimators=200, min_samples_leaf=2, max_features=0.4, random_state=seed, n_jobs=cores()
        )

    return make


def boosting(kind: str) -> Make:
    """Gradient-boosted trees, by LightGBM. Ke et al. 2017. Every round has a tree a class: of many, fewer rounds."""

    def make(seed: int, outputs: int) -> Any:
        import lightgbm

        rounds = max(60, 300 // max(1, outputs // 2))
        return getattr(lightgbm, f"LGBM{kind}")(
            n_estimators=rounds, learning_rate=15 / rounds, num_leaves=31, min_child_samples=10, colsample_bytree=0.5,
            subsample=0.8, subsample_freq=1, random_state=seed, n_jobs=1, verbose=-1,
        )  # fmt: skip

    return make


def perceptron(name: str) -> Make:
    """A multilayer perceptron on sparse rows."""

    def make(seed: int, outputs: int) -> Any:
        from polymodal.learners import perceptron

        return getattr(perceptron, name)(seed)

    return make


WORDS, TREES = Sight(256, sparse=True), Sight(50, trees=True)
KINDS: dict[str, Kind] = {
    "linear": Kind(logistic(10.0), ridge(0.1), WORDS, apart=True),
    "linear-weak": Kind(logistic(1.0), ridge(1.0), WORDS),
    "linear-strong": Kind(logistic(100.0), ridge(0.01), WORDS),
    "kernel": Kind(kernel(logistic(30.0)), kernel(ridge(0.03)), Sight(64)),
    "forest": Kind(forest("ExtraTreesClassifier"), forest("ExtraTreesRegressor"), TREES, stacks=True),
    "boosted": Kind(boosting("Classifier"), boosting("Regressor"), TREES, stacks=True),
    "perceptron": Kind(perceptron("PerceptronClassifier"), perceptron("PerceptronRegressor"), WORDS, counts=True),
    "knn": Kind(neighbours("KNeighborsClassifier"), neighbours("KNeighborsRegressor"), Sight(32), weighted=False),
}


class Fitted(NamedTuple):
    """One estimator a column of answers, or one of all classes; a number stands for a column that is constant."""

    link: str
    outputs: int
    estimators: list[Any]


def fit(
    kind: str, link: str, outputs: int, x: Matrix, y: NDArray[Any], weight: NDArray[Any] | None, seed: int
) -> Fitted:
    """Fit one kind of estimator. x: (N, D). y: as `Task.answers` gives it. weight: (N,), or of several columns of y
    (N, outputs); None for equal ones."""
    how = KINDS[kind]
    arguments = {} if weight is None or not how.weighted else {"sample_weight": weight}
    if link == "softmax":
        return Fitted(link, outputs, [_fit_one(how.classifier(seed, outputs), x, y.astype(int), arguments)])
    make = how.classifier if link == "sigmoid" else how.regressor
    columns = []
    for k, column in enumerate(y.T):
        rows = np.flatnonzero(~np.isnan(column))
        answers = column[rows].astype(int) if link == "sigmoid" else column[rows]
        part = {name: (v if v.ndim == 1 else v[:, k])[rows] for name, v in arguments.items()}
        columns.append(_fit_one(make(seed, 1), x[rows], answers, part))
    return Fitted(link, outputs, columns)


def logits(estimator: Fitted, x: Matrix) -> NDArray[np.float32]:
    """(N, outputs) of (N, D)."""
    if not x.shape[0]:
        return np.zeros((0, estimator.outputs), np.float32)
    if estimator.link == "softmax":
        (one,) = estimator.estimators
        p = np.full((x.shape[0], estimator.outputs), FLOOR)
        if isinstance(one, int | float):
            p[:, int(one)] = 1
        else:
            p[:, one.classes_] = np.maximum(_quietly(one.predict_proba, x), FLOOR)
        return np.asarray(np.log(p / p.sum(1, keepdims=True)), dtype=np.float32)
    out = np.stack([_column(e, estimator.link, x) for e in estimator.estimators], axis=1)
    return np.asarray(out, dtype=np.float32)


def count(estimator: Any) -> int:
    """How many numbers it learned: coefficients, thresholds and leaves; rows that it remembers."""
    if hasattr(estimator, "steps"):
        return sum(count(part) for _, part in estimator.steps)
    if hasattr(estimator, "coef_"):
        return int(np.size(estimator.coef_) + np.size(estimator.intercept_))
    if hasattr(estimator, "weights_"):
        return sum(int(np.size(x)) for layer in estimator.weights_ for x in layer)
    if hasattr(estimator, "components_"):
        return int(np.size(estimator.components_) + np.size(estimator.normalization_))
    if hasattr(estimator, "estimators_"):
        return sum(int(tree.tree_.node_count) for tree in estimator.estimators_)
    if hasattr(estimator, "booster_"):
        return sum(int(tree["num_leaves"]) * 2 for tree in estimator.booster_.dump_model()["tree_info"])
    return int(np.size(getattr(estimator, "_fit_X", 1)))


def _column(estimator: Any, link: str, x: Matrix) -> NDArray[Any]:
    if isinstance(estimator, int | float):
        value = float(estimator)
        p = np.full(x.shape[0], value)
    elif link == "identity":
        return np.asarray(_quietly(estimator.predict, x)).reshape(-1)
    else:
        p = _quietly(estimator.predict_proba, x)[:, 1]
    if link == "identity":
        return p
    p = p.clip(FLOOR, 1 - FLOOR)
    return np.asarray(np.log(p) - np.log1p(-p))


def _fit_one(estimator: Any, x: Matrix, y: NDArray[Any], arguments: dict[str, Any]) -> Any:
    """The fitted estimator, or the answer where there is only one."""
    if len(np.unique(y)) < 2:
        return (y[0].item() if len(y) else 0.0) if y.dtype.kind == "f" else int(y[0]) if len(y) else 0
    last = estimator[-1] if hasattr(estimator, "steps") else estimator
    if hasattr(last, "n_neighbors"):
        last.set_params(n_neighbors=min(last.n_neighbors, x.shape[0]))
    if hasattr(estimator, "steps"):  # a kernel: as wide as the rows are far apart
        first = estimator[0]
        spread = float(np.mean(np.sum(np.square(x), axis=1)))
        first.set_params(gamma=1 / max(spread, 1e-6), n_components=min(first.n_components, x.shape[0]))
        arguments = {f"{estimator.steps[-1][0]}__{k}": v for k, v in arguments.items()}
    return _quietly(estimator.fit, x, y, **arguments)


def _quietly(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The call, without the remarks that libraries make on few rows: iterations that ran out, names of columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*args, **kwargs)
