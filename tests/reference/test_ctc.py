"""CTC against its definition: every alignment written out, in double precision."""

import math
from collections import defaultdict
from itertools import groupby, product

import pytest
import torch
from torch import Tensor

from cases import over
from polymodal.batch import Masked
from polymodal.decoders import ctc
from polymodal.decoders.ctc import CTC, alignment, best_path, ctc_loss, min_frames, prefix_beam, real_first, too_long
from polymodal.errors import InputError

SIZE, END = 3, 1
ROWS = [  # which frames are real: all, a gap inside, padding, none, one
    [True, True, True, True, True],
    [True, False, True, True, True],
    [True, True, True, False, False],
    [False] * 5,
    [False, False, True, False, False],
]
TEXTS = [[0, 0, 2], [1, 2], [2, 2], [0, 1], []]


def frames(seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(len(ROWS), 5, SIZE + 1, generator=g, dtype=torch.float64)


def mask() -> Tensor:
    return torch.tensor(ROWS)


def texts(rows: list[list[int]]) -> Masked:
    length = max(map(len, rows))
    values = [r + [2] * (length - len(r)) for r in rows]
    return Masked(torch.tensor(values), torch.tensor([[i < len(r) for i in range(length)] for r in rows]))


def said(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(v for v, _ in groupby(path) if v != SIZE)


def every(logp_sv: Tensor) -> dict[tuple[int, ...], Tensor]:
    """log P of each text, by the sum over all alignments."""
    out = defaultdict(list)
    for path in product(range(SIZE + 1), repeat=len(logp_sv)):
        out[said(path)].append(sum((logp_sv[s, v] for s, v in enumerate(path)), torch.zeros((), dtype=torch.float64)))
    return {text: torch.stack(terms).logsumexp(0) for text, terms in out.items()}


def stripped(ids: Tensor) -> tuple[int, ...]:
    """A written text; these tests ban END or give no symbol that id."""
    row = ids.tolist()
    while row and row[-1] == END:
        row.pop()
    return tuple(row)


def test_loss_and_gradient_are_those_of_all_alignments() -> None:
    x = frames().requires_grad_()
    logp = x.log_softmax(-1)
    got = ctc_loss(logp, mask(), texts(TEXTS))
    rows = [b for b in range(len(ROWS)) if any(ROWS[b]) and TEXTS[b]]
    terms = [every(logp[b][mask()[b]])[tuple(TEXTS[b])] for b in rows]
    want = -torch.stack(terms).sum() / sum(len(TEXTS[b]) for b in rows)
    assert torch.allclose(got.loss, want, atol=1e-10) and int(got.short) == 0
    (a,), (b,) = torch.autograd.grad(got.loss, x, retain_graph=True), torch.autograd.grad(want, x)
    assert torch.allclose(a, b, atol=1e-10)


def test_what_a_text_needs() -> None:
    rows = [*TEXTS, [2, 2, 2, 0, 0]]
    want = []
    for text in rows:
        lengths = range(12)
        want.append(
            next(n for n in lengths if n >= len(text) and n >= len(text) + sum(map(int.__eq__, text, text[1:])))
        )
    assert min_frames(texts(rows)).tolist() == want == [4, 2, 3, 2, 0, 8]


def test_a_text_that_is_too_long_is_counted_and_no_more() -> None:
    x = frames().requires_grad_()
    rows = [[0, 0, 2], [1, 1, 1, 1], [2, 2, 2], [0, 1], [1, 2]]
    got = ctc_loss(x.log_softmax(-1), mask(), texts(rows))
    alone = ctc_loss(x[:1].log_softmax(-1), mask()[:1], texts(rows[:1]))
    assert int(got.short) == 3 and torch.allclose(got.loss, alone.loss)
    got.loss.backward()
    assert x.grad is not None and x.grad[0].any() and not x.grad[1:].any()


@over("rows", [[[]] * 4 + [[0]], [[0, 0, 0, 0]] * 5])
def test_nothing_to_learn_is_no_loss(rows: list[list[int]]) -> None:
    x = frames().requires_grad_()
    hidden = mask()
    hidden[4] = False
    got = ctc_loss(x.log_softmax(-1), hidden, texts(rows))
    got.loss.backward()
    assert got.loss == 0 and x.grad is not None and not x.grad.any()


def test_an_impossible_frame_gives_a_finite_loss() -> None:
    logp = frames()[:1].log_softmax(-1)
    logp[0, :, 2] = -math.inf
    assert torch.isfinite(ctc_loss(logp, mask()[:1], texts([[2]])).loss)


@over("junk", [1e30, math.nan, math.inf])
def test_masked_frames_and_symbols_never_matter(junk: float) -> None:
    clean, ids = frames(), texts(TEXTS)
    grads, losses, written = [], [], []
    head = CTC(4, SIZE, dropout=0.0).double()
    for dirty in (False, True):
        x = clean.clone()
        symbols = ids.values.clone()
        if dirty:
            x[~mask()] = junk
            symbols[~ids.mask] = 77
        x.requires_grad_()
        head.zero_grad()
        loss = ctc_loss(head(Masked(x, mask())), mask(), Masked(symbols, ids.mask)).loss
        loss.backward()
        raw = x.detach()  # here NaN stands in the log-probabilities themselves
        y = raw.clone().requires_grad_()
        inner = ctc_loss(y, mask(), ids).loss
        inner.backward()
        grads += [x.grad, head.out[1].weight.grad.clone(), y.grad]
        losses += [loss, inner]
        written += [best_path(raw, mask(), END).ids, prefix_beam(raw, mask(), END, beams=4).logprob]
    half = len(grads) // 2
    assert all(torch.equal(a, b) and torch.isfinite(b).all() for a, b in zip(grads[:half], grads[half:], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(losses[:2], losses[2:], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(written[:2], written[2:], strict=True))
    assert not grads[half][~mask()].any() and not grads[half][3].any()


def test_rows_alone_equal_rows_in_a_batch() -> None:
    logp = frames().log_softmax(-1)
    whole = prefix_beam(logp, mask(), END, beams=5, captions=3)
    best = best_path(logp, mask(), END)
    for b in range(len(ROWS)):
        alone = prefix_beam(logp[b : b + 1], mask()[b : b + 1], END, beams=5, captions=3)
        assert torch.equal(alone.logprob[0], whole.logprob[b])
        assert [stripped(x) for x in alone.ids[0]] == [stripped(x) for x in whole.ids[b]]
        assert stripped(best_path(logp[b : b + 1], mask()[b : b + 1], END).ids[0, 0]) == stripped(best.ids[b, 0])


@over("banned", [[END], [0, END]])
def test_the_full_beam_is_the_sum_over_all_alignments(banned: list[int]) -> None:
    logp = frames(1).log_softmax(-1)
    got = prefix_beam(logp, mask(), END, beams=400, captions=400, excluded=banned)
    for b in range(len(ROWS)):
        want = {t: float(p) for t, p in every(logp[b][mask()[b]]).items() if not set(t) & set(banned)}
        real = got.logprob[b] > -math.inf
        texts_b = [stripped(x) for x in got.ids[b][real]]
        assert len(set(texts_b)) == len(texts_b) and set(texts_b) == set(want)
        assert torch.allclose(got.logprob[b][real], torch.tensor([want[t] for t in texts_b]).double(), atol=1e-10)
        assert (got.logprob[b].diff()[real[1:]] <= 0).all()
        assert (got.ids[b][~real] == END).all()


def test_a_narrow_beam_keeps_no_more_than_there_is_and_loses_little() -> None:
    g = torch.Generator().manual_seed(3)
    logp = (3 * torch.randn(40, 5, SIZE + 1, generator=g, dtype=torch.float64)).log_softmax(-1)
    mask_bs = torch.ones(40, 5, dtype=torch.bool)
    got, right = prefix_beam(logp, mask_bs, END, beams=6, excluded=[END]), 0
    for b in range(40):
        truth = {t: float(p) for t, p in every(logp[b]).items() if END not in t}
        text = stripped(got.ids[b, 0])
        assert got.logprob[b, 0] <= truth[text] + 1e-12
        right += text == max(truth, key=lambda t: truth[t])
    assert right >= 36


def test_a_text_that_left_the_beam_and_came_back_is_one_text() -> None:
    g = torch.Generator().manual_seed(4)
    logp = (3 * torch.randn(60, 14, SIZE + 1, generator=g, dtype=torch.float64)).log_softmax(-1)
    got = prefix_beam(logp, torch.ones(60, 14, dtype=torch.bool), 9, beams=6, captions=6)
    for row in got.ids:
        assert len({tuple(t) for t in row.tolist()}) == 6


def test_no_rows_say_nothing() -> None:
    logp, none = frames()[:0].log_softmax(-1), mask()[:0]
    for got in (best_path(logp, none, END), prefix_beam(logp, none, END, beams=3)):
        assert got.ids.shape[:2] == got.logprob.shape == (0, 1)


def test_best_path_is_the_collapsed_argmax() -> None:
    logp = frames(2).log_softmax(-1)
    got = best_path(logp, mask(), END, excluded=[END])
    for b in range(len(ROWS)):
        rows = logp[b][mask()[b]].clone()
        rows[:, END] = -math.inf
        assert stripped(got.ids[b, 0]) == said(tuple(rows.argmax(1).tolist()))
        assert math.isclose(got.logprob[b, 0], float(rows.max(1).values.sum()) if len(rows) else 0.0, abs_tol=1e-12)


def test_alignment_is_the_best_of_all() -> None:
    for seed in range(8):
        logp = frames(seed)[0].log_softmax(-1)
        for text in [[0, 0, 2], [1], [2, 2], [0, 1, 2, 0], [1, 1, 1]]:
            paths = [p for p in product(range(SIZE + 1), repeat=5) if said(p) == tuple(text)]
            best = max(paths, key=lambda p: sum(float(logp[s, v]) for s, v in enumerate(p)))
            want, s = [], 0
            for v, run in groupby(best):
                n = len(list(run))
                want += [[s, s + n - 1]] if v != SIZE else []
                s += n
            assert alignment(logp, text).tolist() == want


def test_alignment_of_nothing_and_of_too_much() -> None:
    logp = frames()[0].log_softmax(-1)
    assert alignment(logp, []).shape == (0, 2) and alignment(logp[:0], []).shape == (0, 2)
    for rows, text in ((logp[:3], [0, 0, 1]), (logp[:0], [1])):
        with pytest.raises(InputError, match=rf"{len(rows)} frames can't say these {len(text)} symbols"):
            alignment(rows, text)


def test_all_clips_advance_together_and_no_further_than_the_longest(monkeypatch) -> None:
    steps, advance = [], ctc._advance
    monkeypatch.setattr(
        ctc, "_advance", lambda beam, logp_bv, most: steps.append(logp_bv.shape) or advance(beam, logp_bv, most)
    )
    g = torch.Generator().manual_seed(0)
    logp = torch.randn(100, 30, 31, generator=g).log_softmax(-1)
    longest = torch.arange(30) < torch.arange(100)[:, None] % 21  # of 20 real frames
    got = prefix_beam(logp, longest, END, beams=8, captions=2)
    assert steps == [(100, 31)] * 20
    assert got.ids.shape[:2] == (100, 2) and got.logprob.dtype == torch.float32


@over("most", [0, 1, 2, 9])
def test_longer_texts_than_are_asked_for_are_never_kept(most: int) -> None:
    logp = frames(1).log_softmax(-1)
    got = prefix_beam(logp, mask(), END, beams=400, captions=400, excluded=[END], most=most)
    for b in range(len(ROWS)):
        want = {t: float(p) for t, p in every(logp[b][mask()[b]]).items() if END not in t and len(t) <= most}
        real = got.logprob[b] > -math.inf
        texts_b = [stripped(x) for x in got.ids[b][real]]
        assert sorted(texts_b) == sorted(want)
        assert torch.allclose(got.logprob[b][real], torch.tensor([want[t] for t in texts_b]).double(), atol=1e-10)


@over("most", [0, 1, 2, 9])
def test_the_best_path_stops_where_one_symbol_too_many_would_begin(most: int) -> None:
    logp = frames(2).log_softmax(-1)
    got = best_path(logp, mask(), 9, most=most)
    for b in range(len(ROWS)):
        rows = logp[b][mask()[b]]
        path = rows.argmax(1).tolist()
        cut = next((s for s in range(len(path)) if len(said(tuple(path[: s + 1]))) > most), len(path))
        path[cut:] = [SIZE] * (len(path) - cut)
        assert tuple(i for i in got.ids[b, 0].tolist() if i != 9) == said(tuple(path))
        assert math.isclose(got.logprob[b, 0], sum(float(rows[s, v]) for s, v in enumerate(path)), abs_tol=1e-12)


def test_which_texts_are_too_long_for_their_frames() -> None:
    rows = [[0, 0, 2], [1, 1, 1], [2, 2], [0, 1], [0, 1]]  # they need 4, 5, 3, 2, 2 frames of 5, 4, 3, 0, 1
    assert too_long(mask(), texts(rows)).tolist() == [False, True, False, False, True]


def test_the_real_ones_come_first_in_their_order() -> None:
    g = torch.Generator().manual_seed(0)
    keep = torch.rand(3, 4, 9, generator=g) < 0.5
    for row, order in zip(keep.flatten(0, 1).tolist(), real_first(keep).flatten(0, 1).tolist(), strict=True):
        assert order == [i for i in range(9) if row[i]] + [i for i in range(9) if not row[i]]


def test_the_head_learns_to_write() -> None:
    torch.manual_seed(0)
    memory = Masked(torch.randn(len(ROWS), 5, 8), mask())
    head = CTC(8, SIZE, dropout=0.0)
    assert head(memory).shape == (len(ROWS), 5, SIZE + 1)
    learn = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(60):
        learn.zero_grad()
        loss = ctc_loss(head(memory), memory.mask, texts(TEXTS)).loss
        loss.backward()
        learn.step()
    got = prefix_beam(head(memory).detach(), memory.mask, 7, beams=4)
    for b in (0, 1, 2):
        assert [i for i in got.ids[b, 0].tolist() if i != 7] == TEXTS[b]
