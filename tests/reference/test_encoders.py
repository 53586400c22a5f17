"""What encoders do beside encoding: cells that recur are encoded once, and nothing else changes."""

import numpy as np
import pytest
import torch
from torch import nn

from polymodal.batch import Masked
from polymodal.data import preprocess
from polymodal.data.encode import encode
from polymodal.data.preprocess import Rows
from polymodal.learners.base import Learner
from polymodal.learners.encoders import Encoders, distinct
from polymodal.modalities.image.codec import Pixels
from polymodal.modalities.vector.encoders import Projection
from polymodal.nn import SIZES
from polymodal.output import Scores
from polymodal.training.inference import batches, predict

CELLS = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
AT = torch.tensor([3, 1, 1, 0, 3, 3, 0, 1, 2, 2, 2, 1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64, torch.bool])
@pytest.mark.parametrize("wide", [False, True])
def test_equal_rows_are_found(dtype, wide):
    values = (100 * CELLS[AT].abs()).round().to(dtype) if wide else AT.to(dtype)
    first, at = distinct(Masked(values, torch.ones(len(AT), dtype=torch.bool)))
    assert torch.equal(values[first][at], values)
    assert len(first) == len(torch.unique(values.flatten(1) if wide else values, dim=0))
    assert all(not torch.equal(values[i], values[j]) for i in first for j in first if i < j)


def test_rows_that_differ_in_one_byte_differ():
    values = torch.zeros(41, 3, 13, dtype=torch.uint8)
    for i, place in enumerate(range(39)):
        values[i].view(-1)[place] = 1
    values[40, 2, 12] = 2
    first, _ = distinct(Masked(values, torch.ones(41, dtype=torch.bool)))
    assert len(first) == 41


def test_rows_of_another_mask_differ_and_none_is_none():
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[1, 2] = False
    assert len(distinct(Masked(CELLS[[0, 0]], mask))[0]) == 2
    assert len(distinct(Masked(CELLS[:0], mask[:0]))[0]) == 0


def test_cells_that_recur_are_encoded_once_and_the_answer_and_gradient_are_as_of_all(monkeypatch):
    net = Encoders({"x": Projection(width=4, dim=8, dropout=0.0)})
    read: list[int] = []
    monkeypatch.setattr(
        Projection, "forward", lambda self, x, f=Projection.forward: read.append(len(x.mask)) or f(self, x)
    )
    mask = torch.tensor([True, True, False])[torch.arange(36).reshape(12, 3) % 3] | (AT == 1)[:, None]
    x = Masked(CELLS[AT], mask)
    tokens = net({"x": x})["x"]
    grads = torch.autograd.grad(tokens.values.square().sum(), list(net.parameters()))
    alone = [net["x"](x.take(torch.tensor([i]))) for i in range(12)]
    whole = torch.cat([a.values for a in alone])
    assert read[0] == 4 and torch.equal(tokens.mask, torch.cat([a.mask for a in alone]))
    torch.testing.assert_close(tokens.values, whole)
    for a, b in zip(grads, torch.autograd.grad(whole.square().sum(), list(net.parameters())), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_whoever_looks_inside_sees_each_row():
    net = Encoders({"x": Projection(width=4, dim=8, dropout=0.0)})
    cells = CELLS[AT].requires_grad_()
    net({"x": Masked(cells, torch.ones(12, 3, dtype=torch.bool))})["x"].values.sum().backward()
    assert (cells.grad.abs().sum((1, 2)) > 0).all()
    looks: list[int] = []
    next(m for m in net["x"].modules() if isinstance(m, nn.Linear)).register_forward_hook(
        lambda module, args, out: looks.append(len(out))
    )
    net({"x": Masked(CELLS[AT], torch.ones(12, 3, dtype=torch.bool))})
    assert looks == [12]


def test_answers_are_in_the_order_of_the_rows(monkeypatch):
    """Rows that share a photo are answered together."""
    which = np.random.default_rng(0).integers(0, 7, 60)
    photos = [np.full((8, 8, 3), 30 * p, np.uint8) for p in which]
    codec = Pixels().fit(photos, SIZES["tiny"])
    rows = Rows({"photo": encode(photos, codec)[0]}, {"photo": codec}, [None] * 60, None, range(1, 61), [])
    monkeypatch.setattr(preprocess, "MANY", 2)
    parts, place = batches(rows, 2)
    assert len(parts) == 4 and sorted(sum(parts, [])) == list(range(60))
    assert [sum(parts, [])[i] for i in place.tolist()] == list(range(60))

    class Mean(Learner):
        reads = ("photo",)

        def infer(self, inputs):
            return Scores(inputs["photo"].values.float().flatten(1).mean(1, keepdim=True))

        def recombine(self, inputs):
            return lambda at: self.infer({m: x.take(at[m]) for m, x in inputs.items()})

        def describe(self):
            return []

    assert predict(Mean(), rows, 2).values[:, 0].tolist() == (30.0 * which).tolist()
