"""CIDEr-D: similarity of TF-IDF vectors of n-grams between a text and its references."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from polymodal.sentences.grams import (
    ORDERS,
    NgramCounts,
    Ngrams,
    cider_scores,
    count_ngrams,
    inverse_frequencies,
    rows_of,
)
from polymodal.sentences.words import words

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """(N,) CIDEr-D of each row, 0 to 10, with the document frequencies of these references; 0 without a reference.

    See `grams.cider_scores` for the formula.
    """
    x, owner = _count(candidates, references)
    return cider_scores(x, len(candidates), owner, inverse_frequencies(x, len(candidates), owner)[0])


class Cider:
    """CIDEr-D with the document frequencies of a training corpus: the reward of self-critical training.

    references: of each row of the corpus. Rennie et al. 2017.
    """

    def __init__(self, references: Sequence[Sequence[str]]):
        x, owner = _count([], references)
        idf, new = inverse_frequencies(x, 0, owner)
        self._tokens = {t: i for i, t in enumerate(x.tokens)}
        # of each n: the code of each n-gram, ascending, and its idf; both end in that of an unseen n-gram
        self._codes = [np.append(g.prefix * len(x.tokens) + g.last, -1) for g in x.orders]
        self._idf = [np.append(r, new) for r in idf]

    def reward(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
        """(N,) CIDEr-D of each candidate against the references of its row, which need not be of the corpus.

        An n-gram that is in no document has the idf of one that is in one document.
        """
        x, owner = _count(candidates, references)
        return cider_scores(x, len(candidates), owner, self._frequencies(x))

    def _frequencies(self, x: NgramCounts) -> list[Floats]:
        """For each n, the idf of each n-gram of other texts."""
        token = np.array([self._tokens.get(t, -1) for t in x.tokens], dtype=np.int64)
        gram = np.zeros(1, dtype=np.int64)  # the corpus' code of each (n-1)-gram, -1 where it has none
        out = []
        for g, codes, idf in zip(x.orders, self._codes, self._idf, strict=True):
            gram = _find(g, gram, token, codes, len(self._tokens))
            out.append(idf[gram])
        return out


def _find(g: Ngrams, shorter: Ints, token: Ints, codes: Ints, tokens: int) -> Ints:
    """Positions of the n-grams in the corpus' codes, -1 for those that it lacks."""
    prefix, last = shorter[g.prefix], token[g.last]
    code = np.where((prefix >= 0) & (last >= 0), prefix * tokens + last, -1)
    place = np.searchsorted(codes[:-1], code)
    return np.where((code >= 0) & (codes[place] == code), place, -1)


def _count(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[NgramCounts, Ints]:
    return count_ngrams([words(t) for t in chain(candidates, *references)], ORDERS), rows_of(references)
