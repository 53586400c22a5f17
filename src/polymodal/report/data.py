"""The section about the data: modalities, labels, what is absent, what can't be read, and rows to look at."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from polymodal.modalities import MODALITIES
from polymodal.report.study import LABELS, NAME, VALUE, Study
from polymodal.uncertainty import presence
from polymodal.view import plot
from polymodal.view.blocks import Block, Card, Cards, Heading, Picture, Section, Table, Words, small
from polymodal.view.text import LONGEST, number, short

BARS, LINES, BAD = 20, 60, 12  # bars of a picture, lines of a table, unreadable cells
PATTERNS, EXAMPLES, BINS = 12, 3, 16


def data(study: Study) -> Section:
    """What the table is."""
    count = study.drawn
    blocks: list[Block] = [
        Words(f"{study.name} has {count.rows:,} row{'s' * (count.rows != 1)}. Counts of empty cells and of labels are "
              f"of all rows; the rest of this page is of {study.of}."),
        _modalities(study),
        *_labels(study),
        *_patterns(study),
        *_unreadable(study),
        *_examples(study),
    ]  # fmt: skip
    return Section("data", "Data", blocks)


def _modalities(study: Study) -> Table:
    schema = study.model.preprocessor.schema
    here = presence(study.rows, study.model.preprocessor.views)
    lines = []
    for m, (kind, columns) in schema.modalities().items():
        if m not in here:
            continue
        empty = 1 - sum(study.drawn.filled[c] for c in columns) / (len(columns) * study.drawn.rows)
        bad = sum(b.column in columns for b in study.rows.bad)
        of = f"{len(columns)} column{'s' * (len(columns) != 1)}" if MODALITIES[kind].columns else kind
        lines.append([short(m, NAME), of, f"{here[m].sum():,} of {len(here[m]):,}", f"{empty:.1%}", f"{bad:,}"])
    head = ["modality", "kind", "rows that have it", "empty cells, of all rows", "unreadable cells"]
    return Table("What the model reads", head, lines[:LINES], frozenset([1]))


def _labels(study: Study) -> list[Block]:
    count = study.drawn
    name = short(study.target, NAME)
    if not count.target:
        return [Heading("Labels"), Words(f"{study.name} has no column {name}, so there are no labels to compare with.")]
    missing = f" {count.unlabelled:,} of {count.rows:,} rows have no label." if count.unlabelled else ""
    if count.unlabelled == count.rows:
        return [Heading("Labels"), Words(f"No row has a label in {name}, so there is nothing to compare with.")]
    if count.labels:
        return [Heading("Labels"), *_counts(count.labels, count.rows - count.unlabelled, name, missing)]
    if study.writes:
        n = count.numbers[:, 0]
        return [Heading("Texts"), Words(f"The target {name} holds texts, {n.mean():.1f} a row.{missing}")]
    return [Heading("Labels"), *_numbers(study, missing)]


def _counts(labels: Counter[str], rows: int, name: str, missing: str) -> list[Block]:
    """rows: that have a label; of sets of labels, their shares of these rows add up to more than 1."""
    common, least = labels.most_common(), "at least " * (len(labels) == LABELS)
    rest = len(common) - LINES
    more = f" The {LINES} commonest are listed; {rest:,} others are not." if rest > 0 else ""
    text = f"{name} has {least}{len(common):,} different label{'s' * (len(common) != 1)}.{more}{missing}"
    top = [(short(k, LONGEST), float(v)) for k, v in common[:BARS]]
    lines = [[short(k, VALUE), f"{v:,}", f"{v / rows:.1%}"] for k, v in common[:LINES]]
    grid = Table(f"Rows by {name}", ["label", "rows", "share"], lines, folded=len(lines) > BARS or None)
    title = f"Rows by label{f', the {BARS} commonest' if len(common) > BARS else ''}"
    return [Words(text), Picture(title, plot.bars(title, top, "rows")), grid]


def _numbers(study: Study, missing: str) -> list[Block]:
    task, x_nk = study.model.task, study.drawn.numbers
    names = [study.target] if task.columns is None else task.columns
    lines, out = [], []
    for k, x in enumerate(x_nk.T):
        finite = x[np.isfinite(x)]
        if len(finite):
            five = [number(v) for v in np.quantile(finite, [0, 0.25, 0.5, 0.75, 1])]
            lines.append([short(names[k], NAME), f"{len(finite):,}", *five])
            out += [_histogram(short(names[k], NAME), finite)] if k < 2 else []
    head = ["target", "rows", "least", "lower quarter", "middle", "upper quarter", "greatest"]
    grid = Table("How the target's values are spread", head, lines)
    return [*([Words(missing.strip())] if missing else []), *out, grid]


def _histogram(name: str, x: np.ndarray) -> Picture:
    counts, edges = np.histogram(x, bins=min(BINS, max(1, len(set(x.tolist())))))
    bins = [(f"{number(a)} to {number(b)}", float(n)) for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    title = f"Rows by {name}"
    return Picture(title, plot.bars(title, bins, "rows"))


def _patterns(study: Study) -> list[Block]:
    here = presence(study.rows, study.model.preprocessor.views)
    names, here_nm = list(here), np.stack(list(here.values()), axis=1)
    patterns, counts = np.unique(here_nm, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    head = Heading("What is absent")
    if len(patterns) == 1 and patterns[0].all():
        return [head, Words("Every row looked at has every modality.")]
    common = [(lacking(names, patterns[i]), int(counts[i])) for i in order]
    more = f" The {PATTERNS} commonest of {len(common):,} patterns." if len(common) > PATTERNS else ""
    title = "Rows by what they lack"
    top = common[:PATTERNS]
    lines = [[name, f"{n:,}", f"{n / len(here_nm):.1%}"] for name, n in top]
    return [
        head,
        Words(f"A cell that can't be read counts as absent.{more}"),
        Picture(title, plot.bars(title, [(name, float(n)) for name, n in top], "rows")),
        Table(title, ["pattern", "rows", "share"], lines),
    ]


def lacking(names: Sequence[str], here: np.ndarray) -> str:
    """A pattern of presence in words, in terms of what is fewer."""
    there, absent = ([short(m, 30) for m, h in zip(names, here, strict=True) if bool(h) is x] for x in (True, False))
    if not absent:
        return "nothing is absent"
    if not there:
        return "everything is absent"
    return f"{' + '.join(there)} alone" if len(there) < len(absent) else f"without {', '.join(absent)}"


def _unreadable(study: Study) -> list[Block]:
    bad = study.rows.bad
    if not bad:
        return []
    lines = [[f"row {b.row}", short(b.column, NAME), short(b.cell, NAME), short(b.reason, VALUE)] for b in bad[:BAD]]
    more = f", the first {BAD} of {len(bad):,}" if len(bad) > BAD else ""
    grid = Table(f"Cells that can't be read{more}", ["row", "column", "cell", "why"], lines, frozenset([1, 2, 3]))
    return [Heading("Unreadable cells"), grid]


def _examples(study: Study) -> list[Block]:
    """A few rows, spread over the table, those with most to see first."""
    there = study.model.scorer.present(study.rows).sum(1)
    spread = np.linspace(0, len(there) - 1, min(len(there), 8 * EXAMPLES)).round().astype(int)
    best = sorted(dict.fromkeys(spread.tolist()), key=lambda i: -there[i])[:EXAMPLES]
    cards = [Card(f"Row {study.table.row_number(i)}", _label(study, i), study.cells(i)) for i in sorted(best)]
    return [Heading("Examples"), small("A few rows, spread over the sample, of those that lack least."), Cards(cards)]


def _label(study: Study, row: int) -> list[str]:
    if not study.drawn.target:
        return []
    cells = [(t, study.table.cells(t)[row]) for t in study.model.preprocessor.schema.target]
    return [f"{short(t, NAME)}: {'(no label)' if c is None else short(c, 200)}" for t, c in cells[:4]]
