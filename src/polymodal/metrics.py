"""Scores of predictions, each under many weightings of the rows at once.

r weighting, n row, c class. Weights (R, N) are the counts of bootstrap samples, or ones; every function gives
(R,) values, NaN where a weighting leaves the score undefined (no positive row, a constant truth). With one
weighting they equal scikit-learn's of the same name. Memory stays near BLOCK bytes, whatever R and N.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Ints = NDArray[np.integer]
BLOCK = 2**21  # bytes of one temporary: it stays in the processor's cache
ORDERED = 2**14  # numbers of a block whose rows are put in another order
EPS = float(np.finfo(np.float64).eps)


def of_classes(truth: Ints, p_nc: Array, weights: Array, guess: Ints | None = None) -> dict[str, Array]:
    """Scores of one label a row: (N,) classes, (N, C) probabilities, (N,) decisions, by default the likeliest class.

    accuracy, balanced_accuracy, macro_f1, weighted_f1, roc_auc (one against the rest, the mean over classes),
    log_loss; of two classes also f1 and average_precision of the second.
    """
    classes = p_nc.shape[1]
    of_scores = [k for k in OF_CLASSES if classes == 2 or k != "average_precision"]
    table = confusion(truth, p_nc.argmax(1) if guess is None else guess, weights, classes)
    return {**of_confusion(table), **{k: OF_CLASSES[k](truth, p_nc, weights) for k in of_scores}}


def of_label_sets(truth_nk: NDArray[np.bool_], score_nk: Array, weights: Array) -> dict[str, Array]:
    """Scores of any number of labels a row: (N, K) truths, (N, K) logits, a label being predicted above 0.

    micro_f1, macro_f1, accuracy (of the whole set), hamming_loss; average_precision and roc_auc, means over
    labels.
    """
    labels = range(truth_nk.shape[1])
    return {
        **of_guesses(truth_nk, score_nk > 0, weights),
        "average_precision": nanmean(
            np.stack([average_precision(truth_nk[:, k], score_nk[:, k], weights) for k in labels], 1)
        ),
        "roc_auc": nanmean(np.stack([roc_auc(truth_nk[:, k], score_nk[:, k], weights) for k in labels], 1)),
    }


def of_guesses(truth_nk: NDArray[np.bool_], guess_nk: NDArray[np.bool_], weights: Array) -> dict[str, Array]:
    """Those of the scores of label sets that are of decisions (N, K): accuracy, micro_f1, macro_f1, hamming_loss."""
    cells = (truth_nk & guess_nk, ~truth_nk & guess_nk, truth_nk & ~guess_nk)
    tp, fp, fn = (mean(np.asarray(x.T, dtype=np.float64), weights) for x in cells)
    return {
        "accuracy": mean((truth_nk == guess_nk).all(1), weights),
        "micro_f1": ratio(2 * tp.sum(1), (2 * tp + fp + fn).sum(1)),
        "macro_f1": nanmean(ratio(2 * tp, 2 * tp + fp + fn)),
        "hamming_loss": mean((truth_nk != guess_nk).mean(1), weights),
    }


def of_ranks(truth: Ints, guess: Ints, weights: Array, classes: int) -> dict[str, Array]:
    """Scores of ordered classes 0 ... C - 1: accuracy, mae (in steps), quadratic_kappa, macro_f1."""
    table = confusion(truth, guess, weights, classes)
    every = of_confusion(table)
    return {
        "accuracy": every["accuracy"],
        "mae": mean(np.abs(truth - guess), weights),
        "quadratic_kappa": quadratic_kappa(table),
        "macro_f1": every["macro_f1"],
    }


def of_numbers(truth: Array, guess: Array, weights: Array) -> dict[str, Array]:
    """Scores of one real number a row: mae, rmse, r2, pearson, spearman."""
    return {name: score(truth, guess, weights) for name, score in OF_NUMBERS.items()}


def confusion(truth: Ints, guess: Ints, weights: Array, classes: int) -> Array:
    """(R, C, C) weight of the rows of each (true, predicted) class."""
    code = np.asarray(truth, dtype=np.intp) * classes + np.asarray(guess, dtype=np.intp)
    rows = [np.bincount(code, w, classes * classes) for w in weights]
    return np.array(rows, dtype=np.float64).reshape(-1, classes, classes)


def of_confusion(table: Array) -> dict[str, Array]:
    """accuracy, balanced_accuracy (over classes with a true row), and F1 (over classes with a true or
    predicted row; of two classes also that of the second).
    """
    hit, true = np.diagonal(table, axis1=1, axis2=2), table.sum(2)
    each = f1(table)
    out = {
        "accuracy": ratio(hit.sum(1), true.sum(1)),
        "balanced_accuracy": nanmean(ratio(hit, true)),
        "macro_f1": nanmean(each),
        "weighted_f1": ratio((np.nan_to_num(each) * true).sum(1), true.sum(1)),
    }
    return {**out, "f1": each[:, 1]} if each.shape[1] == 2 else out


def f1(table: Array) -> Array:
    """(R, C, C) -> (R, C) F1 = 2 TP / (2 TP + FP + FN); NaN for a class without a true or predicted row."""
    return ratio(2 * np.diagonal(table, axis1=1, axis2=2), table.sum(1) + table.sum(2))


def quadratic_kappa(table: Array) -> Array:
    """1 - sum_ij (i - j)^2 O_ij / sum_ij (i - j)^2 E_ij, E being what the margins alone would give. Cohen
    1968.
    """
    steps = np.arange(table.shape[1])
    square = (steps[:, None] - steps) ** 2
    chance = ratio(table.sum(2)[:, :, None] * table.sum(1)[:, None, :], table.sum((1, 2))[:, None, None])
    return 1 - ratio((square * table).sum((1, 2)), (square * chance).sum((1, 2)))


def log_loss(truth: Ints, p_nc: Array, weights: Array) -> Array:
    """Mean of -log p of the true class, p being at least 2^-52."""
    p = np.take_along_axis(p_nc, np.asarray(truth, dtype=np.intp)[:, None], 1)[:, 0]
    return mean(-np.log(p.clip(EPS, 1 - EPS)), weights)


def roc_auc(positive: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """P(score of a positive > score of a negative) + P(equal) / 2; NaN without a positive or a negative row.

    One sort for all weightings: a positive's share is the weight of the negatives below it, read off their
    running sum. Hanley & McNeil 1982.
    """
    yes, no = np.flatnonzero(positive), np.flatnonzero(~positive)
    no = no[np.argsort(score[no], kind="stable")]
    yes = yes[np.argsort(score[yes], kind="stable")]
    below, upto = (np.searchsorted(score[no], score[yes], side) for side in ("left", "right"))
    ties = bool((below != upto).any())

    def some(w: Array) -> tuple[Array, Array]:
        sums, w_yes = running(w.take(no, 1)), w.take(yes, 1).astype(np.float64)
        misses = sums.take(below, 1)
        hits = (misses + sums.take(upto, 1)) / 2 if ties else misses
        return (w_yes * hits).sum(1), w_yes.sum(1) * sums[:, -1]

    return in_blocks(some, weights)


def average_precision(positive: NDArray[np.bool_], score: Array, weights: Array) -> Array:
    """Mean over the positives of the precision among the rows that score no less; NaN without a positive."""
    order = np.argsort(-score, kind="stable")
    yes = order[positive[order]]
    every_at, yes_at = (np.searchsorted(-score[rows], -score[yes], "right") for rows in (order, yes))

    def some(w: Array) -> tuple[Array, Array]:
        w_yes = w.take(yes, 1).astype(np.float64)
        every, true = running(w.take(order, 1)).take(every_at, 1), running(w_yes).take(yes_at, 1)
        # where no row scores so much, the positive itself weighs nothing
        return (w_yes * (true / np.where(every > 0, every, 1))).sum(1), w_yes.sum(1)

    return in_blocks(some, weights)


def mean_roc_auc(truth: Ints, p_nc: Array, weights: Array) -> Array:
    """roc_auc of each class against the rest, the mean over classes; of two that of the second."""
    if p_nc.shape[1] == 2:
        return roc_auc(truth == 1, p_nc[:, 1], weights)
    return nanmean(np.stack([roc_auc(truth == c, p_nc[:, c], weights) for c in range(p_nc.shape[1])], axis=1))


def mae(truth: Array, guess: Array, weights: Array) -> Array:
    """Mean of the absolute error."""
    return mean(np.abs(truth - guess), weights)


def rmse(truth: Array, guess: Array, weights: Array) -> Array:
    """Root of the mean squared error."""
    return np.sqrt(mean((truth - guess) ** 2, weights))


def r2(truth: Array, guess: Array, weights: Array) -> Array:
    """1 - squared error / squared deviation from the mean; NaN for a constant truth."""
    y = centre(truth)
    error, my, myy = mean([(truth - guess) ** 2, y, y * y], weights).T
    return 1 - ratio(error, variance(my, myy))


def pearson(x: Array, y: Array, weights: Array) -> Array:
    """Covariance over the product of standard deviations; NaN where either is constant."""
    x, y = centre(x), centre(y)
    mx, my, mxx, myy, mxy = mean([x, y, x * x, y * y, x * y], weights).T
    return ratio(mxy - mx * my, np.sqrt(variance(mx, mxx)) * np.sqrt(variance(my, myy))).clip(-1, 1)


def spearman(x: Array, y: Array, weights: Array) -> Array:
    """Pearson's correlation of the ranks, ties sharing their mean rank; a row of weight w is w rows."""
    order = np.argsort(x, kind="stable")  # in this order the ranks of x need no search
    rank_x, rank_y = _ranker(x[order]), _ranker(y[order])

    def some(w: Array) -> tuple[Array, Array]:
        w = w.take(order, 1)
        a, b = rank_x(w), rank_y(w)
        wa, wb = w * a, w * b
        return (wa * b).sum(1), np.sqrt((wa * a).sum(1)) * np.sqrt((wb * b).sum(1))

    return in_blocks(some, weights).clip(-1, 1)


OF_CLASSES: dict[str, Callable[[Ints, Array, Array], Array]] = {  # by names, beside those of the confusion matrix
    "roc_auc": mean_roc_auc,
    "average_precision": lambda truth, p_nc, weights: average_precision(truth == 1, p_nc[:, 1], weights),
    "log_loss": log_loss,
}
OF_NUMBERS = {"mae": mae, "rmse": rmse, "r2": r2, "pearson": pearson, "spearman": spearman}


def _ranker(x: Array) -> Callable[[Array], Array]:
    """Weights (R, N) -> twice the mean rank of each row less that of all rows, which is their total weight."""
    order = np.argsort(x, kind="stable")
    place, ranks = np.argsort(order, kind="stable"), x[order]
    low, high = (np.searchsorted(ranks, ranks, side) for side in ("left", "right"))
    ties, ascending = bool((high - low != 1).any()), bool((order[1:] > order[:-1]).all())

    def rank(w: Array) -> Array:
        sums = running(w if ascending else w.take(order, 1))
        twice = (sums.take(low, 1) + sums.take(high, 1) if ties else sums[:, :-1] + sums[:, 1:]) - sums[:, -1:]
        out: Array = twice if ascending else twice.take(place, 1)
        return out

    return rank


def mean(values: Array | NDArray[np.bool_] | list[Array], weights: Array) -> Array:
    """(N,) -> (R,) weighted mean; (K, N) -> (R, K)."""
    table = np.asarray(values, dtype=np.float64)
    columns = np.concatenate([np.atleast_2d(table), np.ones((1, table.shape[-1]))]).T
    sums = np.concatenate([np.zeros((0, columns.shape[1])), *(w @ columns for w in split(weights))])
    out = ratio(sums[:, :-1], sums[:, -1:])
    return out if table.ndim == 2 else out.reshape(-1)


def centre(x: Array) -> Array:
    """Less its mean: sums of squares lose digits far from 0."""
    return x - x.mean() if len(x) else x


def variance(mean_: Array, mean_of_squares: Array) -> Array:
    """From the two moments; 0 where it is rounding error beside them."""
    v = mean_of_squares - mean_**2
    return np.where(v > 1e-13 * mean_of_squares, v, 0.0)


def running(w: Array) -> NDArray[np.float64]:
    """(R, N) -> (R, N + 1) running sums, from 0."""
    out = np.zeros((len(w), w.shape[1] + 1))
    np.cumsum(w, axis=1, out=out[:, 1:])
    return out


def ratio(a: Array, b: Array) -> Array:
    """a / b, and NaN where b is 0."""
    a, b = np.broadcast_arrays(a, b)
    out: Array = np.divide(a, b, out=np.full(a.shape, np.nan), where=b != 0)
    return out


def nanmean(x: Array) -> Array:
    """(R, C) -> (R,) mean over what is defined; NaN where nothing is."""
    is_number = ~np.isnan(x)
    return ratio(np.where(is_number, x, 0.0).sum(1), is_number.sum(1))


def in_blocks(f: Callable[[Array], tuple[Array, Array]], weights: Array) -> Array:
    """Numerators over denominators (r,) of blocks (r, N) of weightings, small enough that their rows can be put in the
    order of scores inside the cache: one weighting at a time where there are many rows."""
    step = max(1, ORDERED // max(1, weights.shape[1]))
    parts = [f(weights[i : i + step]) for i in range(0, len(weights), step)]
    if not parts:
        return np.zeros(0)
    above, below = (np.concatenate(each) for each in zip(*parts, strict=True))
    return ratio(above, below)


def split(weights: Array) -> Iterator[NDArray[np.float64]]:
    """Blocks of weightings in double precision, about BLOCK bytes each, in one buffer that is used again."""
    step = max(1, BLOCK // (8 * max(1, weights.shape[1])))
    buffer = np.empty((min(step, len(weights)), weights.shape[1]))
    for i in range(0, len(weights), step):
        part = weights[i : i + step]
        np.copyto(buffer[: len(part)], part)
        yield buffer[: len(part)]
