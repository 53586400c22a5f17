"""N-gram counts of many texts at once, and the metrics of them: BLEU, CIDEr-D, chrF.

A text is a list of words, or a string of characters. The first `rows` texts are the candidates, one
a row; the rest are references, and `owner` says of which row each is.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
ORDERS = 4  # longest n-grams of BLEU and CIDEr-D, in words
CHRF = 6  # and of chrF, in characters
SIGMA = 6.0  # of CIDEr-D's Gaussian penalty for a difference of lengths, in words


class Ngrams(NamedTuple):
    """n-grams of one n: `text` holds `gram` so many `times`; sorted by text, then by gram.

    Gram g, of `size`, is the (n-1)-gram `prefix[g]` followed by the token `last[g]`.
    """

    text: Ints
    gram: Ints
    times: Ints
    prefix: Ints
    last: Ints

    @property
    def size(self) -> int:
        """How many different grams there are."""
        return len(self.prefix)


class NgramCounts(NamedTuple):
    """The distinct tokens, the length of each text, and its n-grams for n = 1, 2, ..."""

    tokens: list[str]
    lengths: Ints
    orders: list[Ngrams]


class Pairs(NamedTuple):
    """n-grams that a reference and its candidate have in common: positions in the arrays of an `Ngrams`."""

    candidate: Ints
    reference: Ints


def rows_of(references: Sequence[Sequence[str]]) -> Ints:
    """The row of each reference in the flat list of all of them."""
    return np.repeat(np.arange(len(references)), np.fromiter(map(len, references), dtype=np.int64))


def count_ngrams(texts: Sequence[Sequence[str]], longest: int) -> NgramCounts:
    """How often each text holds each n-gram, for n from 1 to `longest`."""
    numbers: dict[str, int] = {}
    flat = np.fromiter((numbers.setdefault(t, len(numbers)) for t in chain.from_iterable(texts)), dtype=np.int64)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    text = np.repeat(np.arange(len(texts)), lengths)
    rest = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(flat))  # tokens from here to the text's end
    gram, at, orders = np.zeros(len(flat), dtype=np.int64), np.arange(len(flat)), []
    for n in range(longest):
        keep = rest[at] > n
        gram, at = gram[keep], at[keep]
        codes, gram = np.unique(gram * len(numbers) + flat[at + n], return_inverse=True)
        prefix, last = np.divmod(codes, max(1, len(numbers)))
        both, count = np.unique(text[at] * len(codes) + gram, return_counts=True)
        orders.append(Ngrams(*np.divmod(both, max(1, len(codes))), count, prefix, last))
    return NgramCounts(list(numbers), lengths, orders)


def matches_of(x: Ngrams, rows: int, owner: Ints) -> Pairs:
    """The n-grams of references that the candidate of their row has too."""
    first = int(np.searchsorted(x.text, rows))
    mine = x.text[:first] * x.size + x.gram[:first]
    theirs = owner[x.text[first:] - rows] * x.size + x.gram[first:]
    place = np.searchsorted(mine, theirs)
    hit = np.flatnonzero(np.append(mine, -1)[place] == theirs)
    return Pairs(place[hit], first + hit)


def best_references(owner: Ints, *scores: Floats | Ints) -> tuple[Ints, Ints]:
    """The rows that have a reference, and of each the reference with the highest first score; ties go to the next
    score, then to the first reference.
    """
    order = np.lexsort((np.arange(len(owner)), *(-s for s in reversed(scores)), owner))
    rows, start = np.unique(owner, return_index=True)
    return rows, order[start]


def bleu_statistics(x: NgramCounts, rows: int, owner: Ints) -> Floats:
    """(N, 2 + 2 * 4) statistics of BLEU: length, reference length, clipped matches for n = 1 ... 4, number of n-grams.

    An n-gram's matches are clipped to its largest count in any one reference; the reference length is the closest to
    the candidate's, the shorter of two. Papineni et al. 2002.
    """
    matches, total = np.zeros((rows, ORDERS)), np.zeros((rows, ORDERS))
    for n, g in enumerate(x.orders[:ORDERS]):
        at = matches_of(g, rows, owner)
        most = np.zeros(len(g.text), dtype=np.int64)
        np.maximum.at(most, at.candidate, g.times[at.reference])
        matches[:, n] = np.bincount(g.text, np.minimum(most, g.times), len(x.lengths))[:rows]
        total[:, n] = (x.lengths[:rows] - n).clip(0)
    there, best = best_references(owner, -abs(x.lengths[rows:] - x.lengths[owner]), -x.lengths[rows:])
    closest = np.zeros(rows)
    closest[there] = x.lengths[rows:][best]
    return np.column_stack([x.lengths[:rows], closest, matches, total])


def bleu(sums: Floats) -> Floats:
    """(R, 10) sums of `bleu_statistics` -> (R, 4) BLEU-1 ... 4 as the COCO caption evaluation has them.

    BLEU-n = exp(min(0, 1 - reference length / length)) * (product of matches_k / grams_k over k to n)^(1/n), with
    1e-15 added to numerators and 1e-9 to denominators, so that no match gives almost 0.
    """
    length, reference, matches, total = np.split(sums, [1, 2, 2 + ORDERS], axis=1)
    power = 1 / np.arange(1, ORDERS + 1)
    precision = np.cumprod((matches + 1e-15) / (total + 1e-9), axis=1) ** power
    share = (length + 1e-15) / (reference + 1e-9)
    out: Floats = precision * np.exp(np.minimum(0, 1 - 1 / share))
    return out


def chrf_statistics(candidates: Sequence[str], references: Sequence[str], owner: Ints) -> Floats:
    """(N, 18) statistics of chrF: for n = 1 ... 6, n-grams of the candidate, of its reference, and matches.

    Without white space, with case; the reference is the one that gives the row the highest score. Popović 2015.
    """
    rows = len(candidates)
    x = count_ngrams(["".join(t.split()) for t in chain(candidates, references)], CHRF)
    parts = np.zeros((len(owner), CHRF, 3))
    for n, g in enumerate(x.orders):
        total = (x.lengths - n).clip(0)
        at = matches_of(g, rows, owner)
        both = np.minimum(g.times[at.candidate], g.times[at.reference])
        parts[:, n, 1] = total[rows:]
        parts[:, n, 0] = np.where(total[rows:] > 0, total[owner], 0)  # a reference too short says nothing of this n
        parts[:, n, 2] = np.bincount(g.text[at.reference] - rows, both, len(owner))
    table = parts.reshape(len(owner), 3 * CHRF)
    out = np.zeros((rows, 3 * CHRF))
    there, best = best_references(owner, chrf(table))
    out[there] = table[best]
    return out


def chrf(sums: Floats) -> Floats:
    """(R, 18) sums of `chrf_statistics` -> (R,) chrF with beta 2, between 0 and 1.

    5 P Q / (4 P + Q), where P and Q are the means of precision and recall over those n that both sides have.
    """
    mine, theirs, both = np.moveaxis(sums.reshape(-1, CHRF, 3), 2, 0)
    nonempty = (mine > 0) & (theirs > 0)
    n = nonempty.sum(1).clip(1)
    p, q = (np.where(nonempty, both / np.where(nonempty, x, 1), 0).sum(1) / n for x in (mine, theirs))
    out: Floats = 5 * p * q / np.where(p + q > 0, 4 * p + q, 1)
    return out


def cider_scores(x: NgramCounts, rows: int, owner: Ints, idf: Sequence[Floats]) -> Floats:
    """(N,) CIDEr-D of each row: 10 times the mean over n and over the row's references of

        exp(-(l_c - l_r)^2 / (2 * 6^2)) * sum over grams g of min(c_g, r_g) r_g / (|c| |r|)

    with c and r the TF-IDF weights, count times idf (for each n, one idf an n-gram), and l the lengths. 0 without a
    reference. Vedantam, Zitnick & Parikh 2015.
    """
    total = np.zeros(len(owner))
    for g, idf_g in zip(x.orders, idf, strict=True):
        weight = g.times * idf_g[g.gram]
        norm = np.sqrt(np.bincount(g.text, weight**2, len(x.lengths)))
        at = matches_of(g, rows, owner)
        dot = np.minimum(weight[at.candidate], weight[at.reference]) * weight[at.reference]
        size = norm[owner] * norm[rows:]
        total += np.bincount(g.text[at.reference] - rows, dot, len(owner)) / np.where(size > 0, size, 1)
    total *= 10 / len(idf) * np.exp(-((x.lengths[owner] - x.lengths[rows:]) ** 2) / (2 * SIGMA**2))
    out: Floats = np.bincount(owner, total, rows) / np.bincount(owner, minlength=rows).clip(1)
    return out


def inverse_frequencies(x: NgramCounts, rows: int, owner: Ints) -> tuple[list[Floats], float]:
    """For each n, idf = log(documents / document frequency, at least 1) of each n-gram; and log(documents).

    A document is all references of one row.
    """
    log_n = float(np.log(max(1, len(np.unique(owner)))))
    out = []
    for g in x.orders:
        first = np.searchsorted(g.text, rows)
        document = np.unique(owner[g.text[first:] - rows] * g.size + g.gram[first:])
        df = np.bincount(document % max(1, g.size), minlength=g.size)
        out.append(log_n - np.log(df.clip(1)))
    return out, log_n
