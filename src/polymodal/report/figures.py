"""The pictures of a report, as SVG text: bars, intervals, curves, two clouds of points. They need matplotlib.

Lines differ by dash and mark as well as by colour, bars and intervals carry their names above them, and each picture
tells its numbers to those who can't see it. The same numbers give the same text.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.evaluate.figures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, clean, label, svg
from polymodal.evaluate.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
STYLES = (  # colour, mark, dash
    (BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "^", ":"), (PURPLE, "D", "-."), (INK, "v", (0, (5, 1))),
    (GREY, "x", (0, (1, 2))),
)  # fmt: skip
Ends = tuple[float, float] | None  # of an axis
TOLD = 40  # numbers that are told in words
DOTS = 400  # of a cloud
CURVE = 3.2  # lines of text that a plot of curves is high, at least


class Span(NamedTuple):
    """A named value with its interval. main: what the picture is about."""

    name: str
    value: Interval
    main: bool = False


class Line(NamedTuple):
    """A named curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def bars(key: str, title: str, values: Sequence[tuple[str, float]], unit: str) -> str:
    """Horizontal bars, each with its name and number above it."""

    def draw(axes: "Axes") -> None:
        for y, (name, value) in enumerate(values):
            axes.barh(y, value, 0.34, color=BLUE)
            label(axes, y - 0.24, f"{clean(name)}: {number(value)}", INK)
        axes.set_ylim(len(values) - 0.5, -0.9)
        axes.set_xlim(0, max([v for _, v in values] + [1e-9]) * 1.02)
        axes.set_yticks([])
        axes.set_xlabel(unit)

    return svg(draw, 1.15 * len(values), key, title, _told((f"{n} {number(v)}" for n, v in values), len(values)))


def spans(
    key: str, title: str, values: Sequence[Span], unit: str, at: float | None = None, ends: Ends = None
) -> str:  # fmt: skip
    """Intervals, each with its name above it; a dotted line at `at`. ends: of the axis."""

    def draw(axes: "Axes") -> None:
        for y, s in enumerate(values):
            colour = BLUE if s.main else INK
            if s.value.low == s.value.low:
                axes.plot([s.value.low, s.value.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.plot(s.value.value, y, marker="o" if s.main else "D", color=colour, markersize=5)
            label(axes, y - 0.26, clean(s.name), colour)
        if at is not None:
            axes.axvline(at, color=GREY, linewidth=0.9, linestyle=":", zorder=0)
        axes.set_ylim(len(values) - 0.5, -0.9)
        if ends is not None:
            axes.set_xlim(*ends)
        axes.set_yticks([])
        axes.set_xlabel(clean(unit))

    return svg(draw, len(values), key, title, _told((f"{s.name} {interval(s.value)}" for s in values), len(values)))


def curves(key: str, title: str, lines: Sequence[Line], across: str, up: str, ends: Ends = None) -> str:
    """Curves over one axis, told apart by colour, dash and mark."""
    lines = lines[: len(STYLES)]

    def draw(axes: "Axes") -> None:
        for line, (colour, mark, dash) in zip(lines, STYLES, strict=False):
            drawn = axes.plot(line.x, line.y, color=colour, linestyle=dash, label=clean(line.name))[0]
            if len(line.x) <= 24:
                drawn.set(marker=mark, markersize=4)
        _framed(axes, across, up)
        if all(x == int(x) for line in lines for x in line.x):
            axes.locator_params(axis="x", integer=True)
        if ends is not None:
            axes.set_ylim(*ends)
        if len(lines) > 1:
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0, handlelength=3)

    told = (f"{x.name}: from {number(x.y[0])} to {number(x.y[-1])}" for x in lines if len(x.y))
    return svg(draw, CURVE + 1.6 + 0.6 * ((len(lines) + 1) // 2), key, title, _told(told, len(lines)))


def residuals(key: str, title: str, truth: Floats, guess: Floats) -> str:
    """Predictions over true values, at most `DOTS` of them; the line is where both are the same."""
    at = np.linspace(0, len(truth) - 1, min(len(truth), DOTS)).round().astype(int)
    low, high = float(min(truth.min(), guess.min())), float(max(truth.max(), guess.max()))

    def draw(axes: "Axes") -> None:
        axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle="--")
        axes.plot(
            truth[at], guess[at], linestyle="", marker="o", markersize=3, color=BLUE, alpha=0.5, markeredgewidth=0
        )
        _framed(axes, "true value", "prediction")

    error = guess - truth
    told = f"{len(truth)} rows; predictions are off by {number(float(np.abs(error).mean()))} on average, and "
    told += f"{number(float(error.mean()))} too {'high' if error.mean() > 0 else 'low'} in the mean"
    return svg(draw, CURVE + 3, key, title, told)


def reliability(key: str, title: str, bins: Sequence[tuple[float, float, float, float, int]]) -> str:
    """Share that is right over mean confidence, with 95% intervals; the line is where both are the same.

    bins: mean confidence, share, its interval's ends, rows.
    """

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        for x, y, low, high, _ in bins:
            axes.plot([x, x], [low, high], color=BLUE, linewidth=1.4)
            axes.plot(x, y, marker="o", color=BLUE, markersize=5)
        _framed(axes, "how sure the model says it is", "share that is right")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)

    told = (f"about {x:.0%} sure: {y:.0%} right of {n}" for x, y, _, _, n in bins)
    return svg(draw, CURVE + 3, key, title, _told(told, len(bins)))


def _framed(axes: "Axes", across: str, up: str) -> None:
    axes.spines["left"].set_visible(True)
    axes.set_xlabel(clean(across))
    axes.set_ylabel(clean(up))


def _told(parts: Iterable[str], count: int) -> str:
    return "; ".join(islice(parts, TOLD)) + (f"; and {count - TOLD} more" if count > TOLD else "")


def number(x: float) -> str:
    """A number for a reader.

    >>> number(1234.0), number(0.12345), number(float("nan")), number(float("inf"))
    ('1,234', '0.123', '–', 'endless')
    """
    if x != x:
        return "–"
    if x - x != 0:
        return "endless"
    return f"{x:,.0f}" if x == int(x) and abs(x) < 1e9 else f"{x:.3g}" if abs(x) < 1000 else f"{x:,.0f}"


def interval(x: Interval, digits: int = 3) -> str:
    """A value and its ends."""
    if x.value != x.value:
        return "–"
    ends = "" if x.low != x.low else f" [{x.low:.{digits}f}, {x.high:.{digits}f}]"
    return f"{x.value:.{digits}f}{ends}"
