"""What a person reads at the end of a command, as blocks; the page of `report` shows some of the same tables."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polymodal.data.cache import Usage
from polymodal.data.encode import Bad
from polymodal.evaluate.compare import Comparison
from polymodal.evaluate.intervals import Interval
from polymodal.extract import Extracted
from polymodal.modalities import MODALITIES
from polymodal.model import Model
from polymodal.scoring import Evaluation
from polymodal.uncertainty.conformal import Coverage
from polymodal.view.blocks import Block, Facts, Table, Words, unreadable
from polymodal.view.text import digits, ends, interval, many, number, short

CLASSES, PAIRS, NAME = 12, 10, 80  # labels of a table; confusions that are named; characters of a name


def fit_summary(model: Model, out: Path) -> list[Block]:
    """The end of `fit`: what was learned, how well, and beside what."""
    report, schema = model.report, model.preprocessor.schema
    rows_text = "given" if report.valid_given else "held out"
    groups = f", by {schema.group}" * bool(schema.group) + f", weighted by {schema.weight}" * bool(schema.weight)
    rows = f"{report.rows['train']:,} to train on, {report.rows['valid']:,} to validate on ({rows_text}{groups})"
    facts = [
        (", ".join(schema.target), f"{model.task.name}, {report.reason}"),
        ("modalities", ", ".join(_modalities(model))),
        ("rows", rows),
    ]
    left_out = [f"{short(c.name, NAME)} ({c.reason})" for c in schema.columns.values() if c.kind in ("ignored", "id")]
    facts += [
        ("left out", "; ".join(left_out[:PAIRS]) + f" and {len(left_out) - PAIRS} more" * (len(left_out) > PAIRS))
    ] * bool(left_out)
    notes = list(report.notes)
    if report.rows["unlabelled"] and report.distillation is None:  # a teacher answers for them, as its notes say
        notes.insert(0, f"{many(report.rows['unlabelled'], 'row')} without a label were left out of the loss")
    blocks: list[Block] = [Facts(facts), *unreadable(report.bad), *map(Words, notes)]
    for c in (report.comparison, report.test and report.test.comparison):
        blocks += [candidates(c), Words(c.verdict)] if c is not None else []
    folder = shlex.quote(str(out))
    end = (
        f"{report.seconds:.0f} s, at most {report.peak_memory_mb:,.0f} MB. The model is in {out}; next:\n"
        f"  polymodal evaluate {folder} TABLE      score it on other rows\n"
        f"  polymodal predict {folder} TABLE       predict rows without a label"
    )
    return [*blocks, Words(""), Words(end)]


def candidates(of: Comparison, most: int | None = None) -> Table:
    """A model, first, beside its rivals."""
    head = ["", of.metric, "95% interval", "parameters", "epochs", "seconds"]
    lines = [
        [short(c.name, NAME) + " (this model)" * (not i), digits(c.score.value), ends(c.score),
         f"{c.parameters:,}" if c.parameters else "", str(c.epochs or ""), f"{c.seconds:.1f}"]
        for i, c in enumerate(of.candidates[:most])
    ]  # fmt: skip
    strong = frozenset((0, k) for k in range(len(head)))
    return Table(f"{of.metric} on {of.rows:,} {of.basis}", head, lines, strong=strong)


def evaluation(answer: Evaluation) -> list[Block]:
    """Metrics with intervals, the confusion matrix, and what was absent."""
    by = f", weighted by {answer.weight}" * bool(answer.weight)
    by += f", intervals over {answer.group}" * bool(answer.group)
    without = f", without {', '.join(answer.without)}" if answer.without else ""
    left_out = f" ({answer.unlabelled:,} without a label left out)" if answer.unlabelled else ""
    blocks: list[Block] = [
        metrics(answer.metrics, f"{answer.task} on {many(answer.rows, 'row')}{left_out}{by}{without}")
    ]
    blocks += [*map(Words, answer.notes), *_certainty(answer)]
    if answer.confusion:
        blocks += _confusion(*answer.confusion)
    if absent := [f"{m} in {many(n, 'row')}" for m, n in answer.absent.items() if n]:
        blocks.append(Facts([("absent", ", ".join(absent))]))
    return [*blocks, *unreadable(answer.bad)]


def metrics(intervals: Mapping[str, Interval], caption: str) -> Table:
    """Each with its 95% interval."""
    rows = [[name, digits(x.value), ends(x)] for name, x in intervals.items()]
    return Table(caption, ["metric", "value", "95% interval"], rows)


def _certainty(answer: Evaluation) -> list[Block]:
    """How good the probabilities are, and what was asked for of sets and abstention."""
    out: list[Block] = []
    if answer.probabilities:
        figures_of = {k: x for k, x in answer.probabilities.items() if k != "temperature" or x != 1}  # 1 is none
        figures = ", ".join(f"{name.replace('_', ' ')} {x:.3f}" for name, x in figures_of.items())
        out.append(Facts([("probabilities", figures)]))
    if (few := answer.selective) is not None:
        score = few.metrics.get(answer.metric)
        span = f": {answer.metric} {interval(score)}" if score else ""
        out.append(Words(f"answered when at least {few.abstain:g} sure: {few.rows:,} rows ({few.share:.1%}){span}"))
    if (sets := answer.coverage) is not None:
        out += [coverage(sets, f"sets asked to hold the truth of {sets.asked:.1%} of rows")]
    return out


def coverage(of: Coverage, caption: str, most: int | None = None) -> Table:
    """How often sets hold the truth, by what is present."""
    each = [("all rows", of.overall), *((" + ".join(c.present) or "nothing", c) for c in of.patterns[:most])]
    rows = [
        [short(name, NAME), f"{c.rows:,}", digits(c.coverage), ends((c.coverage, c.low, c.high)), number(c.size)]
        for name, c in each
    ]
    return Table(caption, ["present", "rows", "held the truth", "95% interval", of.unit], rows)


def _confusion(labels: Sequence[Any], matrix: Sequence[Sequence[int]]) -> list[Block]:
    if len(labels) <= CLASSES:
        names = list(map(str, labels))
        rows = [[name, *map(str, counts)] for name, counts in zip(names, matrix, strict=True)]
        return [Table("true (down), predicted (across)", ["", *names], rows)]
    wrong = [
        (n, labels[i], labels[j])
        for i, counts in enumerate(matrix)
        for j, n in enumerate(counts)
        if i != j and n
    ]  # fmt: skip
    pairs = ", ".join(f"{a} as {b} ({n})" for n, a, b in sorted(wrong, key=lambda w: -w[0])[:PAIRS])
    return [Facts([("most often confused", pairs or "nothing")])]


def prediction_summary(
    rows: int, out: Path | None, bad: Sequence[Bad], abstentions: tuple[float, int] | None = None,
    unmet: Mapping[str, int] | None = None,
) -> list[Block]:  # fmt: skip
    """How many rows were predicted.

    abstentions: below which confidence rows were left unanswered, and how many. unmet: see `Model.predictions`.
    """
    out_: list[Block] = [*unreadable(bad)]
    if abstentions is not None:
        verb = "is" if abstentions[1] == 1 else "are"
        out_.append(Words(f"{abstentions[1]:,} of {rows:,} rows {verb} unanswered: less sure than {abstentions[0]:g}"))
    why = "all labels or an endless interval, since too few validation rows tell of such rows"
    out_ += [Words(f"{many(n, 'row')} with {present or 'nothing'}: {why}") for present, n in (unmet or {}).items()]
    return out_ if out is None else [*out_, Words(f"{rows:,} predictions are in {out}")]


def schema(model: Model) -> list[Block]:
    """What each column is read as, and by which parts."""
    prep = model.preprocessor
    columns = [[c.name, c.kind, f"{c.confidence:.0%}", c.reason] for c in prep.schema.columns.values()]
    lines = []
    for view, codec in prep.codecs.items():
        of = f" (of {prep.views[view]})" if prep.views[view] != view else ""
        lines.append(f"{view}{of}: {codec.title}")
    first, *rest = model.learner.describe()
    lines += [f"learner: {first}", *rest, f"{', '.join(prep.schema.target)}: {model.task.name}"]
    return [Table("", ["column", "kind", "sure", "why"], columns, frozenset({1, 3})), *map(Words, lines)]


def cache(folder: Path, entries: Sequence[Usage], size: int | None) -> list[Block]:
    """What the cache holds."""
    out: list[Block] = [] if size is None else [Words(f"freed {size / 2**20:,.1f} MB")]
    if not entries:
        return [*out, Words(f"the cache in {folder} is empty")]
    rows = [[e.name, f"{e.records:,}", f"{e.bytes / 2**20:,.1f}"] for e in entries]
    return [*out, Table(str(folder), ["codec and settings", "cells", "MB"], rows)]


def extraction_summary(features: Extracted, out: Path) -> list[Block]:
    """How many features of what were written, and what could not be read."""
    rows = []
    for name, count in features.counts.items():
        more = f" ({features.left_out[name]:,} rarer ones left out)" if name in features.left_out else ""
        rows.append([name + more, f"{count:,}"])
    lines, columns = features.frame.shape
    end = Words(f"{lines:,} rows of {columns:,} columns are in {out}")
    return [Table("", ["column: features", "columns"], rows), *unreadable(features.bad), end]


def _modalities(model: Model) -> list[str]:
    return [
        f"{m} ({', '.join(columns)})" if MODALITIES[kind].columns else f"{m} ({kind})"
        for m, (kind, columns) in model.preprocessor.schema.modalities().items()
    ]
