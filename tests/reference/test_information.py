"""Redundant, unique and synergistic information, and the additive projection: gates, certificates, definitions."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from polymodal.batch import Masked
from polymodal.evaluate.emap import cost, emap
from polymodal.evaluate.information import (
    OTHERS,
    Shares,
    atoms,
    blocks,
    information,
    jackknife,
    least_information,
    mutual,
    quantiles,
)
from polymodal.tasks import Binary, MultiClass, MultiLabel, Regression


def gate(f, p=lambda a, b: 0.25):  # type: ignore[no-untyped-def]
    table = np.zeros((2, 2, 4))
    for a, b in itertools.product((0, 1), repeat=2):
        table[a, b, f(a, b)] += p(a, b)
    return table


GATES = {
    "copy": (gate(lambda a, b: a, lambda a, b: (a == b) / 2), (1, 0, 0, 0)),
    "xor": (gate(lambda a, b: a ^ b), (0, 0, 0, 1)),
    "unique first": (gate(lambda a, b: a), (0, 1, 0, 0)),
    "unique second": (gate(lambda a, b: b), (0, 0, 1, 0)),
    "and": (gate(lambda a, b: a & b), (0.811278 - 0.5, 0, 0, 0.5)),  # Bertschinger et al. 2014
    "both": (gate(lambda a, b: 2 * a + b), (0, 1, 1, 0)),
    "nothing": (gate(lambda a, b: 0), (0, 0, 0, 0)),
}


@pytest.mark.parametrize("name", GATES)
def test_gates(name: str) -> None:
    table, expected = GATES[name]
    assert atoms(table) == pytest.approx(expected, abs=1e-4)


def test_atoms_add_up_and_turn_with_the_modalities() -> None:
    for seed in range(10):
        p = np.random.default_rng(seed).dirichlet(np.full(18, 0.4)).reshape(3, 2, 3)
        r, u1, u2, s = atoms(p, 1e-4)
        assert r + u1 + u2 + s == pytest.approx(mutual(p.reshape(1, 6, 3))[0])
        assert r + u1 == pytest.approx(mutual(p.sum(1)[None])[0])
        assert min(r, u1, u2, s) > -1e-3
        assert atoms(p.transpose(1, 0, 2), 1e-4) == pytest.approx((r, u2, u1, s), abs=2e-4)


def test_mutual_information_is_its_definition() -> None:
    p = np.random.default_rng(0).dirichlet(np.full(12, 0.3), 5).reshape(5, 4, 3)
    p[0, 1] = 0
    p /= p.sum((1, 2), keepdims=True)
    for t, got in zip(p, mutual(p), strict=True):
        cells = [(i, j) for i, j in itertools.product(range(4), range(3)) if t[i, j]]
        assert got == pytest.approx(sum(t[i, j] * math.log2(t[i, j] / (t[i].sum() * t[:, j].sum())) for i, j in cells))


def gradient(q: np.ndarray) -> np.ndarray:
    return np.log2(q.clip(1e-12) / (q.sum(2, keepdims=True) * q.sum((0, 1))).clip(1e-12))


def vertex(g: np.ndarray, p1: np.ndarray, p2: np.ndarray) -> np.ndarray:
    """The member of Q with the least inner product with g: one transport problem a class."""
    a, b = len(p1), len(p2)
    rows = np.vstack([np.kron(np.eye(a), np.ones(b)), np.kron(np.ones(a), np.eye(b))])
    each = [linprog(g[..., c].reshape(-1), A_eq=rows, b_eq=np.r_[p1[:, c], p2[:, c]]).x for c in range(g.shape[2])]
    return np.stack(each, 1).reshape(a, b, -1)


def test_the_least_information_is_least_by_linear_programs() -> None:
    """Information is convex, so its tangent's minimum over Q is below its own: Frank & Wolfe's bound."""
    for seed in range(4):
        p = np.random.default_rng(seed).dirichlet(np.full(18, 0.7)).reshape(3, 3, 2)
        p1, p2 = p.sum(1), p.sum(0)
        got = float(least_information(p1[None], p2[None], 1e-4)[0])
        q = np.einsum("ac,bc->abc", p1, p2 / p2.sum(0))
        for i in range(120):
            s = vertex(gradient(q), p1, p2)
            q = min(
                (q + x * (s - q) for x in np.linspace(0, 2 / (i + 2), 20)), key=lambda x: mutual(x.reshape(1, -1, 2))[0]
            )
        best = float(mutual(q.reshape(1, -1, 2))[0])
        low = best - float((gradient(q) * (q - vertex(gradient(q), p1, p2))).sum())
        assert low - 1e-6 <= got <= best + 1e-4
        assert best - low < 0.05


def test_many_problems_at_once_are_each_alone() -> None:
    p = np.random.default_rng(0).dirichlet(np.full(24, 0.5), 6).reshape(6, 4, 3, 2)
    every = least_information(p.sum(2), p.sum(1), 1e-4)
    for i in range(6):
        assert every[i] == pytest.approx(least_information(p[[i]].sum(2), p[[i]].sum(1), 1e-4)[0], abs=2e-4)


def certain(bit: torch.Tensor, sure: float = 3.0, noise: float = 0.5, seed: int = 0) -> torch.Tensor:
    """Logits of a classifier that sees a bit, with some noise in how sure it is."""
    g = torch.Generator().manual_seed(seed)
    z = (2.0 * bit - 1) * sure + noise * torch.randn(len(bit), generator=g)
    return torch.stack([-z / 2, z / 2], 1)


def labels(y: torch.Tensor) -> Masked:
    return Masked(y.long(), torch.ones(len(y), dtype=torch.bool))


def bits(n: int, count: int, seed: int = 0) -> list[torch.Tensor]:
    return list(torch.randint(2, (count, n), generator=torch.Generator().manual_seed(seed)))


BINARY = Binary().fit(["0", "1"])


def values(x: Shares) -> tuple[float, ...]:
    return x.redundancy.value, x.unique_first.value, x.unique_second.value, x.synergy.value


def test_predictions_of_redundant_unique_and_synergistic_targets() -> None:
    a, b = bits(1000, 2)
    cases = {
        (1, 0, 0, 0): (a, {"x": certain(a), "z": certain(a, seed=1)}, certain(a, seed=2)),
        (0, 1, 0, 0): (a, {"x": certain(a), "z": certain(b, 0, seed=1)}, certain(a, seed=2)),
        (0, 0, 0, 1): (a ^ b, {"x": certain(a, 0), "z": certain(b, 0, seed=1)}, certain(a ^ b, seed=2)),
    }
    for expected, (y, alone, fused) in cases.items():
        (got,) = information(BINARY, labels(y), alone, fused)
        assert values(got) == pytest.approx(expected, abs=0.06)
        assert got.fused and got.rows == 1000 and got.entropy == pytest.approx(1, abs=0.01)
        assert got.total.value == pytest.approx(sum(values(got)))
        (turned,) = information(BINARY, labels(y), dict(reversed(alone.items())), fused)
        assert values(turned) == pytest.approx([values(got)[i] for i in (0, 2, 1, 3)], abs=0.02)


def test_without_a_fused_prediction_the_synergy_of_xor_does_not_show() -> None:
    a, b = bits(1000, 2)
    (got,) = information(BINARY, labels(a ^ b), {"x": certain(a, 0), "z": certain(b, 0, seed=1)})
    assert got.synergy.value < 0.05 and not got.fused


def test_the_bias_of_few_rows_is_taken_off() -> None:
    """Of predictions that know nothing, plug-in information is 3 / 2n nats for 4 levels; corrected it is about 0."""
    plain, corrected = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        x, y = rng.integers(0, 4, 200), rng.integers(0, 2, 200)
        block = blocks(200, None, seed)
        tables = np.zeros((21, 4, 2))
        for j in range(21):
            keep = block != j - 1
            np.add.at(tables[j], (x[keep], y[keep]), 1 / keep.sum())
        every = mutual(tables)[:, None]
        plain.append(every[0, 0])
        corrected.append(jackknife(every, np.bincount(block).astype(float))[0][0])
    expected = 3 / (2 * 200 * math.log(2))
    assert np.mean(plain) == pytest.approx(expected, rel=0.25)
    assert abs(np.mean(corrected)) < 0.25 * expected


def test_the_jackknife_of_a_mean_is_its_standard_error_and_of_a_square_is_unbiased() -> None:
    x = np.random.default_rng(0).normal(size=40)
    every = np.array([x.mean(), *(np.delete(x, i).mean() for i in range(40))])[:, None]
    value, half = jackknife(every, np.ones(40))
    assert value[0] == pytest.approx(x.mean())
    assert half[0] == pytest.approx(2.0227 * x.std(ddof=1) / math.sqrt(40), rel=1e-3)
    assert jackknife(every**2, np.ones(40))[0][0] == pytest.approx(x.mean() ** 2 - x.var(ddof=1) / 40)


def test_blocks_keep_groups_whole_and_even() -> None:
    even = np.bincount(blocks(103, None, 0))
    assert len(even) == 20 and set(even) == {5, 6}
    groups = [None if i < 4 else i % 7 for i in range(80)]
    code = blocks(80, groups, 1)
    assert all(len({code[i] for i in range(80) if groups[i] == g}) == 1 for g in range(7))
    assert len(set(code)) == 11  # 7 groups, and 4 rows that are groups of their own


def test_grouped_copies_are_less_evidence() -> None:
    a, b = bits(100, 2, 3)
    alone = {"x": certain(a, 1, 2).repeat(8, 1), "z": certain(b, 1, 2, seed=5).repeat(8, 1)}
    y = labels(torch.where(torch.rand(100, generator=torch.Generator().manual_seed(1)) < 0.7, a, b).repeat(8))
    naive, grouped = (information(BINARY, y, alone, groups=g)[0].total for g in (None, [*range(100)] * 8))
    assert grouped.high - grouped.value > 1.5 * (naive.high - naive.value)


def test_three_modalities_are_each_set_against_the_others_and_in_pairs() -> None:
    a, b = bits(900, 2)
    alone = {"x": certain(a), "z": certain(a, seed=1), "w": certain(b, 0, seed=2)}
    got = information(BINARY, labels(a), alone, certain(a, seed=3))
    pairs = [("x", OTHERS), ("z", OTHERS), ("w", OTHERS), ("x", "z"), ("x", "w"), ("z", "w")]
    assert [(s.first, s.second) for s in got] == pairs
    assert [s.fused for s in got] == [True] * 3 + [False] * 3
    assert values(got[0]) == pytest.approx((1, 0, 0, 0), abs=0.06)
    assert values(got[2]) == pytest.approx((0, 0, 1, 0), abs=0.06)


def test_numbers_classes_and_label_sets() -> None:
    g = torch.Generator().manual_seed(0)
    every = torch.ones(1200, dtype=torch.bool)
    u, v = torch.randn(2, 1200, 1, generator=g)
    numbers = Regression().fit(range(10))
    (got,) = information(numbers, Masked(u + v, every), {"x": u, "z": v}, u + v)
    assert got.entropy == pytest.approx(2, abs=0.01) and got.total.value == pytest.approx(2, abs=0.1)
    assert got.synergy.value > 0.5 and got.unique_first.value == pytest.approx(got.unique_second.value, abs=0.1)

    c = torch.randint(3, (1200,), generator=g)
    hot, noise = 4 * torch.nn.functional.one_hot(c, 3) + 0.1 * torch.randn(2, 1200, 3, generator=g)
    (got,) = information(MultiClass().fit(list("abc")), labels(c), {"x": hot, "z": noise - noise.mean() - hot}, hot)
    assert got.total.value == pytest.approx(math.log2(3), abs=0.06) and got.synergy.value < 0.06

    k = torch.randint(2, (1200, 2), generator=g).float()
    alone = {"x": 4 * k - 2, "z": torch.randn(1200, 2, generator=g)}
    (got,) = information(MultiLabel().fit(["a|b", "b", "a", "[]"]), Masked(k, every), alone)
    assert values(got) == pytest.approx((0, 1, 0, 0), abs=0.06)


def test_rows_without_a_label_count_for_nothing() -> None:
    a, b = bits(300, 2)
    alone = {"x": certain(a), "z": certain(b, 1, 2)}
    before = information(BINARY, labels(a), alone)[0]
    y = Masked(torch.cat([a, torch.full((50,), 9**9)]), torch.arange(350) < 300)
    after = information(BINARY, y, {m: torch.cat([x, torch.full((50, 2), 1e30)]) for m, x in alone.items()})[0]
    assert after.rows == before.rows == 300
    assert after.total.value == pytest.approx(before.total.value, abs=0.02)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_hardly_any_row_gives_an_answer_without_a_warning(rows: int) -> None:
    a, b = bits(rows, 2)
    (got,) = information(BINARY, labels(a), {"x": certain(a), "z": certain(b)})
    assert got.rows == rows and all(v >= 0 or math.isnan(v) for v in values(got))


def test_many_classes_are_cut_to_the_frequent_ones() -> None:
    c = torch.randint(40, (2000,), generator=torch.Generator().manual_seed(0))
    hot = 9.0 * torch.nn.functional.one_hot(c, 40)
    (got,) = information(MultiClass().fit(list(range(40))), labels(c), {"x": hot, "z": hot}, hot)
    assert 1 < got.entropy < math.log2(12) and got.redundancy.value == pytest.approx(got.entropy, abs=0.1)


def test_quantiles_are_even_and_keep_ties() -> None:
    x, mask = np.random.default_rng(0).permutation(100) / 7, np.ones(100, bool)
    assert np.bincount(quantiles(x, mask, 4)).tolist() == [25] * 4
    assert (quantiles(np.zeros(9), mask[:9], 4) == 0).all()


X = torch.randn(3, 40, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def additive(rows):  # type: ignore[no-untyped-def]
    return torch.stack([X[k, rows[m]] ** (k + 1) for k, m in enumerate(sorted(rows))]).sum(0)


def product(rows):  # type: ignore[no-untyped-def]
    return torch.stack([X[k, rows[m]] for k, m in enumerate(sorted(rows))]).prod(0) + additive(rows)


@pytest.mark.parametrize("modalities", [["a", "b"], ["a", "b", "c"]])
def test_a_sum_is_its_own_projection(modalities: list[str]) -> None:
    got = emap(additive, 40, modalities, sample=17)
    torch.testing.assert_close(got.additive, got.own)
    torch.testing.assert_close(got.own, additive(dict.fromkeys(modalities, got.rows)).float())
    assert got.rows == sorted(set(got.rows)) and len(got.rows) == 17


def test_the_projection_is_that_of_the_paper_and_the_nearest_sum() -> None:
    got = emap(product, 40, ["a", "b"], sample=8)
    pairs = list(itertools.product(range(8), repeat=2))
    f = torch.stack([product({"a": [got.rows[i]], "b": [got.rows[j]]})[0] for i, j in pairs])
    for i in range(8):
        row, column = ([k for k, pair in enumerate(pairs) if pair[side] == i] for side in (0, 1))
        expected = sum(f[k] for k in row) / 8 + sum(f[k] for k in column) / 8 - sum(f) / 64
        torch.testing.assert_close(got.additive[i], expected.float())
    design = torch.zeros(64, 16, dtype=torch.float64)  # least squares with a dummy for each row of each modality
    for k, (i, j) in enumerate(pairs):
        design[k, i] = design[k, 8 + j] = 1
    fit = design @ torch.linalg.pinv(design) @ f
    torch.testing.assert_close(got.additive, fit[[k for k, (i, j) in enumerate(pairs) if i == j]].float())
    assert (got.additive - got.own).abs().max() > 0.5


def test_chunks_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = emap(product, 40, ["a", "b", "c"], sample=9)
    monkeypatch.setattr("polymodal.evaluate.emap.CHUNK", 7)
    torch.testing.assert_close(emap(product, 40, ["a", "b", "c"], sample=9).additive, whole.additive)


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c"]])
def test_xor_is_all_interaction(names: list[str]) -> None:
    a, b = bits(200, 2, 1)
    projection = emap(lambda rows: certain(a[rows["a"]] ^ b[rows["b"]], noise=0.0), 200, names, sample=100)
    got = cost("tensor", BINARY, projection, labels(a ^ b).take(torch.tensor(projection.rows)))
    assert got.own.value == 1 and got.additive.value < 0.7 and got.gain.low > 0.2
    assert got.gain.value == pytest.approx(1 - got.additive.value) and got.rows == 100


def test_one_modality_has_no_interaction() -> None:
    with pytest.raises(ValueError, match="takes two modalities and a row, but there are 1 and 40"):
        emap(additive, 40, ["a"])
