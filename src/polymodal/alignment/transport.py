"""Entropic optimal transport: a soft alignment of two sets of weighted points, whatever their order.

The plan P (N, M) minimises

    <P, cost> + epsilon KL(P | a b) + relax_a KL(P 1 | a) + relax_b KL(P' 1 | b),   KL(p | q) = sum p log(p / q) - p + q

where an infinite relax holds a marginal as it is (Cuturi 2013), and a finite one lets mass appear and vanish at that
price (Chizat, Peyré, Schmitzer & Vialard 2018). It is P = a b exp(f + g - cost / epsilon) with potentials f and g that
Sinkhorn's iterations find, here as logarithms; while they move little, an iteration is a product with a matrix whose
exponentials were taken once (Schmitzer 2019).

The gradient is that of the optimum itself, by the implicit function theorem: it keeps nothing of the iterations.

Axes: b row, n source, m target.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from polymodal.alignment.arrays import floats
from polymodal.alignment.lattice import INFINITY
from polymodal.batch import Masked
from polymodal.errors import InputError, is_whole
from polymodal.ops import zeroed

FAR = 50.0  # how far potentials move before exponentials are taken again
LOOSE = 1e-4  # how unlike masses may be that count as equal, as a share
DAMPING = 1e-10  # of the linear system, where a plan falls apart into independent ones


class Transport(NamedTuple):
    """plan: (B, N, M), the mass from each source to each target. cost: (B,), the sum of plan * cost. error: (B,), how
    far the sums of the plan over targets are from those of the optimum, as a share of the mass. converged: (B,) whether
    that is within the tolerance. iterations: (B,) that were made."""

    plan: Tensor
    cost: Tensor
    error: Tensor
    converged: Tensor
    iterations: Tensor


def uniform(mask: Tensor) -> Masked:
    """(B, N) -> the same weight for each real point of a row, together 1."""
    return Masked(mask / mask.sum(1, keepdim=True).clamp(min=1), mask)


def sinkhorn(
    cost: Tensor,
    a: Masked | None = None,
    b: Masked | None = None,
    *,
    epsilon: float = 0.05,
    relax: float | tuple[float, float] = INFINITY,
    iterations: int = 1000,
    tolerance: float = 1e-6,
) -> Transport:
    """The entropic transport plan of each row, with a gradient for cost (B, N, M) and for the weights.

    a, b: weights from 0, (B, N) and (B, M), and which points are real; without them all are, and weigh the same. A row
    of which a side has no mass has the plan 0. epsilon, relax: in units of the cost; relax of each side, or of both,
    infinite where masses are kept, which must then be equal. Raises InputError for other shapes, costs of real points
    that are not finite, negative weights, unequal masses that must be kept, and numbers out of range.

    >>> sinkhorn(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), epsilon=0.1).plan
    tensor([[[4.9998e-01, 2.2699e-05],
             [2.2699e-05, 4.9998e-01]]])
    """
    sides = relax if isinstance(relax, tuple) else (relax, relax)
    for name, value in (("epsilon", epsilon), *(("relax", x) for x in sides), ("tolerance", tolerance)):
        if not value > 0:
            raise InputError(f"{name}={value:g} must be above 0")
    if not is_whole(iterations, 1):
        raise InputError(f"iterations={iterations!r} must be a whole number from 1")
    dtype, cost_bnm = floats(cost).dtype, floats(cost).double()
    if cost_bnm.ndim != 3 or 0 in cost_bnm.shape[1:]:
        raise InputError(f"the cost has the shape {tuple(cost_bnm.shape)}; give (B, N, M), cost[None] for one row")
    a_bn, b_bm = _weights("a", a, cost_bnm, 1), _weights("b", b, cost_bnm, 2)
    real_bnm = (a_bn > 0)[:, :, None] & (b_bm > 0)[:, None]
    cost_bnm = torch.where(real_bnm, cost_bnm, 0.0)
    if not cost_bnm.isfinite().all():
        row, n, m = (~cost_bnm.isfinite()).nonzero()[0].tolist()
        raise InputError(
            f"the cost is not finite in row {row} at ({n}, {m}); hide a point by its mask or give a number"
        )
    there = real_bnm.flatten(1).any(1)
    if sides == (INFINITY, INFINITY):
        b_bm = _equal(a_bn, b_bm, there)
    damps = [1.0 if x == INFINITY else x / (x + epsilon) for x in sides]
    problem = _Problem(cost_bnm / epsilon, _log(a_bn, there), _log(b_bm, there), *damps)
    with torch.no_grad():
        f, g, error, count = _iterate(problem, iterations, tolerance)
    f, g = _Potentials.apply(f, g, *problem)  # type: ignore[no-untyped-call]
    plan = torch.where(real_bnm, problem.plan(f, g), 0.0)
    error = torch.where(there, error, 0.0)
    total = (plan * cost_bnm).sum((1, 2))
    return Transport(plan.to(dtype), total.to(dtype), error.to(dtype), error <= tolerance, count)


class _Problem(NamedTuple):
    """All in units of epsilon: cost (B, N, M); logarithms of the weights (B, N) and (B, M); what damps the potentials
    of either side, 1 where its mass is kept."""

    cost: Tensor
    log_a: Tensor
    log_b: Tensor
    damp_a: float
    damp_b: float

    def first(self, g: Tensor) -> Tensor:
        """The potentials of the sources, given those of the targets."""
        return -self.damp_a * ((self.log_b + g)[:, None] - self.cost).logsumexp(2)

    def second(self, f: Tensor) -> Tensor:
        """The potentials of the targets, given those of the sources."""
        return -self.damp_b * ((self.log_a + f)[:, :, None] - self.cost).logsumexp(1)

    def plan(self, f: Tensor, g: Tensor) -> Tensor:
        """(B, N, M)."""
        return ((self.log_a + f)[:, :, None] + (self.log_b + g)[:, None] - self.cost).exp()

    def error(self, f: Tensor, new: Tensor) -> Tensor:
        """(B,) how far the sums over targets are from what the optimum has, as a share of the mass of the sources; new:
        the potentials after f."""
        sums, optimum = f - new / self.damp_a, f * (1 - 1 / self.damp_a)
        return (self.log_a.exp() * (sums.exp() - optimum.exp()).abs()).sum(1) / self.log_a.exp().sum(1)


class _Kernel:
    """A problem whose exponentials were taken at some potentials, so that a step near them is a product."""

    def __init__(self, p: _Problem, f: Tensor, g: Tensor) -> None:
        self.f, self.g, self.damp_a, self.damp_b = f, g, p.damp_a, p.damp_b
        self.a, self.b = p.log_a.exp(), p.log_b.exp()
        self.near = (f[:, :, None] + g[:, None] - p.cost).exp()

    def first(self, g: Tensor) -> Tensor:
        """As that of the problem."""
        sums = torch.bmm(self.near, (self.b * (g - self.g).exp())[:, :, None])[:, :, 0]
        return self.damp_a * (self.f - sums.log())

    def second(self, f: Tensor) -> Tensor:
        """As that of the problem."""
        sums = torch.bmm((self.a * (f - self.f).exp())[:, None], self.near)[:, 0]
        return self.damp_b * (self.g - sums.log())

    def is_near(self, f: Tensor, g: Tensor) -> bool:
        """Whether these potentials are what it was made for; those that it could not compute are not."""
        return max(float((f - self.f).abs().max()), float((g - self.g).abs().max())) < FAR


def _iterate(p: _Problem, iterations: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Potentials, error and number of iterations of each row, which stays as it is once it has converged."""
    f, g = p.cost.new_zeros(p.log_a.shape), p.cost.new_zeros(p.log_b.shape)
    error, count = f.new_full((len(f),), torch.inf), torch.zeros(len(f), dtype=torch.int64, device=f.device)
    kernel: _Kernel | None = None
    new = f
    for number in range(1, iterations + 1):
        going = ~(error <= tolerance)
        if not going.any():
            break
        f = torch.where(going[:, None], new, f)
        new, opposite = _step(kernel or p, f)
        if kernel is None or not kernel.is_near(new, opposite):
            new, opposite = _step(p, f)
            kernel = _Kernel(p, new, opposite)
        g = torch.where(going[:, None], opposite, g)
        error = torch.where(going, p.error(f, new), error)
        count = torch.where(going, number, count)
    return f, g, error, count


def _step(p: _Problem | _Kernel, f: Tensor) -> tuple[Tensor, Tensor]:
    """The potentials after f, and those of the targets between."""
    g = p.second(f)
    return p.first(g), g


class _Potentials(torch.autograd.Function):
    """The potentials of the optimum, which are handed in, with their gradient.

    At the optimum f / damp_a + logsumexp(log b + g - cost) and g / damp_b + logsumexp(log a + f - cost) are 0. With the
    sums r and s of the plan P over targets and sources, their differentials are, times r and s,

        [r / damp_a   P        ] [df]     [P d(log b) - (P * dcost) 1  ]
        [P'           s / damp_b] [dg] = - [P' d(log a) - (P * dcost)' 1]

    whose symmetric matrix is solved for the gradient that comes in, the targets by elimination.
    """

    @staticmethod
    def forward(ctx: Any, f: Tensor, g: Tensor, *problem: Any) -> tuple[Tensor, Tensor]:
        """As they are."""
        ctx.save_for_backward(_Problem(*problem).plan(f, g))
        ctx.damps = problem[3:]
        return f.clone(), g.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_f: Tensor, grad_g: Tensor) -> tuple[Tensor | None, ...]:
        """Of cost, log a and log b."""
        (plan,) = ctx.saved_tensors
        scale_n, scale_m = (
            torch.where(sums > 0, sums / damp, 1.0).rsqrt()
            for sums, damp in zip((plan.sum(2), plan.sum(1)), ctx.damps, strict=True)
        )
        k_bnm = scale_n[:, :, None] * plan * scale_m[:, None]
        x_bn, y_bm = (grad_f * scale_n)[:, :, None], (grad_g * scale_m)[:, :, None]
        eye = torch.eye(plan.shape[1], dtype=plan.dtype, device=plan.device) * (1 + DAMPING)
        x_bn = torch.linalg.solve(eye - k_bnm @ k_bnm.mT, x_bn - k_bnm @ y_bm)
        y_bm = y_bm - k_bnm.mT @ x_bn
        x_bn, y_bm = x_bn[:, :, 0] * scale_n, y_bm[:, :, 0] * scale_m
        grad_cost = plan * (x_bn[:, :, None] + y_bm[:, None])
        grad_a, grad_b = -(plan * y_bm[:, None]).sum(2), -(plan * x_bn[:, :, None]).sum(1)
        return None, None, grad_cost, grad_a, grad_b, None, None


def _weights(name: str, x: Masked | None, cost: Tensor, axis: int) -> Tensor:
    """The weights of a side, 0 where nothing is real."""
    shape = len(cost), cost.shape[axis]
    if x is None:
        return cost.new_full(shape, 1 / shape[1])
    if tuple(x.values.shape) != shape or tuple(x.mask.shape) != shape:
        shapes = f"values {tuple(x.values.shape)} and a mask {tuple(x.mask.shape)}"
        raise InputError(f"{name} has {shapes}; the cost needs {shape} of both")
    weight = zeroed(x).to(cost)
    wrong = ~(weight >= 0) | weight.isinf()
    if wrong.any():
        raise InputError(f"{name} has a real weight of {float(weight[wrong][0]):g}; give numbers from 0")
    return weight


def _equal(a_bn: Tensor, b_bm: Tensor, there: Tensor) -> Tensor:
    """The weights of the targets with the mass of the sources, to the last bit."""
    mass_a, mass_b = a_bn.sum(1), b_bm.sum(1)
    unlike = there & ((mass_a - mass_b).abs() > LOOSE * mass_a)
    if unlike.any():
        row = int(unlike.int().argmax())
        masses = f"a has the mass {float(mass_a[row]):g} and b {float(mass_b[row]):g}"
        way_out = "divide each by its sum, or let mass appear and vanish with relax=1.0"
        raise InputError(f"in row {row} {masses}; {way_out}")
    return b_bm * torch.where(there, mass_a / torch.where(there, mass_b, 1.0), 1.0)[:, None]


def _log(weight: Tensor, there: Tensor) -> Tensor:
    """The logarithm, with a finite gradient at 0; 0 in rows that have no plan."""
    log = torch.where(weight > 0, torch.where(weight > 0, weight, 1.0).log(), -torch.inf)
    return torch.where(there[:, None], log, 0.0)
