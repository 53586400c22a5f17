"""An inspection as blocks, to be read in a terminal or a log 80 columns wide or more."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polymodal.modalities import MODALITIES
from polymodal.view.blocks import Bar, Bars, Block, Facts, Heading, Items, Table
from polymodal.view.text import many, number

if TYPE_CHECKING:
    from polymodal.data.inspect import Inspection

CLASSES = 10  # classes before the rest is counted
STANDING = ("target", "group", "weight")  # kinds of columns that stand out


def portray(inspection: "Inspection") -> list[Block]:
    """What the table is, and what to look at before training."""
    size = f"{many(inspection.rows, 'row')}, {many(len(inspection.schema.columns), 'column')}"
    out: list[Block] = [Facts([(inspection.table, size)]), _columns(inspection)]
    for goal in inspection.target:
        out += _target(goal) if goal["task"] is not None else []  # why not is among the warnings
    if any(absent for absent, _ in inspection.patterns):
        lacking = [
            f"{n:,} ({n / inspection.rows:.1%}): {', '.join(absent) or 'nothing'}" for absent, n in inspection.patterns
        ]
        out += [Heading("Rows by what is absent"), Items(lacking, "pattern")]
    if bad := inspection.unreadable:
        title = f"{many(len(bad), 'cell')} that can't be read (treated as absent)"
        out += [Heading(title, warning=True), Items([*map(str, bad)], "cell", " (--json lists all)")]
    count, pairs = inspection.duplicates
    if count:
        first = ", ".join(f"{b} like {a}" for a, b in pairs[:5]) + (" ..." if len(pairs) > 5 else "")
        out += [Heading(f"{many(count, 'row')} the same as an earlier one"), Items([f"row {first}"])]
    if inspection.groups:
        sizes = [f"{g.groups:,} of them, up to {many(g.largest, 'row')} each" for g in inspection.groups]
        each = zip(inspection.groups, sizes, strict=True)
        out += [
            Heading("Split by group?"),
            Items([f"{g.column} ({size}): {g.reason}: --group {g.column}" for g, size in each], most=len(sizes)),
        ]
    if inspection.warnings:
        every = [w.message for w in inspection.warnings]
        out += [Heading("Look at this before training", warning=True), Items(every, most=len(every))]
    return out


def _columns(inspection: "Inspection") -> Table:
    rows, strong = [], []
    for i, c in enumerate(inspection.schema.columns.values()):
        size = size_text(c.kind, inspection.sizes.get(c.name, {}))
        lacking = f"{inspection.missing[c.name]:,}" if inspection.missing[c.name] else ""
        rows.append([c.name, c.kind, f"{c.confidence:.0%}", lacking, c.reason + (f"\n{size}" if size else "")])
        strong += [(i, 0), (i, 1)] if c.kind in STANDING else []
    head = ["column", "kind", "sure", "missing", "why, and how large"]
    return Table("", head, rows, frozenset({1, 4}), frozenset(strong))


def size_text(kind: str, sizes: Mapping[str, Mapping[str, Any]]) -> str:
    """Sizes of the cells of a column in words, "" of kinds that have none.

    >>> size_text("text", {"words": {"min": 3, "median": 5, "max": 13}})
    '3 to 13 words, half of them up to 5'
    """
    modality = MODALITIES.get(kind)
    return "" if modality is None or modality.measure is None or not sizes else modality.measure.words(sizes)


def _target(goal: Mapping[str, Any]) -> list[Block]:
    reasons = [goal["reason"], *([f"{many(goal['missing'], 'row')} without a label"] if goal["missing"] else [])]
    if goal["numbers"]:
        reasons.append(", ".join(f"{k} {number(v)}" for k, v in goal["numbers"].items()))
    classes = goal["classes"] or []
    total = sum(c["rows"] for c in classes)
    bars = [Bar(str(c["label"]), c["rows"], f"{c['rows']:,} ({c['rows'] / total:.1%})") for c in classes[:CLASSES]]
    rest = goal["distinct"] - CLASSES
    more = [f"and {rest} more, the rarest with {many(classes[-1]['rows'], 'row')}"] if len(classes) > CLASSES else []
    title = Heading(f"Target {goal['column']}: {goal['task']}")
    return [title, Items(reasons), *([Bars("", bars)] if bars and not goal["numbers"] else []), Items(more)]
