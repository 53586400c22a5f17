"""The formulas of decoders, written out one row, one word and one token at a time."""

from typing import TypeVar

import pytest
import torch
from torch import Tensor

from cases import over
from polymodal.batch import Masked
from polymodal.decoders import (
    Additive,
    AttentiveGRU,
    CrossTransformer,
    Decoding,
    DotProduct,
    PrefixLM,
    WordEmbedding,
)
from polymodal.decoders.recurrent import AttentionScore
from polymodal.decoders.transformer import MultiHeadAttention
from polymodal.errors import InputError
from polymodal.nn import positions
from polymodal.ops import shares

DIM, WIDTH, SIZE = 5, 6, 9
Module = TypeVar("Module", bound=torch.nn.Module)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def memory() -> Masked:
    """Three rows: all tokens real, some, none."""
    return Masked(noise(3, 4, DIM), torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]], dtype=torch.bool))


def words() -> Masked:
    ids = torch.tensor([[0, 3, 4, 3, 8], [0, 7, 2, 1, 1], [0, 5, 1, 1, 1]])
    return Masked(ids, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], dtype=torch.bool))


def ready(module: Module) -> Module:
    """In float64, with every weight drawn: none is left at 0 or 1."""
    g = torch.Generator().manual_seed(5)
    module.double().eval().requires_grad_(False)
    for p in module.parameters():
        p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.7)
    return module


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def score(score_class: AttentionScore, h: Tensor, m: Tensor) -> Tensor:
    """One state and one memory token -> how well they fit, as the papers have it."""
    if isinstance(score_class, Additive):
        inner = score_class.key.weight @ m + score_class.key.bias + score_class.query.weight @ h
        return score_class.score.weight[0] @ torch.tanh(inner)
    assert isinstance(score_class, DotProduct)
    return h @ (score_class.key.weight @ m) / WIDTH**0.5


@over("score_class", [Additive, DotProduct])
def test_the_recurrent_decoder_is_its_formula(score_class: type[AttentionScore]) -> None:
    d = ready(AttentiveGRU(score_class(DIM, WIDTH), WordEmbedding(SIZE, WIDTH), balance=0.3))
    m, ids = memory(), words()
    state = d.start(m)
    forced, attention = d.teacher_forcing(state, ids), d.attention(state, ids)
    penalty = 0.0
    for b in range(3):
        real = [s for s in range(4) if m.mask[b, s]]
        tokens = {s: d.norm(m.values[b, s]) for s in real}
        mean = sum(tokens.values()) / len(real) if real else torch.zeros(DIM, dtype=torch.float64)
        h = torch.tanh(d.initial(mean))
        looked = dict.fromkeys(real, 0.0)
        for t in range(int(ids.mask[b].sum())):
            x = d.embedding.table.weight[ids.values[b, t]]
            fit = {s: score(d.score, h, tokens[s]).exp() for s in real}
            share = {s: fit[s] / sum(fit.values()) for s in real}
            gate = torch.sigmoid(d.gate.weight[0] @ h + d.gate.bias[0])
            z = gate * sum((share[s] * tokens[s] for s in real), torch.zeros(DIM, dtype=torch.float64))
            given = d.token_gates.weight @ x + d.token_gates.bias + d.context_gates.weight @ z
            own = d.state_gates.weight @ h + d.state_gates.bias
            reset, keep = (torch.sigmoid(given[i : i + WIDTH] + own[i : i + WIDTH]) for i in (0, WIDTH))
            new = torch.tanh(given[2 * WIDTH :] + reset * own[2 * WIDTH :])
            h = (1 - keep) * new + keep * h
            close(forced.hidden[b, t], torch.tanh(d.out.weight @ torch.cat([h, z, x]) + d.out.bias))
            for s in range(4):
                close(attention[b, t, s], share.get(s, torch.zeros((), dtype=torch.float64)))
                if s in real:
                    looked[s] += float(share[s])
        penalty += sum((1 - a) ** 2 for a in looked.values())
    assert float(forced.penalty) == pytest.approx(0.3 * penalty / 3, abs=1e-9) and penalty > 0.1


def test_the_gru_is_that_of_torch() -> None:
    """With a memory that is not there, the state is that of torch.nn.GRU over the embeddings."""
    d = ready(AttentiveGRU(Additive(DIM, WIDTH), WordEmbedding(SIZE, WIDTH)))
    gru = torch.nn.GRU(WIDTH, WIDTH, batch_first=True).double()
    with torch.no_grad():
        gru.weight_ih_l0.copy_(d.token_gates.weight)
        gru.bias_ih_l0.copy_(d.token_gates.bias)
        gru.weight_hh_l0.copy_(d.state_gates.weight)
        gru.bias_hh_l0.copy_(d.state_gates.bias)
    state, ids = d.start(memory().hidden()), words().values
    with torch.no_grad():
        want = gru(d.embedding(ids), state.past["h"][None])[0]
    for t in range(5):
        _, state = d.step(state, ids[:, t])
        close(state.past["h"], want[:, t])


def looked(heads: MultiHeadAttention, x: Tensor, context: list[Tensor]) -> tuple[Tensor, Tensor]:
    """One word and the tokens that are open to it -> what it sees, and (H, K) shares."""
    n, out, share = WIDTH // heads.heads, [], []
    for i in range(heads.heads):
        at = slice(i * n, (i + 1) * n)
        q = (heads.q.weight @ x + heads.q.bias)[at]
        kv = [heads.kv.weight @ c + heads.kv.bias for c in context]
        fit = torch.tensor([float(q @ y[:WIDTH][at]) / n**0.5 for y in kv], dtype=torch.float64).exp()
        share.append(fit / fit.sum())
        out.append(sum((w * y[WIDTH:][at] for w, y in zip(share[-1], kv, strict=True)), torch.zeros(n).double()))
    return heads.out.weight @ torch.cat(out) + heads.out.bias, torch.stack(share)


def placed(kind: WordEmbedding, ids: Tensor) -> list[Tensor]:
    place = positions(len(ids), WIDTH, kind.table.weight)
    return [kind.table.weight[i] * WIDTH**0.5 + place[t] for t, i in enumerate(ids.tolist())]


def test_the_transformer_is_its_formula() -> None:
    d = ready(CrossTransformer(DIM, WordEmbedding(SIZE, WIDTH), heads=2, layers=2))
    m, ids = memory(), words()
    forced, attention = d.teacher_forcing(d.start(m), ids), d.attention(d.start(m), ids)
    assert float(forced.penalty) == 0
    for b in range(3):
        tokens = [d.memory(m.values[b, s]) for s in range(4) if m.mask[b, s]]
        xs, seen = placed(d.embedding, ids.values[b]), []
        for own, cross, mlp in zip(d.self_attention, d.cross_attention, d.mlps, strict=True):
            normed = [own.norm(x) for x in xs]
            xs = [x + looked(own, normed[t], normed[: t + 1])[0] for t, x in enumerate(xs)]
            looks = [looked(cross, cross.norm(x), tokens) for x in xs]
            xs = [x + score_class for x, (score_class, _) in zip(xs, looks, strict=True)]
            xs = [x + mlp(x) for x in xs]
            seen.append([share.mean(0) for _, share in looks])
        for t in range(int(ids.mask[b].sum())):
            close(forced.hidden[b, t], d.norm(xs[t]))
            close(attention[b, t][m.mask[b]], (seen[0][t] + seen[1][t]) / 2)


def test_the_prefix_transformer_is_one_stack_over_memory_and_words() -> None:
    d = ready(PrefixLM(DIM, WordEmbedding(SIZE, WIDTH), heads=3, layers=2))
    m, ids = memory(), words()
    forced, attention = d.teacher_forcing(d.start(m), ids), d.attention(d.start(m), ids)
    for b in range(3):
        xs = [d.memory(m.values[b, s]) + d.kind for s in range(4) if m.mask[b, s]]
        n, seen = len(xs), []
        xs += placed(d.embedding, ids.values[b])
        for own, mlp in zip(d.self_attention, d.mlps, strict=True):
            normed = [own.norm(x) for x in xs]
            looks = [looked(own, y, normed[: max(n, t + 1)]) for t, y in enumerate(normed)]
            xs = [x + score_class for x, (score_class, _) in zip(xs, looks, strict=True)]
            xs = [x + mlp(x) for x in xs]
            seen.append([share.mean(0)[:n] for _, share in looks[n:]])
        for t in range(int(ids.mask[b].sum())):
            close(forced.hidden[b, t], d.norm(xs[n + t]))
            share = seen[0][t] + seen[1][t]
            close(attention[b, t][m.mask[b]], share / share.sum() if n else share)


def test_shares_are_one_softmax_over_all_that_is_open() -> None:
    q, keys = noise(2, 3, 4, 5), [noise(2, 3, 2, 5, seed=1), noise(2, 3, 6, 5, seed=2)]
    masks = [noise(2, 1, 1, 2, seed=3) > 0, noise(4, 6, seed=4) > 0]
    masks[1][0], masks[0][1] = False, False  # in row 1 nothing is open to query 0
    got = torch.cat(shares(q, keys, masks), -1)
    k, is_open = torch.cat(keys, 2), torch.cat([masks[0].expand(2, 3, 4, 2), masks[1].expand(2, 3, 4, 6)], -1)
    for at in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        b, h, i = at
        fit = [
            float(is_open[b, h, i, j]) * float(q[b, h, i] @ k[b, h, j] / 5**0.5 * is_open[b, h, i, j]) for j in range(8)
        ]
        raw = torch.tensor(fit, dtype=torch.float64).exp() * is_open[b, h, i]
        close(got[b, h, i], raw / raw.sum() if is_open[b, h, i].any() else torch.zeros(8).double())
    assert (got[1, :, 0] == 0).all()


def test_logits_are_a_product_with_weights_of_their_own() -> None:
    w = ready(WordEmbedding(SIZE, WIDTH))
    hidden = noise(2, 3, WIDTH)
    weight, bias = w.out.weight, w.out.bias
    got = w.logits(hidden)
    for v in range(SIZE):
        close(got[..., v], hidden @ weight[v] + bias[v])
        close(w(torch.tensor(v)), w.table.weight[v])
    assert sum(p.numel() for p in w.parameters()) == SIZE * WIDTH * 2 + SIZE


@over(
    "how, error",
    [
        ({"method": "bean"}, r"method can't be 'bean'; it must be one of greedy, beam, sample, diverse"),
        ({"beams": 0}, r"beams can't be 0; it must be from 1 to the size of the vocabulary"),
        ({"seed": -5}, r"seed can't be -5; it must be a whole number from 0 to 4294967295"),
        ({"beams": 2000}, r"beams can't be 2000; it must be from 1 to the size of the vocabulary"),
        ({"captions": 0}, r"captions can't be 0; it must be a whole number from 1"),
        (
            {"captions": 4},
            r"4 captions can't come of 3 beams; ask for more beams \(--beams 4\), or sample them",
        ),
        ({"method": "greedy", "captions": 2}, r"greedy decoding gives one caption a row, not 2; "),
        ({"length_penalty": float("nan")}, r"length-penalty can't be nan; it must be a finite number"),
        ({"no_repeat": -1}, r"no-repeat can't be -1; it must be a whole number of tokens, 0 for no limit"),
        ({"min_length": -1}, r"min-length can't be -1; it must be a whole number of tokens"),
        (
            {"min_length": 5, "max_length": 4},
            r"max-length can't be 4; it must be a whole number of tokens, at least min-l",
        ),
        ({"method": "diverse", "groups": 2}, r"groups can't be 2; it must be a number from 2 that divides the 3 beams"),
        ({"method": "greedy", "temperature": 0.5}, r"--temperature 0.5 has no effect on greedy decoding; .*sample"),
        ({"groups": 3}, r"--groups 3 has no effect on beam decoding; leave it out, or use --decoding diverse"),
        ({"diversity": -0.5}, r"diversity can't be -0.5; it must be a number from 0"),
        ({"top_k": -1}, r"top-k can't be -1; it must be a whole number, 0 for all tokens"),
        ({"top_p": 0.0}, r"top-p can't be 0.0; it must be a number above 0, up to 1"),
        ({"temperature": 0.0}, r"temperature can't be 0.0; it must be a finite number above 0"),
    ],
)
def test_a_search_that_can_not_be_is_told(how: dict[str, object], error: str) -> None:
    with pytest.raises(InputError, match=error):
        Decoding(**how).check(SIZE)  # type: ignore[arg-type]


def test_no_text_is_asked_to_be_longer_than_the_model_writes() -> None:
    Decoding(min_length=4).check(SIZE, 5)
    with pytest.raises(InputError, match=r"min-length can't be 5; .* at most 4: the model writes no longer texts"):
        Decoding().override(SIZE, 5, min_length=5)


def test_what_can_be_searched_for_passes() -> None:
    for how in (
        Decoding(),
        Decoding("greedy"),
        Decoding("sample", captions=50),
        Decoding("diverse", beams=4, groups=2),
    ):
        how.check(SIZE)
    Decoding(beams=5000).check(20_000)
