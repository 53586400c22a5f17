"""The section about single rows: the best, the worst and the most surprising, each with what made its answer.

n labelled row, c class or label, k target.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal.explain.contributions import Contributions, contributions
from polymodal.report.blocks import Block, Card, Cards, Heading, Section, Words, signed, small
from polymodal.report.evidence import Training, neighbours, parts
from polymodal.report.looks import VALUE, short
from polymodal.report.study import Study
from polymodal.tasks.classify import MultiLabel, numpy
from polymodal.tasks.regress import Regression
from polymodal.uncertainty.temperature import classes, confidence, probabilities

EACH = 3  # rows of a group
TEXTS = 200  # rows of texts that are scored one by one
HOW = (
    "Below each row is what every modality adds to the probability of the predicted label (or to the predicted value): "
    "Shapley values from real absence; then which parts of the one or two that count most speak for the answer (+) or "
    "against it (-), and how faithful that is: the gain is 0 for an order of parts that knows nothing of the model, "
    "and negative for one that is the wrong way round."
)
Floats = NDArray[np.float64]


class Group(NamedTuple):
    """Rows of a kind. rows: positions in the sample, and what is said of each. definition: of the kind."""

    title: str
    definition: str
    rows: list[tuple[int, str]]


def rows(study: Study, train: Training | None) -> Section:
    """The rows that say most about the model. train: where nearest rows are shown."""
    if study.truth is None:
        why = "Without labels it can't be said which rows it gets right; these are some of its answers."
        some = np.linspace(0, len(study.rows) - 1, min(EACH, len(study.rows))).round().astype(int)
        groups = [Group("Some answers", why, [(i, "") for i in dict.fromkeys(some.tolist())])]
    else:
        groups = [g for g in chosen(study) if g.rows]
    at = [i for g in groups for i, _ in g.rows]
    played = None if study.writes else contributions(study.model, study.rows.take(at), sample=0, seed=study.seed)
    blocks: list[Block] = [small(HOW)] if played is not None and len(played.modalities) > 1 else []
    ones = iter([None] * len(at) if played is None else [played.take([i]) for i in range(len(at))])
    for g in groups:
        cards = [_card(study, i, said, next(ones), train) for i, said in g.rows]
        blocks += [Heading(g.title), Words(g.definition), Cards(cards)]
    return Section("rows", "Rows", blocks)


# --- which rows ---------------------------------------------------------------------------------------


def chosen(study: Study) -> list[Group]:
    """The groups of rows, by what the task is."""
    task = study.model.task
    if study.writes:
        return _texts(study)
    if isinstance(task, Regression):
        return _numbers(study)
    if isinstance(task, MultiLabel):
        return _label_sets(study)
    return _labels(study)


def _labels(study: Study) -> list[Group]:
    at = study.labelled
    logits, truth = study.known()
    task = study.model.task
    y_n = numpy(truth.values)
    chance = np.take_along_axis(probabilities(task, logits), y_n[:, None], 1)[:, 0]
    sure, right = confidence(task, logits), numpy(classes(task, logits)) == y_n
    said = [f"It gives the true label a chance of {c:.1%}." for c in chance]
    best = first(-chance, right)
    worst = first(-sure, ~right)
    odd = first(chance, ~np.isin(np.arange(len(at)), [*worst, *best]))
    return [
        _group("Best", "Right, and the true label is given the greatest chance.", best, at, said),
        _group("Worst", "Wrong, and the surest of it.", worst, at, said),
        _group("Most surprising", "The true label is given the least chance, of the rows not shown above.",
               odd, at, said),
    ]  # fmt: skip


def _label_sets(study: Study) -> list[Group]:
    at = study.labelled
    logits, truth = study.known()
    p_nc, y_nc = probabilities(study.model.task, logits), numpy(truth.values) > 0.5
    loss = -np.log(np.where(y_nc, p_nc, 1 - p_nc).clip(1e-12)).mean(1)
    right, sure = ((p_nc > 0.5) == y_nc).all(1), confidence(study.model.task, logits)
    said = [f"Its log loss, a label, is {x:.3f}." for x in loss]
    best = first(loss, right)
    worst = first(-sure, ~right)
    odd = first(-loss, ~np.isin(np.arange(len(at)), [*worst, *best]))
    return [
        _group("Best", "All labels are right, with the least log loss.", best, at, said),
        _group("Worst", "Some label is wrong, though the least sure of them was surest.", worst, at, said),
        _group("Most surprising", "The greatest log loss, of the rows not shown above.", odd, at, said),
    ]


def _numbers(study: Study) -> list[Group]:
    at, task = study.labelled, study.model.task
    assert isinstance(task, Regression)
    logits, truth = study.known()
    mask = numpy(truth.mask).reshape(len(at), -1)
    error_nk = np.where(mask, numpy(logits.double()) - numpy(truth.values.double()), np.nan)
    size = np.nanmean(np.abs(error_nk), axis=1)
    units = error_nk * np.asarray(task.scale_)
    each = [[f"{u:+.4g}" for u in row if u == u] for row in units]
    said = [f"Prediction less truth: {', '.join(e[:4])}." for e in each]
    best = first(size, np.ones(len(at), bool))
    why = "" if task.columns is None else ", on average over the targets, each in units of its spread"
    groups = [_group("Best", f"The prediction is nearest to the truth{why}.", best, at, said)]
    rest = ~np.isin(np.arange(len(at)), best)
    if task.columns is not None:
        worst = first(-size, rest)
        return [
            *groups,
            _group("Worst, and most surprising", f"The prediction is furthest from the truth{why}.", worst, at, said),
        ]
    way = error_nk[:, 0]
    return [
        *groups,
        _group("Worst, and most surprising: far too high", "The prediction is furthest above the truth.",
               first(-way, rest & (way > 0)), at, said),
        _group("Worst, and most surprising: far too low", "The prediction is furthest below the truth.",
               first(way, rest & (way < 0)), at, said),
    ]  # fmt: skip


def _texts(study: Study) -> list[Group]:
    at, (logits, truth) = study.labelled[:TEXTS], study.known()
    logits, truth = logits[:TEXTS], truth.take(torch.arange(len(at)))
    metric = study.model.task.metric
    value = study.model.task.scores(logits, truth, np.eye(len(at)))[metric.name]
    said = [f"{metric.name} of this row alone: {v:.3f}." for v in value]
    order = np.where(np.isnan(value), -np.inf, value if metric.higher else -value)
    best = first(-order, np.ones(len(at), bool))
    worst = first(order, ~np.isin(np.arange(len(at)), best))
    of = f"of {len(at)} rows" if len(at) < len(study.labelled) else "of all"
    most, least = ("greatest", "least") if metric.higher else ("least", "greatest")
    return [
        _group("Best", f"The {most} {metric.name} {of}.", best, at, said),
        _group("Worst, and most surprising", f"The {least} {metric.name} {of}.", worst, at, said),
    ]


def first(order: Floats, among: NDArray[np.bool_]) -> list[int]:
    """Up to `EACH` places with the smallest numbers, of those that count.

    >>> first(np.array([3.0, 1.0, 2.0]), np.array([True, True, False]))
    [1, 0]
    """
    return [int(i) for i in np.argsort(order, kind="stable") if among[i]][:EACH]


def _group(title: str, definition: str, places: Sequence[int], at: NDArray[np.int64], said: Sequence[str]) -> Group:
    return Group(title, definition, [(int(at[i]), said[i]) for i in places])


# --- what is said of each ---------------------------------------------------------------------------------


def _card(study: Study, row: int, said: str, one: Contributions | None, train: Training | None) -> Card:
    lines = [f"predicted: {answer(study, row)}", *truths(study, row)]
    blocks: list[Block] = []
    if one is not None:
        each = zip(one.modalities, one.shapley[0], one.present[0], strict=True)
        adds = [(short(m, 40), float(v)) for m, v, here in each if here]
        if adds:
            caption = f"What each modality adds to {one.base[0]:.3f}, which makes {one.answer[0]:.3f}"
            blocks.append(signed(adds, f"{caption} ({short(one.output[0], 40)})"))
        blocks += parts(study, row, one)
    if train is not None:
        blocks += neighbours(study, row, train)
    return Card(row, f"Row {study.table.row_number(row)}", [*lines, *([said] if said else [])], blocks)


def answer(study: Study, row: int) -> str:
    """What the model says of the row at this position, in words."""
    task, logits = study.model.task, study.logits[[row]]
    if study.writes:
        return short(task.written(logits)[0], 400)  # type: ignore[attr-defined]
    columns: dict[str, Any] = {k: v[0] for k, v in task.decode(logits).items()}
    if isinstance(task, Regression):
        named = len(columns) > 1
        return ", ".join(f"{short(k, 60)} {v:.4g}" if named else f"{v:.4g}" for k, v in list(columns.items())[:4])
    said = columns["prediction"]
    text = ", ".join(map(str, said)) or "(none)" if isinstance(said, list) else str(said)
    return short(text, VALUE) + (f", {columns['probability']:.1%} sure" if "probability" in columns else "")


def truths(study: Study, row: int) -> list[str]:
    """The labels of the row, as the table has them."""
    if not study.drawn.target:
        return []
    cells = [(t, study.table.cells(t)[row]) for t in study.model.preprocessor.schema.target[:4]]
    if len(cells) == 1:
        return [f"label: {'(none)' if cells[0][1] is None else short(cells[0][1], 400)}"]
    return [f"label {short(t, 60)}: {'(none)' if c is None else short(c, VALUE)}" for t, c in cells]
