"""An inspection as a person reads it, 80 columns wide or more, in a terminal or in a log."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table as Grid

from polymodal.modalities import MODALITIES
from polymodal.modalities.sizes import Summary, short

if TYPE_CHECKING:
    from polymodal.data.inspect import Inspection

SHOWN = 10  # entries of a list before the rest is counted
BAR = 24
STYLES = {"target": "bold magenta", "group": "magenta", "id": "dim", "ignored": "dim"}


def portray(found: "Inspection", console: Console) -> None:
    """Print it."""
    columns = len(found.schema.columns)
    console.print(f"[bold]{escape(found.table)}[/]: {_many(found.rows, 'row')}, {_many(columns, 'column')}")
    console.print(_columns(found))
    for goal in found.target:
        _target(goal, console)
    _absent(found, console)
    _unreadable(found, console)
    _duplicates(found, console)
    if found.groups:
        _title("Split by group?", console)
        for g in found.groups:
            size = f"{g.groups:,} of them, up to {_many(g.largest, 'row')} each"
            _item(
                f"[bold]{escape(g.column)}[/] ({size}): {escape(g.reason)}: --group {escape(g.column)}",
                console,
            )
    if found.warnings:
        _title("[yellow]Look at this before training[/]", console)
        for w in found.warnings:
            _item(escape(w.message), console)


def _columns(found: "Inspection") -> Grid:
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    grid.add_column("column", overflow="fold", max_width=24)
    grid.add_column("kind", no_wrap=True)
    grid.add_column("sure", justify="right", no_wrap=True)
    grid.add_column("missing", justify="right", no_wrap=True)
    grid.add_column("why, and how large", overflow="fold")
    for c in found.schema.columns.values():
        lacking = found.missing[c.name]
        size = _sized(c.kind, found.sizes.get(c.name))
        grid.add_row(
            escape(c.name),
            c.kind,
            f"{c.confidence:.0%}",
            f"{lacking:,}" if lacking else "",
            escape(c.reason) + (f"\n[cyan]{size}[/]" if size else ""),
            style=STYLES.get(c.kind, ""),
        )
    return grid


def _sized(kind: str, sizes: Summary | None) -> str:
    """Sizes in words, as the kind of column says them."""
    modality = MODALITIES.get(kind)
    return "" if sizes is None or modality is None or modality.measure is None else modality.measure.words(sizes)


def _target(goal: Mapping[str, Any], console: Console) -> None:
    if goal["task"] is None:  # why not is among the warnings
        return
    _title(f"Target {escape(goal['column'])}: {goal['task']}", console)
    _item(escape(goal["reason"]), console)
    if goal["missing"]:
        _item(f"{_many(goal['missing'], 'row')} without a label", console)
    if goal["numbers"]:
        _item(", ".join(f"{k} {short(v)}" for k, v in goal["numbers"].items()), console)
        return
    classes = goal["classes"] or []
    grid = Grid(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(overflow="ellipsis", no_wrap=True, max_width=40)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    total = sum(c["rows"] for c in classes)
    for c in classes[:SHOWN]:
        bar = "\u2588" * max(1, round(BAR * c["rows"] / classes[0]["rows"]))
        grid.add_row(escape(str(c["label"])), f"{c['rows']:,}", f"[cyan]{bar}[/] {c['rows'] / total:.1%}")
    console.print(Padding(grid, (0, 0, 0, 2)))
    if len(classes) > SHOWN:
        _item(
            f"and {goal['distinct'] - SHOWN} more, the rarest with {_many(classes[-1]['rows'], 'row')}",
            console,
        )


def _absent(found: "Inspection", console: Console) -> None:
    if not any(absent for absent, _ in found.patterns):
        return
    _title("Rows by what is absent", console)
    for absent, n in found.patterns[:SHOWN]:
        _item(f"{n:,} ({n / found.rows:.1%}): {escape(', '.join(absent)) or 'nothing'}", console)
    _more(found.patterns, "pattern", console)


def _unreadable(found: "Inspection", console: Console) -> None:
    if not found.unreadable:
        return
    _title(
        f"[red]{_many(len(found.unreadable), 'cell')} that can't be read[/] (treated as absent)",
        console,
    )
    for b in found.unreadable[:SHOWN]:
        _item(escape(str(b)), console)
    _more(found.unreadable, "cell", console, " (--json lists all)")


def _duplicates(found: "Inspection", console: Console) -> None:
    count, pairs = found.duplicates
    if count:
        first = ", ".join(f"{b} like {a}" for a, b in pairs[:5]) + (" ..." if len(pairs) > 5 else "")
        _title(f"{_many(count, 'row')} the same as an earlier one", console)
        _item(f"row {first}", console)


def _title(text: str, console: Console) -> None:
    console.print(f"\n[bold]{text}[/]")


def _item(text: str, console: Console) -> None:
    console.print(Padding(text, (0, 0, 0, 2)), highlight=False)


def _more(entries: Sequence[Any], noun: str, console: Console, where: str = "") -> None:
    if len(entries) > SHOWN:
        _item(f"and {_many(len(entries) - SHOWN, f'more {noun}')}{where}", console)


def _many(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"
