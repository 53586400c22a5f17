"""Every metric equals scikit-learn's, ties and absent classes included."""

import math
import warnings

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from sklearn import metrics as sk

from cases import over
from polymodal import metrics

N, R = 60, 12


def weights(n: int = N, seed: int = 0, real: bool = False) -> NDArray[np.float64]:
    g = np.random.default_rng(seed)
    if real:
        return g.random((R, n))
    return np.stack([np.ones(n), *(np.bincount(g.integers(0, n, n), minlength=n) for _ in range(R - 1))]).astype(float)


def probabilities(
    classes: int, seed: int = 1, grid: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    g = np.random.default_rng(seed)
    truth = g.integers(0, classes, N)
    logits = g.normal(size=(N, classes)) + 1.2 * np.eye(classes)[truth]
    if grid is not None:  # ties
        logits = np.round(logits * grid) / grid
    p = np.exp(logits)
    return truth, p / p.sum(1, keepdims=True)


def close(got: NDArray[np.floating], want: list[float]) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10, equal_nan=True)


def balanced(truth: NDArray, guess: NDArray, w: NDArray | None = None) -> float:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        return float(sk.balanced_accuracy_score(truth, guess, sample_weight=w))


@over("real", [False, True])
@over("grid", [None, 1])
@over("classes", [2, 3, 7])
def test_classes_equal_scikit_learn(classes: int, grid: int | None, real: bool) -> None:
    truth, p = probabilities(classes, grid=grid)
    w = weights(real=real)
    got, guess = metrics.of_classes(truth, p, w), p.argmax(1)
    close(got["accuracy"], [sk.accuracy_score(truth, guess, sample_weight=v) for v in w])
    close(got["balanced_accuracy"], [balanced(truth, guess, v) for v in w])
    for kind in ("macro", "weighted"):
        want = [sk.f1_score(truth, guess, average=kind, sample_weight=v, zero_division=np.nan) for v in w]
        close(got[f"{kind}_f1"], want)
    close(got["log_loss"], [sk.log_loss(truth, p, sample_weight=v, labels=range(classes)) for v in w])
    if classes == 2:
        close(got["f1"], [sk.f1_score(truth, guess, sample_weight=v) for v in w])
        close(got["roc_auc"], [sk.roc_auc_score(truth, p[:, 1], sample_weight=v) for v in w])
        close(got["average_precision"], [sk.average_precision_score(truth, p[:, 1], sample_weight=v) for v in w])
    else:
        drawn = [[c for c in range(classes) if v[truth == c].any()] for v in w]
        auc = [
            [sk.roc_auc_score(truth == c, p[:, c], sample_weight=v) for c in there]
            for v, there in zip(w, drawn, strict=True)
        ]
        close(got["roc_auc"], [float(np.mean(a)) for a in auc])
        whole = sk.roc_auc_score(truth, p, multi_class="ovr", sample_weight=w[0])
        assert got["roc_auc"][0] == pytest.approx(whole, abs=1e-12)


def test_a_class_that_a_sample_lacks_is_left_out_of_the_mean() -> None:
    truth, p = probabilities(4)
    w = np.stack([(truth != 3).astype(float), (truth == 0).astype(float), np.zeros(N)])
    got = metrics.of_classes(truth, p, w)
    kept = truth != 3
    want = np.mean([sk.roc_auc_score(truth[kept] == c, p[kept, c]) for c in range(3)])
    assert got["roc_auc"][0] == pytest.approx(want, abs=1e-12)
    want = balanced(truth[kept], p.argmax(1)[kept])
    assert got["balanced_accuracy"][0] == pytest.approx(want, abs=1e-12)
    assert math.isnan(got["roc_auc"][1]) and got["accuracy"][1] >= 0
    assert all(math.isnan(v[2]) for v in got.values())


def test_f1_is_undefined_where_no_row_is_or_is_called_positive() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2]])
    got = metrics.of_classes(np.array([0, 0]), p, np.ones((1, 2)))
    assert math.isnan(got["f1"][0]) and got["macro_f1"][0] == 1.0
    wrong = metrics.of_classes(np.array([0, 1]), p, np.ones((1, 2)))
    assert wrong["f1"][0] == 0.0


@over("grid", [None, 1])
def test_label_sets_equal_scikit_learn(grid: int | None) -> None:
    g = np.random.default_rng(3)
    truth = g.random((N, 4)) < [0.5, 0.2, 0.7, 0.4]
    score = g.normal(size=(N, 4)) + truth
    if grid is not None:
        score = np.round(score * grid) / grid + 0.25
    w, guess = weights(), score > 0
    got = metrics.of_label_sets(truth, score, w)
    close(got["accuracy"], [sk.accuracy_score(truth, guess, sample_weight=v) for v in w])
    close(got["hamming_loss"], [sk.hamming_loss(truth, guess, sample_weight=v) for v in w])
    for kind in ("micro", "macro"):
        close(got[f"{kind}_f1"], [sk.f1_score(truth, guess, average=kind, sample_weight=v) for v in w])
    close(got["average_precision"], [sk.average_precision_score(truth, score, sample_weight=v) for v in w])
    close(got["roc_auc"], [sk.roc_auc_score(truth, score, sample_weight=v) for v in w])


def test_ranks_equal_scikit_learn() -> None:
    truth, p = probabilities(5)
    w, guess = weights(), p.argmax(1)
    got = metrics.of_ranks(truth, guess, w, 5)
    close(got["mae"], [sk.mean_absolute_error(truth, guess, sample_weight=v) for v in w])
    kappa = [sk.cohen_kappa_score(truth, guess, labels=range(5), weights="quadratic", sample_weight=v) for v in w]
    close(got["quadratic_kappa"], kappa)
    close(got["accuracy"], [sk.accuracy_score(truth, guess, sample_weight=v) for v in w])


@over("shift", [0.0, 1e6])
@over("ties", [False, True])
def test_numbers_equal_scikit_learn_and_scipy(shift: float, ties: bool) -> None:
    g = np.random.default_rng(4)
    truth = g.normal(size=N)
    guess = truth + g.normal(size=N)
    if ties:
        truth, guess = np.round(truth), np.round(guess)
    truth, guess = truth + shift, guess + shift
    w = weights()
    got = metrics.of_numbers(truth, guess, w)
    close(got["mae"], [sk.mean_absolute_error(truth, guess, sample_weight=v) for v in w])
    close(got["rmse"], [sk.root_mean_squared_error(truth, guess, sample_weight=v) for v in w])
    close(got["r2"], [sk.r2_score(truth, guess, sample_weight=v) for v in w])
    drawn = [np.repeat(np.arange(N), v.astype(int)) for v in w]
    np.testing.assert_allclose(got["pearson"], [scipy.stats.pearsonr(truth[i], guess[i])[0] for i in drawn], atol=1e-9)
    close(got["spearman"], [scipy.stats.spearmanr(truth[i], guess[i])[0] for i in drawn])


def test_a_constant_truth_has_no_r2_and_no_correlation() -> None:
    got = metrics.of_numbers(np.full(5, 0.1), np.arange(5.0), np.ones((1, 5)))
    assert got["mae"][0] > 0
    assert all(math.isnan(got[k][0]) for k in ("r2", "pearson", "spearman"))


@over("n", [0, 1])
def test_no_row_and_one_row_do_not_crash(n: int) -> None:
    w = np.ones((2, n))
    p, k = np.full((n, 3), 1 / 3), np.zeros(n, dtype=int)
    for got in (
        metrics.of_classes(k, p, w),
        metrics.of_classes(k, np.full((n, 2), 0.5), w),
        metrics.of_label_sets(np.zeros((n, 2), dtype=bool), np.ones((n, 2)), w),
        metrics.of_ranks(k, k, w, 3),
        metrics.of_numbers(np.zeros(n), np.ones(n), w),
    ):
        assert all(v.shape == (2,) for v in got.values())
        assert n or all(np.isnan(v).all() for v in got.values())


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, p = probabilities(3)
    whole = metrics.of_classes(truth, p, weights())
    monkeypatch.setattr(metrics, "BLOCK", 8 * N)
    parts = metrics.of_classes(truth, p, weights())
    for k in whole:
        close(parts[k], list(whole[k]))
