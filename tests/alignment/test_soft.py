"""Soft-DTW against its definition: the log of a sum over all paths, and finite differences."""

import math

import pytest
import torch
from torch import Tensor

from alignment.paths import every, normal, ragged
from cases import over
from polymodal.alignment import Band, SakoeChiba, distances, pad, soft_dtw
from polymodal.batch import Masked
from polymodal.errors import InputError


def defined(a: Tensor, b: Tensor, gamma: float) -> Tensor:
    costs = (a[:, None] - b[None]).square().sum(-1)
    sums = [torch.stack([costs[i, j] for i, j in path]).sum() for path in every(len(a), len(b))]
    return -gamma * (-torch.stack(sums) / gamma).logsumexp(0)


@over("gamma", [0.1, 1.0, 7.0])
def test_it_is_the_softened_minimum_over_all_paths_and_so_is_its_gradient(gamma: float) -> None:
    a, b = ragged(4, 1, 6, 3), ragged(5, 3, 1, 3, seed=5)
    got, want = [], []
    for out, f in ((got, True), (want, False)):
        x, y = (s.values.clone().requires_grad_() for s in (a, b))
        if f:
            values = soft_dtw(Masked(x, a.mask), Masked(y, b.mask), gamma)
        else:
            values = torch.stack([defined(x[i][a.mask[i]], y[i][b.mask[i]], gamma) for i in range(4)])
        weighted = (values * torch.arange(1, 5)).sum()
        out += [values.detach(), *torch.autograd.grad(weighted, [x, y])]
    for x, y in zip(got, want, strict=True):
        assert torch.allclose(x, y, atol=1e-9)


@over("band", [None, SakoeChiba(2)])
def test_gradients_are_finite_differences(band: Band | None) -> None:
    mask = torch.tensor([[True] * 4, [True, False, True, False]])
    a, b = normal(2, 4, 1).requires_grad_(), normal(2, 3, 1, seed=1).requires_grad_()

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return soft_dtw(Masked(x, mask), Masked(y, mask[:, 1:]), 0.5, band=band, cost="euclidean")

    weights = torch.tensor([1.0, -2.0])
    grads = torch.autograd.grad((loss(a, b) * weights).sum(), [a, b])
    with torch.no_grad():
        for x, grad in zip((a, b), grads, strict=True):
            for at in range(x.numel()):
                ends = []
                for step in (1e-5, -1e-5):
                    x.view(-1)[at] += step
                    ends.append((loss(a, b) * weights).sum())
                    x.view(-1)[at] -= step
                assert abs((ends[0] - ends[1]) / 2e-5 - grad.view(-1)[at]) < 1e-6


@over("band", [None, SakoeChiba(3)])
def test_without_softness_it_is_the_hard_one(band: Band | None) -> None:
    a, b = ragged(6, 4, 3), ragged(4, 6, 3, seed=3)
    hard = distances(a, b, cost="squared", band=band)
    assert torch.allclose(soft_dtw(a, b, 1e-4, band=band), hard, atol=1e-2)
    assert (soft_dtw(a, b, 5.0, band=band) < hard).all()


@over("junk", [1e30, math.nan, math.inf])
def test_masked_frames_never_matter(junk: float) -> None:
    grads = []
    for j in (0.0, junk):
        a, b = ragged(5, 3, 6, junk=j), ragged(4, 6, 6, seed=9, junk=j)
        x, y = a.values.requires_grad_(), b.values.requires_grad_()
        out = soft_dtw(Masked(x, a.mask), Masked(y, b.mask), cost=lambda p, q: 1 - torch.cosine_similarity(
            p[:, :, None], q[:, None], dim=-1))  # fmt: skip
        grads.append([out.detach(), *torch.autograd.grad(out.sum(), [x, y])])
    for x, y in zip(*grads, strict=True):
        assert torch.equal(x, y) and x.isfinite().all()


def test_a_pair_without_a_frame_is_no_loss() -> None:
    a, b = ragged(5, 3, 6), ragged(4, 6, 6, seed=9)
    a.mask[1] = False
    x = a.values.requires_grad_()
    out = soft_dtw(Masked(x, a.mask), b)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert out[1] == 0 and out[0] != 0 and not grad[1].any() and grad[0].any() and grad.isfinite().all()


def test_a_stream_can_be_learned_by_it() -> None:
    goal = torch.sin(torch.arange(8, dtype=torch.float64))[None, :, None]
    x, mask = torch.zeros(1, 6, 1, dtype=torch.float64, requires_grad=True), torch.ones(1, 8, dtype=torch.bool)
    for _ in range(30):
        (grad,) = torch.autograd.grad(soft_dtw(Masked(x, mask[:, :6]), Masked(goal, mask), 0.01).sum(), x)
        x = (x - 0.2 * grad).detach().requires_grad_()
    assert distances(Masked(x, mask[:, :6]), Masked(goal, mask)).item() < 0.25 * goal.abs().sum().item()


@over("call, words", [
    (lambda: soft_dtw(pad([[1.0]]), pad([[1.0]]), 0.0), "gamma=0 must be above 0; `distances` is the limit"),
    (lambda: soft_dtw(pad([torch.ones(9)]), pad([torch.ones(3)]), band=SakoeChiba(1)), r"give at least SakoeChiba\(limit=6\)"),
])  # fmt: skip
def test_what_has_no_value_is_refused(call: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
