"""Scores of written texts against references, each under many weightings of the rows at once.

What a row adds to each score is counted once (`statistics`); a weighting is then a sum of rows. So the score of a
bootstrap sample costs what a product of matrices does. r weighting, n row.
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
from polymodal.sentences.edits import errors, rouge_l
from polymodal.sentences.grams import (
    ORDERS,
    Counted,
    bleu,
    characters,
    chrf,
    clipped,
    counted,
    owners,
    rarities,
    similar,
)
from polymodal.sentences.meteor import meteor
from polymodal.sentences.meteor import statistics as meteor_statistics
from polymodal.sentences.words import form, key, spelling, words

__all__ = ["Cider", "cider_d", "key", "scores", "words"]

Floats = NDArray[np.float64]
KEPT = 4  # statistics of so many lists of texts are remembered: value, bootstrap chunks and differences ask again


class Statistics(NamedTuple):
    """What each row adds. table: (N, K) columns by name; words: what the candidates hold, and how often.

    Nothing is added by a row without a reference: it is no part of any sample.
    """

    table: dict[str, Floats]
    known: NDArray[np.bool_]
    words: Counted
    keys: list[int]


def scores(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    weights: NDArray[np.floating],
    *,
    seen: Collection[int] = (),
) -> dict[str, Floats]:
    """Scores of N texts, each against one or more references: name -> (R,) under weights (R, N), such as bootstrap
    counts; NaN where a weighting leaves no row. A row without references is left out.

    cider_d, bleu_1 ... bleu_4, rouge_l: as the COCO caption evaluation gives them; CIDEr-D (0 to 10) with the
    document frequencies of all rows' references, whatever the weights. meteor_exact_stem: METEOR 1.5 with the stages
    for equal words and stems alone. chrf: of the raw text, sacrebleu's over 100. wer, cer: word and character errors
    over reference length, against the nearest reference; above 1 where texts run on. exact_match: share of texts
    equal to a reference. distinct_1, distinct_2: different n-grams over n-grams, and vocabulary: different words, in
    all texts whose weight isn't 0, each counted once. novelty: share of texts whose `key` is not in `seen`; NaN where
    that is empty. length: words a text. All but chrf are of `words`; cer is of their characters and the spaces
    between them.
    """
    s = statistics(_tuple(candidates, "candidates"), tuple(_tuple(r, "references of one row") for r in references))
    w = np.asarray(weights)
    if w.ndim != 2 or w.shape[1] != len(s.known):
        raise InputError(f"weights have the shape {w.shape}, and there are {len(s.known)} texts; give (R, texts)")
    sums = _sums({**s.table, "novel": (novel(s.keys, seen) * s.known)[:, None]}, w)
    total = sums["known"][:, 0]
    kinds = [different(s, w, n) for n in (0, 1)]
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


@lru_cache(maxsize=KEPT)
def statistics(candidates: tuple[str, ...], references: tuple[tuple[str, ...], ...]) -> Statistics:
    """What each row adds to every score. Raises InputError where the two differ in length."""
    if len(candidates) != len(references):
        raise InputError(
            f"{len(candidates)} texts can't be scored against the references of {len(references)} rows; "
            "give each text a list of references"
        )
    rows, owner, flat = len(candidates), owners(references), list(chain(*references))
    mine, theirs = [words(t) for t in candidates], [words(t) for t in flat]
    x = counted([*mine, *theirs], ORDERS)
    same = [form(c) in {form(r) for r in of} for c, of in zip(candidates, references, strict=True)]
    table = {
        "known": np.bincount(owner, minlength=rows) > 0,
        "cider_d": similar(x, rows, owner, rarities(x, rows, owner)[0]),
        "bleu": clipped(x, rows, owner),
        "meteor_exact_stem": meteor_statistics(mine, theirs, owner),
        "rouge_l": rouge_l(mine, theirs, owner),
        "chrf": characters(candidates, flat, owner),
        "wer": errors(mine, theirs, owner),
        "cer": errors([spelling(t) for t in candidates], [spelling(t) for t in flat], owner),
        "exact_match": np.array(same, dtype=bool),
        "length": x.lengths[:rows],
    }
    known = table["known"].astype(bool)
    wide = {name: x if x.ndim == 2 else x[:, None] for name, x in table.items()}
    kept = {name: np.where(known[:, None], x, 0.0) for name, x in wide.items()}
    return Statistics(kept, known, counted(mine, 2), [key(t) for t in candidates])


def novel(keys: Sequence[int], seen: Collection[int]) -> Floats:
    """(N,) 1 where a key is not among those seen, NaN everywhere where nothing was seen."""
    if not len(seen):
        return np.full(len(keys), np.nan)
    before = seen if isinstance(seen, set | frozenset | dict) else frozenset(int(k) for k in seen)
    nothing = key("")  # an empty text is no new one
    return np.array([k not in before and k != nothing for k in keys], dtype=np.float64)


def different(s: Statistics, weights: NDArray[np.floating], order: int) -> tuple[Floats, Floats]:
    """(R,) different n-grams, and all n-grams, of the texts whose weight isn't 0. order: n - 1.

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
