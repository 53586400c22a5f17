"""The section about how good the answers are: metrics beside the rivals', confusion, residuals, calibration, coverage.

b bin of confidence.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from polymodal.evaluate.compare import FEW, Comparison
from polymodal.explain.overall import Overall
from polymodal.explain.pages import sizes
from polymodal.output import logits_of
from polymodal.report import brief
from polymodal.report.study import COVERAGE, NAME, Study
from polymodal.tasks.classify import numpy
from polymodal.uncertainty.conformal import binomial
from polymodal.view import plot
from polymodal.view.blocks import Block, Heading, Picture, Section, Table, Words, small
from polymodal.view.plot import Span
from polymodal.view.text import interval, number, short

CANDIDATES, CLASSES, PAIRS, BINS = 24, 12, 20, 10


def results(study: Study, modalities: Overall | str) -> Section:
    """What fits on one screen: how well the model answers these rows, beside others where it was fitted, and from which
    modality. modalities: what each adds, or why that is not known."""
    blocks = [*_scores(study), *_comparison(study)]
    if not isinstance(modalities, str):
        blocks += [Heading("Which modality the answers come from"), sizes(modalities)[0]]
    return Section("result", "Result", blocks)


def details(study: Study) -> Section:
    """How good the answers are, label by label, and how sure."""
    if study.scores is None:
        return Section("details", "Result in detail", [Words("Without labels there is none.")])
    parts = (_confusion, _residuals, _reliability, _coverage)
    return Section("details", "Result in detail", [b for part in parts for b in part(study)])


def _scores(study: Study) -> list[Block]:
    scores, score = study.scores, study.score
    if scores is None or score is None:
        why = "has no label for any of them" if study.drawn.target else f"has no column {short(study.target, NAME)}"
        return [Words(f"{study.name} {why}, so nothing can be said of how good the answers to these rows are.")]
    rows = len(study.labelled)
    by = f"; intervals are over {short(scores.group, NAME)}" if scores.group else ""
    by += f"; rows are weighted by {short(scores.weight, NAME)}" if scores.weight else ""
    few = f" {rows} row{'s' * (rows != 1)} are too few for an interval that means much." if rows < FEW else ""
    return [
        Words(f"On {study.of}, {rows:,} of which have a label, {scores.metric} is {interval(score)}.{few}"),
        brief.metrics(scores.metrics, f"Metrics with 95% bootstrap intervals{by}")._replace(folded=True),
        *(small(note) for note in scores.notes),
    ]


def comparisons(study: Study) -> list[Comparison]:
    """The comparisons with each modality alone and concat that the model keeps: of validation rows, of test rows."""
    report = study.model.report
    return [c for c in (report.comparison, report.test and report.test.comparison) if c is not None]


def _comparison(study: Study) -> list[Block]:
    out: list[Block] = []
    for i, c in enumerate(comparisons(study)):
        table = brief.candidates(c, CANDIDATES)
        names = zip(table.rows, c.candidates, strict=False)
        spans = [Span(row[0], x.score, not j, "D" if j else "o") for j, (row, x) in enumerate(names)]
        if study.score is not None and c.metric == study.scores.metric and not i:  # type: ignore[union-attr]
            spans.insert(1, Span(f"this model on {short(study.table.name, 24)}", study.score, True))
        caption = f"{table.caption}, with 95% intervals; circles are this model."
        out += [Words(c.verdict), Picture(caption, plot.spans(table.caption, spans, c.metric)), table]
    if not out:
        return []
    return [Heading("Beside each modality alone and concat"), small("Measured when the model was fitted."), *out]


def _confusion(study: Study) -> list[Block]:
    assert study.scores is not None
    if study.scores.confusion is None:  # of several labels a row one isn't taken for another
        return _label_sets(study) if study.model.task.labels_ else []
    labels, matrix = study.scores.confusion
    table = np.array(matrix).reshape(len(labels), len(labels))
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    out: list[Block] = [Heading("What is taken for what"), *_per_class(labels, table)]
    if len(labels) <= CLASSES:
        names = [short(x, 16) for x in labels]
        head = ["true label \\ predicted", *names]
        rows = [[n, *(f"{x:,}" for x in line)] for n, line in zip(names, table, strict=True)]
        out.append(Table("Rows by true label (down) and predicted one (across)", head, rows, shades=share.tolist()))
        return out
    wrong = [(int(table[i, j]), i, j) for i, j in zip(*np.nonzero(table), strict=True) if i != j]
    pairs = sorted(wrong, key=lambda w: -w[0])[:PAIRS]
    if pairs:
        rows = [[short(labels[i], 40), short(labels[j], 40), f"{n:,}", f"{share[i, j]:.0%}"] for n, i, j in pairs]
        head = ["true label", "taken for", "rows", "share of the label"]
        out.append(Table("What is confused most often", head, rows, frozenset([1])))
    return out


def _per_class(labels: Sequence[Any], table: np.ndarray) -> list[Block]:
    """How often rows of each label are found, the worst first where there are many."""
    counts, right = table.sum(1), table.diagonal()
    order = [i for i in range(len(labels)) if counts[i]]
    more = ""
    if len(order) > CLASSES:
        order = sorted(order, key=lambda i: right[i] / counts[i])[:CLASSES]
        more = f", the {CLASSES} worst of {int((counts > 0).sum())}"
    rows = []
    for i in order:
        low, high = binomial(int(right[i]), int(counts[i]))
        predictions = int(table[:, i].sum())
        precision = f"{right[i] / predictions:.0%}" if predictions else "–"
        share = f"{right[i] / counts[i]:.0%}"
        rows.append([short(labels[i], 40), f"{counts[i]:,}", share, f"[{low:.0%}, {high:.0%}]", precision])
    head = ["label", "rows", "found (recall)", "95% interval", "right when said (precision)"]
    return [Table(f"Each label{more}", head, rows)]


def _label_sets(study: Study) -> list[Block]:
    task = study.model.task
    output, truth = study.known()
    logits = logits_of(output)
    true = numpy(truth.values) > 0.5
    predicted_sets = task.decisions(logits, truth)[1] == true
    order = np.argsort(-true.sum(0), kind="stable")[:PAIRS]
    rows = []
    for i in order:
        both, positives, predictions = (
            int(x) for x in ((predicted_sets & true)[:, i].sum(), true[:, i].sum(), predicted_sets[:, i].sum())
        )
        share = [f"{both / n:.0%}" if n else "–" for n in (positives, predictions)]
        rows.append([short(task.labels_[i], 40), f"{positives:,}", *share])
    head = ["label", "rows that have it", "found (recall)", "right when said (precision)"]
    more = f", the {PAIRS} commonest of {len(task.labels_)}" if len(task.labels_) > PAIRS else ""
    return [Heading("Each label"), Table(f"Labels{more}", head, rows)]


def _residuals(study: Study) -> list[Block]:
    task = study.model.task
    if "residuals" not in task.capabilities:
        return []
    output, truth = study.known()
    logits = logits_of(output)
    guess, true = task.values(logits), task.values(truth.values)
    mask = numpy(truth.mask).reshape(len(true), -1)
    names = [study.target] if task.columns is None else task.columns
    out: list[Block] = [Heading("How far predictions are from the truth")]
    lines = []
    for k in range(task.outputs):
        y, t = (x[mask[:, k], k] for x in (guess, true))
        if not len(y):
            continue
        name, error = short(names[k], NAME), y - t
        five = [number(q) for q in np.quantile(error, [0.05, 0.25, 0.5, 0.75, 0.95])]
        lines.append([name, number(float(np.abs(error).mean())), *five])
        if k < 2:
            title = f"Predictions of {name} over true values"
            caption = f"{title}; on the dashed line both are the same."
            summary = (
                f"{len(t)} rows; predictions are off by {number(float(np.abs(error).mean()))} on average, and "
                f"{number(float(error.mean()))} too {'high' if error.mean() > 0 else 'low'} in the mean"
            )
            points = list(zip(t.tolist(), y.tolist(), strict=True))
            out.append(Picture(caption, plot.cloud(title, points, "true value", "prediction", summary)))
    head = ["target", "mean size", "5%", "25%", "50%", "75%", "95%"]
    return [*out, Table("Prediction less truth: its mean size, and its quantiles", head, lines)]


def _reliability(study: Study) -> list[Block]:
    assert study.scores is not None
    if study.scores.probabilities is None:
        return []
    lines = _before_and_after(study)
    bins = [] if study.scores.confusion is None else reliability(study)
    grid = Table("How good the probabilities are; less is better", ["rows", "log loss", "calibration error"], lines)
    out: list[Block] = [Heading("Do the probabilities mean what they say?"), grid]
    t = study.scores.probabilities["temperature"]
    scaling = f"Logits are divided by {t:.3f}, the temperature found on validation rows."
    how = scaling if t != 1 else "No temperature is used."
    out.append(small(f"{how} The calibration error is the mean gap between confidence and the share that is right."))
    if bins:
        title = "How often it is right, by how sure it is"
        rows = [[f"{x:.0%}", f"{y:.0%}", f"[{low:.0%}, {high:.0%}]", f"{n:,}"] for x, y, low, high, n in bins]
        caption = f"{title}. Below the dashed line it is too sure of itself, above it not sure enough."
        points = [(x, (y, low, high)) for x, y, low, high, _ in bins]
        summary = "; ".join(f"about {x:.0%} sure: {y:.0%} right of {n}" for x, y, _, _, n in bins)
        across, up = "how sure the model says it is", "share that is right"
        out.append(Picture(caption, plot.shares(title, points, across, up, summary)))
        out.append(Table(title, ["mean confidence", "right", "95% interval", "rows"], rows))
    return out


def _before_and_after(study: Study) -> list[list[str]]:
    assert study.scores is not None and study.scores.probabilities is not None
    calibration, here = study.model.calibration, study.scores.probabilities
    lines = []
    if calibration is not None and calibration.log_loss is not None and calibration.ece is not None:
        scaled = here["temperature"] != 1  # else there is nothing after it
        for when in ("before", "after") if scaled else ("before",):
            name = f"{calibration.rows:,} validation rows" + f", {when} the temperature" * scaled
            lines.append([name, f"{calibration.log_loss[when]:.3f}", f"{calibration.ece[when]:.3f}"])
    return [*lines, [f"{len(study.labelled):,} rows here", f"{here['log_loss']:.3f}", f"{here['ece']:.3f}"]]


def reliability(study: Study) -> list[tuple[float, float, float, float, int]]:
    """By bin of confidence that has rows: its mean, the share that is right, that share's 95% interval, and rows."""
    output, truth = study.known()
    logits = logits_of(output)
    sure, right = (x[:, 0] for x in study.model.task.decisions(logits, truth))
    at_b = np.minimum((sure * BINS).astype(int), BINS - 1)
    out = []
    for b in range(BINS):
        inside = at_b == b
        if n := int(inside.sum()):
            hits = int(right[inside].sum())
            out.append((float(sure[inside].mean()), hits / n, *binomial(hits, n), n))
    return out


def _coverage(study: Study) -> list[Block]:
    assert study.scores is not None
    coverage = study.scores.coverage
    if coverage is None:
        return []
    title = f"How often the sets asked to hold {COVERAGE:.0%} hold the truth, by what is present"
    table = brief.coverage(coverage, title, CLASSES)
    each = zip(table.rows, [coverage.overall, *coverage.patterns], strict=False)
    spans = [Span(row[0], (c.coverage, c.low, c.high), mark="D") for row, c in each]
    calibration = study.model.calibration
    hope = " The rows come in groups, so this is a hope and no promise." if calibration and calibration.grouped else ""
    return [
        Heading("Sets that hold the truth"),
        Words("predict --coverage gives sets of labels, or intervals, that are to hold the truth as often as asked, "
              f"whatever is absent.{hope}"),
        Picture(f"{title}; the dotted line is what was asked.",
                plot.spans(title, spans, "share that holds the truth", at=[(COVERAGE, ":")])),
        table,
    ]  # fmt: skip
