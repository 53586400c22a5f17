"""Canonical time warping: its correlations against the generalised eigenproblem, its path against a known one."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from alignment.paths import normal
from cases import over
from polymodal.alignment import canonical_warping, dtw
from polymodal.alignment.canonical import canonical
from polymodal.errors import InputError


def test_common_channels_are_those_of_the_eigenproblem() -> None:
    x, y = normal(40, 3), normal(40, 4, seed=1)
    y[:, 0] += x[:, 1] * 2
    path = torch.arange(40)[:, None].expand(40, 2)
    a, b, correlations = canonical(x, y, path, 3, 0.0)
    p, q = (z.numpy() - z.numpy().mean(0) for z in (x, y))
    zero = np.zeros((3, 3)), np.zeros((4, 4))
    between = np.block([[zero[0], p.T @ q], [q.T @ p, zero[1]]])
    within = scipy.linalg.block_diag(p.T @ p, q.T @ q)
    want = scipy.linalg.eigh(between, within, eigvals_only=True)[::-1][:3]
    assert np.allclose(correlations, want)
    for z in (a, b):
        assert torch.allclose(z.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-9)
        assert torch.allclose(z.T @ z / 40, torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose((a * b).mean(0), correlations)


def warp_of(seconds: torch.Tensor) -> torch.Tensor:
    """A path in three channels that never comes back."""
    return torch.stack([torch.sin(seconds), torch.cos(1.7 * seconds), 0.3 * seconds], dim=1)


def test_streams_of_unlike_channels_find_each_other() -> None:
    fast = torch.linspace(0, 6, 50, dtype=torch.float64)
    slow = 6 * (torch.linspace(0, 1, 70, dtype=torch.float64)) ** 1.4
    x, y = warp_of(fast) @ normal(3, 5, seed=3), warp_of(slow) @ normal(3, 4, seed=4)
    got = canonical_warping(x, y, dims=3)
    late = (fast[got.path[:, 0]] - slow[got.path[:, 1]]).abs()
    even = canonical_warping(x, y, dims=3, rounds=0)
    start = (fast[even.path[:, 0]] - slow[even.path[:, 1]]).abs()
    assert got.converged and got.cost < 0.05 * even.cost
    assert late.max() < 0.15 < 0.5 < start.max()
    assert (got.correlations > 0.99).all()
    again = dtw(got.a, got.b, cost="squared")
    assert torch.equal(again.path, got.path) and math.isclose(again.cost / len(got.path), got.cost, abs_tol=1e-12)


def test_a_channel_that_never_moves_is_finite() -> None:
    x = normal(12, 2)
    x[:, 1] = 3.0
    got = canonical_warping(x, normal(9, 2, seed=1), dims=2)
    assert got.a.isfinite().all() and got.b.isfinite().all() and math.isfinite(got.cost)
    assert canonical_warping(torch.ones(3), torch.ones(4)).a.isfinite().all()


@over("dims", [0, 3, 1.5])
def test_dims_are_as_many_as_both_have(dims: float) -> None:
    with pytest.raises(InputError, match="for 4 and 2 channels; give 1 to the fewer of both"):
        canonical_warping(normal(9, 4), normal(9, 2), dims=dims)
    with pytest.raises(InputError, match=r"rounds=0\.5 must be a whole number from 0"):
        canonical_warping(normal(9, 4), normal(9, 2), rounds=0.5)
