"""Simple models, such as a person writes in fifteen lines: each takes a split, and answers its held-out rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.real.sets import Split
from polymodal.extract import features as classical

CATEGORIES = 100  # that get a code
STRENGTHS = np.logspace(-3, 4, 15)


def linear(numeric: bool) -> Any:
    """A ridge or logistic regression whose strength is cross-validated."""
    if numeric:
        return RidgeCV(STRENGTHS)
    return LogisticRegressionCV(
        Cs=6, cv=3, max_iter=500, l1_ratios=(0,), use_legacy_attributes=False, scoring="neg_log_loss"
    )


def text(split: Split) -> Any:
    """TF-IDF of words and pairs of them, of all columns of text in one, and a linear model."""
    joined = [f[split.texts].fillna("").astype(str).agg(" ".join, axis=1) for f in (split.learn, split.held)]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), linear(split.numeric))
    return model.fit(joined[0], split.learn[split.target]).predict(joined[1])


def trees(split: Split) -> Any:
    """LightGBM on numbers, codes of categories, and 30 components of character n-grams of each column of text."""
    texts, learn, held = split.texts, {}, {}
    for c in split.columns:
        a, b = split.learn[c], split.held[c]
        if a.dtype.kind in "if":
            learn[c], held[c] = a, b
        elif c in texts:
            if a.nunique() <= CATEGORIES:  # of more, codes would be the order of the table
                codes = {v: i for i, v in enumerate(a.dropna().unique())}
                learn[c], held[c] = a.map(codes), b.map(codes)
            grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=20_000)
            counts = grams.fit_transform(a.fillna(""))
            svd = TruncatedSVD(min(30, counts.shape[1] - 1), random_state=0).fit(counts)
            for i, (x, y) in enumerate(zip(svd.transform(counts).T, svd.transform(grams.transform(b.fillna(""))).T,
                                           strict=True)):  # fmt: skip
                learn[f"{c}{i}"], held[f"{c}{i}"] = x, y
    model = (LGBMRegressor if split.numeric else LGBMClassifier)(
        n_estimators=600, learning_rate=0.05, n_jobs=1, random_state=0, verbose=-1
    )
    x, y = (pd.DataFrame(z).reset_index(drop=True).to_numpy(dtype=float) for z in (learn, held))
    return model.fit(x, split.learn[split.target]).predict(y)


def features(split: Split) -> Any:
    """A linear model on classical features of every column that has them, and its numbers."""
    a, b = (f[split.columns].reset_index(drop=True) for f in (split.learn, split.held))
    vectors = [c for c in split.columns if isinstance(a[c].iloc[0], list)]
    x, y = (
        np.concatenate([_numbers(f.drop(columns=vectors), a.drop(columns=vectors)), *(_rows(f[c]) for c in vectors)], 1)
        for f in (a, b)
    )
    model = make_pipeline(StandardScaler(), linear(split.numeric))
    return model.fit(x, split.learn[split.target]).predict(y)


def _numbers(frame: pd.DataFrame, learn: pd.DataFrame) -> Any:
    found = classical(frame, learn=learn).frame.select_dtypes(include="number")
    return found.fillna(found.mean()).fillna(0.0).to_numpy(dtype=float)


def _rows(cells: Any) -> Any:
    return np.array(cells.tolist(), dtype=float).reshape(len(cells), -1)


def windows(split: Split) -> Any:
    """Ridge regression on all readings of a window."""
    (c,) = split.columns
    x, y = (_rows(f[c]) for f in (split.learn, split.held))
    return make_pipeline(StandardScaler(), RidgeCV(STRENGTHS)).fit(x, split.learn[split.target]).predict(y)


def last(split: Split) -> Any:
    """Persistence: the last reading of the first channel."""
    (c,) = split.columns
    return [cell[-1][0] for cell in split.held[c]]


def majority(split: Split) -> Any:
    """The most frequent label."""
    return [split.learn[split.target].mode()[0]] * len(split.held)


MODELS: dict[str, Callable[[Split], Any]] = {
    "text": text, "trees": trees, "features": features, "windows": windows, "last": last, "majority": majority
}  # fmt: skip
