"""Plots: intervals, bars, curves, points, ranks. A `Plot` is drawn on a page as SVG, or as a PNG or SVG file.

The only module that imports matplotlib, which is optional: whoever shows a plot asks `available` first, or passes its
ImportError on. Plots are narrow, so that their text can still be read on a telephone, with names above their marks, in
colours that colour-blind readers can tell apart (Okabe & Ito 2008), and never by colour alone. Each tells its numbers
to those who can't see it. The same numbers give the same text, byte for byte.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polymodal.view.text import LONGEST, interval, number, plain, truncate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

WIDTH, LINE = 4.4, 0.36  # inches
INK, GREY, BLUE, ORANGE, GREEN, PURPLE = "#1b1b1b", "#6b6b6b", "#0072b2", "#d55e00", "#009e73", "#cc79a7"
STYLES = (  # colour, mark, dash
    (BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "^", ":"), (PURPLE, "D", "-."), (INK, "v", (0, (5, 1))),
    (GREY, "x", (0, (1, 2))),
)  # fmt: skip
FILLS = ((BLUE, ""), (GREEN, "//"), (ORANGE, "\\\\"), (PURPLE, "xx"))  # colour, hatch
NUMBERS = 40  # numbers that are told in words
DOTS = 400  # of a cloud
PIXELS, LINKS = 256, 60  # of a side of a matrix; lines between two streams
CURVE = 3.2  # lines of text that a plot of curves is high, at least
FONTS = ("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Arial Unicode MS")
HINT = "pictures need matplotlib: pip install 'polymodal[explain]'"
NO_DATE = {"Date": None, "Creator": None}
Ends = tuple[float, float] | None  # of an axis


class Plot(NamedTuple):
    """What `draw` draws on axes that are so many lines of text high. title, told: for those who can't see it."""

    title: str
    told: str
    lines: float
    draw: "Callable[[Axes], None]"


class Span(NamedTuple):
    """A named value with its 95% interval (value, low, high). main: what the plot is about. mark: see matplotlib."""

    name: str
    value: Sequence[float]
    main: bool = False
    mark: str = "o"


class Line(NamedTuple):
    """A named curve; low, high: the ends of an interval at each point, or nothing."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


# --- kinds of plots -----------------------------------------------------------------------------------


def spans(
    title: str, rows: Sequence[Span], unit: str, *, at: Sequence[tuple[float, str]] = (), ends: Ends = None
) -> Plot:
    """Intervals, each with its name above it. at: where lines stand, and their dashes. ends: of the axis."""

    def draw(axes: "Axes") -> None:
        for y, s in enumerate(rows):
            colour, (value, low, high) = BLUE if s.main else INK, s.value
            if low == low:
                axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.plot(value, y, marker=s.mark, color=colour, markersize=5)
            _above(axes, y - 0.26, s.name, colour)
        for x, dash in at:
            axes.axvline(x, color=GREY, linewidth=0.9, linestyle=dash, zorder=0)
        _rows(axes, len(rows), unit, ends)

    return Plot(title, _texts((f"{s.name} {interval(s.value)}" for s in rows), len(rows)), len(rows), draw)


def bars(title: str, rows: Sequence[tuple[str, float]], unit: str) -> Plot:
    """Horizontal bars, each with its name and number above it."""

    def draw(axes: "Axes") -> None:
        for y, (name, value) in enumerate(rows):
            axes.barh(y, value, 0.34, color=BLUE)
            _above(axes, y - 0.24, name, INK, f": {number(value)}")
        _rows(axes, len(rows), unit, (0, max([v for _, v in rows] + [1e-9]) * 1.02))

    return Plot(title, _texts((f"{n} {number(v)}" for n, v in rows), len(rows)), 1.15 * len(rows), draw)


def stacks(title: str, rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], unit: str) -> Plot:
    """Bars that are made of parts, at most four, told apart by colour and hatch."""

    def draw(axes: "Axes") -> None:
        longest = 0.01
        for y, (name, values) in enumerate(rows):
            start = 0.0
            for value, (colour, hatch) in zip(values, FILLS, strict=False):
                if value > 0:
                    axes.barh(y, value, 0.42, start, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
                    start += value
            longest = max(longest, start)
            _above(axes, y - 0.32, name, INK, longest=90)
        for part, (colour, hatch) in zip(parts, FILLS, strict=False):
            axes.barh(0, 0, 0, color=colour, hatch=hatch, edgecolor="white", label=part)
        _rows(axes, len(rows), unit, (0, 1.05 * longest))
        _legend(axes)

    texts = (f"{n}: " + ", ".join(f"{p} {v:.2f}" for p, v in zip(parts, x, strict=True)) for n, x in rows)
    return Plot(title, _texts(texts, len(rows)), len(rows) + 1.2, draw)


def ranks(title: str, rows: Sequence[tuple[str, float]], critical: float, alike: Sequence[Sequence[str]]) -> Plot:
    """Critical-difference diagram: mean ranks, and a bar for each set within one critical difference. Demsar 2006."""
    order, place = sorted(rows, key=lambda r: r[::-1]), dict(rows)

    def draw(axes: "Axes") -> None:
        for y, (name, mean) in enumerate(order):
            axes.plot(mean, y, marker="o", color=INK, markersize=5)
            _above(axes, y - 0.28, name, INK, f"  {mean:.2f}")
        for i, names in enumerate(alike):
            inside = [place[name] for name in names]
            at = [len(order) - 0.3 + 0.25 * i] * 2
            axes.plot([min(inside) - 0.04, max(inside) + 0.04], at, color=BLUE, linewidth=3, solid_capstyle="butt")
        unit = f"mean rank (1 is best); critical difference {critical:.2f}"
        _rows(axes, len(order) + 0.5 + 0.25 * len(alike), unit, (0.8, len(order) + 0.2))

    text = "; ".join(f"{name} {mean:.2f}" for name, mean in order)
    text += f"; critical difference {critical:.2f}; alike: " + (" | ".join(", ".join(b) for b in alike) or "none")
    return Plot(title, text, len(order) + 0.3 * len(alike), draw)


def curves(
    title: str, lines: Sequence[Line], across: str, up: str, *, ends: Ends = None,
    ticks: Sequence[tuple[float, str]] = (), log: bool = False,
) -> Plot:  # fmt: skip
    """Curves over one axis, told apart by colour, mark and dash. ends: of the upward axis. ticks: of the other."""

    def draw(axes: "Axes") -> None:
        for i, line in enumerate(lines):
            colour, mark, dash = STYLES[i % len(STYLES)]
            few: Any = {"marker": mark, "markersize": 4} if len(line.x) <= 24 else {}
            x = _aside(line.x, i, len(lines)) if len(line.low) and not log else line.x
            name, reach = _legend_name(line.name), _reach(line)
            axes.errorbar(x, line.y, reach, color=colour, linestyle=dash, elinewidth=0.7, label=name, **few)
        if log:
            axes.set_xscale("log")
        _frame(axes, across, up)
        if ticks:
            axes.set_xticks([x for x, _ in ticks], [name for _, name in ticks])
            axes.minorticks_off()
        elif all(x == int(x) for line in lines for x in line.x):
            axes.locator_params(axis="x", integer=True)
        if ends is not None:
            axes.set_ylim(*ends)
        if len(lines) > 1:
            _legend(axes)

    texts = (f"{x.name}: from {number(x.y[0])} to {number(x.y[-1])}" for x in lines if len(x.y))
    keys = -(-len(lines) // _columns([line.name for line in lines]))
    return Plot(title, _texts(texts, len(lines)), CURVE + 1.6 + 0.6 * keys, draw)


def cloud(title: str, points: Sequence[tuple[float, float]], across: str, up: str, text: str) -> Plot:
    """At most `DOTS` points; on the dashed line both are the same."""
    at = np.linspace(0, len(points) - 1, min(len(points), DOTS)).round().astype(int)
    low, high = (f([v for p in points for v in p]) for f in (min, max))

    def draw(axes: "Axes") -> None:
        axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle="--")
        x, y = np.array(points)[at].T
        axes.plot(x, y, linestyle="", marker="o", markersize=3, color=BLUE, alpha=0.5, markeredgewidth=0)
        _frame(axes, across, up)

    return Plot(title, text, CURVE + 3, draw)


def shares(title: str, points: Sequence[tuple[float, Sequence[float]]], across: str, up: str, text: str) -> Plot:
    """Shares with their intervals over what they should be, both 0 to 1; on the dashed line they are."""

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        for x, (y, low, high) in points:
            axes.plot([x, x], [low, high], color=BLUE, linewidth=1.4)
            axes.plot(x, y, marker="o", color=BLUE, markersize=5)
        _frame(axes, across, up)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)

    return Plot(title, text, CURVE + 3, draw)


def matrix(title: str, values: "NDArray", path: "NDArray", across: str, up: str, text: str) -> Plot:
    """A matrix, darker where it is larger and empty where not finite, and over it a path (K, 2) of rows and columns."""
    steps = [-(-n // PIXELS) for n in values.shape]
    small = np.where(np.isfinite(values), values, np.nan)[:: steps[0], :: steps[1]]

    def draw(axes: "Axes") -> None:
        ends = (-0.5, values.shape[1] - 0.5, -0.5, values.shape[0] - 0.5)
        axes.imshow(small, cmap="Greys", origin="lower", extent=ends, aspect="auto", interpolation="nearest")
        axes.plot(path[:, 1], path[:, 0], color="white", linewidth=3.2)
        axes.plot(path[:, 1], path[:, 0], color=ORANGE, linewidth=1.6)
        _frame(axes, across, up)

    return Plot(title, text, CURVE + 5, draw)


def links(title: str, above: "NDArray", below: "NDArray", path: "NDArray", names: tuple[str, str], text: str) -> Plot:
    """Two streams (T, C), at most 4 channels of each, and at most 60 lines between frames (K, 2) that lie together."""
    few = path[np.linspace(0, len(path) - 1, min(len(path), LINKS)).round().astype(int)]

    def draw(axes: "Axes") -> None:
        for stream, name, colour, floor in ((above, names[0], BLUE, 2.0), (below, names[1], GREEN, 0.0)):
            low, high = np.nanmin(stream, axis=0), np.nanmax(stream, axis=0)
            scaled = (stream - low) / np.where(high > low, high - low, 1.0)
            for line, (_, _, dash) in zip(scaled.T, STYLES[:4], strict=False):
                axes.plot(floor + line, color=colour, linestyle=dash, linewidth=1, label=_legend_name(name))
                name = ""  # in the legend once
        axes.plot(few.T, np.array([[1.95], [1.05]]).repeat(len(few), 1), color=GREY, linewidth=0.6)
        axes.set_yticks([])
        axes.set_xlabel("frame")
        _legend(axes)

    return Plot(title, text, CURVE + 2.6, draw)


def _aside(x: Sequence[float], i: int, of: int) -> list[float]:
    """Curve i of so many stands a little aside, so that none hides another's intervals."""
    step = (x[1] - x[0]) if len(x) > 1 else 1.0
    return [v + 0.06 * step * (i - (of - 1) / 2) for v in x]


def _reach(line: Line) -> list[list[float]] | None:
    """How far intervals go below and above; 0 where they are unknown."""
    if not len(line.low):
        return None
    points = zip(line.y, line.low, line.high, strict=True)
    pairs = [(max(0.0, y - a), max(0.0, b - y)) if a == a else (0.0, 0.0) for y, a, b in points]
    return [list(side) for side in zip(*pairs, strict=True)]


def _above(axes: "Axes", y: float, name: str, colour: str, tail: str = "", longest: int = LONGEST) -> None:
    """Words above a mark, from the left edge on."""
    where: Any = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "bottom", "parse_math": False}
    axes.text(0, y, truncate(name, longest) + tail, color=colour, **where)


def _rows(axes: "Axes", count: float, unit: str, ends: Ends) -> None:
    """Of a plot with a name a row: no upward axis."""
    axes.set_ylim(count - 0.5, -0.9)
    if ends is not None:
        axes.set_xlim(*ends)
    axes.set_yticks([])
    axes.set_xlabel(truncate(unit, 80), parse_math=False)


def _frame(axes: "Axes", across: str, up: str) -> None:
    axes.spines["left"].set_visible(True)
    axes.set_xlabel(truncate(across), parse_math=False)
    axes.set_ylabel(truncate(up), parse_math=False)


def _legend(axes: "Axes") -> None:
    columns = _columns(axes.get_legend_handles_labels()[1])
    where: Any = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": columns, "borderpad": 0, "handlelength": 3}
    for text in axes.legend(frameon=False, **where).get_texts():
        text.set_parse_math(False)


def _columns(names: Sequence[str]) -> int:
    """Of a legend, so that it is no wider than the plot."""
    return 2 if max(map(len, names), default=0) <= LONGEST // 2 else 1


def _legend_name(name: str) -> str:
    """In a legend; a leading "_" would hide it."""
    return truncate(f" {name}" if name.startswith("_") else name)


def _texts(parts: Iterable[str], count: int) -> str:
    return "; ".join(islice(parts, NUMBERS)) + (f"; and {count - NUMBERS} more" if count > NUMBERS else "")


# --- where they are drawn -----------------------------------------------------------------------------


def available() -> bool:
    """Can plots be drawn here?"""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def inline(plot: Plot, key: str) -> str:
    """SVG for a page: no prolog, no metadata, no fixed size, and ids of its own, which begin with `key`.

    Raises ImportError, saying how to get it, without matplotlib.
    """
    svg = _file(plot, "svg", key, title=False, transparent=True, metadata=NO_DATE).decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r"url\(#", f"url(#{key}-", svg)
    svg = re.sub(r'(xlink:)?href="#', f'href="#{key}-', svg)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg)
    head, _, rest = svg.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    title, text = escape(plain(plot.title)), escape(plain(plot.told))
    words = f'<title id="{key}-title">{title}</title><desc id="{key}-desc">{text}</desc>'
    return f'{head} role="img" aria-labelledby="{key}-title {key}-desc">{words}{rest}'


def png(plot: Plot) -> bytes:
    """A PNG file. Raises ImportError as `inline`."""
    return _file(plot, "png", "plot", dpi=200)


def svg(plot: Plot) -> bytes:
    """An SVG file. Raises ImportError as `inline`."""
    return _file(plot, "svg", "plot", metadata=NO_DATE)


def _file(plot: Plot, form: str, key: str, title: bool = True, **options: Any) -> bytes:
    with figure(WIDTH, 0.75 + 0.25 * title + LINE * max(1.0, plot.lines), form, key, layout="constrained") as drawing:
        if title:
            drawing.suptitle(truncate(plot.title, 70), x=0.02, ha="left", fontsize=9, parse_math=False)
        plot.draw(drawing.add_subplot())
        out = io.BytesIO()
        drawing.savefig(out, format=form, **options)
    return out.getvalue()


@contextmanager
def figure(width: float, height: float, form: str, key: str = "", **options: Any) -> "Iterator[Figure]":
    """A figure of so many inches, in the one style while it is drawn and saved. Raises ImportError as `inline`."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError(HINT) from e
    style: dict[Any, Any] = {
        "svg.hashsalt": key,
        "svg.fonttype": "none",
        "font.family": "sans-serif" if form == "svg" else fonts(),
        "font.size": 9,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "hatch.linewidth": 0.6,
        "text.usetex": False,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a script that no font here has
        yield Figure(figsize=(width, height), facecolor="white", **options)


def fonts() -> list[str]:
    """Families of this machine that have most scripts."""
    from matplotlib.font_manager import fontManager

    there = {f.name for f in fontManager.ttflist}
    return [f for f in FONTS if f in there] or ["sans-serif"]
