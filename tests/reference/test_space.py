"""Losses of a shared space, ranks in it, and canonical correlations, against their definitions."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import svd

from polymodal.batch import Masked
from polymodal.evaluate.retrieval import Retrieval, intervals
from polymodal.heads.space import BIAS, LOSSES, MARGIN, Space
from polymodal.learners.correlated import Correlated
from polymodal.output import Points
from polymodal.retrieval import rank, searches


def tokens(n: int, seed: int = 0, absent: int = -1) -> dict[str, Masked]:
    g = torch.Generator().manual_seed(seed)
    here = torch.arange(n) != absent
    return {
        "a": Masked(torch.randn(n, 3, 5, generator=g), here[:, None].expand(n, 3)),
        "b": Masked(torch.randn(n, 2, 4, generator=g), torch.ones(n, 2, dtype=torch.bool)),
    }


def by_hand(loss: str, space: Space, x: torch.Tensor, y: torch.Tensor, same: torch.Tensor) -> float:
    """The mean over rows and both directions, one pair of numbers at a time."""
    scale, total, n = space.scale.exp().item(), 0.0, len(x)
    x, y = x.detach(), y.detach()
    for one, other in ((x, y), (y, x)):
        c = [[float(one[i] @ other[j]) for j in range(n)] for i in range(n)]
        for i in range(n):
            mine, rivals = [j for j in range(n) if same[i, j]], [j for j in range(n) if not same[i, j]]
            if loss == "sigmoid":
                log1p = lambda z: math.log1p(math.exp(z))  # noqa: E731
                total += sum(log1p(-(scale * c[i][j] + BIAS)) for j in mine)
                total += sum(log1p(scale * c[i][j] + BIAS) for j in rivals)
                continue
            each = []
            for j in mine:
                if loss == "triplet":
                    each.append(max(0.0, MARGIN + max(c[i][k] for k in rivals) - c[i][j]))
                else:
                    below = sum(math.exp(scale * c[i][k]) for k in rivals)
                    each.append(-math.log(math.exp(scale * c[i][j]) / (math.exp(scale * c[i][j]) + below)))
            total += sum(each) / len(each)
    return total / (2 * n)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_is_its_definition_with_rows_of_one_cell_as_positives(loss: str) -> None:
    torch.manual_seed(0)
    space, given = Space({"a": 5, "b": 4}, 6, loss), tokens(7)
    cells = {"a": torch.tensor([0, 0, 1, 2, 3, 4, 5]), "b": torch.tensor([0, 1, 2, 3, 3, 4, 5])}
    points = space(given)
    same = (cells["a"][:, None] == cells["a"]) | (cells["b"][:, None] == cells["b"])
    expected = by_hand(loss, space, points["a"].values, points["b"].values, same)
    assert space.losses(given, cells).total.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_row_that_lacks_a_modality_teaches_nothing_and_hurts_nobody(loss: str) -> None:
    torch.manual_seed(0)
    space, given = Space({"a": 5, "b": 4}, 6, loss), tokens(6, absent=2)
    given["a"].values[2] = float("nan")
    cells = {m: torch.arange(6) for m in "ab"}
    losses = space.losses(given, cells)
    losses.total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in space.parameters())
    rows = torch.tensor([0, 1, 3, 4, 5])
    some = space.losses({m: x.take(rows) for m, x in given.items()}, {m: x[rows] for m, x in cells.items()})
    assert losses.total.item() == pytest.approx(some.total.item(), rel=1e-5)


def test_ranks_and_average_precision_are_their_definitions_and_ties_do_not_flatter() -> None:
    from scipy import sparse

    g = np.random.default_rng(0)
    x, y = g.normal(size=(9, 4)), g.normal(size=(7, 4))
    belongs = g.random((9, 7)) < 0.3
    belongs[np.arange(9), g.integers(0, 7, 9)] = True
    best, precision = rank(x, y, sparse.csr_array(belongs))
    for i in range(9):
        order = sorted(range(7), key=lambda j: -float(x[i] @ y[j]))
        places = [k + 1 for k, j in enumerate(order) if belongs[i, j]]
        assert best[i] == places[0]
        assert precision[i] == pytest.approx(sum((n + 1) / p for n, p in enumerate(places)) / len(places))
    flat, _ = rank(np.zeros((2, 3)), np.zeros((5, 3)), sparse.csr_array(np.eye(2, 5, dtype=bool)))
    assert flat.tolist() == [5, 5], "where all points fall together nothing is found"


def test_equal_cells_are_one_query_and_one_item_as_in_the_protocol_of_flickr() -> None:
    """Two photos with two captions each: a photo has two answers, a caption one."""
    z = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [0.1, 1.0]]), dim=1)
    photo, caption = z[[0, 0, 1, 1]], torch.stack([z[0], z[1], z[1], z[0]])  # the second and the fourth are wrong
    points = Points(torch.stack([photo, caption], 1), torch.ones(4, 2, dtype=torch.bool))
    found = {
        (d.source, d.target): d for d in searches(["p", "c"], points, {"p": np.array([0, 0, 1, 1]), "c": np.arange(4)})
    }
    one, other = found["p", "c"], found["c", "p"]
    assert (len(one.ranks), one.gallery, len(other.ranks), other.gallery) == (2, 4, 4, 2)
    assert other.ranks.tolist() == [1, 2, 1, 2] and other.scores()["recall@1"] == 0.5
    assert other.groups.tolist() == [0, 0, 1, 1], "captions of one photo are drawn together"
    assert other.scores()["median_rank"] == 1 and intervals(other)["recall@1"].value == 0.5
    whole = Retrieval.of(4, [one, other], [])
    assert Retrieval.from_json(whole.to_json()) == whole


def test_two_modalities_have_the_canonical_correlations_of_whitened_covariance() -> None:
    g = np.random.default_rng(0)
    n, ridge = 60, 0.1
    common = g.normal(size=(n, 2))
    parts = {
        m: np.concatenate([common + g.normal(size=(n, 2)), g.normal(size=(n, k))], 1) for m, k in (("a", 1), ("b", 3))
    }
    learner = Correlated({"a": "a", "b": "b"}, 2, ridge)
    learner.project({m: (x, np.ones(n, bool)) for m, x in parts.items()})
    white = {}
    for m, x in parts.items():
        z = x - x.mean(0)
        c = z.T @ z / n
        white[m] = z @ np.linalg.inv(np.linalg.cholesky(c + ridge * np.trace(c) / len(c) * np.eye(len(c)))).T
    u, s, _ = svd(white["a"].T @ white["b"] / n)
    z = (parts["a"] - parts["a"].mean(0)) @ learner.maps["a"]
    expected = white["a"] @ u[:, :2] * s[:2]
    for k in range(2):
        assert abs(np.corrcoef(z[:, k], expected[:, k])[0, 1]) == pytest.approx(1, abs=1e-6)
    assert z[:, 0].std() / z[:, 1].std() == pytest.approx(expected[:, 0].std() / expected[:, 1].std(), rel=1e-6)


def test_a_covariance_is_over_the_rows_that_have_both() -> None:
    g = np.random.default_rng(0)
    n = 50
    x, y, there = g.normal(size=(n, 3)), g.normal(size=(n, 2)), np.arange(n) % 3 > 0
    y[:, 0] += x[:, 0]
    made = []
    for fill in (0.0, 1e6):
        learner = Correlated({"a": "a", "b": "b"}, 2, 0.1)
        learner.project({"a": (x, np.ones(n, bool)), "b": (np.where(there[:, None], y, fill), there)})
        made.append(learner.maps["a"])
    np.testing.assert_allclose(*made)


def test_rows_that_lack_the_other_modality_do_not_weaken_a_correlation() -> None:
    g = np.random.default_rng(0)
    x, y = g.normal(size=(50, 3)), g.normal(size=(50, 2))
    y[:, 0] += x[:, 0]
    made = []
    for copies in (0, 3):  # of all rows, without the other modality
        there = np.arange(50 * (copies + 1)) < 50
        learner = Correlated({"a": "a", "b": "b"}, 2, 0.1)
        learner.project({"a": (np.tile(x, (copies + 1, 1)), there | True), "b": (np.tile(y, (copies + 1, 1)), there)})
        made.append(np.abs(learner.maps["a"]))
    np.testing.assert_allclose(*made, atol=1e-9)
