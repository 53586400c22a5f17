"""A board as one HTML page, which needs nothing beside itself, and as a table in the terminal."""

import math
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from polymodal.evaluate.board import CONCAT, Board, chance, interaction, rivals
from polymodal.evaluate.intervals import Interval
from polymodal.evaluate.significance import alike
from polymodal.view import plot
from polymodal.view.plot import Plot, Span

if TYPE_CHECKING:
    from rich.console import Console

DASH = "–"
PARTS = ("redundancy", "unique_first", "unique_second", "synergy")


def page(board: Board, *, title: str, command: str = "") -> str:
    """The page: verdict, candidates, differences, ranks, information. Without matplotlib it has no pictures."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "score": _score,
        "span": _span,
        "whole": lambda x: DASH if x is None else f"{x:,.0f}",
        "tenth": lambda x: DASH if x is None else f"{x:,.1f}",
        "signed": lambda x: DASH if math.isnan(x) else f"{x:+.3f}",
        "bits": lambda x: DASH if math.isnan(x.value) else f"{x.value:.2f} {_span(x, 2)}",
        "chance": chance,
    }
    source = files("polymodal.evaluate").joinpath("compare.html").read_text(encoding="utf-8")
    found = plots(board) if plot.available() else {}
    drawn = {k: Markup(plot.inline(v, k)) for k, v in found.items()}  # which escapes every name
    ranked = sorted(zip(board.ranks.means, board.ranks.names, strict=True)) if board.ranks else []
    return environment.from_string(source).render(
        board=board,
        title=title,
        command=command,
        rows=list(zip(board.entries, board.means, strict=True)),
        notes=any(e.note for e in board.entries),
        concat=any(e.family == CONCAT for e in board.entries),
        ranked=ranked,
        partial=not all(s.fused for s in board.information),
        interaction=interaction(board.emap, board.metric) if board.emap else "",
        pictures={"intervals": "", "ranks": "", "information": "", **drawn},
        hint="" if drawn else plot.HINT,
    )


def plots(board: Board) -> dict[str, Plot]:
    """Each plot that the board has something for: candidates with their intervals, ranks, shares of information."""
    known = [(e, m) for e, m in zip(board.entries, board.means, strict=True) if m.value == m.value]
    marked = {e.name: "--" if e.fused else ":" for e in rivals(board.entries)}
    unit = f"{board.metric} ({'higher' if board.higher else 'lower'} is better)"
    rows = [
        Span(e.name + " (recommended)" * (e.name == board.use), m, e.name == board.use, "o" if e.fused else "D")
        for e, m in known
    ]
    lines = [(m.value, marked[e.name]) for e, m in known if e.name in marked]
    title = f"{board.metric} of each candidate with its 95% interval"
    out = {"intervals": plot.spans(title, rows, unit, at=lines)}
    if (r := board.ranks) is not None:
        named = list(zip(r.names, r.means, strict=True))
        out["ranks"] = plot.ranks("Mean rank of each candidate over the folds", named, r.critical, alike(r))
    if board.information:
        shares = [
            (f"{s.first} (first) | {s.second} (second)", [getattr(s, p).value for p in PARTS])
            for s in board.information
        ]
        title, names = "What the modalities tell about the target", [p.replace("_", " ") for p in PARTS]
        out["information"] = plot.stacks(title, shares, names, "bits about the target")
    return out


def portray(board: Board, console: "Console") -> None:
    """The candidates and the verdict, for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    repeats = f" of {board.repeats} repeats" if board.repeats > 1 else ""
    grid = Table(
        title=f"{escape(board.metric)}, mean of {board.folds} folds{repeats} on {board.rows:,} rows",
        title_justify="left",
        box=None,
    )
    grid.add_column("")
    for name in (board.metric, "95% interval", "parameters", "seconds", "MB"):
        grid.add_column(escape(name), justify="right")
    for e, m in zip(board.entries, board.means, strict=True):
        numbers: list[Any] = [e.parameters, e.seconds, e.memory_mb]
        cells = [DASH if x is None else f"{x:,.{d}f}" for x, d in zip(numbers, (0, 1, 0), strict=True)]
        used = e.name == board.use
        grid.add_row(
            escape(e.name) + (" (recommended)" if used else ""),
            _score(m.value),
            escape(_span(m)),
            *cells,
            style="bold" if used else "",
        )
    console.print(grid)
    for e in board.entries:
        if e.note:
            console.print(escape(f"{e.name}: {e.note}"), highlight=False, soft_wrap=True)
    if board.information:
        console.print(_bits(board))
    if board.emap is not None:
        console.print(escape(interaction(board.emap, board.metric)), highlight=False)
    console.print(escape(board.verdict), highlight=False)


def _bits(board: Board) -> Any:
    from rich.markup import escape
    from rich.table import Table

    grid = Table(title="\nbits about the target", title_justify="left", box=None)
    for name in ("first", "second"):
        grid.add_column(name)
    for name in ("total", "redundancy", "only first", "only second", "synergy"):
        grid.add_column(name, justify="right")
    for s in board.information:
        parts = (s.total, s.redundancy, s.unique_first, s.unique_second, s.synergy)
        grid.add_row(escape(s.first), escape(s.second), *(_score(x.value, 2) for x in parts))
    return grid


def _score(x: float, digits: int = 3) -> str:
    return DASH if math.isnan(x) else f"{x:.{digits}f}"


def _span(x: Interval, digits: int = 3) -> str:
    return DASH if math.isnan(x.low) else f"[{x.low:.{digits}f}, {x.high:.{digits}f}]"
