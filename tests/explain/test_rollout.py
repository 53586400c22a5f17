"""Attention rollout: recorded weights against their definition, two layers by hand, and what must hold for every fusion."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from polymodal import InputError
from polymodal.batch import Masked
from polymodal.explain.rollout import encode, onto, rollout
from polymodal.fusion import FUSIONS
from polymodal.fusion.trace import mix, over_present
from polymodal.modalities.audio.place import overlap
from polymodal.modalities.segments import Cut, Open
from polymodal.modalities.text.codec import Words as WordCodec
from polymodal.modalities.text.encoders import TextBag, TextTransformer
from polymodal.modalities.text.place import Words
from polymodal.nn import Attention, record

DIMS = {"note": 8, "photo": 6, "price": 4}
TOKENS = {"note": 5, "photo": 4, "price": 1}


def made(name: str, dims: dict[str, int] = DIMS, **more: int):
    torch.manual_seed(0)
    return FUSIONS[name](dims, 16, heads=2, **more).eval()


def batch(rows: int = 4, seed: int = 0, dims: dict[str, int] = DIMS) -> dict[str, Masked]:
    """Tokens with padding; row 1 lacks the photo, row 2 has only the note's second token, row 3 has nothing."""
    g = torch.Generator().manual_seed(seed)
    out = {}
    for m, d in dims.items():
        mask = torch.ones(rows, TOKENS[m], dtype=torch.bool)
        mask[0, 3:] = False
        mask[1:2] &= m != "photo"
        mask[2:] = False
        if m == "note":
            mask[2, 1] = True
        out[m] = Masked(torch.randn(rows, TOKENS[m], d, generator=g), mask)
    return out


NAMES = sorted(n for n, c in FUSIONS.items() if c.family == "sequence")


def test_every_fusion_with_attention_has_a_path() -> None:
    plain = {n: c(DIMS, 16) for n, c in FUSIONS.items() if n != "hybrid"}  # which has what its joint part has
    attentive = {n for n, f in plain.items() if any(isinstance(p, Attention) for p in f.modules())}
    assert attentive == set(NAMES) and len(NAMES) >= 6


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_shares_of_a_row_sum_to_one_over_what_is_there(name: str, layers: int) -> None:
    fusion = made(name, **({"layers": layers} if name != "recurrent" else {"stages": layers}))
    tokens = batch()
    share = rollout(fusion, tokens)
    total = sum(s.sum(1) for s in share.values())
    assert torch.allclose(total, torch.tensor([1.0, 1, 1, 0]), atol=1e-6)
    for m, s in share.items():
        assert s.shape == tokens[m].mask.shape and bool((s >= 0).all())
        assert bool((s[~tokens[m].mask] == 0).all())
    assert bool((share["photo"][0, :3] > 0).all()) and share["note"][2, 1] == pytest.approx(1)
    alone = rollout(fusion, {m: Masked(x.values[:1], x.mask[:1]) for m, x in reversed(tokens.items())})
    for m, s in share.items():
        assert torch.allclose(alone[m][0], s[0], atol=1e-6), "rows are independent, and the order of keys is none"
    (only,) = rollout(made(name, {"note": 8}), {"note": tokens["note"]}).values()
    assert torch.allclose(only[:3].sum(1), torch.ones(3), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_modality_without_any_token_gets_nothing_and_gives_all_to_the_others(name: str) -> None:
    fusion, full = made(name), {m: x.take(torch.tensor([0])) for m, x in batch().items()}
    for none in (full["note"].values[:, :0], full["note"].values * torch.nan):
        tokens = full | {"note": Masked(none, torch.zeros(none.shape[:2], dtype=torch.bool))}
        share = rollout(fusion, tokens)
        assert share["note"].shape == none.shape[:2] and not share["note"].any()
        assert float(share["photo"].sum() + share["price"].sum()) == pytest.approx(1, abs=1e-6)


def test_a_path_that_leaves_attention_out_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    fusion = made("perceiver", layers=2)
    monkeypatch.setattr(fusion, "layers", 1)  # as a path that knows of one layer
    with pytest.raises(AssertionError, match="the path of Perceiver leaves attention out"):
        rollout(fusion, batch())


def test_recorded_weights_are_those_that_attention_uses() -> None:
    torch.manual_seed(0)
    part = Attention(6, 2).double().eval().requires_grad_(False)
    query = torch.randn(1, 2, 6, dtype=torch.float64)
    context = Masked(torch.randn(1, 3, 6, dtype=torch.float64), torch.tensor([[True, True, False]]))
    with record(part) as seen:
        part(query, context)
    q, (k, _) = part.q(query)[0], part.kv(context.values)[0].chunk(2, dim=-1)
    expected = np.zeros((2, 3))
    for i in range(2):
        for head in (slice(0, 3), slice(3, 6)):
            e = [math.exp(float(q[i, head] @ k[j, head]) / math.sqrt(3)) for j in range(2)]
            for j in range(2):
                expected[i, j] += e[j] / sum(e) / 2
    assert np.allclose(seen[0][0].numpy(), expected)
    assert not part._forward_pre_hooks, "nothing stays behind"


def test_two_layers_by_hand() -> None:
    a = [[[0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2]], [[0.6, 0.1, 0.3], [0, 0, 0], [0, 0, 0]]]
    rolled = np.eye(3)
    for layer in a[:1]:
        step = np.zeros((3, 3))
        for i in range(3):
            for j in range(3):
                step[i, j] = 0.5 * sum(layer[i][k] * rolled[k, j] for k in range(3)) + 0.5 * rolled[i, j]
        rolled = step
    last = [0.5 * sum(a[1][0][k] * rolled[k, j] for k in range(3)) + 0.5 * rolled[0, j] for j in range(3)]
    expected = [last[1] / (last[1] + last[2]), last[2] / (last[1] + last[2])]  # the class token's own part is left out
    x = Masked(torch.zeros(1, 2, 8), torch.ones(1, 2, dtype=torch.bool))
    fusion = made("attention", {"note": 8}, layers=2)
    weights = iter([torch.tensor([a[0]]), torch.tensor([a[1][:1]])])
    share = fusion.trace(weights, [x])[0]
    assert np.allclose((share / share.sum()).numpy(), expected, atol=1e-6)
    assert np.allclose(share.numpy(), last[1:], atol=1e-6)


def test_shares_follow_the_attention_of_the_class_token() -> None:
    fusion = made("attention", {"note": 8}, layers=1)
    tokens = {"note": batch()["note"]}
    with record(fusion) as seen:
        fusion(tokens)
    a_bs = seen[0][:, 0, 1:]  # of one layer: the class token's attention, without itself
    found = rollout(fusion, tokens)["note"][:3]
    assert torch.allclose(found, (a_bs / a_bs.sum(1, keepdim=True))[:3], atol=1e-6)


def test_the_mean_over_modalities_is_of_those_that_the_row_has() -> None:
    rows = [torch.rand(4, 3) for _ in DIMS]
    xs = list(batch().values())  # note, photo, price; see there who lacks what
    found = over_present(rows, xs)
    assert torch.allclose(found[0], (rows[0] + rows[1] + rows[2])[0] / 3)
    assert torch.allclose(found[1], (rows[0] + rows[2])[1] / 2)
    assert torch.equal(found[2], rows[0][2]) and not found[3].any()


def test_a_query_without_keys_stays_what_it_was() -> None:
    own = torch.tensor([[[0.3, 0.7]]])
    assert torch.equal(mix(torch.zeros(1, 1, 2), own, torch.rand(1, 2, 2)), own)


def test_fusions_without_attention_say_so() -> None:
    with pytest.raises(InputError, match=r"Concat attends to no tokens.*integrated-gradients or occlusion.*MBT"):
        rollout(FUSIONS["concat"](DIMS, 16), batch())


def test_attention_inside_an_encoder_comes_first() -> None:
    torch.manual_seed(0)
    x = Masked(torch.tensor([[1, 2, 3, 0]]), torch.tensor([[True, True, True, False]]))
    net = TextTransformer(9, 8, layers=1, heads=2).eval()
    with record(net) as seen:
        net(x)
    tokens, share = encode(net, x)
    assert torch.allclose(share[0, :3], (seen[0][0] + torch.eye(4))[:3] / 2) and tokens.values.shape == (1, 4, 8)
    assert torch.allclose(share[0, :3].sum(1), torch.ones(3)) and bool((share[0, :3, 3] == 0).all())
    assert torch.equal(encode(TextBag(9, 8).eval(), x)[1][0], torch.eye(4))


def test_tokens_are_laid_on_the_parts_of_the_cell() -> None:
    x = Masked(torch.zeros(1, 5, dtype=torch.long), torch.ones(1, 5, dtype=torch.bool))
    cut = Cut(Words("a b", ((0, 1), (2, 3))), 2, {"note": Open(x, torch.tensor([-1, 0, 0, 1, 1]))})
    even = onto(np.array([0.1, 0.2, 0.3, 0.15, 0.25]), cut, "note", WordCodec(), "text")
    assert even.tolist() == pytest.approx([0.5, 0.4])  # what is of no part is left out
    strided = onto(np.array([0.4, 0.4, 0.2]), cut, "note", WordCodec(), "text")  # of 2, 2 and 1 places
    assert strided.tolist() == pytest.approx([0.2 + 0.2, 0.2 + 0.2])
    with pytest.raises(InputError, match=r"makes 1 token of the cell.*take the method"):
        onto(np.ones(1), cut, "note", WordCodec(), "text")


def test_stretches_are_divided_by_what_they_have_in_common() -> None:
    g = np.random.default_rng(0)
    a, b = np.sort(g.random(6)), np.linspace(0, 1, 5)
    found = overlap(list(a), list(b))
    for t in range(5):
        points = np.linspace(a[t], a[t + 1], 4001)[:-1]
        inside = np.bincount(np.searchsorted(b, points, side="right") - 1, minlength=4) / len(points)
        assert np.allclose(found[t], inside, atol=2e-3)
    assert np.allclose(found.sum(1), 1)


def test_hooks_leave_the_answer_alone() -> None:
    fusion, tokens = made("mbt"), batch()
    before = fusion(tokens).values
    rollout(fusion, tokens)
    assert torch.equal(fusion(tokens).values, before)
    assert not any(m._forward_pre_hooks for m in fusion.modules() if isinstance(m, nn.Module))
