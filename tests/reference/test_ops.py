"""The maths of masks, products and votes, from its definition, in double precision and slow loops."""

import math
from itertools import combinations, product

import pytest
import torch
from torch import Tensor

from cases import over
from polymodal import ops
from polymodal.batch import Masked

torch_nan = float("nan")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def test_zeroed_keeps_what_is_real_and_drops_nan() -> None:
    x = Masked(torch.tensor([[1.0, torch_nan], [math.inf, 2.0]]), torch.tensor([[True, False], [False, True]]))
    assert ops.zeroed(x).tolist() == [[1, 0], [0, 2]]
    row = Masked(torch.full((2, 3), torch_nan), torch.tensor([False, False]))
    assert ops.zeroed(row).tolist() == [[0, 0, 0]] * 2


def test_masked_mean_is_the_mean_of_what_is_real() -> None:
    x, mask = noise(4, 5, 3), some(4, 5)
    mask[2] = False
    got = ops.masked_mean(Masked(torch.where(mask[..., None], x, torch_nan), mask))
    for b in range(4):
        want = x[b][mask[b]].mean(0) if mask[b].any() else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(got[b], want)


def test_masked_softmax_is_the_softmax_of_what_is_real() -> None:
    score, mask = noise(4, 5) * 9, some(4, 5)
    mask[2] = False
    got = ops.masked_softmax(torch.where(mask, score, torch_nan), mask, dim=1)
    assert (got[~mask] == 0).all()
    for b in (0, 1, 3):
        torch.testing.assert_close(got[b][mask[b]], score[b][mask[b]].softmax(0))


def test_attend_is_the_weighted_sum_of_what_is_real() -> None:
    q, k, v, mask = noise(3, 2, 4, 5), noise(3, 2, 6, 5, seed=1), noise(3, 2, 6, 5, seed=2), some(3, 6)
    mask[1] = False
    dirty = [torch.where(mask[:, None, :, None], x, torch_nan) for x in (k, v)]
    got = ops.attend(q, *dirty, mask)
    for b, h, i in product(range(3), range(2), range(4)):
        w = torch.stack([(q[b, h, i] @ k[b, h, j] / 5**0.5).exp() * mask[b, j] for j in range(6)])
        want = (w / w.sum()) @ v[b, h] if mask[b].any() else torch.zeros(5, dtype=torch.float64)
        torch.testing.assert_close(got[b, h, i], want)


@over("widths", [(3,), (3, 2), (3, 2, 4), (3, 2, 4, 2)])
def test_tensor_linear_is_the_sum_over_the_whole_cube(widths: tuple[int, ...]) -> None:
    xs = [noise(2, d, seed=d) for d in widths]
    weight = noise(*(1 + d for d in widths), 3)
    got = ops.tensor_linear(xs, weight)
    for b, o in product(range(2), range(3)):
        want = 0.0
        for at in product(*(range(1 + d) for d in widths)):
            term = weight[(*at, o)].item()
            for x, i in zip(xs, at, strict=True):
                term *= 1.0 if i == 0 else x[b, i - 1].item()
            want += term
        assert got[b, o].item() == pytest.approx(want, abs=1e-12)


@over("absent", [0, 1, 2])
def test_tensor_linear_of_an_absent_modality_is_that_of_the_others(absent: int) -> None:
    xs = [noise(2, d, seed=d) for d in (3, 2, 4)]
    weight = noise(4, 3, 5, 3)
    xs[absent] = torch.zeros_like(xs[absent])
    others = [x for i, x in enumerate(xs) if i != absent]
    torch.testing.assert_close(ops.tensor_linear(xs, weight), ops.tensor_linear(others, weight.select(absent, 0)))


def test_tensor_linear_never_builds_the_cube() -> None:
    """Memory of the largest intermediate, by the largest tensor that autograd keeps."""
    xs = [noise(16, 20, seed=i).requires_grad_() for i in range(3)]
    weight = noise(21, 21, 21, 2)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):  # type: ignore[func-returns-value]
        ops.tensor_linear(xs, weight)
    assert max(n for n in kept if n != weight.numel()) <= 16 * 21 * 21


def test_low_rank_is_tensor_fusion_with_the_weight_of_its_factors() -> None:
    widths, rank, out = (3, 2, 4), 5, 2
    xs = [noise(2, d, seed=d) for d in widths]
    factors = [noise(rank, out, d, seed=d) for d in widths]
    constants = [noise(rank, out, seed=9 + d) for d in widths]
    weight = torch.zeros(4, 3, 5, out, dtype=torch.float64)
    for r, o, i, j, k in product(range(rank), range(out), range(4), range(3), range(5)):
        term = 1.0
        for factor, constant, at in zip(factors, constants, (i, j, k), strict=True):
            term *= (constant[r, o] if at == 0 else factor[r, o, at - 1]).item()
        weight[i, j, k, o] += term
    got = ops.low_rank(xs, factors, constants)
    assert got.shape == (2, rank, out)
    torch.testing.assert_close(got.sum(1), ops.tensor_linear(xs, weight))


@over("widths", [(4, 4), (3, 2, 4), (2, 5, 3, 1)])
def test_pairwise_is_a_form_for_each_pair(widths: tuple[int, ...]) -> None:
    xs = [noise(3, d, seed=d) for d in widths]
    weights = [noise(d, sum(widths[m + 1 :]), 2, seed=m) for m, d in enumerate(widths[:-1])]
    got = ops.pairwise(xs, weights)
    for b, o in product(range(3), range(2)):
        want = 0.0
        for m, n in combinations(range(len(widths)), 2):
            begin = sum(widths[m + 1 : n])
            for i, j in product(range(widths[m]), range(widths[n])):
                want += (xs[m][b, i] * weights[m][i, begin + j, o] * xs[n][b, j]).item()
        assert got[b, o].item() == pytest.approx(want, abs=1e-12)


def test_product_of_present_leaves_out_what_is_absent() -> None:
    xs, here = [noise(4, 3, seed=m) for m in range(3)], some(4, 3)
    here[2] = False
    got = ops.product_of_present([torch.where(here[:, m, None], x, torch_nan) for m, x in enumerate(xs)], here)
    for b, i in product(range(4), range(3)):
        assert got[b, i].item() == pytest.approx(math.prod(xs[m][b, i].item() for m in range(3) if here[b, m]))


def test_signed_root_is_the_root_with_the_sign_and_smooth_at_0() -> None:
    x = torch.tensor([-4.0, -0.25, 0.25, 9.0], dtype=torch.float64)
    torch.testing.assert_close(ops.signed_root(x), x.sign() * x.abs().sqrt(), rtol=1e-5, atol=0)
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    ops.signed_root(zero).backward()
    assert zero.grad is not None and zero.grad.item() == pytest.approx(1e3)


def test_count_sketch_is_the_sum_over_what_falls_on_a_place() -> None:
    x, h = noise(3, 9), torch.randint(4, (9,), generator=torch.Generator().manual_seed(2))
    s = some(9).double() * 2 - 1
    got = ops.count_sketch(x, h, s, 4)
    for b, k in product(range(3), range(4)):
        assert got[b, k].item() == pytest.approx(sum((s[d] * x[b, d]).item() for d in range(9) if h[d] == k))


def test_inner_products_of_sketches_are_right_on_average() -> None:
    x, y, size, draws = noise(1, 6), noise(1, 6, seed=1), 8, 4000
    g = torch.Generator().manual_seed(0)
    h = torch.randint(size, (draws, 6), generator=g)
    s = torch.randint(2, (draws, 6), generator=g) * 2.0 - 1
    found = torch.stack(
        [(ops.count_sketch(x, *of, size) * ops.count_sketch(y, *of, size)).sum() for of in zip(h, s, strict=True)]
    )
    error = found.std() / draws**0.5
    assert abs(found.mean() - (x * y).sum()) < 4 * error < 0.3


@over("widths", [(5, 4), (3, 4, 2)])
@over("size", [7, 8])
def test_convolved_sketches_are_the_sketch_of_the_outer_product(widths: tuple[int, ...], size: int) -> None:
    g = torch.Generator().manual_seed(4)
    xs = [noise(2, d, seed=d) for d in widths]
    hs = [torch.randint(size, (d,), generator=g) for d in widths]
    ss = [torch.randint(2, (d,), generator=g) * 2.0 - 1 for d in widths]
    got = ops.convolve([ops.count_sketch(x, h, s, size) for x, h, s in zip(xs, hs, ss, strict=True)])
    want = torch.zeros(2, size, dtype=torch.float64)
    for b in range(2):
        for at in product(*map(range, widths)):
            place = sum(int(h[i]) for h, i in zip(hs, at, strict=True)) % size
            want[b, place] += math.prod((s[i] * x[b, i]).item() for x, s, i in zip(xs, ss, at, strict=True))
    torch.testing.assert_close(got, want)


LINKS = over("link", ["softmax", "sigmoid", "identity"])


@LINKS
def test_agreement_is_the_product_of_the_answers(link: str) -> None:
    logit, w = noise(3, 4, 5), torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w[0, 1], logit[0, 1] = 0, 300.0  # a weight of 0 leaves it out, however loud it is
    w = w if link == "identity" else w[:, :, :1].expand_as(w)  # one power for all classes
    got = ops.agreement(logit, w, link)
    if link == "softmax":
        want = (logit.softmax(-1) ** w).prod(1)
        torch.testing.assert_close(got.softmax(-1), want / want.sum(-1, keepdim=True))
    elif link == "sigmoid":
        yes, no = (logit.sigmoid() ** w).prod(1), (torch.sigmoid(-logit) ** w).prod(1)
        torch.testing.assert_close(got.sigmoid(), yes / (yes + no))
    else:  # where the density of the product is greatest, its slope is 0
        at = got.requires_grad_()
        slope = torch.autograd.grad((-0.5 * w * (at[:, None] - logit) ** 2).sum(), at)[0]
        torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)


@LINKS
def test_surest_is_the_greatest_answer(link: str) -> None:
    logit, mask = noise(5, 4, 3) * 3, some(5, 4)
    mask[:, 0] = True
    got = ops.surest(torch.where(mask[..., None], logit, torch_nan), mask, link)
    for b in range(5):
        real = logit[b][mask[b]]
        if link == "softmax":
            most = real.softmax(-1).amax(0)
            torch.testing.assert_close(got[b].softmax(-1), most / most.sum())
        elif link == "sigmoid":
            yes, no = real.sigmoid().amax(0), torch.sigmoid(-real).amax(0)
            torch.testing.assert_close(got[b].sigmoid(), yes / (yes + no))
        else:
            torch.testing.assert_close(got[b], real.amax(0))


@over("link, f", [("softmax", lambda x: x.softmax(-1)), ("sigmoid", torch.sigmoid), ("identity", lambda x: x)])
def test_mixture_is_the_average_answer(link: str, f: object) -> None:
    logit, w = noise(3, 4, 5), torch.rand(3, 4, dtype=torch.float64)
    w[0, 1] = 0
    logit[0, 1] = 300.0  # a weight of 0 leaves it out, however loud it is
    w = (w / w.sum(1, keepdim=True)).requires_grad_()
    got = ops.mixture(logit.requires_grad_(), w, link)
    want = torch.stack([sum(w[b, m] * f(logit[b, m]) for m in range(4)) for b in range(3)])  # type: ignore[operator, misc]
    torch.testing.assert_close(f(got), want)  # type: ignore[operator]
    got.sum().backward()
    assert logit.grad is not None and logit.grad.isfinite().all() and (logit.grad[0, 1] == 0).all()
    assert w.grad is not None and w.grad.isfinite().all()


def test_mixture_of_extreme_answers_is_finite() -> None:
    for link in ("softmax", "sigmoid"):
        logit = torch.tensor([[[500.0, -500.0], [-500.0, 500.0]]], requires_grad=True)
        out = ops.mixture(logit, torch.tensor([[0.5, 0.5]]), link)
        out.sum().backward()
        assert out.isfinite().all() and logit.grad is not None and logit.grad.isfinite().all()
        torch.testing.assert_close(out[0, 0], out[0, 1])


def test_masked_median_is_the_median_of_what_is_real() -> None:
    x, mask = noise(6, 5, 3), some(6, 5)
    mask[:, 0] = True
    got = ops.masked_median(torch.where(mask[..., None], x, torch_nan), mask)
    for b in range(6):
        torch.testing.assert_close(got[b], x[b][mask[b]].quantile(0.5, dim=0))
