"""Which modality an answer comes from: values against their definitions, and laws of games, on learners that are known."""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.data.encode import encode
from polymodal.data.preprocess import Rows
from polymodal.errors import InputError
from polymodal.explain import answers, brief, games, pages
from polymodal.explain.contributions import additive_part, contributions
from polymodal.explain.overall import Overall, largest, strongest, summarise
from polymodal.learners.base import Learner
from polymodal.modalities.vector.codec import Vectors
from polymodal.nn import SIZES
from polymodal.output import Scores
from polymodal.tasks import Binary, MultiClass, MultiLabel, Ordinal, Regression, Task

RNG = np.random.default_rng(0)


class Known(Learner):
    """A learner that is a function of (B, M) numbers, NaN where absent; as real ones do, it looks at masks alone."""

    def __init__(self, names: Sequence[str], task: Task, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.names, self.task, self.f, self.seen = names, task, f, 0

    @property
    def reads(self) -> Sequence[str]:
        return self.names

    def describe(self) -> list[str]:
        return ["a rule"]

    def infer(self, inputs: Mapping[str, Masked]) -> Scores:
        self.seen += len(inputs[self.names[0]].mask)
        x = [torch.where(inputs[m].present(), inputs[m].values.flatten(1)[:, 0], torch.nan) for m in self.names]
        return Scores(self.f(torch.stack(x, dim=1).double()).float())

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Scores]:
        return lambda at: self.infer({m: inputs[m].take(at[m]) for m in self.names})


def setting(x_nm: np.ndarray, f: Callable[[Tensor], Tensor], task: Task | None = None, views: Any = None) -> Any:
    """A model of f, and its rows, whose cells are the numbers of x (NaN: absent)."""
    names = [f"m{i}" for i in range(x_nm.shape[1])]
    codec = Vectors().fit([[-1.0], [1.0]], SIZES["tiny"])
    inputs = {
        m: encode([None if np.isnan(v) else [v] for v in x], codec)[0] for m, x in zip(names, x_nm.T, strict=True)
    }
    number = Regression().fit([0.0, 1.0, 2.0])
    number.center_, number.scale_ = [0.0], [1.0]  # the learner's numbers are the answers
    task = task or number
    learner = Known(names, task, f).eval()
    views = views or {m: m for m in names}
    prep = SimpleNamespace(views=views)
    model = SimpleNamespace(
        learner=learner, task=task, preprocessor=prep, scorer=SimpleNamespace(temperature=1.0), modalities=list(dict.fromkeys(views.values())),
        logits=lambda rows: learner.infer(rows.batch(range(len(rows))).inputs).values,
    )  # fmt: skip
    n = len(x_nm)
    return model, Rows(inputs, dict.fromkeys(names, codec), [None] * n, None, range(1, n + 1), [])


def wild(players: int, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """A function of the values and of who is absent in which everything goes with everything."""
    g = torch.Generator().manual_seed(seed)
    w, u = (torch.randn(2 * players, 8, generator=g, dtype=torch.float64) for _ in range(2))

    def f(x: Tensor) -> Tensor:
        z = torch.cat([x.nan_to_num(), x.isnan().double()], 1)
        return ((z @ w).tanh() * (z @ u).sin()).sum(1, keepdim=True)

    return f


def by_hand(f: Callable[[Tensor], Tensor], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapley values and interactions of one row, by all orders of the players that are there."""
    players = [i for i in range(len(x)) if not np.isnan(x[i])]

    def v(inside: Sequence[int]) -> float:
        return float(f(torch.tensor([[a if i in inside else np.nan for i, a in enumerate(x)]], dtype=torch.float64)))

    phi, pair = np.zeros(len(x)), np.zeros((len(x), len(x)))
    for order in (all_orders := list(permutations(players))):
        for k, i in enumerate(order):
            phi[i] += (v(order[: k + 1]) - v(order[:k])) / len(all_orders)
    for i in players:
        for j in players:
            # the two as one player: the mean over its places in all orders of what both bring beyond each alone
            orders = list(permutations([p for p in players if p not in (i, j)] + [-1])) if i != j else []
            for order in orders:
                s = order[: order.index(-1)]
                pair[i, j] += (v((*s, i, j)) - v((*s, i)) - v((*s, j)) + v(s)) / len(orders)
    return phi, pair


def with_holes(n: int, m: int, seed: int = 1) -> np.ndarray:
    g = np.random.default_rng(seed)
    x = g.normal(size=(n, m))
    x[1:][g.random((n - 1, m)) < 0.3] = np.nan
    x[1] = np.nan
    return x


def test_values_are_those_of_all_orders() -> None:
    x, f = with_holes(7, 4), wild(4)
    model, rows = setting(x, f)
    c = contributions(model, rows)
    for i, row in enumerate(x):
        phi, pair = by_hand(f, row)
        assert np.allclose(c.shapley[i], phi, atol=1e-5) and np.allclose(c.interaction[i], pair, atol=1e-5)
    assert np.allclose(c.answer, f(torch.from_numpy(x)).numpy()[:, 0], atol=1e-5)
    assert c.numbers == list(range(1, 8)) and c.orders == 0 and not c.error.any()
    assert c.shapley.min() < -0.05 and np.abs(c.interaction[0]).max() > 0.1  # nothing of this is trivial


def test_laws() -> None:
    x, f = with_holes(9, 5), wild(4)
    model, rows = setting(x, lambda x: f(torch.cat([x[:, :1] + 0 * x[:, :1], x[:, 1:4]], 1)))  # blind to m4
    c = contributions(model, rows)
    assert np.allclose(c.base + c.shapley.sum(1), c.answer, atol=1e-9)  # efficiency
    assert not c.shapley[:, 4].any() and not c.interaction[:, 4].any() and c.present[:, 4].any()  # dummy
    assert not c.shapley[~c.present].any() and not c.alone[~c.present].any()  # absent: exactly 0
    assert not c.interaction[~c.present].any()
    assert (c.answer[1] == c.base[1]) and not c.shapley[1].any()  # a row with nothing
    twins = np.repeat(x[:, :1], 3, axis=1)
    c = contributions(
        *setting(twins, lambda x: x.nan_to_num().prod(1, keepdim=True) + x.nan_to_num().sum(1, keepdim=True))
    )
    assert np.allclose(c.shapley, c.shapley[:, :1])  # symmetry


def test_exclusive_or_is_all_interaction_and_a_sum_has_none() -> None:
    corners = np.array([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)] * 8)
    c = contributions(*setting(corners, lambda x: x.nan_to_num().prod(1, keepdim=True)))
    assert np.allclose(c.interaction[:, 0, 1], c.answer) and np.allclose(c.interaction[:, 0, 1], c.interaction[:, 1, 0])
    assert np.allclose(c.shapley, c.answer[:, None] / 2) and not c.alone.any()
    assert np.allclose(c.additive, 0) and np.allclose(c.crossmodal, c.answer)
    x = with_holes(32, 2)
    c = contributions(*setting(x, lambda x: (x * torch.tensor([2.0, -3.0])).nan_to_num().sum(1, keepdim=True)))
    assert np.allclose(c.interaction, 0, atol=1e-6) and np.allclose(c.shapley, c.alone, atol=1e-6)
    assert np.allclose(c.additive, c.answer, atol=1e-5)
    assert np.allclose(c.shapley, np.where(c.present, x * [2, -3], 0), atol=1e-5)


def test_the_additive_part_is_a_mean_over_all_combinations() -> None:
    x, f = RNG.normal(size=(16, 2)), wild(2)
    model, rows = setting(x, f)
    c = contributions(model, rows)
    grid = np.array([[float(f(torch.tensor([[a, b]]))) for b in x[:, 1]] for a in x[:, 0]])
    assert np.allclose(c.additive, grid.mean(1) + grid.mean(0) - grid.mean(), atol=1e-5)
    part = contributions(model, rows, sample=10)
    assert np.isfinite(part.additive).sum() == 10 and np.isfinite(part.additive[0])
    assert np.isnan(contributions(model, rows.take(range(8))).additive).all()  # too few rows to say
    assert np.isnan(contributions(model, rows, sample=0).additive).all()
    assert np.allclose(additive_part(model, rows, np.zeros(16, int)), c.additive)


def test_views_of_a_modality_are_hidden_together() -> None:
    x, f = RNG.normal(size=(5, 3)), wild(3)
    model, rows = setting(x, f, views={"m0": "photo", "m1": "photo", "m2": "note"})
    c = contributions(model, rows)
    away = x.copy()
    away[:, :2] = np.nan
    assert c.modalities == ["photo", "note"]
    assert np.allclose(c.alone[:, 1] + c.base, f(torch.from_numpy(away)).numpy()[:, 0], atol=1e-5)


def test_many_players_are_sampled_within_their_errors() -> None:
    m, f = 11, wild(11)
    x = with_holes(3, m, seed=4)
    v_nu = np.stack([
        f(torch.from_numpy(np.where(games.coalitions(m) & ~np.isnan(row), row, np.nan))).numpy()[:, 0] for row in x
    ])  # fmt: skip
    true = games.exact(v_nu, m)
    c = contributions(*setting(x, f))
    assert c.orders == 176 and np.allclose(
        c.base + c.shapley.sum(1), c.answer, atol=1e-9
    )  # efficiency holds all the same
    assert not c.shapley[~c.present].any() and not c.error[~c.present].any()
    z = (c.shapley - true.shapley)[c.present] / c.error[c.present]
    assert 0.6 < np.sqrt((z**2).mean()) < 1.5 and np.abs(z).max() < 4.5 and c.error.max() < 0.6
    pairs = c.present[:, :, None] & c.present[:, None] & ~np.eye(m, dtype=bool) & (c.interaction_error > 0)
    z = ((c.interaction - true.interaction) / np.where(pairs, c.interaction_error, 1))[pairs]
    assert len(z) > 100 and 0.6 < np.sqrt((z**2).mean()) < 1.6
    again = contributions(*setting(x, f))
    assert np.array_equal(c.shapley, again.shapley)
    assert not np.array_equal(c.shapley, contributions(*setting(x, f), seed=1).shapley)


def test_encoders_look_at_each_coalition_once() -> None:
    x = with_holes(40, 3)
    model, rows = setting(x, wild(3))
    contributions(model, rows, sample=0)
    most = 40 + sum(2 ** int((~np.isnan(row)).sum()) for row in x)
    assert model.learner.seen <= most


TASKS: list[tuple[Task, list[Any], str, str]] = [
    (Binary(), ["no", "yes"], "yes", "the probability of yes"),
    (MultiClass(), ["a", "b", "c"], "c", "the probability of c"),
    (MultiLabel(separator="|"), ["a|b", "b", "c"], "b", "the probability of b"),
    (Ordinal(), [1, 2, 3], "expected rank", "the expected rank"),
    (Ordinal(), [1, 2, 3], "3", "the probability of 3"),
    (Regression(["w", "h"]), [{"w": 1, "h": 20}, {"w": 2, "h": 40}, {"w": 5, "h": 90}], "h", "the predicted h"),
]


@pytest.mark.parametrize(("task", "cells", "output", "unit"), TASKS, ids=[f"{t.name} {o}" for t, _, o, _ in TASKS])
def test_what_is_explained(task: Task, cells: list[Any], output: str, unit: str) -> None:
    task.fit(cells)
    k, x = task.outputs, RNG.normal(size=(6, 2))
    weight = torch.from_numpy(RNG.normal(size=(2, k)))
    model, rows = setting(x, lambda x: x.nan_to_num() @ weight, task)
    c = contributions(model, rows, output=output)
    columns = task.decode(Scores(model.logits(rows)))
    if output == "expected rank":
        said = sum(i * np.array(columns[f"probability[{i}]"]) for i in (1, 2, 3))
    else:
        said = columns.get(f"probability[{output}]", columns.get(f"prediction[{output}]"))
    assert np.allclose(c.answer, said) and c.output == [output] * 6 and answers.quantity(task, output).meaning == unit
    assert np.allclose(c.base + c.shapley.sum(1), c.answer)
    own = contributions(model, rows)
    assert own.output == own.predicted == c.predicted
    if "probability" in columns and not isinstance(task, Ordinal):
        assert own.output == columns["prediction"] and np.allclose(own.answer, columns["probability"])
    with pytest.raises(InputError, match=r"the model has no class 'zebra'; it has: "):
        contributions(model, rows, output="zebra")


def test_one_number_has_no_classes() -> None:
    model, rows = setting(RNG.normal(size=(3, 1)), wild(1))
    c = contributions(model, rows)
    assert np.allclose(c.shapley[:, 0], c.answer - c.base) and c.interaction.shape == (3, 1, 1)  # one modality: all
    with pytest.raises(
        InputError, match=r"answers with one number, so there is no class 'red' to explain; leave it out"
    ):
        contributions(model, rows, output="red")


def test_over_a_table() -> None:
    x = np.concatenate([RNG.normal(size=(60, 1)), 0.1 * RNG.normal(size=(60, 1))], axis=1)
    x[50:, 0] = np.nan
    model, rows = setting(x, lambda x: x.nan_to_num().sum(1, keepdim=True))
    c = contributions(model, rows)
    s = summarise(c)
    mean = np.abs(c.shapley).mean(0)
    assert [m.modality for m in s.modalities] == ["m0", "m1"]
    for i, m in enumerate(s.modalities):
        assert m.size.value == pytest.approx(mean[i]) and m.size.low < mean[i] < m.size.high
        assert m.mean == pytest.approx(c.shapley[:, i].mean()) and m.absent == [10, 0][i]
    largest = np.abs(c.shapley).argmax(1)
    assert s.modalities[0].largest == pytest.approx((largest == 0).mean()) and s.modalities[1].largest > 10 / 60
    assert sum(m.largest for m in s.modalities) == pytest.approx(1)
    assert s.crossmodal == pytest.approx(0, abs=1e-5)


def test_two_modalities_share_all_that_the_answer_changes_by() -> None:
    """What each adds alone, and what both add together: v(all) - v(nobody), of two players and of pairwise games."""
    c = contributions(*setting(with_holes(20, 2), wild(2)))
    assert np.allclose(c.alone.sum(1) + c.interaction[:, 0, 1], c.answer - c.base, atol=1e-9)
    weight = torch.triu(torch.from_numpy(RNG.normal(size=(4, 4))))

    def pairwise(x: Tensor) -> Tensor:
        z = x.nan_to_num()
        return torch.einsum("bi,ij,bj->b", z, weight, z)[:, None]

    c = contributions(*setting(with_holes(20, 4), pairwise))
    assert np.allclose(c.alone.sum(1) + c.interaction.sum((1, 2)) / 2, c.answer - c.base, atol=1e-4)
    assert np.abs(c.interaction).max() > 0.1


def test_equals_share_the_rows_in_which_they_are_largest() -> None:
    size = np.array([[2.0, 2, 1], [3, 0, 0], [0, 0, 0], [0.3, 0.1 + 0.2, 0.1], [1e-9, 2e-9, 0]])
    assert largest(size).tolist() == [[0.5, 0.5, 0], [1, 0, 0], [0, 0, 0], [0.5, 0.5, 0], [0, 1, 0]]
    assert strongest({"a": 1.0, "b": 2.0, "c": 2.0}) == ["b", "c"] and strongest({"a": 0.0, "b": 0.0}) == []
    twins = np.repeat(RNG.normal(size=(16, 1)), 2, axis=1)
    labels = Binary().fit(["no", "yes"])
    model, rows = setting(twins, lambda x: x.nan_to_num().sum(1, keepdim=True) * torch.tensor([[0.0, 1.0]]), labels)
    c = contributions(model, rows)
    s = summarise(c)
    assert [m.largest for m in s.modalities] == [0.5, 0.5] and list(s.classes) and c.shapley.any()
    o = Overall("t", "binary", "it", 16, 16, s, [], [], c)
    words = str(brief.table(o))
    assert "largest by predicted label: " in words and f"{next(iter(s.classes))} m0 and m1" in words
    (grid,) = pages.classes(o)
    assert len(grid.strong) == 2 * len(s.classes)  # type: ignore[union-attr]
    nothing = s._replace(classes={k: x | {"size": {"m0": 0.0, "m1": 0.0}} for k, x in s.classes.items()})
    (grid,) = pages.classes(o._replace(summary=nothing))
    assert not grid.strong  # type: ignore[union-attr]
    assert f"{next(iter(s.classes))} none" in str(brief.table(o._replace(summary=nothing)))
