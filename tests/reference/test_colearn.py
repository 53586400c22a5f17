"""Modality dropout hides what it says, and never all of a row."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from polymodal.batch import Batch, Masked
from polymodal.colearn import modality_dropout
from polymodal.training.settings import Settings


def make(rows: int) -> Batch:
    some = torch.arange(rows) % 4 > 0
    return Batch(
        {"a": Masked(torch.randn(rows, 3), some), "b": Masked(torch.randn(rows, 5, 2), torch.ones(rows, 5) > 0)},
        {"y": Masked(torch.zeros(rows), some)},
    )


@pytest.mark.parametrize("p", [0.3, 0.9])
def test_rates_and_what_stays(p: float):
    torch.manual_seed(0)
    batch = make(20_000)
    out = modality_dropout(batch, p)
    a, b = (out.inputs[m].present() for m in "ab")
    both = batch.inputs["a"].present()
    assert (a | b).all(), "a row lost all that it had"
    assert not (a & ~both).any(), "what was absent came back"
    assert torch.equal(b[~both], torch.ones_like(b[~both])), "the only modality of a row was hidden"
    hidden = p - p**2 / 2  # of rows with both: where both would go, each stays as often
    assert abs((~a[both]).float().mean() - hidden) < 0.015 and abs((~b[both]).float().mean() - hidden) < 0.015
    assert torch.equal(out.inputs["a"].values, batch.inputs["a"].values) and out.targets is batch.targets


def test_zero_changes_nothing():
    batch = make(50)
    for m, x in modality_dropout(batch, 0.0).inputs.items():
        assert torch.equal(x.mask, batch.inputs[m].mask)


def test_more_is_hidden_by_default_where_training_rows_lack_a_modality():
    inputs = {
        m: SimpleNamespace(present=lambda least=least: np.arange(40) >= least) for m, least in (("a", 0), ("b", 3))
    }
    rows = SimpleNamespace(inputs=inputs, encoded=lambda: 40)
    assert Settings.of(rows).modality_dropout == 0.3
    del inputs["b"]
    assert Settings.of(rows).modality_dropout == 0.1
    assert Settings.of(rows, modality_dropout=0.0).modality_dropout == 0.0
