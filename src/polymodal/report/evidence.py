"""What stands below a row's answer: the parts of its modalities that made it, and the nearest training rows."""

from typing import Any, NamedTuple

import numpy as np
import torch

from polymodal.data.table import Table
from polymodal.errors import InputError, Unreadable
from polymodal.explain.answers import quantity
from polymodal.explain.contributions import Contributions
from polymodal.explain.evidence import attribution_blocks, strongest
from polymodal.explain.nearest import nearest
from polymodal.explain.parts import Attribution, attribute_rows
from polymodal.report.study import Study, draw_sample
from polymodal.view.blocks import Block, Facts, small
from polymodal.view.text import short, tail

MODALITIES = 2  # of a row whose parts are shown
BARS, CHARACTERS = 6, 600  # bars, and characters of a text
MOST = 2000  # training rows that are looked at


# --- parts --------------------------------------------------------------------------------------------


def parts(study: Study, row: int, one: Contributions) -> list[Block]:
    """The parts of the modalities that count most in the row."""
    order = np.argsort(-np.abs(one.shapley[0]), kind="stable")
    names = [one.modalities[i] for i in order if one.present[0, i]]
    out: list[Block] = []
    for m in names[:MODALITIES]:
        try:
            attribution = attribute_rows(study.model, study.table, study.rows, row, m, seed=study.seed)
        except (InputError, Unreadable) as e:
            out.append(small(f"Parts of {short(m, 40)} are not shown: {short(e, 200)}"))
            continue
        if len(attribution.scores) > 1:
            out += _blocks(attribution, quantity(study.model.task, attribution.output).scale)
    return out


def _blocks(a: Attribution, scale: str) -> list[Block]:
    """scale: what gradients add up to; empty: the answer itself."""
    unit = scale if scale and a.method == "integrated-gradients" else "change of the answer"
    same = "" if a.faithful.randomised is None else f", likeness to random weights {a.faithful.randomised:.2f}"
    caption = (
        f"{short(a.modality, 40)}, by {a.method.replace('-', ' ')}; faithfulness gain {a.faithful.gain:+.2f}{same}; "
        f"in {unit}"
    )
    return [small(caption), *attribution_blocks(a, CHARACTERS)] if a.where.in_place else strongest(a, caption, BARS)


# --- nearest training rows ----------------------------------------------------------------------------


class Training(NamedTuple):
    """At most `MOST` rows of a training table of `total`."""

    table: Table
    total: int


def training_rows(study: Study, train: Any) -> Training:
    """Read a training table. Raises InputError where the model can't read it."""
    prep = study.model.preprocessor
    sample = draw_sample(train, prep.schema, study.model.task, MOST, study.seed)
    prep.check(sample.table)
    return Training(sample.table, sample.rows)


def neighbours(study: Study, row: int, train: Training) -> list[Block]:
    """The nearest training rows by all modalities together, and the nearest of another label."""
    prediction: Any = study.model.task.decode(study.output.take(torch.tensor([row]))).get("prediction", [None])[0]
    one = study.rows.take([row])
    try:
        near = nearest(
            study.model, one, prediction, train.table, skip=_same(study, row, train.table), cache=study.cache
        )
    except InputError as e:
        return [small(f"No nearest training rows: {short(e, 200)}")]
    if not near.spaces:
        return []
    space = near.spaces[0]
    every = [
        *((n, "") for n in space.nearest),
        *([(space.other, ", the nearest of another label")] if space.other else []),
    ]
    facts = []
    for n, why in every:
        texts = [(m, tail(c.text) if c.file else short(c.text, 60)) for m, c in n.cells.items() if c.text]
        cells = "; ".join(f"{short(m, 20)}: {text}" for m, text in texts[:3])
        label = f"label {short(n.label or '(none)', 40)}{why}"
        facts.append((f"training row {n.row}", f"{label}, distance {n.distance:.3f}; {cells}"))
    of = f"{near.rows:,} of {train.total:,}" if near.rows < train.total else f"{train.total:,}"
    return [small(f"Nearest of {of} training rows, by {near.by} (cosine distance)"), Facts(facts)]


def _same(study: Study, row: int, train: Table) -> int | None:
    """The row's number, where the training table has the same cells under that number: it is the row itself."""
    number, columns = study.table.row_number(row), [c for c in train.columns if c in study.table.columns]
    at = next((i for i in range(train.rows) if train.row_number(i) == number), None)
    if at is None or any(str(train.cells(c)[at]) != str(study.table.cells(c)[row]) for c in columns):
        return None
    return number
