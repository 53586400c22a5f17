"""`meteor_exact_stem`: METEOR 1.5 with two of its four stages, exact and stem, without synonym and paraphrase.

Denkowski & Lavie 2014, parameters of English. The full METEOR, which also matches WordNet's synonyms and a table of
paraphrases, is higher, so the two are not called the same.
"""

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from heapq import nlargest
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.sentences.grams import Ints, best_references

Floats = NDArray[np.float64]
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STEM = 0.6  # weight of a stem match in the score; in the search for the alignment it weighs a half
BEAM = 40
NEAR = 8  # occurrences of one word that are tried as its match
MATCH = 2**30  # half the gain of an exact match in the search; a chunk costs 1
FUNCTION_WORDS = frozenset(
    "a an the this that these those some any no every each all both either neither one another such other "
    "i you he she it we they me him her us them my your his its our their mine yours who whom whose which what "
    "myself himself herself itself themselves there here "
    "of in on at by for with from to into onto over under about above below between among through during before after "
    "against across along around behind beside near off out up down upon within without toward towards as than like "
    "and or but nor so yet if because while although though when where whether how why since until unless "
    "am is are was were be been being do does did done doing have has had having will would shall should can could may "
    "might must not it's that's there's don't doesn't isn't aren't".split()
)


class Match(NamedTuple):
    """A word of the reference and the word of the candidate that it is aligned to; whether they are equal."""

    reference: int
    candidate: int
    equal: bool


def statistics(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]], owner: Ints) -> Floats:
    """(N, 6) statistics of METEOR, against the reference that gives the row the highest score.

    Weighted matches of the candidate and of the reference, their weighted lengths, chunks, matches. A content word
    weighs 0.75, a function word 0.25, a match of stems 0.6 of that. A perfect row has no chunks.
    """
    stems = stems_of({w for text in (*candidates, *references) for w in text})
    pairs = zip(owner, references, strict=True)
    table = np.array([_pair(candidates[i], r, stems) for i, r in pairs], dtype=np.float64).reshape(-1, 6)
    out = np.zeros((len(candidates), 6))
    there, best = best_references(owner, meteor(table))
    out[there] = table[best]
    return out


def meteor(sums: Floats) -> Floats:
    """(R, 6) sums of `statistics` -> (R,) P R / (0.85 P + 0.15 R) (1 - 0.6 (chunks / matches)^0.2)."""
    mine, theirs, my_length, their_length, chunks, matches = sums.T
    p, r = mine / np.where(my_length > 0, my_length, 1), theirs / np.where(their_length > 0, their_length, 1)
    low = ALPHA * p + (1 - ALPHA) * r
    penalty = GAMMA * (chunks / np.where(matches > 0, matches, 1)) ** BETA
    out: Floats = p * r / np.where(low > 0, low, 1) * (1 - penalty)
    return out


def _pair(candidate: Sequence[str], reference: Sequence[str], stems: Mapping[str, str]) -> tuple[float, ...]:
    alignment = align(candidate, reference, stems)
    runs = pairwise(alignment)
    chunks = bool(alignment) + sum(b.reference - a.reference != 1 or b.candidate - a.candidate != 1 for a, b in runs)
    perfect = len(alignment) == len(candidate) == len(reference) and chunks == 1
    worth = [1.0 if m.equal else STEM for m in alignment]
    return (
        sum(w * _weight(candidate[m.candidate]) for m, w in zip(alignment, worth, strict=True)),
        sum(w * _weight(reference[m.reference]) for m, w in zip(alignment, worth, strict=True)),
        sum(map(_weight, candidate)),
        sum(map(_weight, reference)),
        0 if perfect else chunks,
        len(alignment),
    )


def align(candidate: Sequence[str], reference: Sequence[str], stems: Mapping[str, str]) -> list[Match]:
    """One-to-one matches of equal words or stems, in the reference's order: the most (a stem counts a half), and
    of those the fewest chunks, runs of matches that are consecutive on both sides.

    Beam search along the reference. Hypotheses with the same last match and the same words left to match are merged, so
    the search is exact unless more than BEAM are left, or a word occurs more than NEAR times in the candidate.
    """
    if list(candidate) == list(reference):
        return [Match(i, i, True) for i in range(len(candidate))]
    options, alone, live = _options([stems[w] for w in candidate], [stems[w] for w in reference])
    # (words of the candidate in use that matter still, the last one matched) -> (worth, the matches so far)
    beam: dict[tuple[int, int], tuple[int, tuple[Any, ...]]] = {(0, -2): (0, ())}
    for j, option in enumerate(options):
        longer: dict[tuple[int, int], tuple[int, tuple[Any, ...]]] = {}
        for (used, last), (worth, matches) in beam.items():
            # a word without a rival is matched in every best alignment
            steps = [] if alone[j] else [(used & live[j + 1], -2, worth, -1)]
            for i in [i for i in option if not used >> i & 1][:NEAR]:
                gain = (2 if candidate[i] == reference[j] else 1) * MATCH - (i != last + 1)
                steps.append(((used | 1 << i) & live[j + 1], i, worth + gain, i))
            for now, end, value, i in steps:
                if (now, end) not in longer or value > longer[now, end][0]:
                    longer[now, end] = (value, matches if i < 0 else (i, j, matches))
        beam = longer if len(longer) <= BEAM else dict(nlargest(BEAM, longer.items(), key=lambda x: x[1][0]))
    out, matches = [], max(beam.values(), key=lambda x: x[0])[1]
    while matches:
        i, j, matches = matches
        out.append(Match(j, i, candidate[i] == reference[j]))
    return out[::-1]


def _options(candidate: Sequence[str], reference: Sequence[str]) -> tuple[list[list[int]], list[bool], list[int]]:
    """Of each stem of the reference: where the candidate has it, the nearest first; whether it is the only one on both
    sides; and which words of the candidate are wanted from here on, as bits.
    """
    places = defaultdict(list)
    for i, stem in enumerate(candidate):
        places[stem].append(i)
    times, live, bits = Counter(reference), [0], {}
    for stem, at in places.items():
        bits[stem] = sum(1 << i for i in at) if times[stem] else 0
    for stem in reversed(reference):
        live.append(live[-1] | bits.get(stem, 0))
    options = []
    for j, stem in enumerate(reference):
        at = places.get(stem, [])
        if len(at) > NEAR:
            centre = bisect(at, j)
            at = sorted(at[max(0, centre - NEAR) : centre + NEAR], key=lambda i: abs(i - j))
        options.append(at)
    alone = [len(places.get(stem, [])) == times[stem] == 1 for stem in reference]
    return options, alone, live[::-1]


def _weight(word: str) -> float:
    return 1 - DELTA if word in FUNCTION_WORDS else DELTA


def stems_of(vocabulary: Iterable[str]) -> dict[str, str]:
    """Each word's English stem; a word with letters that are not Latin is its own."""
    return {w: _stem(w) for w in vocabulary}


@lru_cache(maxsize=2**16)
def _stem(word: str) -> str:
    stem: str = _stemmer().stemWord(word) if max(word) < "\u0250" else word
    return stem


@lru_cache(maxsize=1)
def _stemmer() -> Any:
    import snowballstemmer  # a hundredth of a second, and only METEOR needs it

    return snowballstemmer.stemmer("english")
