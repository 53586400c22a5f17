"""Search for captions against its definition: brute force over all captions, one word at a time."""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest
import torch

from cases import over
from polymodal.batch import Masked
from polymodal.decoders.base import Decoder, Decoding
from polymodal.decoders.embedding import WordEmbedding
from polymodal.decoders.recurrent import Additive, AttentiveGRU
from polymodal.decoders.search import sample_tokens, search
from polymodal.errors import InputError
from polymodal.output import Texts

BEGIN, END = 0, 1
GREEDY, BEAM = Decoding("greedy"), Decoding("beam")


def decoder(size: int = 5, scale: float = 1.0, seed: int = 0) -> Decoder:
    """A small one that depends on its words: captions of many lengths."""
    torch.manual_seed(seed)
    d = AttentiveGRU(Additive(3, 6), WordEmbedding(size, 6)).double().eval().requires_grad_(False)
    for p in d.parameters():
        if p.ndim > 1:
            p.mul_(5)
    d.embedding.out.weight.mul_(scale)
    return d


def memory(rows: int = 4, seed: int = 1) -> Masked:
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, 5, generator=g) < 0.7
    return Masked(torch.randn(rows, 5, 3, generator=g, dtype=torch.float64), mask)


def written(d: Decoder, how: Decoding, limit: int = 6, rows: int = 4, excluded: tuple[int, ...] = (BEGIN,)) -> Texts:
    return search(d, d.start(memory(rows)), begin=BEGIN, end=END, excluded=excluded, how=how, limit=limit)


def captions(w: Texts, row: int) -> list[tuple[int, ...]]:
    """Captions of a row without their ends; those that were not found are left out."""
    out = []
    for ids, logprob in zip(w.ids[row].tolist(), w.logprob[row].tolist(), strict=True):
        assert END not in ids[: ids.index(END)] and set(ids[ids.index(END) :]) == {END}
        if logprob > -math.inf:
            out.append(tuple(ids[: ids.index(END)]))
    return out


def scored(d: Decoder, row: int, words: tuple[int, ...], excluded: tuple[int, ...] = (BEGIN,)) -> float:
    """The log-probability of a caption and its end, by one pass of teacher forcing: no cache, no batch."""
    ids = torch.tensor([[BEGIN, *words]])
    state = d.start(memory().take(torch.tensor([row])))
    logits = d.logits(d.teacher_forcing(state, Masked(ids, torch.ones_like(ids, dtype=torch.bool))).hidden)[0]
    logits[:, list(excluded)] = -math.inf
    p = logits.softmax(-1)
    return sum(math.log(float(p[t, v])) for t, v in enumerate([*words, END]))


def every(size: int, longest: int, excluded: tuple[int, ...] = (BEGIN,)) -> Iterator[tuple[int, ...]]:
    words = [v for v in range(size) if v != END and v not in excluded]
    for n in range(longest + 1):
        yield from product(words, repeat=n)


def ranked(d: Decoder, row: int, size: int, longest: int, alpha: float) -> list[tuple[float, float, tuple[int, ...]]]:
    """Every caption by its rank p / L ^ alpha, the end being one of the L."""
    out = [(scored(d, row, c), c) for c in every(size, longest)]
    return sorted(((p / (len(c) + 1) ** alpha, p, c) for p, c in out), reverse=True)


@over("alpha", [0.0, 1.0, 0.6, -0.5, 2.0])
@over("longest", [1, 3])
def test_beams_of_full_width_find_what_brute_force_finds(alpha: float, longest: int) -> None:
    d = decoder(5)
    w = written(d, Decoding(beams=130, captions=10 if longest > 1 else 4, length_penalty=alpha), limit=longest + 1)
    for row in range(4):
        best = ranked(d, row, 5, longest, alpha)[: w.ids.shape[1]]
        assert captions(w, row) == [c for _, _, c in best]
        assert w.logprob[row].tolist() == pytest.approx([p for _, p, _ in best], abs=1e-9)


def test_the_length_penalty_matters() -> None:
    d = decoder(5)
    d.embedding.out.bias[END] = -2
    mean = {
        alpha: sum(len(captions(w, row)[0]) for row in range(4))
        for alpha in (-2.0, 0.0, 3.0)
        for w in [written(d, Decoding(beams=130, length_penalty=alpha), limit=4)]
    }
    assert mean[-2.0] <= mean[0.0] <= mean[3.0] and mean[-2.0] + 4 <= mean[3.0]


def following(d: Decoder, row: int, words: tuple[int, ...], excluded: tuple[int, ...] = (BEGIN,)) -> list[float]:
    """Log-probabilities of the id after these words, by one pass of teacher forcing."""
    ids = torch.tensor([[BEGIN, *words]])
    logits = d.logits(d.teacher_forcing(d.start(memory().take(torch.tensor([row]))), Masked(ids, ids >= 0)).hidden)[
        0, -1
    ]
    logits[list(excluded)] = -math.inf
    logp: list[float] = logits.log_softmax(-1).tolist()
    return logp


def by_hand(d: Decoder, row: int, how: Decoding, most: int) -> list[tuple[tuple[int, ...], float]]:
    """Beam search of one row in groups, as lists of captions, each scored anew at every step."""
    width = how.beams // how.groups
    alive: list[list[tuple[tuple[int, ...], float]]] = [[((), 0.0)] for _ in range(how.groups)]
    finished: list[list[tuple[tuple[int, ...], float]]] = [[] for _ in range(how.groups)]
    for t in range(most + 1):
        taken, over = [], set()
        for g in range(how.groups):
            if len(finished[g]) >= width:
                continue
            step = []
            for words, p in alive[g]:
                logp = following(d, row, words)
                for v in [END] if t == most else [v for v in range(d.size) if v != BEGIN]:
                    if v == END and words in over:
                        continue
                    step.append((p + logp[v] - how.diversity * taken.count(v), p + logp[v], words, v))
            step.sort(reverse=True)
            new = [(c, p) for _, p, c, v in step[:width] if v == END]
            finished[g] = sorted([*finished[g], *new], key=lambda f: rank(f, how), reverse=True)
            over |= {c for c, _ in new}
            alive[g] = [((*c, v), p) for _, p, c, v in step if v != END][:width]
            if len(finished[g]) < width:
                taken += [c[-1] for c, _ in alive[g]]
    best = [f for group in finished for f in group[:width]]
    return sorted(best, key=lambda f: rank(f, how), reverse=True)


def rank(found: tuple[tuple[int, ...], float], how: Decoding) -> float:
    return found[1] / (len(found[0]) + 1) ** how.length_penalty


@over("beams", [1, 2, 3, 5])
@over("alpha", [0.0, 1.0])
def test_beam_search_is_that_of_lists(beams: int, alpha: float) -> None:
    d = decoder(9)
    how = Decoding(beams=beams, captions=beams, length_penalty=alpha, groups=1)
    lengths = set()
    for row, (got, logprob) in enumerate(both(d, how)):
        expected = by_hand(d, row, how, 7)[:beams]
        assert got == [c for c, _ in expected]
        assert logprob == pytest.approx([p for _, p in expected], abs=1e-9)
        lengths |= {len(c) for c in got}
    assert len(lengths) > 2


def both(d: Decoder, how: Decoding, limit: int = 8) -> list[tuple[list[tuple[int, ...]], list[float]]]:
    w = written(d, how, limit=limit)
    return [(captions(w, row), [p for p in w.logprob[row].tolist() if p > -math.inf]) for row in range(4)]


@over("beams, groups", [(2, 2), (4, 2), (6, 3), (4, 4)])
@over("diversity", [0.0, 0.5, 3.0])
def test_diverse_search_is_that_of_lists(beams: int, groups: int, diversity: float) -> None:
    d = decoder(9)
    how = Decoding("diverse", beams=beams, groups=groups, diversity=diversity, captions=beams)
    for row, (got, logprob) in enumerate(both(d, how)):
        expected = by_hand(d, row, how, 7)
        assert got == [c for c, _ in expected] and len(set(got)) == len(got)
        assert logprob == pytest.approx([p for _, p in expected], abs=1e-9)
        assert logprob == pytest.approx([scored(d, row, c) for c in got], abs=1e-9)


def test_diversity_makes_captions_differ() -> None:
    d = decoder(9)
    first = {}
    for diversity in (0.0, 50.0):
        w = written(d, Decoding("diverse", beams=3, groups=3, diversity=diversity, captions=3, min_length=1))
        first[diversity] = sum(len({c[0] for c in captions(w, row)}) for row in range(4))
    assert first[0.0] < first[50.0] == 12


@over("seed", range(5))
def test_greedy_is_one_beam_and_the_likeliest_of_draws(seed: int) -> None:
    d = decoder(12, seed=seed)
    greedy = written(d, GREEDY, rows=6, limit=10)
    for other in (Decoding(beams=1), Decoding("sample", top_k=1, seed=seed), Decoding("sample", top_p=1e-9)):
        w = written(d, other, rows=6, limit=10)
        assert torch.equal(w.ids, greedy.ids)
        torch.testing.assert_close(w.logprob, greedy.logprob, atol=1e-9, rtol=0)


def test_diverse_search_in_one_group_is_beam_search() -> None:
    d = decoder(12)
    a, b = (written(d, Decoding(m, beams=4, captions=4, groups=1), rows=6, limit=9) for m in ("beam", "diverse"))
    assert torch.equal(a.ids, b.ids) and torch.equal(a.logprob, b.logprob)


def probabilities(d: Decoder, row: int, words: tuple[int, ...] = ()) -> list[float]:
    return [math.exp(p) for p in following(d, row, words)]


def tallied(how: Decoding, limit: int = 2) -> tuple[Decoder, list[Counter[tuple[int, ...]]]]:
    d = decoder(7)
    w = written(d, how, limit=limit)
    return d, [Counter(captions(w, row)) for row in range(4)]


N = 10_000


@over("top_k, top_p, temperature", [(0, 1.0, 1.0), (3, 1.0, 1.0), (0, 0.7, 1.0), (4, 0.8, 0.6)])
def test_draws_are_as_frequent_as_the_shaped_distribution_says(top_k: int, top_p: float, temperature: float) -> None:
    how = Decoding("sample", captions=N, top_k=top_k, top_p=top_p, temperature=temperature, seed=3)
    d, tallies = tallied(how)
    for row, tally in enumerate(tallies):
        p = {v: x ** (1 / temperature) for v, x in enumerate(probabilities(d, row))}
        order = sorted(p, key=p.__getitem__, reverse=True)[: top_k or None]
        whole, nucleus = sum(p[v] for v in order), []
        while sum(p[v] for v in nucleus) < top_p * whole and len(nucleus) < len(order):
            nucleus.append(order[len(nucleus)])
        kept = {v: p[v] / sum(p[u] for u in nucleus) for v in nucleus if p[v] > 0}
        assert {c[0] if c else END for c in tally} <= set(kept)
        for v, share in kept.items():
            seen = tally[() if v == END else (v,)] / N
            assert abs(seen - share) < 5 * math.sqrt(share * (1 - share) / N) + 1e-9


def test_draws_of_two_words_are_as_frequent_as_their_probability() -> None:
    d, tallies = tallied(Decoding("sample", captions=N, seed=4), limit=3)
    for row, tally in enumerate(tallies):
        first = probabilities(d, row)
        for a in range(2, 7):
            then = probabilities(d, row, (a,))
            for b in range(2, 7):
                share = first[a] * then[b]
                assert abs(tally[a, b] / N - share) < 5 * math.sqrt(share / N) + 1e-9


def test_a_draw_at_the_edge_is_a_word_that_can_be() -> None:
    logp = torch.tensor([[-math.inf, 0, 0, 0, 0, -math.inf]], dtype=torch.float64).expand(4, -1)
    u = torch.tensor([0.0, 0.25, 0.75, 1.0], dtype=torch.float64)
    assert sample_tokens(logp, u, Decoding("sample")).tolist() == [1, 2, 4, 4]
    assert set(sample_tokens(logp, u, Decoding("sample", top_k=2)).tolist()) <= {1, 2, 3, 4}
    assert len(set(sample_tokens(logp, u, Decoding("sample", top_p=0.25)).tolist())) == 1


def test_draws_are_decided_by_the_seed() -> None:
    d = decoder(12)
    a, b, c = (written(d, Decoding("sample", captions=4, seed=s)) for s in (1, 1, 2))
    assert torch.equal(a.ids, b.ids) and not torch.equal(a.ids[..., :3], c.ids[..., :3])


def test_rows_of_different_keys_draw_on_their_own() -> None:
    d, how = decoder(12, scale=0.3), Decoding("sample", seed=1)
    m = memory(1).take(torch.zeros(64, dtype=torch.int64))
    kw = {"begin": BEGIN, "end": END, "excluded": [BEGIN], "how": how, "limit": 6}
    same = search(d, d.start(m), **kw)  # type: ignore[arg-type]
    apart = search(d, d.start(m), keys=torch.arange(64), **kw)  # type: ignore[arg-type]
    assert (same.ids == same.ids[:1]).all() and len({str(x) for x in apart.ids.tolist()}) > 20
    alone = search(d, d.start(m.take(torch.arange(1))), keys=torch.tensor([40]), **kw)  # type: ignore[arg-type]
    n = alone.ids.shape[2]
    assert torch.equal(alone.ids[0], apart.ids[40, :, :n])


EVERY = over("method", ["greedy", "beam", "sample", "diverse"])


def how_of(method: str, **rest: float) -> Decoding:
    few = {"greedy": (1, 1), "beam": (3, 1), "sample": (5, 1), "diverse": (4, 2)}[method]
    return Decoding(method, beams=4, captions=few[0], groups=few[1], **rest)  # type: ignore[arg-type]


@EVERY
@over("rest", [{}, {"min_length": 3}, {"no_repeat": 2}])
def test_log_probabilities_are_the_model_s_and_the_best_comes_first(method: str, rest: dict[str, float]) -> None:
    """Whatever shaped or restricted the search."""
    d, how = decoder(9), how_of(method, temperature=1.7, top_k=6, **rest)
    w = written(d, how, limit=7, excluded=(BEGIN, 4))
    for row in range(4):
        found = captions(w, row)
        want = [scored(d, row, c, (BEGIN, 4)) for c in found]
        assert w.logprob[row, : len(found)].tolist() == pytest.approx(want, abs=1e-9)
        ranks = [rank(f, how) for f in zip(found, want, strict=True)]
        assert ranks == sorted(ranks, reverse=True)
        assert not {v for c in found for v in c} & {BEGIN, END, 4}


@EVERY
@over("n", [1, 2, 3])
def test_no_sequence_of_words_comes_twice(method: str, n: int) -> None:
    d = decoder(6)
    with torch.no_grad():
        d.embedding.out.bias[END] = -30
        d.embedding.out.bias[3] = 6  # "3 3 3 3 3", if it may
    free, held = (written(d, how_of(method, no_repeat=k), limit=20) for k in (0, n))

    def repeats(caption: tuple[int, ...]) -> bool:
        grams = [caption[i : i + n] for i in range(len(caption) - n + 1)]
        return len(set(grams)) < len(grams)

    assert any(repeats(c) for row in range(4) for c in captions(free, row))
    assert not any(repeats(c) for row in range(4) for c in captions(held, row))
    assert max(len(c) for row in range(4) for c in captions(held, row)) >= n


@EVERY
@over("least", [0, 1, 4, 6])
def test_captions_are_as_long_as_they_must_and_may_be(method: str, least: int) -> None:
    d = decoder(9)
    for bias in (-20, 20):
        with torch.no_grad():
            d.embedding.out.bias[END] = bias
        w = written(d, how_of(method, min_length=least, max_length=6), limit=20)
        lengths = {len(c) for row in range(4) for c in captions(w, row)}
        assert min(lengths) >= least and max(lengths) <= 6
        assert (max(lengths) == 6) if bias < 0 else (min(lengths) == least)


@EVERY
@over("limit", [1, 2, 5])
def test_no_caption_is_longer_than_the_limit_its_end_included(method: str, limit: int) -> None:
    d = decoder(9)
    with torch.no_grad():
        d.embedding.out.bias[END] = -30
    for longest in (0, 3, 50):
        w = written(d, how_of(method, max_length=longest), limit=limit)
        most = min(limit, longest + 1 if longest else limit)
        assert w.ids.shape[2] == most and w.ids.dtype == torch.int64
        assert all(len(c) == most - 1 for row in range(4) for c in captions(w, row))


@EVERY
def test_where_all_is_banned_the_caption_ends(method: str) -> None:
    d = decoder(6)
    w = written(d, how_of(method, min_length=3), excluded=(0, 2, 3, 4, 5))
    assert w.ids.shape[2] == 1
    for row in range(4):
        assert set(captions(w, row)) == {()} and w.logprob[row, 0] == pytest.approx(0)
    w = written(d, how_of(method, min_length=4, no_repeat=1), excluded=(0, 2, 3, 5))
    for row in range(4):
        assert set(captions(w, row)) == {(4,)}, "the one word that may be written may not come twice"
    w = written(d, how_of(method), excluded=(*range(6),))
    assert set(captions(w, 0)) == {()}, "the end is never excluded"


@over("method", ["beam", "diverse"])
def test_where_fewer_captions_are_than_asked_for_the_rest_are_empty(method: str) -> None:
    d = decoder(4)
    w = search(
        d,
        d.start(memory()),
        begin=BEGIN,
        end=END,
        excluded=[BEGIN, 2],
        how=Decoding(method, beams=6, captions=6, groups=1),
        limit=3,
    )
    for row in range(4):
        assert sorted(captions(w, row)) == [(), (3,), (3, 3)]
        assert w.logprob[row, 3:].tolist() == [-math.inf] * 3 and (w.ids[row, 3:] == END).all()


@EVERY
def test_captions_of_a_row_differ_unless_they_are_drawn(method: str) -> None:
    d = decoder(9, scale=0.2)
    w = written(d, how_of(method), limit=6)
    if method != "sample":
        assert all(len(set(captions(w, row))) == len(captions(w, row)) > 0 for row in range(4))


@EVERY
def test_rows_that_are_done_do_not_disturb_the_others(method: str) -> None:
    """Rows end at different steps and are dropped from the batch; each is as if alone."""
    d = decoder(9)
    w = search(d, d.start(memory(40)), begin=BEGIN, end=END, excluded=[BEGIN], how=how_of(method), limit=12)
    assert len({len(captions(w, row)[0]) for row in range(40)}) > 3
    for row in range(40):
        m = memory(40).take(torch.tensor([row]))
        alone = search(d, d.start(m), begin=BEGIN, end=END, excluded=[BEGIN], how=how_of(method), limit=12)
        assert captions(alone, 0) == captions(w, row)
        torch.testing.assert_close(alone.logprob[0], w.logprob[row], atol=1e-9, rtol=0)


@EVERY
def test_nothing_is_kept_for_gradients_and_ids_can_be_trained_on(method: str) -> None:
    d = decoder(9).requires_grad_(True)
    w = written(d, how_of(method))
    assert not w.logprob.requires_grad
    d.teacher_forcing(d.start(memory()), Masked(w.ids[:, 0], w.ids[:, 0] >= 0)).hidden.sum().backward()


def test_a_search_that_can_not_be_is_told_before_it_begins() -> None:
    for beams in (0, 10):
        with pytest.raises(InputError, match=f"beams can't be {beams}; it must be from 1 to the size of the vocab"):
            Decoding(beams=beams).check(9)
