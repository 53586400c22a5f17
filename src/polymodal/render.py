"""What a person reads at the end of a command. Each function prints one result to standard output."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from polymodal.data.cache import Usage
from polymodal.data.encode import Bad
from polymodal.evaluate.compare import Comparison
from polymodal.extract import Extracted
from polymodal.learners.base import Generator, Learner
from polymodal.learners.cyclic import Cyclic
from polymodal.learners.ensemble import Ensemble
from polymodal.learners.predictor import Predictor
from polymodal.learners.stacked import Stacked
from polymodal.learners.translator import Translator
from polymodal.modalities import MODALITIES
from polymodal.model import Model
from polymodal.scoring import Evaluation

SHOWN = 10  # rows of a list before the rest is counted


def fitted(model: Model, out: Path, table: str) -> None:
    """The end of `fit`: what was learned, how well, and beside what."""
    report, console = model.report, Console()
    rows = report.rows
    console.print(f"[bold]{escape(_target(model))}[/]: {model.task.name}, {escape(report.reason)}")
    console.print(f"[bold]modalities[/]: {escape(', '.join(_modalities(model)))}")
    given = "given" if report.valid_given else "held out"
    groups = f", by {escape(str(model.preprocessor.schema.group))}" if model.preprocessor.schema.group else ""
    console.print(f"[bold]rows[/]: {rows['train']:,} to train on, {rows['valid']:,} to validate on ({given}{groups})")
    if rows["unlabelled"] and report.distillation is None:  # a teacher answers for them, as its notes say
        console.print(f"{rows['unlabelled']:,} rows without a label were left out of the loss")
    _bad(console, report.bad)
    for line in report.notes:
        console.print(escape(line), highlight=False)
    if report.comparison is not None:
        _comparison(console, report.comparison, "validation rows")
    if report.test is not None:
        _comparison(console, report.test.comparison, "test rows")
    folder = escape(shlex.quote(str(out)))
    console.print(
        f"\n{report.seconds:.0f} s, at most {report.peak_memory_mb:,.0f} MB. "
        f"The model is in {escape(str(out))}; next:\n"
        f"  polymodal evaluate {folder} TABLE      score it on other rows\n"
        f"  polymodal predict {folder} TABLE       predict rows without a label",
        highlight=False,
        soft_wrap=True,
    )


def _comparison(console: Console, comparison: Comparison, of: str) -> None:
    grid = Table(title=f"{comparison.metric} on {comparison.rows:,} {of}", title_justify="left", box=None)
    for name, side in (("", "left"), (comparison.metric, "right"), ("95% interval", "left")):
        grid.add_column(name, justify=side)  # type: ignore[arg-type]
    for name in ("parameters", "epochs", "seconds"):
        grid.add_column(name, justify="right")
    for i, c in enumerate(comparison.candidates):
        grid.add_row(
            escape(c.name) + (" (this model)" if i == 0 else ""),
            f"{c.score.value:.3f}",
            f"[{c.score.low:.3f}, {c.score.high:.3f}]".replace("[", "\\["),
            f"{c.parameters:,}" if c.parameters else "",
            str(c.epochs or ""),
            f"{c.seconds:.1f}",
            style="bold" if i == 0 else "",
        )
    console.print()
    console.print(grid)
    console.print(escape(comparison.verdict), highlight=False)


def evaluation(answer: Evaluation) -> None:
    """Metrics with intervals, the confusion matrix, and what was absent."""
    console = Console()
    by = f", intervals over {escape(answer.group)}" if answer.group else ""
    hidden = f", without {escape(', '.join(answer.without))}" if answer.without else ""
    left_out = f" ({answer.unlabelled:,} without a label left out)" if answer.unlabelled else ""
    grid = Table(title=f"{answer.task} on {answer.rows:,} rows{left_out}{by}{hidden}", title_justify="left", box=None)
    grid.add_column("metric")
    grid.add_column("value", justify="right")
    grid.add_column("95% interval")
    for name, score in answer.metrics.items():
        span = "" if score.low != score.low else f"\\[{score.low:.3f}, {score.high:.3f}]"
        grid.add_row(escape(name), f"{score.value:.3f}", span)
    console.print(grid)
    for note in answer.notes:
        console.print(escape(note), highlight=False, soft_wrap=True)
    _certainty(console, answer)
    if answer.confusion:
        _confusion(console, *answer.confusion)
    absent = {m: n for m, n in answer.absent.items() if n}
    if absent:
        console.print("\nabsent: " + escape(", ".join(f"{m} in {n:,} rows" for m, n in absent.items())))
    _bad(console, answer.bad)


def _certainty(console: Console, answer: Evaluation) -> None:
    """How good the probabilities are, and what was asked for of sets and abstention."""
    if answer.probabilities:
        said = ", ".join(f"{name.replace('_', ' ')} {x:.3f}" for name, x in answer.probabilities.items())
        console.print(f"\nprobabilities: {said}", highlight=False)
    if (few := answer.selective) is not None:
        score = few.metrics.get(answer.metric)
        span = f": {answer.metric} {score.value:.3f} [{score.low:.3f}, {score.high:.3f}]" if score else ""
        said = f"answered when at least {few.abstain:g} sure: {few.rows:,} rows ({few.share:.1%}){span}"
        console.print(escape(said), highlight=False)
    if answer.coverage is None:
        return
    title = f"\nsets asked to hold the truth of {answer.coverage.asked:.1%} of rows"
    grid = Table(title=title, title_justify="left", box=None)
    grid.add_column("present")
    for name in ("rows", "coverage", "95% interval", answer.coverage.unit):
        grid.add_column(name, justify="left" if name.startswith("95") else "right")
    lines = [("all rows", answer.coverage.overall)]
    lines += [(" + ".join(c.present) or "nothing", c) for c in answer.coverage.patterns]
    for name, c in lines:
        grid.add_row(
            escape(name), f"{c.rows:,}", f"{c.coverage:.3f}", f"\\[{c.low:.3f}, {c.high:.3f}]", f"{c.size:.3g}"
        )
    console.print(grid)


def _confusion(console: Console, labels: Sequence[Any], matrix: Sequence[Sequence[int]]) -> None:
    if len(labels) > 12:
        wrong = [
            (matrix[i][j], labels[i], labels[j])
            for i in range(len(labels))
            for j in range(len(labels))
            if i != j and matrix[i][j]
        ]
        said = ", ".join(f"{a} as {b} ({n})" for n, a, b in sorted(wrong, key=lambda w: -w[0])[:SHOWN])
        console.print(f"\nmost often confused: {escape(said) or 'nothing'}", highlight=False)
        return
    grid = Table(title="\ntrue (down), predicted (across)", title_justify="left", box=None)
    grid.add_column("")
    for label in labels:
        grid.add_column(escape(str(label)), justify="right")
    for label, counts in zip(labels, matrix, strict=True):
        grid.add_row(escape(str(label)), *(str(n) for n in counts))
    console.print(grid)


def predicted(
    rows: int, out: Path | None, bad: Sequence[Bad], left: tuple[float, int] | None = None,
    unmet: Mapping[str, int] | None = None,
) -> None:  # fmt: skip
    """How many rows were predicted, on standard error: standard output may be the table.

    left: below which confidence rows were left unanswered, and how many. unmet: see `Model.predictions`.
    """
    console = Console(stderr=True)
    _bad(console, bad)
    if left is not None:
        verb = "is" if left[1] == 1 else "are"
        console.print(f"{left[1]:,} of {rows:,} rows {verb} unanswered: less sure than {left[0]:g}", highlight=False)
    for present, count in (unmet or {}).items():
        console.print(
            f"{count:,} row{'s' * (count != 1)} with {escape(present) or 'nothing'}: all labels or an endless "
            "interval, since too few validation rows tell of such rows",
            highlight=False,
            soft_wrap=True,
        )
    if out is not None:
        console.print(f"{rows:,} predictions are in {escape(str(out))}", highlight=False)


def schema(model: Model) -> None:
    """What each column is read as, and by which parts."""
    console, prep = Console(), model.preprocessor
    grid = Table(box=None)
    for name in ("column", "kind", "sure", "why"):
        grid.add_column(name)
    for c in prep.schema.columns.values():
        grid.add_row(escape(c.name), c.kind, f"{c.confidence:.0%}", escape(c.reason))
    console.print(grid)
    for view, codec in prep.codecs.items():
        of = f" (of {prep.views[view]})" if prep.views[view] != view else ""
        console.print(f"{escape(view)}{escape(of)}: {codec.title}", highlight=False)
    for line in _learner(model.learner):
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(f"{escape(_target(model))}: {model.task.name}")


def _learner(learner: Learner, name: str = "learner") -> list[str]:
    """What answers, and how it is put together, a line a part."""
    if isinstance(learner, Ensemble):
        out = [f"{name}: the average of {len(learner.weights)}"]
        for member, part in learner.members.items():
            assert isinstance(part, Learner)
            out += ["  " + line for line in _learner(part, f"{learner.weights[member]:.2f} {member}")]
        return out
    if isinstance(learner, Stacked):
        how = "stacked" if learner.stacked else "averaged"
        parts = [f"{m['weight']:.2f} {m['kind']} on {' + '.join(m['modalities'])}" for m in learner.members]
        return [f"{name}: {len(parts)} estimators, {how}", *(f"  {p}" for p in parts)]
    if isinstance(learner, Generator):
        task = learner.task
        vocabulary = f"{type(task.vocabulary).__name__} of {task.outputs:,} ids, texts of up to {task.longest_ - 1:,}"
        own = type(learner.decoder).__name__ if isinstance(learner, Translator) else type(learner).__name__
        return [f"{name}: {own} on {', '.join(learner.reads)}", f"  {vocabulary}", f"  {learner.decoding}"]
    assert isinstance(learner, Predictor | Cyclic)
    encoders = ", ".join(f"{m}: {type(e).__name__}" for m, e in learner.encoders.items())
    if isinstance(learner, Cyclic):
        return [f"{name}: {encoders}; translates {learner.source} to the others and back"]
    absent = "" if learner.filler is None else f"; in place of the absent: {type(learner.filler).__name__}"
    return [f"{name}: {encoders}; fusion: {type(learner.fusion).__name__}{absent}"]


def cache(folder: Path, entries: Sequence[Usage], freed: int | None) -> None:
    """What the cache holds."""
    console = Console()
    if freed is not None:
        console.print(f"freed {freed / 2**20:,.1f} MB", highlight=False)
    if not entries:
        console.print(f"the cache in {escape(str(folder))} is empty", highlight=False)
        return
    grid = Table(title=escape(str(folder)), title_justify="left", box=None)
    grid.add_column("codec and settings")
    grid.add_column("cells", justify="right")
    grid.add_column("MB", justify="right")
    for e in entries:
        grid.add_row(e.name, f"{e.records:,}", f"{e.bytes / 2**20:,.1f}")
    console.print(grid)


def _bad(console: Console, bad: Sequence[Bad]) -> None:
    if not bad:
        return
    console.print(f"[yellow]{len(bad):,} unreadable cells were treated as absent:[/]")
    for b in bad[:SHOWN]:
        console.print(f"  {escape(str(b))}", highlight=False, soft_wrap=True)
    if len(bad) > SHOWN:
        console.print(f"  and {len(bad) - SHOWN:,} more; --json lists them all", highlight=False)


def _target(model: Model) -> str:
    return ", ".join(model.preprocessor.schema.target)


def _modalities(model: Model) -> list[str]:
    return [
        f"{m} ({', '.join(columns)})" if MODALITIES[kind].columns else f"{m} ({kind})"
        for m, (kind, columns) in model.preprocessor.schema.modalities().items()
    ]


def extracted(found: Extracted, out: Path) -> None:
    """How many features of what were written, and what could not be read."""
    console = Console()
    grid = Table(box=None)
    grid.add_column("column: features")
    grid.add_column("columns", justify="right")
    for name, count in found.counts.items():
        more = f" ({found.left_out[name]:,} rarer ones left out)" if name in found.left_out else ""
        grid.add_row(escape(name) + more, f"{count:,}")
    console.print(grid)
    _bad(console, found.bad)
    rows, columns = found.frame.shape
    console.print(f"{rows:,} rows of {columns:,} columns are in {escape(str(out))}", highlight=False)
