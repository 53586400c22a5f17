"""Ready-made vectors against their definitions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cases import over
from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.arrays import Moments, array, reduce
from polymodal.modalities.vector.codec import Vectors
from polymodal.modalities.vector.encoders import Projection
from polymodal.nn import SIZES

TINY = SIZES["tiny"]


def test_each_dimension_is_standardised_over_the_training_cells() -> None:
    g = np.random.default_rng(0)
    cells = [g.normal([1, -5, 100], [1, 3, 0], (int(n), 3)) for n in g.integers(1, 9, 20)]
    codec = Vectors().fit([*cells, None, "broken"], TINY)
    x = np.concatenate(cells)
    np.testing.assert_allclose(codec.center_, x.mean(0))
    np.testing.assert_allclose(codec.scale_, [*x.std(0)[:2], 1.0])
    y = codec.encode(cells[3])
    assert y is not None and y.dtype == torch.float32
    np.testing.assert_allclose(y, (cells[3] - x.mean(0)) / np.array([*x.std(0)[:2], 1.0]), atol=1e-5)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    g = np.random.default_rng(1)
    x = g.normal(1e6, 1, (50, 2))  # where a sum of squares would lose every digit
    x[g.random(x.shape) < 0.3] = np.nan
    m = Moments(2)
    for part in np.split(x, [1, 2, 9, 30]):
        m.add(part)
    center, scale = m.center_and_scale()
    np.testing.assert_allclose(center, np.nanmean(x, 0), rtol=1e-12)
    np.testing.assert_allclose(scale, np.nanstd(x, 0), rtol=1e-6)


@pytest.mark.parametrize("kind", ["list", "tuple", "array", "json", "npy", "tensor", "nested", "half"])
def test_every_form_of_a_cell_reads_the_same(kind: str, tmp_path: Path) -> None:
    x = np.array([[1.0, 2.0], [0.5, -4.0]])
    np.save(tmp_path / "x.npy", x)
    forms: dict[str, Any] = {
        "list": x.tolist(),
        "tuple": tuple(map(tuple, x.tolist())),
        "array": x,
        "json": "[[1, 2.0], [0.5, -4]]",
        "npy": tmp_path / "x.npy",
        "tensor": torch.tensor(x),
        "nested": np.array([x[0], None], dtype=object),
        "half": x.astype(np.float16),
    }
    forms["nested"][1] = x[1]
    got = array(forms[kind])
    assert got is not None and got.dtype == np.float64
    np.testing.assert_array_equal(got, x)


@over(
    "cell, says",
    [
        ([1, 2, 3], "a vector of 3 numbers; expected 2"),
        ([[[1, 2]]], "shape (1, 1, 2)"),
        ("[1, 2", "'[1, 2' can't be read"),
        ("hello", "'hello' can't be read"),
        ([[1, 2], [3]], "a list can't be read"),
        (["a", "b"], "a list can't be read"),
        (3.5, "not a list of numbers"),
        ({"a": 1}, "a dict can't be read"),
        (np.array([1j, 2]), "not a list of numbers"),
        (Path("x.csv"), "x.csv is a .csv file; expected .npy"),
        (Path("absent.npy"), "absent.npy does not exist"),
    ],
)
def test_what_is_unreadable_says_what_was_seen(cell: Any, says: str) -> None:
    codec = Vectors().fit([[1, 2], [3, 4]], TINY)
    with pytest.raises(Unreadable) as e:
        codec.encode(cell)
    assert says in str(e.value)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "y.npy").write_bytes(b"not numpy")
    for name in ("x.npy", "y.npy"):
        with pytest.raises(Unreadable, match=rf"{name} can't be read as an array of numbers \(it is no \.npy file, or"):
            array(tmp_path / name)


def test_numbers_that_are_not_finite_stand_at_the_mean() -> None:
    codec = Vectors().fit([[1.0, 2.0], [3.0, 6.0]], TINY)
    y = codec.encode([float("nan"), float("inf")])
    assert y is None
    y = codec.encode([None, 6.0])
    assert y is not None and y.tolist() == [[0.0, 1.0]]
    y = codec.encode([1e300, -1e300])
    assert y is not None and y.tolist() == [[10.0, -10.0]]


def test_a_long_sequence_is_reduced_by_means_of_what_is_real() -> None:
    g = np.random.default_rng(2)
    x = g.normal(size=(103, 2))
    x[g.random(x.shape) < 0.5] = np.nan
    got = reduce(x, 20)
    assert got.shape == (18, 2)
    for i in range(18):
        for d in range(2):
            part = [v for v in x[6 * i : 6 * i + 6, d] if v == v]
            assert (not part and np.isnan(got[i, d])) or got[i, d] == pytest.approx(sum(part) / len(part))


@over(
    "cells, confidence",
    [
        ([[1.0, 2.0]] * 5, 0.9),
        (["[1, 2]", "[3, 4]"], 0.9),
        ([[1.0], [1.0, 2.0]], 0.0),
        ([np.zeros((3, 4)), np.zeros((5, 4))], 0.2),
        (["a", "b"], 0.0),
        ([["a"], ["b"]], 0.0),
        ([1.5, 2.5], 0.0),
    ],
)
def test_accepts(cells: list[Any], confidence: float) -> None:
    assert Vectors.accepts(cells).confidence == confidence


def test_the_reason_is_for_a_person() -> None:
    assert Vectors.accepts([[1, 2]] * 3).reason == "3 of 3 cells are arrays of numbers; all 2"


def test_projection_maps_each_vector_by_itself() -> None:
    net = Projection(3, 4).eval()
    x = torch.randn(2, 5, 3)
    y = net(Masked(x, torch.ones(2, 5, dtype=torch.bool)))
    drop, linear, norm, gelu, _ = net.layers
    torch.testing.assert_close(y.values[1, 3], gelu(norm(x[1, 3] @ linear.weight.T + linear.bias)))
    assert isinstance(drop, torch.nn.Dropout)


def test_projection_reads_what_a_frozen_network_keeps() -> None:
    x = torch.randn(3, 2, 5).half()
    net = Projection(5, 4).eval()
    y = net(Masked(x, torch.ones(3, 2, dtype=torch.bool)))
    assert y.values.dtype == torch.float32 and torch.isfinite(y.values).all()
