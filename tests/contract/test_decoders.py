"""Every decoder of the table under every law."""

import json
import math

import pytest
import torch
from torch import Tensor

from cases import over
from polymodal.batch import Masked
from polymodal.decoders import CLASSES, DECODERS, Decoder, Decoding, HiddenStates, State, WordEmbedding, make
from polymodal.decoders.recurrent import AttentiveGRU
from polymodal.decoders.search import search
from polymodal.decoders.transformer import CrossTransformer, PrefixLM
from polymodal.errors import InputError
from polymodal.nn import SIZES, Size
from polymodal.spec import build, spec, table

EVERY = pytest.mark.parametrize("name", DECODERS)
DIM, SIZE, ROWS, TOKENS, WORDS = 5, 11, 4, 6, 7
BEGIN, END = 0, 1
SMALL = Size(dim=12, layers=2, heads=3, side=0, tokens=0)


def built(name: str) -> Decoder:
    torch.manual_seed(0)
    return make(name, DIM, SIZE, SMALL).double().eval()


def talkative(name: str) -> Decoder:
    """One that writes captions of several words, which differ from row to row."""
    d = built(name)
    with torch.no_grad():
        for p in d.parameters():
            if p.ndim > 1:
                p.mul_(3)
        d.embedding.out.bias[END] = -3
    return d


def memory(rows: int = ROWS, seed: int = 1) -> Masked:
    """Random tokens: all real in row 0, none in row 2."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, TOKENS, generator=g) < 0.6
    mask[:, 1] = True
    mask[0], mask[2:3] = True, False
    return Masked(torch.randn(rows, TOKENS, DIM, generator=g, dtype=torch.float64), mask)


def words(rows: int = ROWS, seed: int = 2) -> Masked:
    """Captions of 7, 6, 5 and 4 words."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.arange(WORDS, WORDS - rows, -1)
    return Masked(torch.randint(SIZE, (rows, WORDS), generator=g), torch.arange(WORDS) < lengths[:, None])


def poisoned(x: Masked, value: float) -> Masked:
    return Masked(torch.where(x.mask[..., None], x.values, value), x.mask)


def stepped(d: Decoder, state: State, ids_bt: Tensor) -> tuple[Tensor, State]:
    out = []
    for ids_b in ids_bt.unbind(1):
        hidden, state = d.step(state, ids_b)
        out.append(hidden)
    return torch.stack(out, 1), state


def close(a: Tensor, b: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


@EVERY
def test_shapes(name: str) -> None:
    d = built(name)
    assert (d.dim, d.size) == (DIM, SIZE)
    forced = d.teacher_forcing(d.start(memory()), words())
    assert forced.hidden.shape[:2] == (ROWS, WORDS) and forced.penalty.shape == ()
    assert d.logits(forced.hidden).shape == (ROWS, WORDS, SIZE)
    hidden, state = d.step(d.start(memory()), words().values[:, 0])
    assert hidden.shape == forced.hidden[:, 0].shape and d.logits(hidden).shape == (ROWS, SIZE)
    for part in (*d.start(memory()), *state):
        assert all(len(x) == ROWS for x in part.values())


@EVERY
def test_a_run_of_steps_is_teacher_forcing(name: str) -> None:
    d, ids = built(name), words()
    hidden, _ = stepped(d, d.start(memory()), ids.values)
    forced = d.teacher_forcing(d.start(memory()), ids).hidden
    for t in range(WORDS):
        close(hidden[ids.mask[:, t], t], forced[ids.mask[:, t], t])


@EVERY
def test_rows_of_a_state_are_taken_and_followed(name: str) -> None:
    d, ids, at = built(name), words(), torch.tensor([3, 0, 0, 2])
    hidden, state = stepped(d, d.start(memory()), ids.values[:, :3])
    again, moved = stepped(d, d.start(memory().take(at)), ids.values[at, :3])
    close(hidden[at], again)
    for a, b in zip(state.take(at), moved, strict=True):
        assert a.keys() == b.keys()
        for k in a:
            close(a[k].double(), b[k].double())
    followed = state.reorder(at)
    assert all(followed.memory[k] is state.memory[k] for k in state.memory)
    assert all(torch.equal(followed.past[k], state.past[k][at]) for k in state.past)


@EVERY
def test_memory_under_a_false_mask_never_matters(name: str) -> None:
    d, ids = built(name), words()
    outs = []
    for value in (0.0, 1e30, math.nan, math.inf, -math.inf):
        m = poisoned(memory(), value)
        forced = d.teacher_forcing(d.start(m), ids)
        outs.append(
            (forced.hidden, forced.penalty, d.attention(d.start(m), ids), stepped(d, d.start(m), ids.values)[0])
        )
    for out in outs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(out, outs[0], strict=True))


@EVERY
@over("training", [False, True])
def test_masked_nan_never_reaches_a_gradient(name: str, training: bool) -> None:
    d, m, ids = built(name).train(training), poisoned(memory(), math.nan), words()
    m.values.requires_grad_()
    forced = d.teacher_forcing(d.start(m), ids)
    (d.logits(forced.hidden[ids.mask]).square().sum() + forced.penalty).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in d.parameters())
    assert m.values.grad is not None and m.values.grad.isfinite().all() and (m.values.grad[~m.mask] == 0).all()
    assert (m.values.grad[m.mask].abs().sum(-1) > 0).all()


@EVERY
def test_padding_of_the_memory_never_matters(name: str) -> None:
    d, m, ids = built(name), memory(), words()
    longer = Masked(
        torch.cat([m.values, torch.full((ROWS, 3, DIM), 7.0, dtype=torch.float64)], 1),
        torch.cat([m.mask, torch.zeros(ROWS, 3, dtype=torch.bool)], 1),
    )
    a, b = (d.teacher_forcing(d.start(x), ids) for x in (m, longer))
    close(a.hidden, b.hidden)
    close(a.penalty, b.penalty)


@EVERY
def test_padding_words_never_matter(name: str) -> None:
    d, m, ids = built(name), memory(), words()
    outs = []
    for value in (0, 5, -1, 10**9):
        padded = Masked(torch.where(ids.mask, ids.values, value), ids.mask)
        forced = d.teacher_forcing(d.start(m), padded)
        assert forced.hidden.isfinite().all()
        outs.append((forced.hidden[ids.mask], forced.penalty, d.attention(d.start(m), padded)[ids.mask]))
    for out in outs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(out, outs[0], strict=True))
    for row, n in enumerate(ids.mask.sum(1).tolist()):
        alone = Masked(ids.values[row : row + 1, :n], ids.mask[row : row + 1, :n])
        close(
            d.teacher_forcing(d.start(m.take(torch.tensor([row]))), alone).hidden[0],
            outs[0][0].split(ids.mask.sum(1).tolist())[row],
        )


@EVERY
def test_no_word_sees_a_later_one(name: str) -> None:
    d, m, ids = built(name), memory(), words()
    full = Masked(ids.values, torch.ones_like(ids.mask))
    before = d.teacher_forcing(d.start(m), full).hidden
    for t in range(1, WORDS):
        values = full.values.clone()
        values[:, t] = (values[:, t] + 1) % SIZE
        after = d.teacher_forcing(d.start(m), Masked(values, full.mask)).hidden
        assert torch.equal(before[:, :t], after[:, :t])
        assert all((before[:, s] != after[:, s]).any(1).all() for s in range(t, WORDS))


@EVERY
def test_rows_are_independent(name: str) -> None:
    d, m, ids = built(name), memory(), words()
    whole = d.teacher_forcing(d.start(m), ids).hidden
    for row in range(ROWS):
        at = torch.tensor([row])
        close(d.teacher_forcing(d.start(m.take(at)), ids.take(at)).hidden[0], whole[row])


@EVERY
@over("training", [False, True])
@over("tokens", [0, 3])
def test_empty_memory_is_finite(name: str, training: bool, tokens: int) -> None:
    d, ids = built(name).train(training), words()
    m = Masked(
        torch.full((ROWS, tokens, DIM), math.nan, dtype=torch.float64), torch.zeros(ROWS, tokens, dtype=torch.bool)
    )
    forced = d.teacher_forcing(d.start(m), ids)
    assert forced.hidden.isfinite().all() and forced.penalty.isfinite()
    assert d.attention(d.start(m), ids).shape == (ROWS, WORDS, tokens)
    assert stepped(d, d.start(m), ids.values)[0].isfinite().all()
    (forced.hidden.sum() + forced.penalty).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in d.parameters())


@EVERY
def test_long_captions_are_finite(name: str) -> None:
    d = built(name)
    ids = torch.randint(SIZE, (ROWS, 300), generator=torch.Generator().manual_seed(0))
    assert d.teacher_forcing(d.start(memory()), Masked(ids, ids >= 0)).hidden.isfinite().all()


@EVERY
def test_attention_sums_to_1_over_real_tokens(name: str) -> None:
    d, m, ids = built(name), memory(), words()
    share = d.attention(d.start(m), ids)
    assert share.shape == (ROWS, WORDS, TOKENS) and (share >= 0).all()
    assert (share.transpose(1, 2)[~m.mask] == 0).all()
    close(share.sum(-1), m.mask.any(1).double()[:, None].expand(-1, WORDS))
    assert (share[0].std(-1) > 0).all()


@EVERY
def test_every_parameter_learns(name: str) -> None:
    d, ids = built(name), words()
    forced = d.teacher_forcing(d.start(memory()), ids)
    (d.logits(forced.hidden[ids.mask]).square().sum() + forced.penalty).backward()
    still = [n for n, p in d.named_parameters() if p.grad is None or not (p.grad != 0).any()]
    assert not still


@EVERY
def test_memory_matters_at_every_word(name: str) -> None:
    d, ids = built(name), words()
    a, b = (d.teacher_forcing(d.start(memory(seed=s)), ids).hidden for s in (1, 9))
    assert ((a - b)[0].abs().amax(-1) > 1e-6).all()


@EVERY
def test_a_specification_builds_it_again(name: str) -> None:
    d, ids = built(name), words()
    again = build(json.loads(json.dumps(spec(d))), table(CLASSES)).double().eval()
    again.load_state_dict(d.state_dict())
    assert spec(again) == spec(d)
    assert torch.equal(
        again.teacher_forcing(again.start(memory()), ids).hidden, d.teacher_forcing(d.start(memory()), ids).hidden
    )


@EVERY
def test_state_dict_holds_all_that_is_learned(name: str) -> None:
    d = built(name)
    assert {n for n, _ in d.named_parameters()} == set(d.state_dict())


@EVERY
@over("how", [Decoding("greedy"), Decoding(captions=3), Decoding("sample", captions=2)])
def test_captions_do_not_depend_on_the_batch(name: str, how: Decoding) -> None:
    d = talkative(name)
    m = memory(6)
    whole = search(d, d.start(m), begin=BEGIN, end=END, excluded=[BEGIN], how=how, limit=9)
    assert len({str(row) for row in whole.ids[:, 0].tolist()}) > 2 and whole.ids.shape[2] > 3
    for row in range(6):
        alone = search(
            d, d.start(m.take(torch.tensor([row]))), begin=BEGIN, end=END, excluded=[BEGIN], how=how, limit=9
        )
        n = alone.ids.shape[2]
        assert torch.equal(alone.ids[0], whole.ids[row, :, :n]) and (whole.ids[row, :, n:] == END).all()
        close(alone.logprob[0], whole.logprob[row])


@EVERY
@over("method", ["greedy", "beam", "sample", "diverse"])
def test_uncached_decoding_is_the_search(name: str, method: str) -> None:
    """A decoder whose step runs teacher forcing over all words so far writes the same."""
    d = talkative(name)
    how = Decoding(method, beams=4, captions=1 if method == "greedy" else 3, groups=2 if method == "diverse" else 1)
    slow = Uncached(d)
    a, b = (search(x, x.start(memory()), begin=BEGIN, end=END, excluded=[BEGIN], how=how, limit=8) for x in (d, slow))
    assert torch.equal(a.ids, b.ids)
    close(a.logprob, b.logprob)


class Uncached(Decoder):
    """Keeps the memory and the words, and nothing of what was computed."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder, self.dim, self.size = decoder, decoder.dim, decoder.size

    def start(self, memory: Masked) -> State:
        none = torch.zeros(len(memory.mask), 0, dtype=torch.int64)
        return State({"values": memory.values, "mask": memory.mask}, {"ids": none})

    def teacher_forcing(self, state: State, ids: Masked) -> HiddenStates:
        start = self.decoder.start(Masked(state.memory["values"], state.memory["mask"]))
        return self.decoder.teacher_forcing(start, ids)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.decoder.logits(hidden)

    def step(self, state: State, ids_b: Tensor) -> tuple[Tensor, State]:
        ids = torch.cat([state.past["ids"], ids_b[:, None]], 1)
        return self.teacher_forcing(state, Masked(ids, ids >= 0)).hidden[:, -1], State(state.memory, {"ids": ids})

    def attention(self, state: State, ids: Masked) -> Tensor:
        start = self.decoder.start(Masked(state.memory["values"], state.memory["mask"]))
        return self.decoder.attention(start, ids)


@EVERY
def test_half_precision_is_finite(name: str) -> None:
    d = built(name).bfloat16()
    m = Masked(memory().values.bfloat16(), memory().mask)
    w = search(d, d.start(m), begin=BEGIN, end=END, excluded=[BEGIN], how=Decoding(), limit=9)
    assert w.logprob.isfinite().all() and w.logprob.dtype == torch.float32


@EVERY
def test_mixed_precision_trains_and_writes(name: str) -> None:
    d, ids = built(name).float().train(), words()
    m = Masked(memory().values.float(), memory().mask)
    with torch.autocast("cpu", torch.bfloat16):
        forced = d.teacher_forcing(d.start(m), ids)
        (d.logits(forced.hidden[ids.mask]).float().square().mean() + forced.penalty).backward()
        w = search(d.eval(), d.start(m), begin=BEGIN, end=END, excluded=[BEGIN], how=Decoding(), limit=9)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in d.parameters())
    assert w.logprob.isfinite().all() and w.logprob.dtype == torch.float32


@EVERY
@over("method", ["greedy", "beam", "sample", "diverse"])
def test_no_rows_give_no_captions(name: str, method: str) -> None:
    d = built(name)
    m = memory().take(torch.arange(0))
    w = search(d, d.start(m), begin=BEGIN, end=END, excluded=[BEGIN], how=Decoding(method), limit=9)
    assert w.ids.shape[:2] == w.logprob.shape == (0, 1)


@over("kind", [CrossTransformer, PrefixLM])
def test_heads_that_do_not_divide_the_width_are_told(kind: type) -> None:
    with pytest.raises(InputError, match="a width of 12 can't be divided among 5 heads"):
        kind(DIM, WordEmbedding(SIZE, 12), heads=5)


def test_a_look_of_another_width_than_the_words_is_told() -> None:
    from polymodal.decoders import Additive

    with pytest.raises(InputError, match="the embedding has width 12 but the attention score 8"):
        AttentiveGRU(Additive(DIM, 8), WordEmbedding(SIZE, 12))


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"unknown decoder 'transfomer'; did you mean 'transformer'\? It is one of gru, "
    ):
        make("transfomer", DIM, SIZE, SMALL)
    with pytest.raises(InputError, match=r"unknown decoder 'x'; it is one of gru, gru-dot, transformer, prefix"):
        make("x", DIM, SIZE, SMALL)


@EVERY
@over("size", SIZES)
def test_every_size_can_be_made(name: str, size: str) -> None:
    d = make(name, 7, 20, SIZES[size])
    ids = torch.zeros(1, 2, dtype=torch.int64)
    m = Masked(torch.randn(1, 2, 7), torch.ones(1, 2, dtype=torch.bool))
    assert d.teacher_forcing(d.start(m), Masked(ids, ids >= 0)).hidden.shape == (1, 2, SIZES[size].dim)
