"""Pictures of a board as SVG text: intervals, ranks, shares of information. They need matplotlib.

Each is drawn 4.4 inches wide, so that its text can still be read on a telephone, with labels above their marks, in
colours that colour-blind readers can tell apart (Okabe & Ito 2008), and never by colour alone. The same board gives
the same text, byte for byte.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from polymodal.evaluate.board import Board, rivals
from polymodal.evaluate.information import Shares
from polymodal.evaluate.significance import Ranks, alike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, LINE = 4.4, 0.36  # inches
INK, GREY, BLUE, ORANGE, GREEN, PURPLE = "#1b1b1b", "#6b6b6b", "#0072b2", "#d55e00", "#009e73", "#cc79a7"
LONGEST = 44  # characters of a name
PARTS = (
    ("redundancy", BLUE, ""),
    ("unique_first", GREEN, "//"),
    ("unique_second", ORANGE, "\\\\"),
    ("synergy", PURPLE, "xx"),
)


def available() -> bool:
    """Can pictures be drawn here?"""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def intervals(board: Board) -> str:
    """Mean and 95% interval of each candidate, the best first; lines stand at the best single modality and concat."""
    shown = [(e, m) for e, m in zip(board.entries, board.means, strict=True) if m.value == m.value]
    marked = {e.name: "--" if e.fused else ":" for e in rivals(board.entries)}

    def draw(axes: "Axes") -> None:
        for y, (e, m) in enumerate(shown):
            colour = BLUE if e.name == board.use else INK
            if m.low == m.low:
                axes.plot([m.low, m.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.plot(m.value, y, marker="o" if e.fused else "D", color=colour, markersize=5)
            if e.name in marked:
                axes.axvline(m.value, color=GREY, linewidth=0.8, linestyle=marked[e.name], zorder=0)
            tail = " (recommended)" if e.name == board.use else ""
            label(axes, y - 0.28, f"{clean(e.name)}{tail}", colour)
        axes.set_ylim(len(shown) - 0.5, -0.9)
        axes.set_yticks([])
        axes.set_xlabel(clean(f"{board.metric} ({'higher' if board.higher else 'lower'} is better)"))

    told = "; ".join(f"{e.name} {m.value:.3f} [{m.low:.3f}, {m.high:.3f}]" for e, m in shown)
    return svg(draw, len(shown), "intervals", f"{board.metric} of each candidate with its 95% interval", told)


def ranks(of: Ranks) -> str:
    """Critical-difference diagram: mean ranks, and a bar for each set within one critical difference. Demsar 2006."""
    order = sorted(zip(of.means, of.names, strict=True))
    bars = alike(of)
    place = dict(zip(of.names, of.means, strict=True))

    def draw(axes: "Axes") -> None:
        for y, (mean, name) in enumerate(order):
            axes.plot(mean, y, marker="o", color=INK, markersize=5)
            label(axes, y - 0.28, f"{clean(name)}  {mean:.2f}", INK)
        for i, bar in enumerate(bars):
            inside = [place[name] for name in bar]
            at = [len(order) - 0.3 + 0.25 * i] * 2
            axes.plot([min(inside) - 0.04, max(inside) + 0.04], at, color=BLUE, linewidth=3, solid_capstyle="butt")
        axes.set_ylim(len(order) + 0.25 * len(bars), -0.9)
        axes.set_xlim(0.8, len(order) + 0.2)
        axes.set_yticks([])
        axes.set_xlabel(f"mean rank (1 is best); critical difference {of.critical:.2f}")

    told = "; ".join(f"{name} {mean:.2f}" for mean, name in order)
    told += f"; critical difference {of.critical:.2f}; alike: " + (" | ".join(", ".join(b) for b in bars) or "none")
    return svg(draw, len(order) + 0.3 * len(bars), "ranks", "Mean rank of each candidate over the folds", told)


def information(shares: Sequence[Shares]) -> str:
    """Stacked bars of redundancy, unique information and synergy, in bits."""

    def draw(axes: "Axes") -> None:
        for y, s in enumerate(shares):
            left = 0.0
            for part, colour, hatch in PARTS:
                value = getattr(s, part).value
                if value > 0:
                    axes.barh(y, value, 0.42, left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5)
                    left += value
            label(axes, y - 0.32, f"{clean(s.first)} (first) | {clean(s.second)} (second)", INK)
        axes.set_ylim(len(shares) - 0.5, -0.9)
        axes.set_xlim(0, max([0.01, *(s.total.value * 1.05 for s in shares if s.total.value == s.total.value)]))
        axes.set_yticks([])
        axes.set_xlabel("bits about the target")
        from matplotlib.patches import Patch

        handles = [Patch(facecolor=c, hatch=h, edgecolor="white", label=p.replace("_", " ")) for p, c, h in PARTS]
        axes.legend(handles=handles, ncols=2, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)

    told = "; ".join(
        f"{s.first} and {s.second}: "
        + ", ".join(f"{p.replace('_', ' ')} {getattr(s, p).value:.2f}" for p, _, _ in PARTS)
        for s in shares
    )
    return svg(draw, len(shares) + 1.2, "information", "What the modalities tell about the target", told)


def label(axes: "Axes", y: float, text: str, colour: str) -> None:
    """Words above a mark, from the left edge on."""
    axes.text(0, y, text, color=colour, transform=axes.get_yaxis_transform(), ha="left", va="bottom", parse_math=False)


def clean(name: str) -> str:
    """A name that SVG can hold and that fits."""
    short = plain(name)
    return short if len(short) <= LONGEST else short[: LONGEST - 1] + "…"


MARKS = {c: f"[U+{c:04X}]" for c in (*range(0x202A, 0x202F), 0x2066, 0x2067)} | {0x2028: " ", 0x2029: " "}


def plain(text: str) -> str:
    """Without what XML can't hold and no font draws, such as control characters; those that would turn the order of
    what comes after them around are shown as marks.
    """
    seen = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Co") else c for c in text)
    return seen.translate(MARKS)


def svg(draw: "Callable[[Axes], Any]", lines: float, key: str, title: str, told: str) -> str:
    """What `draw` draws on the axes of a figure of so many lines, for a page. key: what its ids begin with, another one
    for each figure; title, told: what those hear who can't see it. Raises ImportError without matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError("pictures need matplotlib: pip install 'polymodal[explain]'") from e
    style: dict[Any, Any] = {
        "svg.hashsalt": key,
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "hatch.linewidth": 0.6,
        "text.usetex": False,
    }
    out = io.StringIO()
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the reader's font is not the one measured by
        figure = Figure(figsize=(WIDTH, 0.75 + LINE * max(1.0, lines)), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), key, title, told)


def _inline(svg: str, key: str, title: str, told: str) -> str:
    """For a page: no prolog, no metadata, no fixed size, ids of its own, and words for those who can't see it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r"url\(#", f"url(#{key}-", svg)
    svg = re.sub(r'href="#', f'href="#{key}-', svg)
    head, _, rest = svg.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    words = f'<title id="{key}-title">{escape(plain(title))}</title><desc id="{key}-desc">{escape(plain(told))}</desc>'
    return f'{head} role="img" aria-labelledby="{key}-title {key}-desc">{words}{rest}'
