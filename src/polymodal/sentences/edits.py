"""Edit distance and longest common subsequence, and the scores made of them: error rates, ROUGE-L.

Both run over a whole column of their table at once: a column is one big integer, one bit a cell.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from polymodal.sentences.grams import Ints, best_references

Floats = NDArray[np.float64]
BETA = 1.2  # of ROUGE-L: how much more recall counts


class BitSequence:
    """A sequence as bit vectors, one a token: bit i is set where the token is at position i."""

    def __init__(self, tokens: Sequence[Hashable]):
        self.length = len(tokens)
        self.places: dict[Hashable, int] = {}
        for i, t in enumerate(tokens):
            self.places[t] = self.places.get(t, 0) | 1 << i

    def edit_distance(self, other: Sequence[Hashable]) -> int:
        """Levenshtein distance: the fewest insertions, deletions and substitutions that turn one into the other.

        `up` and `down` are the cells of the column that are one more, one less than the cell above them. Myers 1999;
        Hyyrö 2003.
        """
        if not self.length:
            return len(other)
        full, last = (1 << self.length) - 1, 1 << self.length - 1
        up, down, errors = full, 0, self.length
        for token in other:
            same = self.places.get(token, 0)
            level = (((same & up) + up) ^ up) | same | down
            right, less = down | full & ~(level | up), up & level  # one more, one less than the cell before
            errors += bool(right & last) - bool(less & last)
            right = right << 1 | 1
            up, down = full & (less << 1 | ~(same | down | right)), right & (same | down) & full
        return errors

    def common_subsequence(self, other: Sequence[Hashable]) -> int:
        """Length of the longest common subsequence. A 0 stands where the column grows. Hyyrö 2004."""
        full = row = (1 << self.length) - 1
        for token in other:
            hit = row & self.places.get(token, 0)
            row = (row + hit | row - hit) & full
        return self.length - row.bit_count()


def edit_errors(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]], owner: Ints) -> Floats:
    """(N, 2) the edit distance of each row to its nearest reference, and that reference's length.

    The error rate of a corpus is the sum of the one over the sum of the other. Of equally near references the longest
    is taken.
    """
    bits = [BitSequence(c) for c in candidates]
    wrong = np.array([bits[i].edit_distance(r) for i, r in zip(owner, references, strict=True)], dtype=np.int64)
    length = np.array([len(r) for r in references], dtype=np.int64)
    out = np.zeros((len(candidates), 2))
    there, best = best_references(owner, -wrong, length)
    out[there] = np.column_stack([wrong, length])[best]
    return out


def rouge_l(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]], owner: Ints) -> Floats:
    """(N,) (1 + 1.2^2) P R / (R + 1.2^2 P): P and R are the greatest precision and recall, over the
    references, of the words in the longest common subsequence.

    Lin 2004, as the COCO caption evaluation has it.
    """
    bits = [BitSequence(c) for c in candidates]
    p, r = np.zeros(len(candidates)), np.zeros(len(candidates))
    for i, words in zip(owner, references, strict=True):
        n = bits[i].common_subsequence(words)
        p[i] = max(p[i], n / max(1, bits[i].length))
        r[i] = max(r[i], n / max(1, len(words)))
    square = BETA**2
    return (1 + square) * p * r / np.where(p > 0, r + square * p, 1)
