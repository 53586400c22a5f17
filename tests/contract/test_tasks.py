"""Every task of the table under every law, and what each makes of cells."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cases import over
from polymodal.batch import Masked, Weighted
from polymodal.errors import InputError
from polymodal.output import Scores
from polymodal.spec import build, spec, table
from polymodal.tasks import TASKS, Binary, Generation, MultiClass, MultiLabel, Ordinal, Regression, Task

CASES: dict[str, tuple[Task, list[Any]]] = {
    "binary": (Binary(), ["no", "yes", "no", None, "yes", "no"] * 3),
    "binary of numbers": (Binary(balance=1.0), [0, 1, 1, 1, None, 1] * 3),
    "multiclass": (MultiClass(), ["10", "9", "2", "9", "", "10", "9"] * 3),
    "multiclass, unweighted": (MultiClass(balance=0.0), ["b", "a", "c", math.nan, "a"] * 4),
    "multilabel": (MultiLabel(), ["a|b", "b", "[]", None, "c|a", "b"] * 3),
    "multilabel of lists": (MultiLabel(balance=0.0), [["x"], ["x", "y"], [], None] * 4),
    "ordinal": (Ordinal(), ["1", "2", "10", None, "2", "3"] * 3),
    "ordinal in words": (
        Ordinal(["low", "mid", "high"], balance=0.5),
        ["low", "high", "mid", None, "low"] * 3,
    ),
    "regression": (Regression(), ["1.5", 2, None, 1e3, "-4", math.nan, 7] * 3),
    "regression, squared": (Regression(delta=math.inf), [1.0, 2.0, None, 5.0] * 4),
    "several": (
        Regression(["u", "v"]),
        [{"u": i, "v": None if i % 3 == 0 else i * i} for i in range(12)] + [None],
    ),
}
CLASSES = table(TASKS.values())


def fitted(case: str) -> tuple[Task, list[Any], Masked]:
    form, cells = CASES[case]
    task: Task = build(spec(type(form)(**{k: getattr(form, k) for k in spec(form)["args"]})), CLASSES).fit(cells)
    return task, cells, task.collate([task.encode(c) for c in cells])


def logits_of(task: Task, rows: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, task.outputs, generator=g, dtype=torch.float64)


EVERY = over("case", CASES)


def test_every_task_has_a_case() -> None:
    assert {type(t) for t, _ in CASES.values()} == set(TASKS.values()) - {Generation}  # see test_generate
    assert {name: cls.name for name, cls in TASKS.items()} == {name: name for name in TASKS}


@EVERY
def test_masks_say_which_labels_are_missing(case: str) -> None:
    task, cells, target = fitted(case)
    assert target.mask.shape == target.values.shape[: target.mask.ndim]
    assert target.present().tolist() == [task.encode(c) is not None for c in cells]
    assert task.encode(None) is None and task.encode(math.nan) is None
    empty = task.collate([None, None])
    assert not empty.mask.any() and empty.values.shape[1:] == target.values.shape[1:]


@EVERY
@over("value", [math.nan, math.inf, -1e30])
def test_masked_labels_never_matter(case: str, value: float) -> None:
    task, _, target = fitted(case)
    rows = len(target.mask)
    whole = torch.tensor(value if target.values.is_floating_point() else 10**9, dtype=target.values.dtype)
    mask = (
        target.mask
        if target.mask.ndim == target.values.ndim
        else target.mask.reshape(-1, *[1] * (target.values.ndim - 1))
    )
    poisoned = Masked(torch.where(mask, target.values, whole), target.mask)
    a, b = (logits_of(task, rows).requires_grad_() for _ in range(2))
    la, lb = task.loss(a, target), task.loss(b, poisoned)
    la.backward()
    lb.backward()
    assert torch.equal(la, lb) and la.shape == () and la.isfinite() and la > 0
    assert a.grad is not None and b.grad is not None and torch.equal(a.grad, b.grad)
    if target.mask.ndim == 1:
        assert (a.grad[~target.mask] == 0).all() and (a.grad[target.mask].abs().sum(1) > 0).all()
    w = np.ones((2, rows))
    sa, sb = task.scores(Scores(a), target, w), task.scores(Scores(b), poisoned, w)
    assert all(np.array_equal(sa[k], sb[k], equal_nan=True) for k in sa)


@EVERY
def test_no_label_gives_no_loss_and_no_gradient(case: str) -> None:
    task, _, target = fitted(case)
    x = logits_of(task, len(target.mask)).requires_grad_()
    loss = task.loss(x, target.hidden())
    loss.backward()
    assert loss.item() == 0 and x.grad is not None and (x.grad == 0).all()


@EVERY
def test_the_loss_is_a_mean_over_labelled_rows(case: str) -> None:
    task, _, target = fitted(case)
    x = logits_of(task, len(target.mask))
    twice = Masked(torch.cat([target.values] * 2), torch.cat([target.mask] * 2))
    torch.testing.assert_close(task.loss(torch.cat([x, x]), twice), task.loss(x, target))


@EVERY
def test_a_row_of_weight_two_is_two_rows_and_one_of_weight_zero_none(case: str) -> None:
    task, _, target = fitted(case)
    n = len(target.mask)
    x, weight = logits_of(task, n), torch.tensor([0.0, 1.0, 2.0, 1.0] * n)[:n]
    at = torch.repeat_interleave(torch.arange(n), weight.long())
    given, twice = Weighted(*target, weight), target.take(at)
    cells = target.mask.sum() / twice.mask.sum()
    torch.testing.assert_close(task.loss(x, given), task.loss(x[at], twice) / cells, check_dtype=False)
    counts = np.random.default_rng(0).integers(1, 3, (3, n)).astype(float)
    for scores in (task.scores, lambda *a: {task.metric.name: task.score(*a)}):
        for name, value in scores(Scores(x), given, counts).items():
            want = scores(Scores(x[at]), twice, counts[:, at.numpy()])[name]
            np.testing.assert_allclose(value, want, rtol=1e-6, err_msg=name)
    plain, own = task.row_weights(target), task.row_weights(given)
    assert own is not None and own == pytest.approx((weight.numpy().T * (1 if plain is None else plain.T)).T)


@EVERY
def test_gradcheck(case: str) -> None:
    task, _, target = fitted(case)
    x = logits_of(task, len(target.mask)).requires_grad_()
    exact = Masked(target.values.double() if target.values.is_floating_point() else target.values, target.mask)
    assert torch.autograd.gradcheck(lambda v: task.loss(v, exact), [x])


@EVERY
def test_the_loss_leads_to_the_labels(case: str) -> None:
    """Logits that minimise the loss decode to the cells, and their scores are perfect."""
    task, cells, target = fitted(case)
    rows = len(target.mask)
    x = torch.zeros(rows, task.outputs, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([x], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = task.loss(x, target)
        loss.backward()
        return loss

    before = closure().item()
    optimizer.step(closure)
    assert closure().item() < 0.05 * before
    told = task.decode(Scores(x.detach()))
    assert all(len(column) == rows for column in told.values())
    for i, cell in enumerate(cells):
        if not target.present()[i]:
            continue
        if isinstance(task, Regression):
            want = [cell] if task.columns is None else [cell[c] for c in task.columns]
            got = [column[i] for column in told.values()]
            assert all(
                w is None or abs(g - float(w)) < 1e-2 * max(1, abs(float(w))) for g, w in zip(got, want, strict=True)
            )
        else:
            again = task.encode(told["prediction"][i])
            assert again is not None and torch.equal(again, target.values[i])
    scores = task.scores(Scores(x.detach()), target, np.ones((1, rows)))
    best = {"mae": 0.0, "rmse": 0.0, "log_loss": 0.0, "hamming_loss": 0.0}
    for name, value in scores.items():
        assert value[0] == pytest.approx(best.get(name.split("[")[0], 1.0), abs=0.02), name
    assert task.metric.name in scores
    assert task.metric.higher == (task.metric.name not in best)


@EVERY
def test_a_metric_that_is_asked_for_is_the_one_of_models(case: str) -> None:
    task, _, target = fitted(case)
    x = Scores(logits_of(task, len(target.mask)).float())
    counts = np.random.default_rng(0).integers(1, 3, (3, len(target.mask))).astype(float)
    every = task.scores(x, target, counts)
    assert sorted(task.measures) == sorted(every) and task.measure is None
    perfect = task.scores(Scores(best_logits(task, target)), target, counts)
    for name in task.measures:
        other = build(json.loads(json.dumps(spec(task.by(name)))), CLASSES)
        assert other.metric.name == name and other.metric.higher == bool(perfect[name][0] > every[name][0])
        np.testing.assert_allclose(other.score(x, target, counts), every[name], rtol=1e-5, err_msg=name)
    assert task.measure is None, "the task itself stays as it was"


def best_logits(task: Task, target: Masked) -> torch.Tensor:
    """Logits that say what is true."""
    y = torch.as_tensor(task.answers(target)).nan_to_num()
    if task.link == "softmax":
        return 20.0 * torch.nn.functional.one_hot(y.long(), task.outputs)
    return y.float() if task.link == "identity" else 40.0 * (y.float() - 0.5)


def test_a_metric_of_another_task_is_refused() -> None:
    with pytest.raises(InputError, match=r"binary has no metric 'auc'; did you mean 'roc_auc'\? It is one of accuracy"):
        Binary().by("auc")
    with pytest.raises(InputError, match="binary has no metric 3; it is one of accuracy"):
        Binary().by(3)
    with pytest.raises(InputError, match="regression has no metric 'accuracy'; it is one of mae, rmse, r2"):
        Regression().by("accuracy")


@EVERY
def test_spec_makes_the_same_task(case: str) -> None:
    task, cells, target = fitted(case)
    form = json.loads(json.dumps(spec(task)))
    again = build(form, CLASSES)
    x = logits_of(task, len(target.mask))
    assert again.outputs == task.outputs and again.metric == task.metric and spec(again) == form
    assert again.decode(Scores(x)) == task.decode(Scores(x)) and torch.equal(
        again.loss(x, target), task.loss(x, target)
    )
    same = again.collate([again.encode(c) for c in cells])
    assert torch.equal(same.values, target.values) and torch.equal(same.mask, target.mask)


@EVERY
def test_probabilities_are_probabilities(case: str) -> None:
    task, _, _ = fitted(case)
    told = task.decode(Scores(logits_of(task, 9) * 4))
    each = np.array([v for k, v in told.items() if k.startswith("probability[")])
    if isinstance(task, Regression):
        assert not len(each)
        return
    assert (each >= 0).all() and (each <= 1).all()
    if not isinstance(task, MultiLabel):
        np.testing.assert_allclose(each.sum(0), 1)
        labels = [k[len("probability[") : -1] for k in told if k.startswith("probability[")]
        at = [labels.index(str(x)) for x in told["prediction"]]
        assert [each[c, i] for i, c in enumerate(at)] == told["probability"]
        if not isinstance(task, Ordinal):
            assert at == each.argmax(0).tolist()


@EVERY
def test_refitting_forgets(case: str) -> None:
    task, cells, _ = fitted(case)
    once = task.encode(cells[1])
    assert torch.equal(task.fit(cells).encode(cells[1]), once)  # type: ignore[arg-type]
    if isinstance(task, Binary):
        assert task.fit(["p", "q"]).encode("q") == 1


# ---- labels and cells


def test_labels_keep_their_type_and_are_sorted_as_numbers_where_they_are_numbers() -> None:
    assert MultiClass().fit(["10", "9", "2"]).labels_ == ["2", "9", "10"]
    assert MultiClass().fit([10, 9.5, 2]).labels_ == [2, 9.5, 10]
    assert MultiClass().fit(["10", "9", "x"]).labels_ == ["10", "9", "x"]
    assert Binary().fit([True, False, True]).labels_ == [False, True]
    assert Binary().fit(np.array([1, 0])).labels_ == [0, 1]
    assert Binary().fit(pd.Series(["a", None, "b"], dtype="string")).counts_ == [1, 1]
    assert MultiClass().fit([" a ", "a", "b"]).labels_ == ["a", "b"]


def test_a_label_is_known_however_the_table_was_read() -> None:
    text, numbers = MultiClass().fit(["3", "4", "5"]), MultiClass().fit([3, 4, 5])
    for cell in ("3", 3, 3.0, np.int64(3), np.float32(3)):
        assert text.encode(cell) == 0 and numbers.encode(cell) == 0


@over("case", [c for c in CASES if not c.startswith(("regression", "several"))])
def test_an_unseen_label_is_named(case: str) -> None:
    task, _, _ = fitted(case)
    with pytest.raises(InputError, match=r"label 'purple' was never seen in training; the known ones are "):
        task.encode("purple")


@over("task", [Binary(), MultiClass(), MultiLabel(), Ordinal(), Regression()])
def test_nothing_to_learn_from(task: Task) -> None:
    for cells in ([], [None, math.nan, ""]):
        with pytest.raises(InputError, match=r"no row has a label.*name another target column"):
            task.fit(cells)
    with pytest.raises(InputError, match=r"constant.* in all 3 labelled rows|constant: all 3 labelled rows have '7'"):
        task.fit(["7", "7", None, "7"])


def test_other_errors_of_classes() -> None:
    with pytest.raises(
        InputError,
        match="binary task has two labels, but there are 3: 'a', 'b', 'c'; use the task multiclass",
    ):
        Binary().fit("abc")
    with pytest.raises(InputError, match=r"\['a'\] can't be a class.*multilabel"):
        MultiClass().fit([["a"], "b"])
    with pytest.raises(InputError, match="not numbers, so their order is not known"):
        Ordinal().fit(["low", "high"])
    with pytest.raises(InputError, match="'huge' are not in the order given: 'low', 'high'"):
        Ordinal(["low", "high"]).fit(["low", "high", "huge"])
    with pytest.raises(InputError, match="looks like a JSON list but is none"):
        MultiLabel().fit(["[a, b]", "[]"])


def test_label_sets_are_read_from_lists_json_and_separators() -> None:
    for cells in (
        [["b", "a"], ["b"], []],
        ['["b", "a"]', '["b"]', "[]"],
        ["b|a", "b", "[]"],
        ["b; a", "b", "[]"],
        ["b,a", "b", "[]"],
    ):
        task = MultiLabel().fit(cells)
        assert task.labels_ == ["a", "b"] and task.counts_ == [1, 2]
        assert [task.encode(c).tolist() for c in cells] == [[1, 1], [0, 1], [0, 0]]  # type: ignore[union-attr]
    kept = MultiLabel(separator="/").fit(["x,1/y", "y", "x,1"])
    assert kept.labels_ == ["x,1", "y"]
    assert MultiLabel().fit(["x,1|y", "y", "x,1"]).labels_ == ["x,1", "y"]  # the strongest separator alone


def test_a_level_that_no_row_has_keeps_its_place() -> None:
    task = Ordinal(["a", "b", "c"], balance=1.0).fit(["a", "c", "c"])
    assert task.counts_ == [1, 0, 2] and task.encode("b") == 1
    target = task.collate([task.encode("b"), task.encode("a")])
    assert task.loss(torch.zeros(2, 2), target).isfinite()


def test_the_median_class_and_monotone_probabilities() -> None:
    task = Ordinal().fit([1, 2, 3, 4])
    logits = torch.tensor([[3.0, -1.0, 2.0]])  # says more than 3, but not more than 2
    told = task.decode(Scores(logits))
    assert told["prediction"] == [2]
    assert [told[f"probability[{i}]"][0] for i in (1, 2, 3, 4)] == pytest.approx(
        [1 - 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-3)) - 1 / (1 + math.e), 0, 1 / (1 + math.e)]
    )


@over("balance", [0.0, 0.5, 1.0])
def test_balance(balance: float) -> None:
    """Weights n ** -balance with mean 1 over the training rows."""
    task = MultiClass(balance).fit(["a"] * 8 + ["b"] * 2)
    target = task.collate([task.encode(c) for c in ["a"] * 8 + ["b"] * 2])
    assert task.loss(torch.zeros(10, 2), target).item() == pytest.approx(math.log(2))
    a, b = (task.loss(torch.zeros(1, 2), target.take(torch.tensor([i]))).item() for i in (0, 9))
    assert b / a == pytest.approx(4**balance)


@over("of", [MultiClass, Ordinal, MultiLabel])
def test_labels_weigh_as_they_are_said_to(of: type[Task]) -> None:
    cells = ["1"] * 8 + ["2"] * 4
    task = of().weighing({2: 5.0}).fit(cells)
    target = task.collate([task.encode(c) for c in cells])
    weights = task.row_weights(target)
    assert weights is not None and weights.mean(0) == pytest.approx(1)
    if of is MultiLabel:  # by label, what a row that has it weighs beside one that has not
        assert weights[-1] / weights[0] == pytest.approx([1, 5])
    else:
        assert weights[-1] / weights[0] == pytest.approx(5)
        x = torch.zeros(1, task.outputs)
        a, b = (task.loss(x, target.take(torch.tensor([i]))).item() for i in (0, -1))
        assert b / a == pytest.approx(5)


def test_the_metric_of_skewed_classes_is_macro_f1() -> None:
    assert MultiClass().fit("aaabbc").metric == ("accuracy", True)
    assert MultiClass().fit("aaaabbc").metric == ("macro_f1", True)


def test_confusion_counts_labelled_rows_by_true_and_predicted() -> None:
    task = MultiClass().fit("abc")
    target = task.collate([task.encode(c) for c in ("a", "a", "c", None)])
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9], [0, 0, 9]])
    assert task.confusion(Scores(logits), target) == (["a", "b", "c"], [[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert (
        Regression().confusion(Scores(logits), target) is None
        and MultiLabel().confusion(Scores(logits), target) is None
    )


# ---- numbers


def test_numbers_are_read_and_standardised() -> None:
    task = Regression().fit([str(x) for x in range(101)])
    assert task.center_ == [50] and task.scale_ == [pytest.approx(50 / 1.349, rel=1e-3)]
    y = task.encode(" 5e1 ")
    assert y is not None and y.tolist() == [0]
    assert task.decode(Scores(torch.tensor([[1.0]])))["prediction"] == [pytest.approx(50 + 50 / 1.349, rel=1e-3)]


def test_large_numbers_keep_their_differences() -> None:
    cells = [1.7e9 + i for i in range(50)]
    task = Regression().fit(cells)
    target = task.collate([task.encode(c) for c in cells])
    assert task.scores(Scores(target.values), target, np.ones((1, 50)))["mae"][0] < 1e-4


def test_a_target_that_is_mostly_one_value_has_a_scale() -> None:
    assert Regression().fit([0] * 90 + [5] * 10).scale_ == [0.5]
    assert Regression().fit([0.0] * 9 + [1e300]).scale_[0] == 1e299


@over("cell", ["dear", "1,5", "inf", math.inf, -math.inf])
def test_a_cell_that_is_no_finite_number_is_named(cell: Any) -> None:
    for act in (lambda: Regression().fit([1, cell]), lambda: Regression().fit([1, 2]).encode(cell)):
        with pytest.raises(
            InputError, match=f"{cell!r} in the target is (no number|infinite); mend the cell or empty it"
        ):
            act()


def test_several_targets() -> None:
    task, _, target = fitted("several")
    assert target.values.shape == (13, 2) and target.mask.shape == (13, 2) and target.values.isfinite().all()
    assert target.mask[0].tolist() == [True, False] and target.mask[-1].tolist() == [False, False]
    assert list(task.decode(Scores(torch.zeros(1, 2)))) == ["prediction[u]", "prediction[v]"]
    scores = task.scores(Scores(logits_of(task, 13)), target, np.ones((1, 13)))
    assert scores["mae"][0] == pytest.approx((scores["mae[u]"][0] + scores["mae[v]"][0]) / 2)
    with pytest.raises(InputError, match="v is constant: 1 in all 2 labelled rows"):
        Regression(["u", "v"]).fit([{"u": 1, "v": 1}, {"u": 2, "v": 1}])
    with pytest.raises(InputError, match="3 is no mapping of u, v to numbers"):
        task.encode(3)


def test_strata() -> None:
    assert MultiClass().fit("ab").strata(["a", "b", "a"]) == ["a", "b", "a"]
    bins = Regression().strata([str(i) for i in range(100)])
    assert bins is not None and [bins.count(i) for i in range(5)] == [20] * 5
    assert Regression().strata([1, 2, 3]) is None and MultiLabel().strata(["a|b"]) is None
