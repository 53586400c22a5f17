"""Metrics of generated texts against references, each for many weightings of the rows at once.

The sufficient statistics of each row are computed once (`statistics`); a metric of a weighting is a function of their
weighted sum. So the metrics of all bootstrap samples cost one product of matrices. r weighting, n row.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import InputError
from polymodal.metrics import ratio, split
from polymodal.sentences.cider import Cider, cider_d
from polymodal.sentences.edits import edit_errors, rouge_l
from polymodal.sentences.grams import (
    ORDERS,
    NgramCounts,
    bleu,
    bleu_statistics,
    chrf,
    chrf_statistics,
    cider_scores,
    count_ngrams,
    inverse_frequencies,
    rows_of,
)
from polymodal.sentences.meteor import meteor
from polymodal.sentences.meteor import statistics as meteor_statistics
from polymodal.sentences.words import character_text, fingerprint, normal_form, words

__all__ = ["Cider", "cider_d", "fingerprint", "scores", "words"]

Floats = NDArray[np.float64]
CACHE = 4  # lists of texts whose statistics are kept: value, bootstrap chunks and differences ask again


class Statistics(NamedTuple):
    """Sufficient statistics. table: by metric, (N, K) columns that are summed over rows. words: n-grams of the
    candidates. keys: their fingerprints.

    They are 0 for a row without a reference (`known` False), which is no part of any sample.
    """

    table: dict[str, Floats]
    known: NDArray[np.bool_]
    words: NgramCounts
    keys: list[int]


def scores(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    weights: NDArray[np.floating],
    *,
    training: Collection[int] = (),
) -> dict[str, Floats]:
    """Scores of N texts, each against one or more references: name -> (R,) under weights (R, N), such as bootstrap
    counts; NaN where a weighting leaves no row. A row without references is left out.

    cider_d, bleu_1 ... bleu_4, rouge_l: as the COCO caption evaluation gives them; CIDEr-D (0 to 10) with the
    document frequencies of all rows' references, whatever the weights. meteor_exact_stem: METEOR 1.5 with the stages
    for equal words and stems alone. chrf: of the raw text, sacrebleu's over 100. wer, cer: word and character error
    rate, against the nearest reference; above 1 where texts are much too long. exact_match: fraction of texts equal
    to a reference. distinct_1, distinct_2: distinct n-grams over n-grams, and vocabulary: distinct words, of all
    texts whose weight isn't 0, each counted once. novelty: fraction of texts whose `fingerprint` is not in `training`;
    NaN where that is empty. length: words per text. All but chrf are of `words`; cer is of their characters and the
    spaces between them.
    """
    s = statistics(_tuple(candidates, "candidates"), tuple(_tuple(r, "references of one row") for r in references))
    w = np.asarray(weights)
    if w.ndim != 2 or w.shape[1] != len(s.known):
        raise InputError(f"weights have the shape {w.shape}, and there are {len(s.known)} texts; give (R, texts)")
    sums = _sums({**s.table, "novel": (novelty(s.keys, training) * s.known)[:, None]}, w)
    total = sums["known"][:, 0]
    kinds = [distinct_ngrams(s, w, n) for n in (0, 1)]
    out = {
        "cider_d": ratio(sums["cider_d"][:, 0], total),
        **{f"bleu_{n + 1}": x for n, x in enumerate(bleu(sums["bleu"]).T)},
        "meteor_exact_stem": meteor(sums["meteor_exact_stem"]),
        "rouge_l": ratio(sums["rouge_l"][:, 0], total),
        "chrf": chrf(sums["chrf"]),
        **{name: ratio(*sums[name].T) for name in ("wer", "cer")},
        "exact_match": ratio(sums["exact_match"][:, 0], total),
        "distinct_1": ratio(*kinds[0]),
        "distinct_2": ratio(*kinds[1]),
        "vocabulary": kinds[0][0],
        "novelty": ratio(sums["novel"][:, 0], total),
        "length": ratio(sums["length"][:, 0], total),
    }
    return {name: np.where(total > 0, x, np.nan) for name, x in out.items()}


@lru_cache(maxsize=CACHE)
def statistics(candidates: tuple[str, ...], references: tuple[tuple[str, ...], ...]) -> Statistics:
    """The sufficient statistics of every metric, by row. Raises InputError where the two differ in length."""
    if len(candidates) != len(references):
        raise InputError(
            f"{len(candidates)} texts can't be scored against the references of {len(references)} rows; "
            "give each text a list of references"
        )
    rows, owner, flat = len(candidates), rows_of(references), list(chain(*references))
    mine, theirs = [words(t) for t in candidates], [words(t) for t in flat]
    x = count_ngrams([*mine, *theirs], ORDERS)
    same = [normal_form(c) in {normal_form(r) for r in of} for c, of in zip(candidates, references, strict=True)]
    table = {
        "known": np.bincount(owner, minlength=rows) > 0,
        "cider_d": cider_scores(x, rows, owner, inverse_frequencies(x, rows, owner)[0]),
        "bleu": bleu_statistics(x, rows, owner),
        "meteor_exact_stem": meteor_statistics(mine, theirs, owner),
        "rouge_l": rouge_l(mine, theirs, owner),
        "chrf": chrf_statistics(candidates, flat, owner),
        "wer": edit_errors(mine, theirs, owner),
        "cer": edit_errors([character_text(t) for t in candidates], [character_text(t) for t in flat], owner),
        "exact_match": np.array(same, dtype=bool),
        "length": x.lengths[:rows],
    }
    has_reference = table["known"].astype(bool)
    wide = {name: x if x.ndim == 2 else x[:, None] for name, x in table.items()}
    columns = {name: np.where(has_reference[:, None], x, 0.0) for name, x in wide.items()}
    return Statistics(columns, has_reference, count_ngrams(mine, 2), [fingerprint(t) for t in candidates])


def novelty(keys: Sequence[int], training: Collection[int]) -> Floats:
    """(N,) 1 where a key is not in `training`, else 0; NaN throughout where `training` is empty."""
    if not len(training):
        return np.full(len(keys), np.nan)
    before = training if isinstance(training, set | frozenset | dict) else frozenset(int(k) for k in training)
    nothing = fingerprint("")  # an empty text is no new one
    return np.array([k not in before and k != nothing for k in keys], dtype=np.float64)


def distinct_ngrams(s: Statistics, weights: NDArray[np.floating], order: int) -> tuple[Floats, Floats]:
    """(R,) the number of distinct n-grams, and of all, in the texts whose weight isn't 0. order: n - 1.

    One weighting at a time: marking a row of bytes is several times as fast as a product with a sparse matrix.
    """
    g, lengths = s.words.orders[order], (s.words.lengths - order).clip(0)
    mark, out = np.empty(g.size, dtype=bool), np.zeros((2, len(weights)))
    for r, w in enumerate(weights):
        there = (w != 0) & s.known
        mark[:] = False
        mark[g.gram[there[g.text]]] = True
        out[:, r] = np.count_nonzero(mark), lengths[there].sum()
    return out[0], out[1]


def _sums(table: dict[str, Floats], weights: NDArray[np.floating]) -> dict[str, Floats]:
    """(N, K) columns -> (R, K) weighted sums."""
    ends = np.cumsum([x.shape[1] for x in table.values()])
    all_ = np.concatenate(list(table.values()), axis=1)
    sums = np.concatenate([np.zeros((0, all_.shape[1])), *(w @ all_ for w in split(weights))])
    return dict(zip(table, np.split(sums, ends[:-1], axis=1), strict=True))


def _tuple(texts: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise InputError(f"{what} are a list of texts, but one text came: {texts[:60]!r}; put it into a list")
    return tuple(texts)
