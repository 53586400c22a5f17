"""Fusions by the formulas of their papers, a row at a time, in double precision."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.fusion import CEN, MBT, MCB, MFB, MLB, MMTM, MUTAN, FiLM, Fusion, MulT, Perceiver, Recurrent
from polymodal.fusion.exchange import exchange
from polymodal.ops import signed_root

DIMS = {"x": 4, "y": 3, "z": 5}
PRESENT = [["x", "y", "z"], ["x", "z"], ["y"]]  # of each row


def inputs(dims: dict[str, int] = DIMS, length: int = 2) -> dict[str, Masked]:
    g = torch.Generator().manual_seed(0)
    out = {}
    for m, d in dims.items():
        mask = torch.tensor([[m in here] * length for here in PRESENT])
        out[m] = Masked(torch.randn(3, length, d, generator=g, dtype=torch.float64), mask)
    return out


def made(cls: type[Fusion], dim: int = 4, **settings: float) -> Fusion:
    torch.manual_seed(0)
    return cls(dict(DIMS), dim, **settings).double().eval()


def rows(f: Fusion, x: dict[str, Masked]) -> list[dict[str, Tensor]]:
    """For each row, the vector that each present modality's own part makes of its tokens."""
    return [{m: f.parts[m](x[m])[b] for m in here} for b, here in enumerate(PRESENT)]


def position(m: str) -> int:
    return list(DIMS).index(m)


def test_mlb_is_a_map_of_the_product_of_bounded_projections() -> None:
    f, x = made(MLB), inputs()
    for b, us in enumerate(rows(f, x)):
        z = [math.prod(math.tanh(u[i].item()) for u in us.values()) for i in range(4)]
        torch.testing.assert_close(f(x).values[b, 0], f.out(torch.tensor(z, dtype=torch.float64)))


def test_mutan_is_a_sum_over_ranks_of_products() -> None:
    f, x = made(MUTAN, rank=3), inputs()
    for b, us in enumerate(rows(f, x)):
        z = torch.zeros(4, dtype=torch.float64)
        for r, o in product(range(3), range(4)):
            term = 1.0
            for m, u in us.items():
                core = f.core[m]
                term *= (core.weight[4 * r + o] @ u.tanh() + core.bias[4 * r + o]).item()
            z[o] += term
        torch.testing.assert_close(f(x).values[b, 0], f.out(z))


def test_mutan_of_two_is_the_full_form_that_its_factors_make() -> None:
    """The Tucker form: sum over i, j of T[i, j, o] of bounded projections, T[i, j, o] = sum_r M[r, o, i] N[r, o, j]."""
    f = MUTAN({"x": 4, "y": 3}, 5, rank=2).double()
    for core in f.core.children():
        nn.init.zeros_(core.bias)
    x = {m: v for m, v in inputs().items() if m != "z"}
    a, b = (f.parts[m](x[m])[0].tanh() for m in x)
    left, right = (f.core[m].weight.reshape(2, 5, 5) for m in x)
    full = torch.einsum("roi,roj->ijo", left, right)
    torch.testing.assert_close(f(x).values[0, 0], f.out(torch.einsum("i,j,ijo->o", a, b, full)))


def test_mfb_sums_windows_of_the_product_then_roots_and_normalises() -> None:
    f, x = made(MFB, window=3), inputs()
    for b, us in enumerate(rows(f, x)):
        z = [sum(math.prod(u[3 * i + k].item() for u in us.values()) for k in range(3)) for i in range(4)]
        root = signed_root(torch.tensor(z, dtype=torch.float64))
        torch.testing.assert_close(f(x).values[b, 0], root / root.norm())


@pytest.mark.parametrize("sketch", [8, 37])
def test_mcb_is_the_sketch_of_the_outer_product(sketch: int) -> None:
    f, x = made(MCB, sketch=sketch), inputs()
    for b, us in enumerate(rows(f, x)):
        z = torch.zeros(sketch, dtype=torch.float64)
        vectors = [torch.cat([torch.ones(1), us[m]]) if m in us else torch.eye(1 + d, 1)[:, 0] for m, d in DIMS.items()]
        for at in product(*(range(len(v)) for v in vectors)):
            place = sum(int(s.h[i]) for s, i in zip(f.sketches, at, strict=True)) % sketch
            z[place] += math.prod((s.s[i] * v[i]).item() for s, v, i in zip(f.sketches, vectors, at, strict=True))
        root = signed_root(z)
        torch.testing.assert_close(f(x).values[b, 0], f.out(root / root.norm()), atol=1e-6, rtol=1e-6)


def test_sketches_are_drawn_from_the_seed_and_saved() -> None:
    one, same, other = MCB(DIMS, 4), MCB(DIMS, 4), MCB(DIMS, 4, seed=1)
    key = "sketches.0.h"
    assert torch.equal(one.state_dict()[key], same.state_dict()[key])
    assert not torch.equal(one.state_dict()[key], other.state_dict()[key])
    assert "sketches.0.s" in one.state_dict() and key not in dict(one.named_parameters())


def test_film_scales_and_shifts_each_by_the_others() -> None:
    f, x = made(FiLM), inputs()
    for b, us in enumerate(rows(f, x)):
        want = torch.zeros(4, dtype=torch.float64)
        for m, u in us.items():
            others = torch.cat([us.get(n, torch.zeros(4)) for n in DIMS if n != m]).double()
            scale, shift = (f.films[position(m)].weight @ others).split(4)
            want += (1 + scale) * u + shift
        torch.testing.assert_close(f(x).values[b, 0], want)


def test_mmtm_gates_channels_by_the_squeeze_of_all() -> None:
    f, x = made(MMTM), inputs()
    y = f(x).values
    for b, here in enumerate(PRESENT):
        normed = {m: f.norms[m](x[m].values[b]) for m in here}
        means = [normed[m].mean(0) if m in here else torch.zeros(d) for m, d in DIMS.items()]
        s = f.squeeze[0](torch.cat([*means, torch.tensor([float(m in here) for m in DIMS])]).double()).clamp(min=0)
        for m in here:
            gated = normed[m] * 2 * f.excite[m](s).sigmoid()
            want = f.pools[m][1](gated.mean(0))  # the pool begins as the mean
            torch.testing.assert_close(y[b, position(m)], want)


def test_exchange_puts_the_mean_of_the_others_that_are_there() -> None:
    g = torch.Generator().manual_seed(0)
    u, here = torch.randn(3, 3, 4, generator=g), torch.tensor([[m in p for m in DIMS] for p in PRESENT])
    given = torch.rand(3, 4, generator=g) < 0.5
    got = exchange(torch.where(here[..., None], u, math.nan), here, given)
    for b, m, c in product(range(3), range(3), range(4)):
        others = [u[b, n, c].item() for n in range(3) if n != m and here[b, n]]
        want = sum(others) / len(others) if given[m, c] and others else u[b, m, c].item()
        if here[b, m]:
            assert got[b, m, c].item() == pytest.approx(want, abs=1e-6)


def test_cen_is_its_stacks_with_the_exchange_between_them() -> None:
    f, x = made(CEN, dim=6, stages=2, threshold=0.5), inputs()
    g = torch.Generator().manual_seed(1)
    for p in (*f.scales, *f.shifts, f.score_m):
        nn.init.uniform_(p, -1, 1, generator=g)
    parts = [[0, 1], [2, 3], [4, 5]]  # of the six channels, those that each modality may give up
    for b, us in enumerate(rows(f, x)):
        for linear, scale, shift in zip(f.maps, f.scales, f.shifts, strict=True):
            moved = {m: (linear.weight @ u) for m, u in us.items()}
            moved = {m: (u - u.mean()) / (u.var(correction=0) + 1e-5).sqrt() for m, u in moved.items()}
            moved = {m: scale[position(m)] * u + shift[position(m)] for m, u in moved.items()}
            us = {m: u.clone() for m, u in moved.items()}
            for m, c in product(us, range(6)):
                others = [moved[n][c] for n in us if n != m]
                if c in parts[position(m)] and abs(scale[position(m), c]) < 0.5 and others:
                    us[m][c] = sum(others) / len(others)
            us = {m: u.clamp(min=0) for m, u in us.items()}
        w = torch.stack([f.score_m[position(m)] for m in us]).softmax(0)
        torch.testing.assert_close(f(x).values[b, 0], sum(a * u for a, u in zip(w, us.values(), strict=True)))
    want = sum(s[m, c].abs() for s in f.scales for m in range(3) for c in parts[m]) * f.sparsity
    torch.testing.assert_close(f.penalty(x), want)


def test_cen_learns_xor_once_channels_are_exchanged() -> None:
    """Without exchange each stack sees one modality; sparsity alone brings the scales below the threshold."""
    torch.manual_seed(0)
    bits = torch.randint(2, (128, 2))
    signs, here = bits.T[..., None, None] * 2.0 - 1, torch.ones(128, 1, dtype=torch.bool)
    way = torch.randn(2, 1, 1, 4)
    x = {m: Masked(s, here) for m, s in zip("ab", signs * way, strict=True)}
    f, head = CEN({"a": 4, "b": 4}, 16, sparsity=0.01), nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*f.parameters(), *head.parameters()], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(f(x).values[:, 0]), bits[:, 0] ^ bits[:, 1])
        (loss + f.penalty(x)).backward()
        optimizer.step()
    assert any(((s.abs() < f.threshold) & f.own_md).any() for s in f.scales)
    assert (head(f(x).values[:, 0]).argmax(1) == bits[:, 0] ^ bits[:, 1]).all()


def alone(f: Fusion, x: dict[str, Masked], b: int) -> dict[str, Tensor]:
    """Embedded tokens (1, T, dim) of each modality that is present in row b."""
    return {m: f.embed[m](x[m]).values[b : b + 1] for m in PRESENT[b]}


def whole(values: Tensor) -> Masked:
    return Masked(values, torch.ones(values.shape[:2], dtype=torch.bool))


def test_mbt_passes_everything_through_the_bottleneck() -> None:
    f, x = made(MBT, bottleneck=2, layers=2, heads=2), inputs()
    y = f(x).values
    for b, here in enumerate(PRESENT):
        own = {m: torch.cat([f.starts_md[position(m)][None, None], t], 1) for m, t in alone(f, x, b).items()}
        shared = f.shared_ld[None]
        for blocks in f.blocks:
            seen = {m: blocks[m](whole(torch.cat([t, shared], 1))).values for m, t in own.items()}
            own = {m: t[:, :3] for m, t in seen.items()}
            shared = torch.stack([t[:, 3:] for t in seen.values()]).mean(0)
        for m in here:
            last = f.last[m]
            context = last.norm(torch.cat([own[m], shared], 1))
            want = last.block(whole(own[m][:, :1]), whole(context)).values[0, 0]
            torch.testing.assert_close(y[b, position(m)], f.norm(want))


def test_one_layer_of_a_bottleneck_is_enough_to_hear_all() -> None:
    """What is written into it in one layer is read in the next: so a block follows the last exchange."""
    f, x = made(MBT), inputs()
    for v in x.values():
        v.values.requires_grad_()
    f(x).values[0, 0, 0].backward()
    assert all((v.values.grad[0] != 0).any() for v in x.values())


def test_mult_has_a_stack_for_each_ordered_pair() -> None:
    f, x = made(MulT, layers=2, heads=2), inputs()
    y = f(x).values
    for b, here in enumerate(PRESENT):
        tokens = alone(f, x, b)
        for m in here:
            target, heard = f.targets[m], []
            for stack, n in zip(target.cross, [n for n in DIMS if n != m], strict=True):
                z = whole(tokens[m])
                for ask in stack.children():
                    if n in here:
                        z = ask.block(z, whole(ask.norm(tokens[n])))
                    else:  # nothing answers: what is left of attention is its constant
                        by = z.values + ask.block.attention.out.bias
                        z = whole(by + ask.block.mlp(by))
                heard.append(z.values)
            wide = whole(torch.cat(heard, 2))
            for block in target.together:
                wide = block(wide)
            torch.testing.assert_close(y[b, position(m)], target.out[1:](wide.values.mean(1))[0])


def test_perceiver_asks_all_tokens_then_talks() -> None:
    f, x = made(Perceiver, latents=3, layers=2, heads=2), inputs()
    for b in range(3):
        tokens, z = torch.cat(list(alone(f, x, b).values()), 1), whole(f.start_ld[None])
        for ask, talk in zip(f.ask, f.talk, strict=True):
            z = talk(ask.block(z, whole(ask.norm(tokens))))
        torch.testing.assert_close(f(x).values[b], f.norm(z.values)[0])


def test_recurrent_attends_from_its_state_at_each_stage() -> None:
    f, x = made(Recurrent, stages=3, heads=1), inputs()
    q, kv, out = f.attention.q, f.attention.kv, f.attention.out
    for b in range(3):
        tokens = f.norm_of_tokens(torch.cat(list(alone(f, x, b).values()), 1))[0]
        h = torch.zeros(4, dtype=torch.float64)
        for _ in range(3):
            k, v = kv(tokens).chunk(2, -1)
            heard = out((q(f.query + h) @ k.T / 2).softmax(0) @ v)
            xr, xz, xn = (f.cell.weight_ih @ heard + f.cell.bias_ih).chunk(3)
            hr, hz, hn = (f.cell.weight_hh @ h + f.cell.bias_hh).chunk(3)
            z = (xz + hz).sigmoid()
            h = (1 - z) * (xn + (xr + hr).sigmoid() * hn).tanh() + z * h
        torch.testing.assert_close(f(x).values[b, 0], f.norm(h))
