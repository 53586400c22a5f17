"""Dynamic time warping against its definition: the least sum over all paths."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from alignment.paths import every, normal, ragged, summed
from cases import over
from polymodal.alignment import (
    Band,
    Itakura,
    SakoeChiba,
    barycentre,
    distances,
    dtw,
    pad,
    warp,
)
from polymodal.batch import Masked
from polymodal.errors import InputError

SIZES = [(1, 1), (1, 5), (5, 1), (2, 2), (4, 6), (6, 4), (5, 5)]


def gap(a: Tensor, b: Tensor, power: int = 1) -> np.ndarray:
    return (((a[:, None] - b[None]) ** 2).sum(-1) ** (power / 2)).numpy()


@over("sizes", SIZES)
def test_the_path_is_the_cheapest_of_all(sizes: tuple[int, int]) -> None:
    a, b = normal(sizes[0], 3), normal(sizes[1], 3, seed=1)
    for name, power in (("euclidean", 1), ("squared", 2)):
        costs = gap(a, b, power)
        best = min(every(*sizes), key=lambda p: summed(costs, p))
        got = dtw(a, b.numpy(), cost=name)
        assert [tuple(x) for x in got.path.tolist()] == best
        assert math.isclose(got.cost, summed(costs, best), abs_tol=1e-12)
        assert np.allclose(got.costs, costs, atol=1e-12)


def test_a_cost_is_a_function_or_a_matrix() -> None:
    a, b = normal(5, 2), normal(7, 2, seed=1)
    city = (a[:, None] - b[None]).abs().sum(-1)
    want = min(summed(city.numpy(), p) for p in every(5, 7))
    assert math.isclose(dtw(a, b, cost=lambda x, y: torch.cdist(x, y, p=1.0)).cost, want, abs_tol=1e-12)
    assert math.isclose(warp(city).cost, want, abs_tol=1e-12)
    assert math.isclose(warp((-city).numpy()).cost, min(summed(-city.numpy(), p) for p in every(5, 7)), abs_tol=1e-12)


def test_of_equals_the_diagonal_step_is_taken() -> None:
    assert warp(torch.zeros(3, 3)).path.tolist() == [[0, 0], [1, 1], [2, 2]]


@over("sizes", [(1, 4), (3, 6), (4, 4), (5, 3)])
def test_a_subsequence_is_the_cheapest_of_all_stretches(sizes: tuple[int, int]) -> None:
    t, u = sizes
    costs = normal(t, u).abs().numpy()
    want = min(summed(costs[:, j : j + n], p) for j in range(u) for n in range(1, u - j + 1) for p in every(t, n))
    got = warp(costs, subsequence=True)
    cells = got.path.tolist()
    assert math.isclose(got.cost, want, abs_tol=1e-12)
    assert math.isclose(got.cost, summed(costs, cells), abs_tol=1e-12)
    assert cells[0][0] == 0 and cells[-1][0] == t - 1


def in_sakoe_chiba(i: int, j: int, t: int, u: int, radius: float) -> bool:
    return abs(i - j) <= radius


def in_itakura(i: int, j: int, t: int, u: int, slope: float) -> bool:
    """Both corners see the cell at a slope of the scaled square that is from 1 / slope to slope."""
    x, y = i / (t - 1), j / (u - 1)
    sides = [(x, y), (1 - x, 1 - y)]
    return all(q <= slope * p + 1e-12 and p <= slope * q + 1e-12 for p, q in sides)


BANDS = [(SakoeChiba(r), in_sakoe_chiba) for r in (0, 1, 2, 3, 9)] + [(Itakura(s), in_itakura) for s in (1.2, 2.0, 3.0)]


@over("band, inside", BANDS)
def test_a_band_closes_what_lies_outside(band: Band, inside: object) -> None:
    for seed, (t, u) in enumerate([(5, 5), (4, 6), (6, 4), (2, 5), (7, 6)]):
        costs = normal(t, u, seed=seed).numpy()
        ways = [p for p in every(t, u) if all(inside(*c, t, u, band.limit) for c in p)]
        if not ways:
            with pytest.raises(InputError, match="leaves no path for"):
                warp(costs, band=band)
            continue
        got = warp(costs, band=band)
        assert math.isclose(got.cost, min(summed(costs, p) for p in ways), abs_tol=1e-12)
        assert all(inside(*c, t, u, band.limit) for c in got.path.tolist())


@over("band", [SakoeChiba(2), SakoeChiba(0), Itakura(1.01)])
def test_the_least_band_that_is_named_works_and_no_less(band: Band) -> None:
    costs = normal(9, 4)
    with pytest.raises(InputError) as refusal:
        warp(costs, band=band)
    least = float(str(refusal.value).rpartition("limit=")[2].rstrip(")"))
    assert math.isfinite(warp(costs, band=type(band)(least)).cost)
    with pytest.raises(InputError, match="leaves no path for 9 and 4 frames; give at least"):
        warp(costs, band=type(band)(least - 1e-6))


def recurrence(costs: np.ndarray, anywhere: bool = False) -> float:
    """The cost of the cheapest path, a cell at a time."""
    total = np.full((costs.shape[0] + 1, costs.shape[1] + 1), np.inf)
    total[0, :] = 0.0 if anywhere else np.inf
    total[0, 0] = 0.0
    for i, row in enumerate(costs):
        for j, cost in enumerate(row):
            total[i + 1, j + 1] = cost + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return float(total[-1, 1:].min() if anywhere else total[-1, -1])


def test_long_streams_and_narrow_bands_agree_with_the_recurrence() -> None:
    costs = normal(60, 47).numpy()
    for limit in (13, 20, 100):
        outside = np.abs(np.subtract.outer(np.arange(60), np.arange(47))) > limit
        got = warp(costs, band=SakoeChiba(limit))
        assert math.isclose(got.cost, recurrence(np.where(outside, np.inf, costs)), abs_tol=1e-9)
        assert math.isclose(got.cost, summed(costs, got.path.tolist()), abs_tol=1e-9)


@over("anywhere", [False, True])
def test_closed_cells_anywhere_are_gone_around(anywhere: bool) -> None:
    g, ways = np.random.default_rng(0), 0
    for _ in range(300):
        costs = g.random((int(g.integers(1, 9)), int(g.integers(1, 9))))
        costs[g.random(costs.shape) < g.choice([0.1, 0.3, 0.6])] = np.inf
        want = recurrence(costs, anywhere)
        if want == np.inf:
            with pytest.raises(InputError, match="is finite; leave a way open"):
                warp(costs, subsequence=anywhere)
            continue
        got, ways = warp(costs, subsequence=anywhere), ways + 1
        assert math.isclose(got.cost, want) and math.isclose(summed(costs, got.path.tolist()), want)
    assert 100 < ways < 290


def test_closed_cells_in_a_row_of_diagonals_leave_no_path() -> None:
    costs = torch.zeros(6, 6)
    costs[torch.arange(6)[:, None] + torch.arange(6) == 5] = torch.inf
    assert warp(costs).path.tolist() == [[k, k] for k in range(3)] + [[3, 3], [4, 4], [5, 5]]
    costs[torch.arange(6)[:, None] + torch.arange(6) == 6] = torch.inf
    with pytest.raises(InputError, match="no path through 6 x 6 costs is finite; leave a way open"):
        warp(costs)


@over("band", [None, SakoeChiba(4), Itakura(6.0)])
def test_distances_of_many_pairs_are_those_of_each(band: Band | None) -> None:
    a, b = ragged(5, 3, 6, 4), ragged(4, 6, 6, 7, seed=9)
    want = [dtw(a.values[i][a.mask[i]], b.values[i][b.mask[i]], band=band).cost for i in range(4)]
    assert torch.allclose(distances(a, b, band=band), torch.tensor(want, dtype=torch.float64), atol=1e-12)


def test_distances_hold_few_pairs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    a, b = ragged(5, 3, 6, 4), ragged(4, 6, 6, 7, seed=9)
    whole = distances(a, b)
    monkeypatch.setattr(sys.modules["polymodal.alignment.dtw"], "CELLS", 100)
    assert torch.equal(distances(a, b), whole)


@over("junk", [1e30, math.nan, math.inf])
def test_masked_frames_never_matter(junk: float) -> None:
    b = ragged(4, 6, 6, seed=9)
    clean, dirty = (ragged(5, 3, 6, junk=x) for x in (0.0, junk))
    assert torch.equal(distances(clean, b), distances(dirty, b))
    assert torch.equal(distances(b, clean), distances(b, dirty))
    assert torch.equal(barycentre(clean).values, barycentre(dirty).values)


def test_a_pair_without_a_frame_is_unknown() -> None:
    a, b = ragged(5, 3, 6), ragged(4, 6, 6, seed=9)
    a.mask[1] = False
    got = distances(a, b)
    assert got.isnan().tolist() == [False, True, False]
    assert distances(a.hidden(), b).isnan().all()
    assert distances(
        a.take(torch.tensor([], dtype=torch.int64)), b.take(torch.tensor([], dtype=torch.int64))
    ).shape == (0,)


def test_a_barycentre_never_gets_worse_and_is_where_it_stays() -> None:
    streams = ragged(9, 7, 8, 6, 9, channels=3)
    sums = [barycentre(streams, rounds=n).cost for n in range(6)]
    assert all(after <= before for before, after in pairwise(sums)) and sums[-1] < sums[0]
    got = barycentre(streams)
    alone = [dtw(got.values, streams.values[b][streams.mask[b]], cost="squared") for b in range(5)]
    assert got.converged and math.isclose(got.cost, sum(x.cost for x in alone), abs_tol=1e-9)
    for t in range(len(got.values)):  # each frame is the mean of what lies beside it
        beside = [streams.values[b][streams.mask[b]][j] for b in range(5) for i, j in alone[b].path.tolist() if i == t]
        assert torch.allclose(got.values[t], torch.stack(beside).mean(0), atol=1e-9)


def test_a_barycentre_of_one_stream_is_that_stream() -> None:
    stream = normal(6, 2)
    got = barycentre(pad([stream, stream]))
    assert torch.equal(got.values, stream) and got.cost == 0
    start = barycentre(pad([stream, stream]), start=normal(6, 2, seed=2))
    assert start.values.shape == (6, 2) and start.cost <= dtw(normal(6, 2, seed=2), stream, cost="squared").cost * 2


def test_a_barycentre_begins_as_the_stream_nearest_to_all() -> None:
    streams = [normal(4, 1, seed=n) for n in range(5)]
    sums = [sum(dtw(x, y, cost="squared").cost for y in streams) for x in streams]
    got = barycentre(pad(streams), rounds=0)
    assert torch.equal(got.values, streams[int(np.argmin(sums))]) and math.isclose(got.cost, min(sums))


def test_precision_is_that_of_the_frames() -> None:
    a, b = pad([np.ones((3, 2), dtype=np.float32)]), pad([np.zeros((3, 2), dtype=np.float32)])
    assert distances(a, b).dtype == torch.float32 and dtw([1, 2], [1, 3]).costs.dtype == torch.float64
    assert barycentre(a).values.dtype == torch.float32


ones = torch.ones


@over("call, words", [
    (lambda: dtw(ones(3, 2), ones(3, 1)), "a has 2 channels and b has 1; give the same"),
    (lambda: dtw(ones(0, 2), ones(3, 2)), r"a has the shape \(0, 2\); give at least one frame"),
    (lambda: dtw(ones(3, 2), [1.0, math.nan]), "b is not finite at 1 of 2 frames, the first is 1; leave these"),
    (lambda: dtw([1.0], [1.0], cost="cosine"), "cost='cosine' is unknown; give 'euclidean' or 'squared', or a function"),
    (lambda: dtw([1.0], [1.0], cost=lambda a, b: a), None),
    (lambda: dtw([1.0], [1.0, 2.0], cost=lambda a, b: a), r"cost gave the shape \(1, 1\) where \(1, 2\) is expected"),
    (lambda: warp(ones(3)), r"the costs have the shape \(3,\); give \(T, U\)"),
    (lambda: warp(ones(2, 2) * math.nan), "4 costs are NaN; give infinity to close a cell"),
    (lambda: warp(ones(2, 2), subsequence=True, band=SakoeChiba(3)), "a subsequence may begin anywhere; leave one out"),
    (lambda: dtw(ones(9), ones(4), band=SakoeChiba(2)), r"SakoeChiba\(limit=2\) leaves no path for 9 and 4 frames; give at least SakoeChiba\(limit=5\)"),
    (lambda: distances(pad([ones(3)]), pad([ones(3), ones(2)])), "a has 1 rows and b 2; give a row of each"),
    (lambda: distances(Masked(ones(2, 3), ones(2, 3) > 0), pad([ones(3)])), r"a has values \(2, 3\) and a mask"),
    (lambda: distances(Masked(ones(1, 3, 1) * math.nan, ones(1, 3) > 0), pad([ones(3)])), "a is not finite in row 0 at frame 0"),
    (lambda: distances(pad([ones(9), ones(9)]), pad([ones(9), ones(3)]), band=SakoeChiba(2)), "for 9 and 3 frames; give at least"),
    (lambda: barycentre(pad([ones(3)]).hidden()), "no stream has a real frame; give at least one"),
    (lambda: barycentre(pad([ones(3)]), start=ones(2, 2)), "start has 2 channels and the streams have 1"),
    (lambda: barycentre(pad([ones(3)]), rounds=-1), "rounds=-1 must be a whole number from 0"),
    (lambda: pad([]), "there is no stream"),
    (lambda: pad([ones(2, 1), ones(2, 2)]), "the streams have 1, 2 channels; give all the same"),
])  # fmt: skip
def test_what_cannot_be_aligned_is_refused_in_a_line(call: object, words: str | None) -> None:
    if words is None:
        assert call().cost == 1.0
        return
    with pytest.raises(InputError, match=words) as refusal:
        call()
    assert "\n" not in str(refusal.value)
