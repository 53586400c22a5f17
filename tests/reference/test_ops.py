"""The maths of masks, products and votes, from its definition, in double precision and slow loops."""

import math
from itertools import combinations, product

import pytest
import torch
from torch import Tensor

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


@pytest.mark.parametrize("widths", [(3,), (3, 2), (3, 2, 4), (3, 2, 4, 2)])
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


@pytest.mark.parametrize("absent", [0, 1, 2])
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


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_pairwise_is_a_form_for_each_pair(modalities: int) -> None:
    x = noise(3, modalities, 4)
    weights = [noise(4, n, 4, 2, seed=n) for n in range(modalities - 1, 0, -1)]
    got = ops.pairwise(x, weights)
    for b, o in product(range(3), range(2)):
        want = sum(
            (x[b, m, i] * weights[m][i, n - m - 1, j, o] * x[b, n, j]).item()
            for m, n in combinations(range(modalities), 2)
            for i, j in product(range(4), repeat=2)
        )
        assert got[b, o].item() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(
    "link, f", [("softmax", lambda x: x.softmax(-1)), ("sigmoid", torch.sigmoid), ("identity", lambda x: x)]
)
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
