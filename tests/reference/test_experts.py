"""The product of experts against densities multiplied on a grid, and its price against an integral."""

import math

import pytest
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.fusion import MVAE
from polymodal.fusion.experts import product_of_normals

DIMS = {"x": 4, "y": 3, "z": 5}
PRESENT = [["x", "y", "z"], ["x", "z"], ["y"], []]
GRID = torch.linspace(-14, 14, 28_001, dtype=torch.float64)


def made(dim: int = 2, **settings: float) -> tuple[MVAE, dict[str, Masked]]:
    torch.manual_seed(0)
    x = {
        m: Masked(torch.randn(4, 2, d, dtype=torch.float64), torch.tensor([[m in here] * 2 for here in PRESENT]))
        for m, d in DIMS.items()
    }
    return MVAE(dict(DIMS), dim, **settings).double().eval(), x


def normal(mean: float, variance: float) -> Tensor:
    return torch.exp(-((GRID - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def experts(f: MVAE, x: dict[str, Masked], b: int, d: int) -> list[tuple[float, float]]:
    """The prior's mean and variance, and those of each modality that is present in row b."""
    said = [f.parts[m](x[m])[b].detach() for m in PRESENT[b]]
    return [(0.0, 1.0), *((float(s[d]), math.exp(float(s[f.dim + d]))) for s in said)]


@pytest.mark.parametrize("b", range(4))
def test_the_mean_and_variance_are_those_of_the_product_of_densities(b: int) -> None:
    f, x = made()
    mean, variance = f.joint(x)
    for d in range(2):
        density = torch.stack([normal(*e) for e in experts(f, x, b, d)]).prod(0)
        density = density / torch.trapezoid(density, GRID)
        first = float(torch.trapezoid(density * GRID, GRID))
        second = float(torch.trapezoid(density * (GRID - first) ** 2, GRID))
        assert mean[b, d].item() == pytest.approx(first, abs=1e-7)
        assert variance[b, d].item() == pytest.approx(second, abs=1e-7)
    assert torch.equal(f(x).values[b, 0], mean[b]), "in evaluation the mean comes out"


def test_the_penalty_is_the_divergence_of_the_rows_that_have_anything() -> None:
    f, x = made(beta=0.25)
    mean, variance = (v.detach() for v in f.joint(x))
    total = 0.0
    for b in range(3):
        for d in range(2):
            p, q = normal(float(mean[b, d]), float(variance[b, d])), normal(0.0, 1.0)
            inside = p > 0
            total += float(torch.trapezoid(torch.where(inside, p * (p.clamp(min=1e-300) / q).log(), 0), GRID))
    assert f.penalty(x).item() == pytest.approx(0.25 * total / 3, rel=1e-6)
    assert f.penalty({m: v.hidden() for m, v in x.items()}).item() == 0


def test_training_draws_from_the_product() -> None:
    f, x = made()
    many = {m: v.take(torch.ones(20_000, dtype=torch.int64)) for m, v in x.items()}
    drawn = f.train()(many).values[:, 0].detach()
    mean, variance = (v[1].detach() for v in f.joint(x))
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.var(0), variance, atol=0.03, rtol=0)
    assert (drawn[0] != drawn[1]).all(), "rows draw apart from each other"


def test_the_surer_expert_is_heard_more() -> None:
    mean, log = torch.tensor([[[4.0], [-4.0]]]), torch.tensor([[[-5.0], [5.0]]])
    y, variance = product_of_normals(mean, log, torch.ones(1, 2, dtype=torch.bool))
    assert 3.9 < y.item() < 4 and variance.item() < math.exp(-5)
    far = product_of_normals(mean, torch.full((1, 2, 1), math.nan), torch.zeros(1, 2, dtype=torch.bool))
    assert [v.item() for v in far] == [0.0, 1.0]


def test_absent_experts_leave_the_posterior_untouched() -> None:
    """The closed form over those that are present; bit for bit what comes out where the others are not even given."""
    g = torch.Generator().manual_seed(0)
    mean, log = torch.randn(2, 8, 3, 5, generator=g, dtype=torch.float64) * 3
    here = torch.tensor([[bool(b >> m & 1) for m in range(3)] for b in range(8)])
    dirty = [torch.where(here[..., None], x, math.nan) for x in (mean, log)]
    found, variance = product_of_normals(*dirty, here)
    for b in range(8):
        only = product_of_normals(mean[b : b + 1, here[b]], log[b : b + 1, here[b]], here[b : b + 1, here[b]])
        for d in range(5):
            there = [(float(mean[b, m, d]), math.exp(float(log[b, m, d]))) for m in range(3) if here[b, m]]
            precision = 1 + sum(1 / s for _, s in there)
            assert variance[b, d].item() == pytest.approx(1 / precision, rel=1e-12)
            assert found[b, d].item() == pytest.approx(sum(y / s for y, s in there) / precision, rel=1e-12, abs=1e-14)
        assert torch.equal(found[b], only[0][0]) and torch.equal(variance[b], only[1][0])
