"""Optimal transport against its definition: the plan is where the gradient of the objective is 0, or the best of all
permutations; gradients are finite differences."""

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from alignment.paths import normal
from cases import over
from polymodal.alignment import Transport, sinkhorn, uniform
from polymodal.alignment.transport import _Problem
from polymodal.batch import Masked
from polymodal.errors import InputError

INF = math.inf
A = torch.tensor([[0.2, 0.5, 0.3, 9.0], [0.1, 0.1, 0.6, 0.2], [0.5, 0.0, 0.5, 0.0]], dtype=torch.float64)
B = torch.tensor([[0.4, 0.6, 7.0], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]], dtype=torch.float64)
REAL_A = torch.tensor([[True, True, True, False], [True] * 4, [True] * 4])
REAL_B = torch.tensor([[True, True, False], [True] * 3, [True] * 3])


def points(junk: float = math.nan) -> tuple[Tensor, Masked, Masked]:
    real = REAL_A[:, :, None] & REAL_B[:, None]
    cost = torch.where(real, normal(3, 4, 3).abs(), junk)
    return cost, Masked(torch.where(REAL_A, A, junk), REAL_A), Masked(torch.where(REAL_B, B, junk), REAL_B)


def weights(x: Masked) -> Tensor:
    return torch.where(x.mask, x.values, 0.0)


def slope(cost: Tensor, a: Tensor, b: Tensor, plan: Tensor, epsilon: float, relax: tuple[float, float]) -> Tensor:
    """Of the objective with respect to the plan, up to a number a row and column where a marginal is held."""
    out = cost + epsilon * (plan / (a[:, None] * b)).log()
    for rho, sums, want in ((relax[0], plan.sum(1)[:, None], a[:, None]), (relax[1], plan.sum(0), b)):
        out = out + (rho * (sums / want).log() if rho < INF else 0.0)
    return out


@over(
    "relax, epsilon", [((INF, INF), 0.3), ((1.0, 1.0), 0.3), ((0.2, 3.0), 0.05), ((INF, 0.5), 0.1), ((2.0, INF), 1.0)]
)
def test_the_plan_is_where_the_objective_is_least(relax: tuple[float, float], epsilon: float) -> None:
    cost, a, b = points()
    got = sinkhorn(cost, a, b, epsilon=epsilon, relax=relax, iterations=5000, tolerance=1e-12)
    assert got.converged.all()
    for row in range(3):
        n, m = weights(a)[row] > 0, weights(b)[row] > 0
        plan, c, p, q = got.plan[row][n][:, m], cost[row][n][:, m], weights(a)[row][n], weights(b)[row][m]
        assert math.isclose(got.plan[row].sum(), plan.sum()) and math.isclose(got.cost[row], (plan * c).sum())
        left = slope(c, p, q, plan, epsilon, relax)
        if relax[0] == INF:
            assert torch.allclose(plan.sum(1), p)
            left = left - left.mean(1, keepdim=True)
        if relax[1] == INF:
            assert torch.allclose(plan.sum(0), q)
            left = left - left.mean(0)
        assert left.abs().max() < 1e-8


def test_without_entropy_it_is_the_best_permutation() -> None:
    cost = normal(2, 5, 5).abs()
    got = sinkhorn(cost, epsilon=0.02, iterations=5000, tolerance=1e-6)
    for row in range(2):
        best = min(permutations(range(5)), key=lambda p: sum(cost[row, i, j] for i, j in enumerate(p)))
        assert got.plan[row].argmax(1).tolist() == list(best)
        assert math.isclose(got.cost[row], sum(cost[row, i, j] for i, j in enumerate(best)) / 5, abs_tol=2e-2)


@over("scale", [1.0, 1e4])
def test_products_and_logarithms_find_the_same(scale: float) -> None:
    """The iterations on logarithms alone, as they are written; the costs are up to a million times epsilon."""
    cost, a, b = normal(2, 6, 4).abs() * scale, torch.full((2, 6), 1 / 6), torch.full((2, 4), 0.25)
    epsilon = 0.01 if scale == 1 else scale
    p = _Problem(cost / epsilon, a.double().log(), b.double().log(), 1.0, 0.9)
    f = torch.zeros(2, 6, dtype=torch.float64)
    for _ in range(400):
        g = p.second(f)
        f = p.first(g)
    got = sinkhorn(cost, relax=(INF, 9 * epsilon), epsilon=epsilon, iterations=400, tolerance=1e-13)
    assert torch.allclose(got.plan, p.plan(f, g), atol=1e-9)


def test_costs_far_beyond_epsilon_neither_overflow_nor_vanish() -> None:
    cost = torch.tensor([[[0.0, 1e6], [1e6, 0.0], [1e6, 2e6]]])
    got = sinkhorn(cost, epsilon=1.0, iterations=50)
    assert got.plan.isfinite().all() and math.isclose(got.plan.sum(), 1, rel_tol=1e-5)
    lost = sinkhorn(cost, epsilon=1.0, relax=1.0)
    assert lost.converged.all() and lost.plan.isfinite().all() and lost.plan[0, 2].sum() < 1e-20


@over("relax", [(INF, INF), (1.0, 0.5), (INF, 2.0)])
def test_gradients_are_finite_differences(relax: tuple[float, float]) -> None:
    cost, a, b = points(0.5)
    share = normal(3, 4, 3, seed=7)

    def loss(c: Tensor, p: Tensor) -> Tensor:
        p = p / torch.where(a.mask, p, 0.0).sum(1, keepdim=True)
        out = sinkhorn(c, Masked(p, a.mask), b, epsilon=0.4, relax=relax, iterations=999, tolerance=1e-12)
        return (out.plan * share).sum() + out.cost.square().sum()

    inputs = cost.requires_grad_(), a.values.clone().requires_grad_()
    grads = torch.autograd.grad(loss(*inputs), inputs)
    with torch.no_grad():
        for x, grad in zip(inputs, grads, strict=True):
            for at in range(0, x.numel(), 5):
                if x is inputs[1] and x.view(-1)[at] == 0:
                    continue  # a weight of 0 is no point
                ends = []
                for step in (1e-5, -1e-5):
                    x.view(-1)[at] += step
                    ends.append(loss(*inputs))
                    x.view(-1)[at] -= step
                assert abs((ends[0] - ends[1]) / 2e-5 - grad.view(-1)[at]) < 1e-5


def test_a_plan_in_parts_has_a_gradient() -> None:
    cost = (1 - torch.eye(3, dtype=torch.float64))[None].requires_grad_()
    sinkhorn(cost, epsilon=1e-3).cost.sum().backward()
    assert cost.grad is not None and torch.allclose(cost.grad[0], torch.eye(3, dtype=torch.float64) / 3, atol=1e-6)


@over("junk", [1e30, math.nan, math.inf])
def test_masked_points_never_matter(junk: float) -> None:
    results = []
    for j in (0.0, junk):
        cost, a, b = points(j)
        x, y = cost.requires_grad_(), a.values.requires_grad_()
        out = sinkhorn(x, Masked(y, a.mask), b, epsilon=0.2)
        results.append([out.plan.detach(), *torch.autograd.grad(out.cost.sum(), [x, y])])
    for x, y in zip(*results, strict=True):
        assert torch.equal(x, y) and x.isfinite().all()
    shown = sinkhorn(
        points()[0][:1, :3, :2], Masked(A[:1, :3], REAL_A[:1, :3]), Masked(B[:1, :2], REAL_B[:1, :2]), epsilon=0.2
    )
    assert torch.allclose(results[0][0][0, :3, :2], shown.plan[0])


def test_rows_never_see_each_other() -> None:
    cost, a, b = points()
    whole = sinkhorn(cost, a, b)
    for row in range(3):
        at = torch.tensor([row])
        alone = sinkhorn(cost[at], a.take(at), b.take(at))
        assert torch.allclose(alone.plan[0], whole.plan[row], atol=1e-12)
        assert alone.iterations[0] == whole.iterations[row]


@over("relax", [INF, 1.0])
def test_a_row_of_which_a_side_is_absent_has_no_plan(relax: float) -> None:
    cost, a, b = points()
    cost = cost.requires_grad_()
    a.mask[1] = False
    out = sinkhorn(cost, a, b, relax=relax)
    assert not out.plan[1].any() and out.cost[1] == 0 and out.plan[0].any() and out.converged[1]
    (grad,) = torch.autograd.grad(out.cost.sum(), cost)
    assert grad.isfinite().all() and not grad[1].any()


def test_what_did_not_converge_is_said() -> None:
    cost = normal(1, 6, 5).abs()
    one, many = (sinkhorn(cost, epsilon=0.01, iterations=n) for n in (1, 5000))
    assert not one.converged[0] and one.iterations[0] == 1
    far = (one.plan.sum(2) - 1 / 6).abs().sum()
    assert math.isclose(one.error[0], far, rel_tol=1e-9) and far > 1e-3
    assert many.converged[0] and many.error[0] <= 1e-6 and 1 < many.iterations[0] < 5000


def test_weights_and_precision() -> None:
    mask = torch.tensor([[True, False, True], [False] * 3])
    assert uniform(mask).values.tolist() == [[0.5, 0, 0.5], [0, 0, 0]]
    got: Transport = sinkhorn(torch.ones(2, 3, 3), uniform(mask), uniform(mask))
    assert got.plan.dtype == torch.float32 and got.cost.tolist() == [1.0, 0.0]


@over("call, words", [
    (lambda c, a, b: sinkhorn(c[0], a, b), r"the cost has the shape \(4, 3\); give \(B, N, M\), cost\[None\]"),
    (lambda c, a, b: sinkhorn(c, b, a), r"a has values \(3, 3\) and a mask \(3, 3\); the cost needs \(3, 4\) of both"),
    (lambda c, a, b: sinkhorn(c, a._replace(values=-a.values), b), "a has a real weight of -0.2; give numbers from 0"),
    (lambda c, a, b: sinkhorn(c, a._replace(values=2 * a.values), b), "in row 0 a has the mass 2 and b 1; divide each by its sum, or let mass appear and vanish with relax=1.0"),
    (lambda c, a, b: sinkhorn(c, a._replace(mask=a.mask | True), b), "a has a real weight of nan"),
    (lambda c, a, b: sinkhorn(c * INF, a, b), r"the cost is not finite in row 0 at \(0, 0\); hide a point by its mask"),
    (lambda c, a, b: sinkhorn(c, a, b, epsilon=0), "epsilon=0 must be above 0"),
    (lambda c, a, b: sinkhorn(c, a, b, relax=(1.0, -1.0)), "relax=-1 must be above 0"),
    (lambda c, a, b: sinkhorn(c, a, b, iterations=0), "iterations=0 must be a whole number from 1"),
])  # fmt: skip
def test_what_cannot_be_transported_is_refused(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(*points())


def test_unequal_masses_may_be_relaxed() -> None:
    cost, a, b = points()
    assert sinkhorn(cost, a._replace(values=2 * a.values), b, relax=1.0).converged.all()
