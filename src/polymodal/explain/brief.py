"""Explanations in brief, as blocks for a terminal."""

import numpy as np

from polymodal.explain.attention import Explanation
from polymodal.explain.evidence import faith, title_of
from polymodal.explain.nearest import FUSED, Space
from polymodal.explain.overall import Overall, strongest
from polymodal.explain.parts import Attribution
from polymodal.explain.reasons import Reasons
from polymodal.view.blocks import Block, Facts, Table, Words
from polymodal.view.text import SMALL, figure, interval, with_sign

TOP, LABELS = 5, 10  # parts, pairs of modalities, labels that are named


def caption(e: Explanation) -> list[Block]:
    """A caption, then a line a word."""
    lines = [f"{e.table}, row {e.row}: {e.text}", *(f"reference: {text}" for text in e.references)]
    lines += [f"without {m}: it is hidden, empty or can't be read" for m in e.absent]
    return [Words(line) for line in [*lines, *(f"  {line}" for line in e.sentences())]]


def row(e: Reasons) -> list[Block]:
    """The answer to a row, which modality it comes from, what in it, and the nearest training rows."""
    c = e.contributions
    beside = "" if e.truth is None else f" (the table says {e.truth})"
    sure = f", probability {e.prediction['probability']:.3f}" if "probability" in e.prediction else ""
    rows = []
    for i in np.argsort(-np.abs(c.shapley[0]), kind="stable"):
        error = f" ± {c.error[0, i]:.3f}" if c.error[0, i] else ""
        adds = [with_sign(c.shapley[0, i]) + error, with_sign(c.alone[0, i])] if c.present[0, i] else ["absent", ""]
        rows.append([c.modalities[i], *adds])
    title = f"{e.unit}: {figure(c.answer[0])}; with nothing known it is {figure(c.base[0])}"
    lines = [f"{a} with {b}: {with_sign(x)} beyond what each brings" for a, b, x, _ in e.interactions[:TOP]]
    if len(c.modalities) > 1 and not np.isnan(c.additive[0]):
        lines.append(f"additive part {figure(float(c.additive[0]))}, cross-modal {with_sign(float(c.crossmodal[0]))}")
    out: list[Block] = [Words(f"{e.table}, row {e.row}: {e.text}{sure}{beside}")]
    out += [Table(title, ["modality", "adds", "alone"], rows), *map(Words, lines)]
    for a in e.attributions:
        out += [Words(""), Facts([(f"{a.modality}, by {a.method}", _parts(a))]), Words(f"  {faith(a)}")]
    if (near := e.nearest) is not None:
        out += [Words(""), Words(f"nearest of {near.rows:,} rows of {near.table}, by {near.by}:")]
        out += [Words(_near(s)) for s in near.spaces]
    return [*out, *map(Words, ["", *e.notes] if e.notes else [])]


def _near(s: Space) -> str:
    rows = [f"row {n.row} ({'no label' if n.label is None else n.label}, {n.distance:.3f})" for n in s.nearest]
    n = s.other
    away = "" if n is None else f"; of another label row {n.row} ({n.label}, {n.distance:.3f})"
    return f"  {'all together' if s.modality == FUSED else s.modality}: {', '.join(rows) or 'none'}{away}"


def _parts(a: Attribution) -> str:
    """The parts that speak most for the output, and most against it."""
    if not len(a.scores):
        return "it has no parts"
    order, names = np.argsort(-np.abs(a.scores), kind="stable")[:TOP], title_of(a)
    lines = [f"{names[i]} {with_sign(float(a.scores[i]))}" for i in order if abs(a.scores[i]) > SMALL]
    return "; ".join(lines) or "nothing in it changes the answer"


def table(e: Overall) -> list[Block]:
    """Which modality the answers of a table come from."""
    s = e.summary
    rows = [[m.modality, interval(m.size), f"{m.largest:.0%}", f"{m.absent:,}"] for m in s.modalities]
    pairs = sorted((p for p in s.pairs if p.rows), key=lambda p: -p.size)[:TOP]
    lines = [f"{p.first} with {p.second}: {with_sign(p.mean)} on average, {figure(p.size)} in size" for p in pairs]
    if s.crossmodal == s.crossmodal and len(s.modalities) > 1:
        lines.append(f"cross-modal part of the answers: {figure(s.crossmodal)} on average (over {s.split} rows)")
    if s.classes:
        classes = [f"{k} {' and '.join(strongest(x['size'])) or 'none'}" for k, x in list(s.classes.items())[:LABELS]]
        lines += ["", f"largest by predicted label: {', '.join(classes)}"]
    lines += ["", *map(str, e.notes)] if e.notes else []
    title = f"{e.table}, {e.rows:,} of {e.total:,} rows; explained is {e.unit}"
    head = ["modality", "mean |Shapley value|", "largest in", "absent in"]
    return [Table(title, head, rows), *map(Words, lines)]
