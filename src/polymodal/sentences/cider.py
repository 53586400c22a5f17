"""CIDEr-D: how near a text is to its references, by n-grams that weigh the more the fewer documents hold them."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from polymodal.sentences.grams import ORDERS, Counted, Grams, counted, owners, rarities, similar
from polymodal.sentences.words import words

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """(N,) CIDEr-D of each row, 0 to 10, with the document frequencies of these references; 0 without a reference.

    The formula stands at `grams.similar`.
    """
    x, owner = _counted(candidates, references)
    return similar(x, len(candidates), owner, rarities(x, len(candidates), owner)[0])


class Cider:
    """CIDEr-D with the document frequencies of a training corpus: the reward of self-critical training.

    references: of each row of the corpus. Rennie et al. 2017.
    """

    def __init__(self, references: Sequence[Sequence[str]]):
        x, owner = _counted([], references)
        rarity, new = rarities(x, 0, owner)
        self._tokens = {t: i for i, t in enumerate(x.tokens)}
        # of each length: a number a gram, ascending; its rarity; both end in what stands for any other gram
        self._codes = [np.append(g.prefix * len(x.tokens) + g.last, -1) for g in x.orders]
        self._rarity = [np.append(r, new) for r in rarity]

    def reward(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
        """(N,) CIDEr-D of each candidate against the references of its row, which need not be of the corpus.

        What no document holds weighs as what one document holds.
        """
        x, owner = _counted(candidates, references)
        return similar(x, len(candidates), owner, self._known(x))

    def _known(self, x: Counted) -> list[Floats]:
        """The rarity of each gram of other texts, of each length."""
        token = np.array([self._tokens.get(t, -1) for t in x.tokens], dtype=np.int64)
        gram = np.zeros(1, dtype=np.int64)  # the corpus' number of each shorter gram, -1 of none
        out = []
        for g, codes, rarity in zip(x.orders, self._codes, self._rarity, strict=True):
            gram = _found(g, gram, token, codes, len(self._tokens))
            out.append(rarity[gram])
        return out


def _found(g: Grams, shorter: Ints, token: Ints, codes: Ints, tokens: int) -> Ints:
    """Places of the grams in the corpus' codes, -1 of those that it lacks."""
    prefix, last = shorter[g.prefix], token[g.last]
    code = np.where((prefix >= 0) & (last >= 0), prefix * tokens + last, -1)
    place = np.searchsorted(codes[:-1], code)
    return np.where((code >= 0) & (codes[place] == code), place, -1)


def _counted(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Counted, Ints]:
    return counted([words(t) for t in chain(candidates, *references)], ORDERS), owners(references)
