"""The small-data path: matrices that know absence, estimators of every task, greedy selection, combination."""

import math
import time

import numpy as np
import pytest
import torch
from scipy import sparse

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.learners import estimators
from polymodal.learners.categories import Categories
from polymodal.learners.ensemble import Average, Ensemble, blend, keep_largest, select
from polymodal.learners.estimators import TREES, WORDS
from polymodal.learners.library import Library, Member
from polymodal.learners.matrix import Block, Join, records, see
from polymodal.learners.stacked import Stacked
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import pad
from polymodal.modalities.extractor import Tokens
from polymodal.modalities.features import Features
from polymodal.modalities.tabular.features import Fields
from polymodal.modalities.text.features import Tfidf
from polymodal.tasks import TASKS

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _fresh() -> None:
    """Each test draws the same numbers, whichever others run."""
    RNG.bit_generator.state = START
    torch.manual_seed(0)


def rows(x: np.ndarray, absent: tuple[int, ...] = ()) -> list[np.ndarray | None]:
    return [None if i in absent else r[None].astype(np.float32) for i, r in enumerate(x)]


def masked(found: list[np.ndarray | None], width=4) -> Masked:
    return pad([None if r is None else torch.from_numpy(r) for r in found], torch.zeros(0, width))


def test_records_are_what_was_padded():
    cells = [None, torch.randn(4, 3), torch.randn(1, 3)]
    back = records(pad(cells, torch.zeros(0, 3)))
    assert back[0] is None and all(np.array_equal(a, b) for a, b in zip(back[1:], cells[1:], strict=True))
    holes = records(Masked(torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([[True, False, True]])))[0]
    assert np.array_equal(holes, [1, math.nan, 3], equal_nan=True)


@pytest.mark.parametrize(
    "shapes",
    [
        [(15, 6, 8), (6, 15, 8), (15, 15, 8), (1, 1, 8)],  # photographs of different shapes
        [(5,), (1,), (9,)],
        [(3, 4), (3, 4)],
        [(3, 3), (2, 2), (1, 1)],
        [(2, 5, 1), (2, 1, 4)],
        [(1, 9, 2)],
    ],
)
def test_records_that_differ_in_any_axis_come_back_as_they_went_in(shapes):
    cells = [None, *(torch.randint(1, 255, n, dtype=torch.uint8) for n in shapes), None]
    codec = Features(MODALITIES["image"].extractors["visual_words"]())
    x = codec.collate(cells)
    assert x.mask.shape == x.values.shape[: x.mask.ndim]
    assert x.values.shape[1:] == tuple(np.max(shapes, axis=0)), "padded beyond the longest of each axis"
    assert x.present().tolist() == [c is not None for c in cells]
    back = records(x)
    assert back[0] is None and back[-1] is None
    for got, cell in zip(back[1:-1], cells[1:-1], strict=True):
        assert got.dtype == np.uint8 and np.array_equal(got, cell), cell.shape
    assert records(x.hidden()) == [None] * len(cells)
    assert codec.collate([None, None]).present().tolist() == [False, False]


def test_a_block_standardises_over_rows_that_are_there_and_leaves_the_absent_at_the_mean():
    x = RNG.normal(5, 3, (40, 3))
    block = Block(Tokens()).learn(rows(x, (0, 7)))
    got = block.matrix(rows(x, (0, 7)))
    there = [i for i in range(40) if i not in (0, 7)]
    z = (x - x[there].mean(0)) / x[there].std(0)
    z /= np.sqrt(np.square(z[there]).sum(1).mean())
    assert np.allclose(got[there], z[there], atol=1e-5) and not got[[0, 7]].any()
    assert np.isclose(np.square(got[there]).sum(1).mean(), 1, atol=1e-5)


def test_constant_and_doubled_features_are_dropped_and_counted():
    x = RNG.normal(size=(30, 2))
    x = np.stack([x[:, 0], np.full(30, 2.5), x[:, 0], x[:, 1], 3 * x[:, 0] + 1], axis=1)
    block = Block(Tokens()).learn(rows(x))
    assert block.dropped_ >= 2 and block.matrix(rows(x)).shape[1] == 5 - block.dropped_ <= 3


def test_unknown_numbers_get_a_bit_of_their_own():
    x = RNG.normal(size=(50, 2)).astype(np.float32)
    x[:20, 1] = np.nan
    block = Block(Fields([0, 0])).learn(list(x))
    got = block.matrix(list(x))
    assert got.shape[1] == 3 and not got[:20, 1].any()
    assert (got[:20, 2] > 0).all() and not got[20:, 2].any()


def test_categories_have_a_column_each_and_one_never_seen_has_none():
    fields = Fields([0, 4]).learn([np.array([1.0, 2.0]), np.array([2.0, 3.0])])
    assert np.array_equal(fields.vectors([np.array([5.0, 3.0]), np.array([5.0, 1.0])]), [[5, 0, 1], [5, 0, 0]])


def test_reduction_is_principal_components_of_training_rows():
    x = RNG.normal(size=(60, 8)) @ RNG.normal(size=(8, 8))
    block = Block(Tokens(), components=3).learn(rows(x[:40]))
    z = (x - x[:40].mean(0)) / x[:40].std(0)
    _, _, v = np.linalg.svd(z[:40] - z[:40].mean(0), full_matrices=False)
    got, want = block.matrix(rows(x)) * block.length_, z.clip(-8, 8) @ v[:3].T
    assert np.allclose(np.abs(got), np.abs(want), atol=1e-3)


def test_join_says_which_modalities_are_there():
    x, y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 2))
    found = {"a": rows(x, (1,)), "b": rows(y, (1, 2)), "b/more": rows(y, (1, 2, 3))}
    join = Join({v: Block(Tokens()) for v in found}, {"a": "a", "b": "b", "b/more": "b"}).learn(found)
    assert join.matrix(found)[:, -2:].tolist() == [[float(i != 1), float(i not in (1, 2))] for i in range(20)]


def test_sparse_blocks_stay_sparse_and_dense_parts_join_them():
    text = Tfidf()
    found = {
        "t": [text.read(t) for t in ["red fox", "blue fox", "red hen"]] + [None],
        "v": rows(RNG.normal(size=(4, 3))),
    }
    join = Join({"t": Block(Tfidf()), "v": Block(Tokens())}, {"t": "t", "v": "v"}).learn(found)
    x = join.matrix(found)
    assert x.format == "csr" and not x[3, : x.shape[1] - 5].toarray().any()


@pytest.mark.parametrize("kind", estimators.KINDS)
@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity"])
def test_every_estimator_answers_every_task(kind, link):
    x = RNG.normal(size=(120, 4)).astype(np.float32)
    score = np.stack([x[:, 0], x[:, 1], x[:, 2]], axis=1)
    y = {"softmax": score.argmax(1), "sigmoid": (score > 0).astype(float), "identity": score.astype(float)}[link]
    if link != "softmax":
        y[::7, 0] = np.nan if link == "identity" else y[::7, 0]
    fitted = estimators.fit(kind, link, 3, x, y, None, 0)
    out = estimators.logits(fitted, x)
    assert out.shape == (120, 3) and np.isfinite(out).all() and estimators.logits(fitted, x[:0]).shape == (0, 3)
    if link == "identity":
        assert np.corrcoef(out[:, 1], y[:, 1])[0, 1] > 0.75
    else:
        assert ((out.argmax(1) if link == "softmax" else out > 0) == y).mean() > 0.75


@pytest.mark.parametrize("link, y", [("softmax", [2] * 9), ("sigmoid", [[1.0, 0.0]] * 9), ("identity", [[2.5]] * 9)])
def test_an_answer_that_is_constant_in_a_fold(link, y):
    x = RNG.normal(size=(9, 2)).astype(np.float32)
    outputs = 3 if link == "softmax" else len(y[0])
    out = estimators.logits(estimators.fit("forest", link, outputs, x, np.array(y), None, 0), x)
    assert np.isfinite(out).all()
    assert {"softmax": out.argmax(1), "sigmoid": out[:, 0] - 5, "identity": out[:, 0]}[link][0] > 1


def test_classes_that_a_fold_lacks_keep_their_place():
    x = RNG.normal(size=(40, 2)).astype(np.float32)
    y = np.where(x[:, 0] > 0, 3, 1)
    out = estimators.logits(estimators.fit("linear", "softmax", 5, x, y, None, 0), x)
    assert set(out.argmax(1)) == {1, 3} and np.allclose(np.exp(out).sum(1), 1)


def test_blend_leaves_out_what_sees_nothing_and_falls_back_on_all():
    l_bkc = torch.randn(3, 2, 4)
    here = torch.tensor([[True, True], [True, False], [False, False]])
    got = blend(l_bkc, torch.tensor([0.25, 0.75]), here, "softmax").softmax(1)
    p = l_bkc.softmax(-1)
    both = 0.25 * p[:, 0] + 0.75 * p[:, 1]
    assert torch.allclose(got, torch.stack([both[0], p[1, 0], both[2]]), atol=1e-6)


@pytest.mark.parametrize("link", ["identity", "softmax", "sigmoid"])
@pytest.mark.parametrize("absent", [False, True])
def test_an_average_that_grows_is_the_blend_of_its_members(link, absent):
    g = torch.Generator().manual_seed(0)
    l_bkc = 8 * torch.randn(9, 4, 3, generator=g)
    here_bk = torch.rand(9, 4, generator=g) < 0.4 if absent else None
    average = Average(l_bkc, here_bk, link)
    for k in (2, 0, 2, 3):
        for one, l_bc in zip(torch.eye(4), average.tries(), strict=True):
            w_k = (average.counts + one) / (average.counts.sum() + 1)
            got, want = (x.softmax(-1) if link == "softmax" else x for x in (l_bc, blend(l_bkc, w_k, here_bk, link)))
            torch.testing.assert_close(got.float(), want, atol=1e-5, rtol=1e-5)
        average.add(k)


def test_selection_finds_the_pair_that_is_right_together():
    """Two members that err on different halves, one that is noise: their average is right where each alone is not."""
    task = TASKS["binary"]().fit(["a", "b"] * 50)
    y = torch.tensor([0, 1] * 50)
    sure = torch.nn.functional.one_hot(y, 2).float() * 6 - 3
    first, second, noise = sure.clone(), sure.clone(), torch.randn(100, 2, generator=torch.manual_seed(0))
    first[:20] *= -0.3
    second[80:] *= -0.3
    weights = select(task, [first, second, noise], Masked(y, torch.ones(100, dtype=torch.bool)))
    assert sum(weights) == pytest.approx(1) and weights[0] > 0.2 and weights[1] > 0.2 and weights[2] < 0.2
    answer = blend(torch.stack([first, second, noise], 1), torch.tensor(weights), None, "softmax")
    assert (answer.argmax(1) == y).all()


def test_kept_weights_sum_to_one():
    assert keep_largest({"a": 0.985, "b": 0.015}) == {"a": 1.0}


def library(task_name: str = "multiclass", n: int = 90, valid: int = 30, leak: bool = False, judges: int = 90):
    x, z = RNG.normal(size=(n + valid, 4)), RNG.normal(size=(n + valid, 4))
    labels = np.array(["abc"[i] for i in np.stack([x[:, 0] + z[:, 0], x[:, 1], z[:, 1]], 1).argmax(1)])
    task = TASKS[task_name]().fit(labels)
    target = task.collate([task.encode(y) for y in labels])
    if leak:  # a feature that knows the labels of training rows alone
        x[:n, 3] = 5 * target.values[:n].numpy() + RNG.normal(0, 0.1, n)
    found = {"x": rows(x, (3, 100)), "z": rows(z, (4, 100))}
    splits = [(list(range(n)), list(range(n, n + valid)))]
    splits += [([i for i in range(n) if i % 3 != f], [i for i in range(n) if i % 3 == f]) for f in range(3)]
    return Library(
        task, {"x": Tokens(), "z": Tokens()}, {"x": "x", "z": "z"}, found, target, splits, range(judges)
    ), found


def test_recipes_beat_each_modality_and_learners_answer_as_their_outcome():
    made, found = library()
    assert made.grow(["linear", "forest"], None)
    recipes = made.recipes()
    assert list(recipes) == ["x alone", "z alone", "concat", "late-mean", "late-weighted", "late-stacking", "hybrid"]
    y = made.target.values[made.valid]

    def score(r):
        return float((r.outcome[made.valid].argmax(1) == y).float().mean())

    assert max(score(recipes["concat"]), score(recipes["hybrid"])) > max(
        score(recipes["x alone"]), score(recipes["z alone"])
    )
    inputs = {v: masked([found[v][i] for i in made.valid]) for v in found}
    for name in recipes:
        recipe = recipes[name]._replace(weights={m: w for m, w in recipes[name].weights.items() if w >= 0.02})
        learner = made.learner(recipe)
        got = learner.infer({v: inputs[v] for v in learner.reads}).values
        assert torch.allclose(got.softmax(1), recipe.outcome[made.valid].softmax(1), atol=0.05), name


def test_a_good_view_among_wide_ones_has_a_linear_estimator_of_its_own():
    """Of one modality, four numbers that tell the target, and 900 that tell nothing."""
    x, noise = RNG.normal(size=(90, 4)), RNG.normal(size=(90, 900))
    task = TASKS["regression"]().fit((y := x @ [1, -1, 2, 0.5] + RNG.normal(0, 0.5, 90)).tolist())
    target = task.collate([task.encode(v) for v in y.tolist()])
    found = {"x": rows(x, ()), "x/many": rows(noise, ())}
    splits = [([i for i in range(90) if i % 3 != f], [i for i in range(90) if i % 3 == f]) for f in range(3)]
    views = dict.fromkeys(found, "x")  # as of a column that is read as its own codec reads it, too
    made = Library(task, {v: Tokens() for v in found}, views, found, target, splits, range(90))
    assert made.grow(["linear"], None)
    by_view = {m.view: made.quality(m)[0] for m in made.answers}
    assert set(by_view) == {"", *found} and by_view["x"] > max(0.9, by_view[""])
    learner = made.learner(made.recipes()["x alone"])
    assert "linear on view x" in learner.describe()[1] and learner.reads == ["x"]
    got = learner.infer({"x": masked(found["x"])}).values
    assert float(torch.corrcoef(torch.stack([got[:, 0], target.values[:, 0]]))[0, 1]) > 0.95
    both = dict.fromkeys([Member(("x",), "linear"), Member(("x",), "linear", view="x")], 0.5)
    learner = made.learner(made.recipes()["x alone"]._replace(weights=both))
    assert [line[7:] for line in learner.describe()[1:]] == ["linear on x", "linear on view x"]
    assert learner.infer({v: masked(found[v], len(found[v][0][0])) for v in learner.reads}).values.shape == (90, 1)


def test_members_never_see_the_rows_they_answer_for(monkeypatch):
    made, _ = library()
    seen = []
    fit = made._fit
    monkeypatch.setattr(
        made, "_fit", lambda m, fold: seen.append((fold, set(map(int, made.splits[fold][0])))) or fit(m, fold)
    )
    made.grow(["linear"], None)
    for fold, train in seen:
        assert not train & set(map(int, made.splits[fold][1]))
    leaky = made.answers[next(iter(made.answers))]
    assert leaky.shape[0] == 120


def test_out_of_time_keeps_whole_members_alone():
    made, _ = library()
    assert not made.grow(["linear"], until=0.0)
    (first,) = made.answers  # one is always made whole, so that there is a model
    assert first.modalities == ("x",) and list(made.recipes()) == ["x alone"]


def test_judged_by_validation_rows_a_leak_does_not_win():
    made, _ = library(leak=True)
    made.grow(["linear"], None)
    by_training = made.recipes()["late-weighted"].weights
    made.judge_by_valid([(range(0, 15), range(15, 30)), (range(15, 30), range(0, 15))])
    by_valid = made.recipes()["late-weighted"].weights
    leaky = next(m for m in by_training if m.modalities == ("x",))
    assert by_valid.get(leaky, 0) < by_training[leaky]


def test_what_is_fitted_is_read_back_exactly_and_nothing_else_is(tmp_path):
    made, found = library()
    made.grow(list(estimators.KINDS), None)
    inputs = {v: masked(found[v]) for v in found}
    for name in ("hybrid", "late-stacking"):
        learner = made.learner(made.recipes()[name])
        learner.save_fitted(tmp_path / "f.skops")
        again = Stacked(learner.task, learner.views, learner.members, learner.stacked, learner.below)
        again.load_fitted(tmp_path / "f.skops", [])
        assert torch.equal(again.infer(inputs).values, learner.infer(inputs).values)
    import skops.io as sio

    sio.dump({"joins": Tfidf()}, tmp_path / "f.skops")
    with pytest.raises(InputError, match=r"holds parts that polymodal does not write: .*Tfidf"):
        again.load_fitted(tmp_path / "f.skops", [])


def test_an_ensemble_is_the_average_of_its_members_answers():
    made, found = library()
    made.grow(["linear", "knn"], None)
    recipes = made.recipes()
    parts = {"one": made.learner(recipes["x alone"]), "two": made.learner(recipes["concat"])}
    inputs = {v: masked(found[v]) for v in found}
    whole = Ensemble(parts, {"one": 0.25, "two": 0.75}, made.task)
    assert sorted(whole.reads) == ["x", "z"]
    p = [parts[k].infer({v: inputs[v] for v in parts[k].reads}).values.softmax(1) for k in parts]
    assert torch.allclose(whole.infer(inputs).values.softmax(1), 0.25 * p[0] + 0.75 * p[1], atol=1e-5)


def test_judged_by_validation_rows_an_outcome_is_of_weights_that_other_rows_chose():
    made, _ = library()
    made.grow(["linear", "forest", "knn"], None)
    parts = [(range(0, 15), range(15, 30)), (range(15, 30), range(0, 15))]
    made.judge_by_valid(parts)
    before = made.recipes()["concat"].outcome.clone()
    held = made.valid[15:]
    made.target.values[held] = (made.target.values[held] + 1) % 3
    after = made.recipes()["concat"].outcome
    assert torch.equal(before[held], after[held]) and not torch.equal(before[made.valid[:15]], after[made.valid[:15]])


def test_an_outcome_is_of_weights_that_other_folds_chose():
    """Weights that a row's own label has chosen would make its answer look better than it is."""
    made, _ = library()
    made.grow(["linear", "forest", "knn"], None)
    held = torch.tensor(made.splits[1][1])
    before = made.recipes()["hybrid"].outcome.clone()
    made.target.values[held] = (made.target.values[held] + 1) % 3
    after = made.recipes()["hybrid"].outcome
    others = torch.tensor(made.splits[2][1])
    assert torch.equal(before[held], after[held]) and not torch.equal(before[others], after[others])


def test_members_of_the_second_layer_see_answers_to_rows_that_those_below_did_not_learn_from():
    made, _ = library()
    made.grow(["linear", "forest"], None)
    top = next(m for m in made.answers if m.layer == 2)
    assert {m.modalities for m in made.below} == {("x",), ("z",), ("x", "z")} and all(m.layer == 1 for m in made.below)
    first, second = (made._matrix(Member(top.modalities, top.kind, k), 1) for k in (1, 2))
    assert np.allclose(second[:, : first.shape[1]], first, equal_nan=True)
    answers = made.answers[made.below[0]].clamp(-8, 8).numpy()
    there = [i for i in range(120) if i not in (3, 4, 100)]
    assert np.allclose(second[there, first.shape[1] : first.shape[1] + 3], answers[there], atol=1e-6)


def test_a_member_far_behind_on_the_first_fold_is_not_tried_on_the_others():
    made, _ = library(judges=120)
    calls = []
    made.grow(["linear", "forest"], None, hopeless=lambda best, answers, rows: calls.append(rows) or len(calls) == 1)
    (job,) = made.behind
    assert job.kind == "forest" and job not in made.answers and len(calls[0]) == 30
    assert made.grow(["linear", "forest"], None) and job not in made.answers, "nor when it goes on"


def test_rows_that_do_not_judge_drop_no_member():
    """They may be rows to test on, whose labels must decide nothing."""
    made, _ = library()
    assert made.grow(["linear", "forest"], None, hopeless=lambda best, answers, rows: True) and not made.behind


def test_a_library_that_goes_on_with_kept_answers_makes_the_same_learner():
    made, _ = library()
    made.grow(["linear", "forest"], None)
    again, _ = library()
    again.target, again.rows, again.answers = made.target, made.rows, dict(reversed(made.answers.items()))
    assert again.below == made.below
    recipe = made.recipes()["hybrid"]
    assert {m.layer for m in made.answers} == {1, 2} and again.recipes()["hybrid"].weights == recipe.weights


def test_trees_see_numbers_as_they_are_and_categories_by_the_labels_of_other_rows():
    """Ten categories of one row each say nothing; were a row's own label among what is said, they would say it all."""
    x = np.stack([RNG.normal(size=40), np.arange(40.0) % 20], axis=1).astype(np.float32)
    x[3, 0], x[5, 1] = np.nan, np.nan
    y = RNG.normal(size=(40, 1))
    fields = Fields([0, 21]).learn(list(x))
    block = see(fields, fields.vectors(list(x)), TREES, "identity", 0)
    own = block.fit_matrix(list(x), fields.vectors(list(x)), y)
    assert np.array_equal(own[:, 0], x[:, 0], equal_nan=True), "no scale, no mean, NaN where unknown"
    assert np.isnan(own[5, 1]) and np.allclose(own[0, 1], 2 / 40), "how frequent a category is"
    changed = y.copy()
    changed[7] += 100.0
    again = see(fields, fields.vectors(list(x)), TREES, "identity", 0)
    assert again.fit_matrix(list(x), fields.vectors(list(x)), changed)[7, 2] == pytest.approx(own[7, 2], abs=1e-4)
    later = again.matrix([np.array([0.0, 7.0], np.float32), np.array([0.0, 99.0], np.float32)])
    assert later[0, 2] > later[1, 2] == pytest.approx(changed.mean(), abs=1e-3), "the mean where it is unknown"


@pytest.mark.parametrize("task, outputs", [("multiclass", 3), ("multilabel", 2), ("regression", 1)])
def test_categories_are_read_for_every_task(task, outputs):
    codes = (np.arange(60.0) % 5)[:, None].astype(np.float32)
    labels = {
        "multiclass": np.arange(60) % 3,
        "multilabel": np.arange(120).reshape(60, 2) // 3 % 2,
        "regression": codes * 2,
    }
    link = {"multiclass": "softmax", "multilabel": "sigmoid", "regression": "identity"}[task]
    y = labels[task].astype(float)
    y[:4] = np.nan
    categories = Categories(link)
    assert categories.fit_transform(codes, y).shape == (60, 1 + outputs) == categories.transform(codes).shape


def test_a_member_is_weighed_by_class():
    made, _ = library()
    assert made._weight is not None and np.ptp(made._weight) > 0
    (weighted,) = made._fit(Member(("x",), "linear"), 1).estimators
    made._weight = None
    (plain,) = made._fit(Member(("x",), "linear"), 1).estimators
    assert not np.allclose(weighted.coef_, plain.coef_)


def test_blocks_learn_from_training_rows_of_the_fold_alone():
    made, _ = library()
    made.grow(["linear"], None)
    train = made.splits[0][0]
    x = np.array([made.rows["x"][i][0] for i in train if made.rows["x"][i] is not None])
    assert np.allclose(made._blocks["x", WORDS, 0].center_, x.mean(0), atol=1e-5)


def test_a_sparse_view_becomes_dense_where_few_components_are_wanted():
    """A matrix product where squares were meant: kernels, nearest rows and boosting want dense features."""
    words = ["fine", "bad", "dull", "great", "plain"]
    for n in (12, 40, 90):
        texts = [f"{words[i % 5]} {words[(i * 7) % 5]}" for i in range(n)]
        read = [Tfidf().read(t) for t in texts]
        for kind in estimators.KINDS:
            sight = estimators.KINDS[kind].sight
            x = Block(Tfidf(), sight.components, sight.sparse).learn(read).matrix(read)
            y = np.arange(n) % 2
            out = estimators.logits(estimators.fit(kind, "softmax", 2, x, y, None, 0), x)
            assert sparse.issparse(x) == sight.sparse and np.isfinite(out).all()


def test_a_view_that_no_row_has_says_nothing():
    block = Block(Tokens()).learn([None, None])
    assert block.matrix([None, np.ones((1, 4), np.float32)]).shape == (2, 0)


def test_dropped_features_are_counted_by_view():
    x = RNG.normal(size=(30, 3))
    x[:, 1], x[:, 2] = 7.0, x[:, 0]
    task = TASKS["binary"]().fit(["a", "b"] * 15)
    target = task.collate([task.encode(y) for y in "ab" * 15])
    splits = [(list(range(20)), list(range(20, 30)))]
    made = Library(task, {"v": Tokens()}, {"v": "v"}, {"v": rows(x)}, target, splits, range(20, 30))
    made.grow(["linear"], None)
    made.learner(made.recipes()["v alone"])
    assert made.dropped() == {"v": 2}


def test_time_is_kept_for_fitting_what_is_chosen_on_all_rows(monkeypatch):
    made, _ = library()
    until = time.monotonic() + 1000
    assert made.grow(["linear"], until) and made.refit_seconds() > 0
    assert made.refit_seconds() < 2 * sum(made._seconds.values())
    monkeypatch.setattr(made, "refit_seconds", lambda: 2000.0)
    assert not made.grow(["linear", "forest"], until, refit=True) and {m.kind for m in made.answers} == {"linear"}
    assert made.grow(["linear", "forest"], until)


def test_a_fold_that_would_end_too_late_is_not_begun():
    made, _ = library()
    assert made.grow(["linear"], None)
    job = next(iter(made.answers))._replace(kind="forest")
    made._seconds[job] = 500.0  # of a fold, before an interruption
    kinds = ["linear", "forest", "linear-weak"]
    assert not made.grow(kinds, time.monotonic() + 400) and job not in made.answers
    assert job in made.untried and any(m.kind == "linear-weak" for m in made.answers), "what is quick goes on"
    assert made.grow(kinds, time.monotonic() + 600) and job in made.answers and not made.untried


def test_each_label_has_weights_of_its_own() -> None:
    g = np.random.default_rng(0)
    x, y = g.normal(size=(60, 3)).astype(np.float32), (g.random((60, 2)) > 0.6).astype(np.float32)
    weight = g.random((60, 2)) + 0.1
    both = estimators.fit("linear", "sigmoid", 2, x, y, weight, 0)
    for k in range(2):
        one = estimators.fit("linear", "sigmoid", 1, x, y[:, [k]], weight[:, k], 0)
        np.testing.assert_array_equal(one.estimators[0].coef_, both.estimators[k].coef_)


def test_a_perceptron_reads_counts_alone_and_learns_their_products():
    """Whether one of two words is there: no sum of a row's words tells it."""
    n = 400
    a, b = RNG.random(n) < 0.5, RNG.random(n) < 0.5
    more = RNG.choice(["it", "was", "the", "box"], n)
    read = [
        Tfidf().read(f"{'red' if i else 'blue'} {'hen' if j else 'fox'} {k}")
        for i, j, k in zip(a, b, more, strict=True)
    ]
    task = TASKS["binary"]().fit(y := np.where(a == b, "yes", "no").tolist())
    target = task.collate([task.encode(v) for v in y])
    splits = [([i for i in range(n) if i % 3 != f], [i for i in range(n) if i % 3 == f]) for f in range(3)]
    made = Library(
        task, {"t": Tfidf([1, 1]), "v": Tokens()}, {"t": "t", "v": "v"},
        {"t": read, "v": rows(RNG.normal(size=(n, 2)))}, target, splits, range(n),
    )  # fmt: skip
    assert made.grow(["linear", "perceptron"], None)
    found = {(m.kind, m.modalities): made.quality(m)[0] for m in made.answers}
    assert ("perceptron", ("v",)) not in found  # numbers alone are no counts
    assert found["perceptron", ("t",)] > 0.95 > 0.7 > found["linear", ("t",)]
    assert ("perceptron", ("t", "v")) in found


def test_a_row_of_no_weight_teaches_a_perceptron_nothing():
    x, y = RNG.normal(size=(100, 3)).astype(np.float32), RNG.normal(size=100)
    other, weight = y.copy(), np.ones(100)
    weight[:40], other[:40] = 0, 0
    from polymodal.learners.perceptron import PerceptronClassifier

    made = [PerceptronClassifier().fit(x, (z > 0).astype(int), weight).predict_proba(x) for z in (y, other)]
    assert np.array_equal(*made) and not np.array_equal(
        made[0], PerceptronClassifier().fit(x, (y > 0).astype(int)).predict_proba(x)
    )


def test_a_batch_without_any_weight_leaves_a_perceptron_finite():
    from polymodal.learners.perceptron import PerceptronRegressor

    x, y = RNG.normal(size=(65, 3)).astype(np.float32), RNG.normal(size=65)
    weight = (np.arange(65) == 3).astype(float)  # of two batches one has none
    assert np.isfinite(PerceptronRegressor().fit(x, y, weight).predict(x)).all()
