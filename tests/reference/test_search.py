"""Search for captions against its definition: brute force over all captions, one word at a time."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.decoders.base import Decoder, Decoding, State, Written
from polymodal.decoders.recurrent import Additive, AttentiveGRU
from polymodal.decoders.search import drawn, search
from polymodal.decoders.words import Separate
from polymodal.errors import InputError

BEGIN, END = 0, 1
GREEDY, BEAM = Decoding("greedy"), Decoding("beam")


def decoder(size: int = 5, scale: float = 8.0, seed: int = 0) -> Decoder:
    """A small one whose probabilities are far from equal."""
    torch.manual_seed(seed)
    d = AttentiveGRU(Additive(3, 6), Separate(size, 6)).double().eval().requires_grad_(False)
    with torch.no_grad():
        for p in (d.words.table.weight, d.words.out.weight):
            p.mul_(scale)
        d.words.out.bias[END] = -1.5  # captions of more than a word
    return d


def memory(rows: int = 4, seed: int = 1) -> Masked:
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, 5, generator=g) < 0.7
    return Masked(torch.randn(rows, 5, 3, generator=g, dtype=torch.float64), mask)


def written(d: Decoder, how: Decoding, limit: int = 6, rows: int = 4, banned: tuple[int, ...] = (BEGIN,)) -> Written:
    return search(d, d.start(memory(rows)), begin=BEGIN, end=END, banned=banned, how=how, limit=limit)


def captions(w: Written, row: int) -> list[tuple[int, ...]]:
    """Captions of a row without their ends; those that were not found are left out."""
    out = []
    for ids, logprob in zip(w.ids[row].tolist(), w.logprob[row].tolist(), strict=True):
        assert END not in ids[: ids.index(END)] and set(ids[ids.index(END) :]) == {END}
        if logprob > -math.inf:
            out.append(tuple(ids[: ids.index(END)]))
    return out


def scored(d: Decoder, row: int, words: tuple[int, ...], banned: tuple[int, ...] = (BEGIN,)) -> float:
    """The log-probability of a caption and its end, by one pass of teacher forcing: no cache, no batch."""
    ids = torch.tensor([[BEGIN, *words]])
    state = d.start(memory().take(torch.tensor([row])))
    logits = d.logits(d.forced(state, Masked(ids, torch.ones_like(ids, dtype=torch.bool))).hidden)[0]
    logits[:, list(banned)] = -math.inf
    p = logits.softmax(-1)
    return sum(math.log(float(p[t, v])) for t, v in enumerate([*words, END]))


def every(size: int, longest: int, banned: tuple[int, ...] = (BEGIN,)) -> Iterator[tuple[int, ...]]:
    words = [v for v in range(size) if v != END and v not in banned]
    for n in range(longest + 1):
        yield from product(words, repeat=n)


def ranked(d: Decoder, row: int, size: int, longest: int, alpha: float) -> list[tuple[float, float, tuple[int, ...]]]:
    """Every caption by its rank p / L ^ alpha, the end being one of the L."""
    out = [(scored(d, row, c), c) for c in every(size, longest)]
    return sorted(((p / (len(c) + 1) ** alpha, p, c) for p, c in out), reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.6, -0.5, 2.0])
@pytest.mark.parametrize("longest", [1, 3])
def test_beams_of_full_width_find_what_brute_force_finds(alpha: float, longest: int) -> None:
    d = decoder(5)
    w = written(d, Decoding(beams=130, captions=10 if longest > 1 else 4, length_penalty=alpha), limit=longest + 1)
    for row in range(4):
        best = ranked(d, row, 5, longest, alpha)[: w.ids.shape[1]]
        assert captions(w, row) == [c for _, _, c in best]
        assert w.logprob[row].tolist() == pytest.approx([p for _, p, _ in best], abs=1e-9)


def test_the_length_penalty_matters() -> None:
    d = decoder(5)
    found = {alpha: written(d, Decoding(beams=130, length_penalty=alpha), limit=4).ids.tolist() for alpha in (-2, 0, 3)}
    assert found[-2] != found[0] != found[3]


def by_hand(d: Decoder, row: int, beams: int, alpha: float, most: int) -> list[tuple[tuple[int, ...], float]]:
    """Beam search of one row as a list of captions, each scored anew at every step."""
    alive, finished = [((), 0.0)], []
    for t in range(most + 1):
        step = []
        for words, p in alive:
            ids = torch.tensor([[BEGIN, *words]])
            state = d.start(memory().take(torch.tensor([row])))
            logits = d.logits(d.forced(state, Masked(ids, ids >= 0)).hidden)[0, -1]
            logits[BEGIN] = -math.inf
            logp = logits.log_softmax(-1)
            options = [END] if t == most else [v for v in range(d.size) if v != BEGIN]
            step += [(p + float(logp[v]), words, v) for v in options]
        step.sort(reverse=True)
        finished += [(c, p) for p, c, v in step[:beams] if v == END]
        alive = [((*c, v), p) for p, c, v in step if v != END][:beams]
        if len(finished) >= beams:
            break
    return sorted(finished, key=lambda f: f[1] / (len(f[0]) + 1) ** alpha, reverse=True)


@pytest.mark.parametrize("beams", [1, 2, 3, 5])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_decoding_with_a_cache_is_decoding_anew_at_every_step(beams: int, alpha: float) -> None:
    d = decoder(9, scale=4.0)
    w = written(d, Decoding(beams=beams, captions=beams, length_penalty=alpha), limit=8)
    for row in range(4):
        expected = by_hand(d, row, beams, alpha, 7)[:beams]
        assert captions(w, row) == [c for c, _ in expected]
        assert w.logprob[row].tolist() == pytest.approx([p for _, p in expected], abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_one_beam_and_the_likeliest_of_draws(seed: int) -> None:
    d = decoder(12, scale=5.0, seed=seed)
    greedy = written(d, GREEDY, rows=6, limit=10)
    for other in (Decoding(beams=1), Decoding("sample", top_k=1, seed=seed), Decoding("sample", top_p=1e-9)):
        w = written(d, other, rows=6, limit=10)
        assert torch.equal(w.ids, greedy.ids)
        torch.testing.assert_close(w.logprob, greedy.logprob, atol=1e-9, rtol=0)


def test_diverse_search_in_one_group_is_beam_search() -> None:
    d = decoder(12, scale=4.0)
    a, b = (written(d, Decoding(m, beams=4, captions=4), rows=6, limit=9) for m in ("beam", "diverse"))
    assert torch.equal(a.ids, b.ids) and torch.equal(a.logprob, b.logprob)
