"""Series against their definitions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cases import over
from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.series.codec import Readings
from polymodal.modalities.series.encoders import TCN, Patches, SeriesTransformer, steps, waves
from polymodal.nn import SIZES
from polymodal.ops import masked_mean

TINY = SIZES["tiny"]
NAN = float("nan")
X = np.array([[1.0, 10.0], [2.0, NAN], [4.0, 40.0]])


def raw(cell: Any, channels: int = 2) -> np.ndarray[Any, Any]:
    """What the codec reads, before it standardises."""
    codec = Readings()
    codec.channels_, codec.length_ = channels, 100
    codec.center_, codec.scale_ = [0.0] * channels, [100.0] * channels
    x = codec.encode(cell)
    assert x is not None
    return x.numpy() * 100


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,10\n2,\n4,40\n",
        "1,10\n2,nan\n4,40",
        "﻿a,b\r\n1,10\r\n2,NA\r\n4,40\r\n",
        "a;b\n1,0;10,0\n2,0;\n4,0;40,0\n",
        "a\tb\n1\t10\n2\t\n4\t40\n",
        "1 10\n2 inf\n4 40\n",
        'name,a,b\n"x, y",1,10\nz,2,\nw,4,40\n',
        "a,b\n1,10\n2,broken\n4,40\n",
    ],
)
def test_every_table_reads_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    np.testing.assert_allclose(raw(tmp_path / "x.csv"), X, rtol=1e-6)


@pytest.mark.parametrize("form", ["list", "array", "json", "npy", "channel"])
def test_every_form_of_a_cell_reads_the_same(form: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X.reshape(3, 2, 1))  # trailing axes are channels
    cells: dict[str, Any] = {
        "list": [[1, 10], [2, None], [4, 40]],
        "array": X,
        "json": "[[1, 10], [2, NaN], [4, 40]]",
        "npy": tmp_path / "x.npy",
    }
    if form == "channel":
        np.testing.assert_allclose(raw([1, 2, None], 1), [[1], [2], [NAN]])
    else:
        np.testing.assert_allclose(raw(cells[form]), X, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.csv", "a,b,c\n1,2,3\n", "a series of 3 channels, but training had 2"),
        ("x.csv", "a,b\nx,y\n", "x.csv holds no number"),
        ("x.csv", "1,2\n1,2,3\n", "x.csv can't be read as a table of numbers"),
        ("x.npy", "no", "x.npy can't be read"),
        ("x.parquet", "no", "x.parquet is a .parquet file; expected .npy"),
        ("absent.csv", None, "absent.csv does not exist"),
    ],
)
def test_what_is_unreadable_says_what_was_seen(name: str, content: str | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(Unreadable) as e:
        Readings().fit([X], TINY).encode(tmp_path / name)
    assert says in str(e.value)


@over("cell", [None, "", [], [[]], [None, None], np.zeros((0, 2)), [[NAN, NAN]]])
def test_nothing_is_none(cell: Any) -> None:
    assert Readings().fit([X], TINY).encode(cell) is None


def test_an_empty_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\n\n")
    assert Readings().fit([X], TINY).encode(tmp_path / "x.csv") is None


def test_each_channel_is_standardised_over_the_training_readings() -> None:
    g = np.random.default_rng(0)
    cells = [g.normal([5, -100], [1, 20], (int(t), 2)) for t in g.integers(3, 40, 20)]
    cells[0][2, 1] = NAN
    codec = Readings().fit([*cells, None, "broken", np.zeros((4, 3))], TINY)
    x = np.concatenate(cells)
    np.testing.assert_allclose(codec.center_, np.nanmean(x, 0))
    np.testing.assert_allclose(codec.scale_, np.nanstd(x, 0))
    y = codec.encode(cells[0])
    assert y is not None and y[2, 1].isnan() and int(y.isnan().sum()) == 1
    np.testing.assert_allclose(y, (cells[0] - np.nanmean(x, 0)) / np.nanstd(x, 0), atol=1e-5)
    assert codec.channels_ == 2 and codec.length_ == max(map(len, cells))


def test_a_long_series_is_reduced() -> None:
    codec = Readings().fit([np.arange(10_000.0)], TINY)
    y = codec.encode(np.arange(10_000.0))
    assert codec.length_ == 8 * TINY.tokens and y is not None and len(y) <= codec.length_
    assert (y[1:] > y[:-1]).all()


def test_gaps_are_masked() -> None:
    codec = Readings().fit([X], TINY)
    x = codec.collate([codec.encode(X), codec.encode([[1.0, 2.0]]), None])
    assert x.mask.shape == (3, 3, 2)
    assert x.mask[0].tolist() == [[True, True], [True, False], [True, True]]
    assert x.mask[1].tolist() == [[True, True], [False, False], [False, False]]
    assert x.values[0, 1, 1] == 0 and not x.mask[2].any()


@over(
    "cells, confidence",
    [
        ([Path("a.csv"), Path("b.tsv")], 0.95),
        ([[1.0, 2.0], [1.0, 2.0, 3.0]], 0.8),
        ([np.zeros((3, 2)), np.zeros((4, 2))], 0.9),
        ([[1.0, 2.0]] * 4, 0.3),
        (["red", "blue"], 0.0),
        ([Path("a.png")], 0.0),
        ([1.0, 2.0], 0.0),
    ],
)
def test_accepts(cells: list[Any], confidence: float) -> None:
    assert Readings.accepts(cells).confidence == confidence


def test_steps_are_differences_between_real_neighbours() -> None:
    mask = torch.tensor([[[True], [True], [False], [True], [True]]])
    values = torch.tensor([[[1.0], [4.0], [NAN], [9.0], [7.0]]])
    assert steps(Masked(values, mask)).flatten().tolist() == [0, 3, 0, 0, -2]


def test_waves_run_from_0_to_1_through_the_real_tokens() -> None:
    y = waves(torch.tensor([[True, True, False, False], [True, True, True, True]]))
    for row, count in ((0, 2), (1, 4)):
        for t in range(count):
            angle = torch.pi * (t + 0.5) / count * torch.arange(1, 5)
            torch.testing.assert_close(y[row, t], torch.cat([angle.sin(), angle.cos()]))


def test_a_patch_is_a_sum_over_its_readings() -> None:
    torch.manual_seed(0)
    net = Patches(2, 3, stride=2).eval().double()
    torch.nn.init.normal_(net.level.weight)
    values, mask = torch.randn(1, 5, 2, dtype=torch.double), torch.rand(1, 5, 2) > 0.3
    mask[0, 4] = True
    y = net(Masked(values, mask))
    mean = [sum(v for v, m in zip(values[0, :, c], mask[0, :, c], strict=True) if m) for c in (0, 1)]
    mean = [m / int(mask[0, :, c].sum()) for c, m in enumerate(mean)]
    for token in range(3):
        parts = []
        for t in (2 * token, 2 * token + 1):
            inside = [t < 5 and bool(mask[0, t, c]) for c in (0, 1)]
            parts += [values[0, t, c] - mean[c] if inside[c] else torch.tensor(0.0) for c in (0, 1)]
            both = [inside[c] and t > 0 and bool(mask[0, t - 1, c]) for c in (0, 1)]
            parts += [values[0, t, c] - values[0, t - 1, c] if both[c] else torch.tensor(0.0) for c in (0, 1)]
            parts += [torch.tensor(float(i)) for i in inside]
        place = waves(torch.ones(1, 3, dtype=torch.bool))[0, token].double()
        expected = net.readings(torch.stack([p.double() for p in parts])) + net.place(place)
        torch.testing.assert_close(y.values[0, token], expected + net.level(torch.stack(mean)))


def test_a_token_is_real_where_any_reading_under_the_stride_is() -> None:
    mask = torch.zeros(1, 7, 2, dtype=torch.bool)
    mask[0, 2, 1] = mask[0, 6, 0] = True
    for encoder in (TCN, SeriesTransformer):
        y = encoder(2, 8, stride=3)(Masked(torch.ones(1, 7, 2), mask))
        assert y.mask.tolist() == [[True, False, True]]


@over("encoder", [TCN, SeriesTransformer])
def test_long_series_give_few_tokens(encoder: Any) -> None:
    codec = Readings().fit([np.arange(5000.0)], SIZES["base"])
    net = encoder.for_codec(codec, TINY)
    x = codec.collate([codec.encode(np.arange(5000.0))])
    assert 32 <= net(x).mask.shape[1] <= 64


@over("encoder", [TCN, SeriesTransformer])
@over("question", ["order", "level"])
def test_it_learns_what_a_series_can_tell(encoder: Any, question: str) -> None:
    """Which of two bumps comes first, which no mean tells; or how high it lies, which no step tells."""
    g = np.random.default_rng(0)
    label = torch.tensor(g.integers(0, 2, 240))
    cells = []
    for y in label.tolist():
        x = g.normal(0, 0.3, (int(g.integers(30, 50)), 1))
        at = [5, 20] if question == "level" or y else [20, 5]
        for place, sign in zip(at, (1, -1), strict=True):
            x[place : place + 5] += 3 * sign
        cells.append(x + (2 * y if question == "level" else 0))
    codec = Readings().fit(cells[:160], TINY)
    x = codec.collate([codec.encode(c) for c in cells])
    torch.manual_seed(0)
    net, head = encoder.for_codec(codec, TINY), torch.nn.Linear(TINY.dim, 2)
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], 5e-3)
    seen, new = torch.arange(160), torch.arange(160, 240)
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(head(masked_mean(net(x.take(seen)))), label[seen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (head(masked_mean(net.eval()(x.take(new)))).argmax(1) == label[new]).float().mean() > 0.9
