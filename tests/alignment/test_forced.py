"""Forced alignment and monotone paths against every path that there is."""

import math
from itertools import combinations_with_replacement, groupby, product

import pytest
import torch
from torch import Tensor

from alignment.paths import normal
from cases import over
from polymodal.alignment import forced_alignment, monotone_path
from polymodal.errors import InputError


def logp(frames: int = 6, size: int = 4, seed: int = 0) -> Tensor:
    return (2 * normal(frames, size, seed=seed)).log_softmax(-1)


@over("text, blank", [([0, 1], 3), ([0, 0], -1), ([2, 1, 2], 0), ([3, 3, 2], 1), ([1], 2), ([], 3), ([0, 1, 2, 0], 3)])
def test_spans_are_those_of_the_most_probable_path(text: list[int], blank: int) -> None:
    for seed in range(3):
        x = logp(seed=seed)
        gap = blank % 4

        def said(path: tuple[int, ...], gap: int = gap) -> list[int]:
            return [v for v, _ in groupby(path) if v != gap]

        ways = [p for p in product(range(4), repeat=6) if said(p) == text]
        best = max(ways, key=lambda p: sum(x[t, v] for t, v in enumerate(p)))
        want, t = [], 0
        for v, run in groupby(best):
            n = len(list(run))
            if v != gap:
                want.append((v, t, t + n, math.exp(x[t : t + n, v].mean())))
            t += n
        got = forced_alignment(x, text, blank=blank)
        assert [s[:3] for s in got] == [w[:3] for w in want]
        assert all(math.isclose(s.confidence, w[3], rel_tol=1e-9) for s, w in zip(got, want, strict=True))


def test_the_shortest_frames_that_hold_a_text_are_enough() -> None:
    assert [s[:3] for s in forced_alignment(logp(3), [2, 2])] == [(2, 0, 1), (2, 2, 3)]


@over("call, words", [
    (lambda: forced_alignment(logp(3), [2, 2, 1]), r"3 frames can't say these 3 labels, which need 4 \(one each, and a blank"),
    (lambda: forced_alignment(logp(0), [2]), "0 frames can't say these 1 labels, which need 1"),
    (lambda: forced_alignment(logp(), [0, 3]), "label 1 is 3; give columns of logp from 0 to 3 but for the blank, 3"),
    (lambda: forced_alignment(logp(), [-1]), "label 0 is -1"),
    (lambda: forced_alignment(logp(), [0], blank=4), "blank=4 is none of the 4 columns"),
    (lambda: forced_alignment(logp().exp(), [0]), "logp goes up to 0.*; give log-probabilities, as log_softmax"),
    (lambda: forced_alignment(logp() * math.nan, [0]), "logp goes up to nan"),
    (lambda: forced_alignment(logp()[0], [0]), r"logp has the shape \(4,\); give \(T, V\)"),
    (lambda: forced_alignment(torch.full((3, 2), -math.inf), [0]), "can't say these 1 symbols"),
    (lambda: monotone_path(torch.ones(3)), r"the attention has the shape \(3,\); give \(Q, K\)"),
    (lambda: monotone_path(torch.zeros(3, 2)), "negative or not finite, or all 0"),
    (lambda: monotone_path([[1.0, math.nan]]), "negative or not finite, or all 0"),
    (lambda: monotone_path([[1.0, -0.5]]), "negative or not finite, or all 0"),
])  # fmt: skip
def test_what_cannot_be_aligned_is_refused(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        call()
    assert "\n" not in str(refusal.value)


@over("shape", [(1, 1), (1, 4), (4, 1), (4, 5), (5, 3)])
def test_a_monotone_path_has_the_most_mass_of_all(shape: tuple[int, int]) -> None:
    for seed in range(5):
        x = normal(*shape, seed=seed).softmax(1)
        ways = combinations_with_replacement(range(shape[1]), shape[0])
        best = max(ways, key=lambda keys: sum(x[q, k] for q, k in enumerate(keys)))
        got = monotone_path(x)
        assert tuple(got.keys.tolist()) == best
        assert math.isclose(got.share, sum(x[q, k] for q, k in enumerate(best)) / shape[0], rel_tol=1e-9)


def test_an_alignment_has_all_of_the_mass_and_a_reversed_one_little() -> None:
    assert monotone_path(torch.eye(5)).share == 1
    assert monotone_path(torch.eye(5).flip(0)).share == pytest.approx(0.2)
