"""What only some tasks can do, over every task of the table: each question is answered by those that say so, and refused
by all others, and the answers obey the same laws whatever the task."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
import torch

from cases import Test, over
from contract.test_tasks import CASES, fitted, logits_of
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.output import Output, Scores, Texts
from polymodal.tasks import TASKS, Generation, Task
from polymodal.tasks.base import Capability, Extreme
from polymodal.tasks.vocabulary import WordList

Question = Callable[[Task, torch.Tensor, Masked], Any]
QUESTIONS: dict[str, list[Question]] = {
    "calibrate": [
        lambda task, x, y: task.probabilities(x),
        lambda task, x, y: task.decisions(x, y),
        lambda task, x, y: task.log_loss(x, y),
        lambda task, x, y: task.brier(x, y),
    ],
    "abstain": [lambda task, x, y: task.confidence(x)],
    "conformal": [
        lambda task, x, y: task.nonconformity(x, y),
        lambda task, x, y: task.region(x, np.zeros(len(x))),
    ],
    "explain_parts": [
        lambda task, x, y: task.quantities,
        lambda task, x, y: task.values(x),
        lambda task, x, y: task.evidence(x, 0),
    ],
}
EVERY = over("case", [*CASES, "generate"])


def able(capability: str) -> Callable[[Test], Test]:
    """Every case whose task says that it can."""
    return over("case", [c for c, (task, _) in CASES.items() if capability in task.capabilities])


def labelled(case: str, scale: float = 2.0) -> tuple[Task, list[Any], torch.Tensor, Masked]:
    """A task, the cells that hold a label, logits (of texts: ids) and targets of as many rows."""
    if case == "generate":
        task, cells = Generation(WordList(min_count=1)), ["a dog", ["a cat", "one cat"], "a dog"]
        task.fit(cells)
        _, ids = task.captions(task.collate([task.encode(c) for c in cells]))
        return task, cells, ids.values[[0, 1, 3]], task.collate([task.encode(c) for c in cells])
    task, cells, target = fitted(case)
    here = target.present()
    target = target.take(here)
    known = [c for c, there in zip(cells, here.tolist(), strict=True) if there]
    return task, known, scale * logits_of(task, len(known)), target


def given(task: Task, x: torch.Tensor) -> Output:
    """What a learner would give: these logits, or a text of these ids a row."""
    if "decode" in task.capabilities:
        return Texts(x[:, None], torch.zeros(len(x), 1), task.vocabulary.end)  # type: ignore[attr-defined]
    return Scores(x)


@EVERY
def test_capabilities_are_true(case: str) -> None:
    """What a task says that it can do it does; all else it refuses, by name."""
    task, _, logits, target = labelled(case)
    assert task.capabilities <= {*get_args(Capability)}
    for capability, questions in QUESTIONS.items():
        for ask in questions:
            if capability in task.capabilities:
                assert ask(task, logits, target) is not None
                continue
            with pytest.raises(InputError, match=f"the task {task.name} (has no|is no)"):
                ask(task, logits, target)
    assert ("confusion" in task.capabilities) == (task.confusion(given(task, logits), target) is not None)
    assert ("residuals" in task.capabilities) == (task.link == "identity")
    assert ("decode" in task.capabilities) == (task.name == "generate")


def test_each_capability_is_one_of_some_task_and_not_of_all() -> None:
    of = {c: [name for name, cls in TASKS.items() if c in cls.capabilities] for c in get_args(Capability)}
    assert all(0 < len(names) < len(TASKS) for names in of.values()), of


# --- cells


@EVERY
def test_a_cell_has_labels_or_numbers(case: str) -> None:
    task, cells, _, _ = labelled(case)
    labels, numbers = [task.labels_of(c) for c in cells], [task.numbers_of(c) for c in cells]
    assert any(labels) == bool(task.labels_) and {len(n) for n in numbers} == {len(numbers[0])}
    assert bool(task.labels_) != bool(numbers[0])
    assert {x for found in labels for x in found} <= {str(x) for x in task.labels_}


@EVERY
def test_a_label_differs_from_another_and_not_from_itself(case: str) -> None:
    task, cells, _, _ = labelled(case)
    found = {i: [j for j in range(len(cells)) if task.differs(cells[j], cells[i])] for i in range(len(cells))}
    if task.columns is not None or "decode" in task.capabilities:
        assert not any(found.values())
        return
    assert all(i not in others for i, others in found.items()) and any(found.values())
    assert all(i in found[j] for i, others in found.items() for j in others), "it goes both ways"
    assert not task.differs(None, cells[0])


@EVERY
def test_weights_of_rows_have_mean_one_over_the_training_rows(case: str) -> None:
    task, cells, _, target = labelled(case)
    weights = task.row_weights(target)
    assert (weights is not None) == bool(task.labels_)
    if weights is not None:
        assert weights.shape == ((len(cells),) if "confusion" in task.capabilities else (len(cells), task.outputs))
        assert (weights > 0).all() and weights.mean(0) == pytest.approx(1)


@EVERY
def test_the_metric_alone_is_that_among_all_scores(case: str) -> None:
    task, _, logits, target = labelled(case)
    counts = np.random.default_rng(0).integers(1, 3, (5, len(target.mask))).astype(float)
    one = task.score(given(task, logits), target, counts)
    np.testing.assert_allclose(one, task.scores(given(task, logits), target, counts)[task.metric.name], atol=1e-6)


# --- certainty


@able("calibrate")
def test_probabilities_are_those_of_the_prediction_table(case: str) -> None:
    task, _, logits, _ = labelled(case)
    p = task.probabilities(logits)
    told = task.decode(given(task, logits))
    assert p.shape == (len(logits), len(task.labels_)) and (p >= 0).all() and (p <= 1).all()
    assert p.tolist() == np.stack([told[f"probability[{x}]"] for x in task.labels_], 1).tolist()
    if "confusion" in task.capabilities:
        np.testing.assert_allclose(p.sum(1), 1)
        assert task.confidence(logits).tolist() == told["probability"]


@able("calibrate")
def test_the_confidence_is_that_of_the_least_sure_decision(case: str) -> None:
    task, cells, logits, target = labelled(case)
    sure, right = task.decisions(logits, target)
    assert sure.shape == right.shape == (len(cells), sure.shape[1]) and right.dtype == bool
    assert (sure.min(1) == task.confidence(logits)).all() and (sure >= 0).all() and (sure <= 1).all()
    told = task.decode(given(task, logits))["prediction"]
    assert right.all(1).tolist() == [not task.differs(c, x) for c, x in zip(cells, told, strict=True)]


@able("calibrate")
def test_losses_fall_to_nothing_where_the_truth_is_sure_and_smoothing_keeps_them_up(case: str) -> None:
    task, _, _, target = labelled(case)
    true = torch.zeros(len(target.mask), task.outputs, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(task.loss(true, target), true)
    steps = [-s * slope.sign() * (slope != 0) for s in (1.0, 4.0, 30.0)]
    losses = [task.log_loss(x, target) for x in steps]
    assert losses[0] > losses[1] > losses[2] >= 0 and losses[2] < 1e-6
    briers = [task.brier(x, target) for x in steps]
    assert briers[0] > briers[1] > briers[2] >= 0 and briers[2] < 1e-6
    assert task.log_loss(steps[2], target, 0.1) > 0.5


# --- sets


@able("conformal")
def test_nothing_is_stranger_than_the_infinite_limit(case: str) -> None:
    task, cells, logits, target = labelled(case)
    truth = task.nonconformity(logits, target)
    assert truth.shape == (len(cells),) and not np.isnan(truth).any() and (truth < np.inf).all()
    every = task.region(logits, np.full(len(cells), np.inf))
    for name, column in every.columns().items():
        end = {"set": [*task.labels_], "low": -np.inf, "high": np.inf}[name.split("[")[0]]
        assert column == [end] * len(cells)
    assert set(every.sizes) == {len(task.labels_) or np.inf} and every.unit


@able("conformal")
def test_a_set_grows_with_its_limit_and_holds_the_truth_from_its_nonconformity_on(case: str) -> None:
    task, cells, logits, target = labelled(case)
    truth = task.nonconformity(logits, target)
    sizes = [task.region(logits, truth.clip(-50) + more).sizes for more in (-1e-9, 0.0, 1.0, 100.0)]
    assert all((a <= b).all() for a, b in pairwise(sizes)) and (sizes[-1] > sizes[0]).all()
    columns = task.region(logits, truth).columns()
    for i, cell in enumerate(cells):
        if "set" in columns:
            assert {*task.labels_of(cell)} <= {str(x) for x in columns["set"][i]}
        else:
            ends = [[v[i] for k, v in columns.items() if k.startswith(end)] for end in ("low", "high")]
            near = zip(ends[0], task.numbers_of(cell), ends[1], strict=True)
            assert all(np.isnan(y) or low - 1e-4 * abs(y) <= y <= high + 1e-4 * abs(y) for low, y, high in near)


@able("conformal")
def test_at_even_odds_nothing_is_in_a_set_but_the_prediction(case: str) -> None:
    task, cells, logits, _ = labelled(case)
    told = task.decode(given(task, logits))
    columns = task.region(logits, np.zeros(len(cells))).columns()
    if "set" not in columns:
        assert [*columns.values()] == [*told.values()] * 2
        return
    for found, prediction in zip(columns["set"], told["prediction"], strict=True):
        assert {str(x) for x in found} <= {*task.labels_of(prediction)}
    assert any(columns["set"])


# --- quantities


@able("explain_parts")
def test_values_and_evidence_are_of_the_quantities(case: str) -> None:
    task, cells, logits, _ = labelled(case)
    names = task.quantities.names
    values, usual = task.values(logits), task.usual_quantity(logits)
    assert len({*names}) == len(names) and task.quantities.usual and all(q.meaning for q in task.quantities.every)
    assert values.shape == (len(cells), len(names)) and np.isfinite(values).all()
    assert usual.shape == (len(cells),) and usual.min() >= 0 and usual.max() < len(names)
    for k, quantity in enumerate(task.quantities.every):
        x = logits.clone().requires_grad_()
        evidence = task.evidence(x, k)
        (slope,) = torch.autograd.grad(evidence.sum(), x)
        assert evidence.shape == (len(cells),) and slope.isfinite().all() and (slope != 0).any()
        value = values[:, k]
        if quantity.scale == "log odds":
            p = value.clip(1e-9, 1 - 1e-9)
            value = np.log(p / (1 - p))
        np.testing.assert_allclose(evidence.detach().numpy(), value)


@able("explain_parts")
def test_the_usual_quantity_is_what_the_model_says(case: str) -> None:
    task, _, logits, _ = labelled(case)
    usual, names = task.usual_quantity(logits), task.quantities.names
    if task.link == "softmax":
        assert [names[i] for i in usual] == [str(x) for x in task.decode(given(task, logits))["prediction"]]
    elif "confusion" not in task.capabilities and task.labels_:
        assert usual.tolist() == task.probabilities(logits).argmax(1).tolist()
    else:
        assert not usual.any()


# --- extremes


@EVERY
def test_extremes_are_of_rows(case: str) -> None:
    task, cells, logits, target = labelled(case)
    kinds, said = task.extremes(given(task, logits), target)
    assert len(kinds) > 1 and len(said) == len(cells) and all(said)
    assert len({k.title for k in kinds}) == len(kinds) and all(k.definition.endswith(".") for k in kinds)
    for kind in kinds:
        assert kind.order.shape == kind.among.shape == (len(cells),) and kind.among.dtype == bool
        assert not np.isnan(kind.order).any()


@able("explain_parts")
def test_the_best_row_is_better_than_the_worst(case: str) -> None:
    """By the loss of each row alone, without class weights."""
    task, cells, logits, target = labelled(case, scale=4.0)
    if "balance" in vars(task):
        task.balance = 0.0  # type: ignore[attr-defined]
    each = [float(task.loss(logits[[i]], target.take(torch.tensor([i])))) for i in range(len(cells))]
    kinds, _ = task.extremes(given(task, logits), target)
    best, *worst = [k for k in kinds if k.among.any()]
    found = each[first(best)]
    assert found < min(each[first(k)] for k in worst)
    if not case.startswith("ordinal"):  # whose chance of a label isn't what its loss is made of
        assert found == min(each[i] for i in np.flatnonzero(best.among))


def first(kind: Extreme) -> int:
    """The row that tells most."""
    return min(np.flatnonzero(kind.among), key=lambda i: kind.order[i])


@over("measure", ["chrf", "wer"])
def test_the_best_text_has_the_better_score(measure: str) -> None:
    task, _, ids, target = labelled("generate")
    task.measure = measure  # type: ignore[attr-defined]
    best, worst = task.extremes(given(task, ids[[0, 0, 2]]), target)[0]  # the second says what the first should
    assert first(worst) == 1 and first(best) != 1
