"""The section about single rows: the best, the worst and the most surprising, each with what made its answer."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal.explain.contributions import Contributions, contributions
from polymodal.report.evidence import Training, neighbours, parts
from polymodal.report.study import VALUE, Study
from polymodal.view.blocks import Block, Card, Cards, Heading, Section, Words, signed_bars, small
from polymodal.view.text import short

EACH = 3  # rows of a group
TEXT = 400  # characters of a text that was written
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
        groups = [g for g in row_groups(study) if g.rows]
    at = [i for g in groups for i, _ in g.rows]
    games = None if study.writes else contributions(study.model, study.rows.take(at), sample=0, seed=study.seed)
    blocks: list[Block] = [small(HOW)] if games is not None and len(games.modalities) > 1 else []
    ones = iter([None] * len(at) if games is None else [games.take([i]) for i in range(len(at))])
    for g in groups:
        cards = [_card(study, i, prediction, next(ones), train) for i, prediction in g.rows]
        blocks += [Heading(g.title), Words(g.definition), Cards(cards)]
    return Section("rows", "Rows", blocks)


# --- which rows ---------------------------------------------------------------------------------------


def row_groups(study: Study) -> list[Group]:
    """The groups of rows, by what the task is; a row is in one of them at most."""
    at, free = study.labelled, np.ones(len(study.labelled), dtype=bool)
    kinds, predictions = study.model.task.extremes(*study.known())
    out = []
    for kind in kinds:
        places = first(kind.order, kind.among & free)
        free[places] = False
        out.append(Group(kind.title, kind.definition, [(int(at[i]), predictions[i]) for i in places]))
    return out


def first(order: Floats, among: NDArray[np.bool_]) -> list[int]:
    """Up to `EACH` places with the smallest numbers, of those that count.

    >>> first(np.array([3.0, 1.0, 2.0]), np.array([True, True, False]))
    [1, 0]
    """
    return [int(i) for i in np.argsort(order, kind="stable") if among[i]][:EACH]


# --- what is said of each ---------------------------------------------------------------------------------


def _card(study: Study, row: int, title: str, one: Contributions | None, train: Training | None) -> Card:
    lines = [f"predicted: {answer(study, row)}", *truths(study, row)]
    blocks = study.cells(row)
    if one is not None:
        each = zip(one.modalities, one.shapley[0], one.present[0], strict=True)
        adds = [(short(m, 40), float(v)) for m, v, here in each if here]
        if adds:
            caption = f"What each modality adds to {one.base[0]:.3f}, which makes {one.answer[0]:.3f}"
            blocks.append(signed_bars(f"{caption} ({short(one.output[0], 40)})", adds))
        blocks += parts(study, row, one)
    if train is not None:
        blocks += neighbours(study, row, train)
    return Card(f"Row {study.table.row_number(row)}", [*lines, *([title] if title else [])], blocks)


def answer(study: Study, row: int) -> str:
    """What the model says of the row at this position, in words."""
    task = study.model.task
    columns: dict[str, Any] = {k: v[0] for k, v in task.decode(study.output.take(torch.tensor([row]))).items()}
    if "residuals" in task.capabilities:
        several = len(columns) > 1
        return ", ".join(f"{short(k, 60)} {v:.4g}" if several else f"{v:.4g}" for k, v in list(columns.items())[:4])
    prediction = columns["prediction"]
    text = ", ".join(map(str, prediction)) or "(none)" if isinstance(prediction, list) else str(prediction)
    text = short(text, TEXT if study.writes else VALUE)
    return text + (f", {columns['probability']:.1%} sure" if "probability" in columns else "")


def truths(study: Study, row: int) -> list[str]:
    """The labels of the row, as the table has them."""
    if not study.drawn.target:
        return []
    cells = [(t, study.table.cells(t)[row]) for t in study.model.preprocessor.schema.target[:4]]
    if len(cells) == 1:
        return [f"label: {'(none)' if cells[0][1] is None else short(cells[0][1], 400)}"]
    return [f"label {short(t, 60)}: {'(none)' if c is None else short(c, VALUE)}" for t, c in cells]
