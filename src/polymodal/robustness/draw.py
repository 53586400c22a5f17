"""Pictures of what a model loses: the subsets, cells removed, and noise on each modality. They need matplotlib.

Colours are those that colour-blind readers can tell apart (Okabe & Ito 2008), and no curve is told by its colour alone:
each has a mark and a dash of its own.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polymodal.robustness.result import Absence, Noisy, Robustness
from polymodal.robustness.sentences import HOW, listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, LINE, HEIGHT = 6.4, 0.32, 3.6  # inches
INK, GREY, BLUE = "#1b1b1b", "#6b6b6b", "#0072b2"
COLOURS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKS, DASHES = "osD^vP", ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
LONGEST = 44  # characters of a name
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "robustness",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.usetex": False,
}
UNREAD = ("Cc", "Cs", "Cn", "Co")  # control characters and their like, which XML can't hold


def figures(of: Robustness) -> dict[str, "Figure"]:
    """Every picture that there is something to draw for, by a name that a file may have."""
    out = {"subsets": subsets(of)}
    if of.absence:
        out["absence"] = absence(of)
    for m in dict.fromkeys(x.modality for x in of.noise):
        name = plain_name(m)
        while f"noise-{name}" in out:
            name += "_"
        out[f"noise-{name}"] = noise(of, m)
    return out


def subsets(of: Robustness) -> "Figure":
    """The score of every subset of modalities with its 95% interval, the best first; a line stands at all of them."""
    order = sorted(of.subsets, key=lambda s: s.score.value * (-1 if of.higher else 1))
    figure, axes = _axes(0.9 + LINE * len(order))
    for y, s in enumerate(order):
        whole = len(s.present) == len(of.modalities)
        colour = BLUE if whole else INK
        if s.score.low == s.score.low:
            axes.plot([s.score.low, s.score.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot(s.score.value, y, marker="D" if whole else "o", color=colour, markersize=5)
    axes.axvline(of.clean.value, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    names = ["all" if len(s.present) == len(of.modalities) else _short(listed(s.present)) for s in order]
    axes.set_yticks(range(len(order)), names, parse_math=False)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlabel(_metric(of))
    axes.set_title("What is left with some of the modalities", loc="left")
    return figure


def absence(of: Robustness) -> "Figure":
    """The score over the share of cells that are gone, completely at random, at random and not at random."""
    curves: dict[str, list[Absence]] = {}
    for x in of.absence:
        curves.setdefault(x.how, []).append(x)
    figure, axes = _axes(HEIGHT)
    for i, (how, points) in enumerate(curves.items()):
        _curve(axes, i, len(curves), [100 * p.share for p in points], points, HOW[how].format(by=points[0].by))
    axes.set_xlabel("cells removed, %")
    axes.set_ylabel(_metric(of))
    _legend(axes)
    axes.set_title("What is left as cells are removed", loc="left")
    return figure


def noise(of: Robustness, modality: str) -> "Figure":
    """The score over the level of each noise on one modality, with 95% intervals."""
    curves: dict[str, list[Noisy]] = {}
    for x in of.noise:
        if x.modality == modality:
            curves.setdefault(x.kind, []).append(x)
    figure, axes = _axes(HEIGHT)
    for i, (kind, points) in enumerate(curves.items()):
        _curve(axes, i, len(curves), [p.level for p in points], points, kind)
    axes.set_xticks(range(of.levels), ["clean", *map(str, range(1, of.levels))])
    axes.set_xlabel("level of the noise")
    axes.set_ylabel(_metric(of))
    _legend(axes)
    axes.set_title(f"What noise on {_short(modality)} costs", loc="left", parse_math=False)
    return figure


def png(figure: "Figure") -> bytes:
    """As a PNG file."""
    return _file(figure, "png", dpi=150)


def svg(figure: "Figure") -> str:
    """As SVG text, the same for the same numbers, byte for byte."""
    return _file(figure, "svg", metadata={"Date": None, "Creator": None}).decode()


def plain_name(modality: str) -> str:
    """A column's name as part of a file's: letters, digits, "." and "-" of any script; "_" for the rest.

    >>> plain_name("ph/oto 'ü' x")
    'ph_oto_ü_x'
    """
    return re.sub(r"[^\w.-]+", "_", modality).strip("._")[:LONGEST] or "modality"


def _curve(axes: "Axes", i: int, of: int, x: Sequence[float], points: Sequence[Any], label: str) -> None:
    """Values with their marks and intervals; curve i of so many stands a little aside, so that none hides another."""
    step = (x[1] - x[0]) if len(x) > 1 else 1.0
    at = [v + 0.06 * step * (i - (of - 1) / 2) for v in x]
    y = [p.score.value for p in points]
    known = [
        p.score if p.score.low == p.score.low else p.score._replace(low=v, high=v)
        for p, v in zip(points, y, strict=True)
    ]
    reach = [
        [max(0.0, v - k.low) for v, k in zip(y, known, strict=True)],
        [max(0.0, k.high - v) for v, k in zip(y, known, strict=True)],
    ]
    style: Any = {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[i % len(DASHES)],
        "marker": MARKS[i % len(MARKS)],
    }
    axes.errorbar(at, y, reach, markersize=5, linewidth=1.4, elinewidth=0.7, label=_short(label), **style)


def _legend(axes: "Axes") -> None:
    found = axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=3)
    for text in found.get_texts():
        text.set_parse_math(False)


def _axes(height: float) -> "tuple[Figure, Axes]":
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ImportError("pictures need matplotlib: pip install 'polymodal[explain]'") from e
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        return figure, figure.add_subplot()


def _file(figure: "Figure", form: str, **options: Any) -> bytes:
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the reader's font is not the one measured by
        figure.savefig(out, format=form, **options)
    return out.getvalue()


def _metric(of: Robustness) -> str:
    return f"{of.metric} ({'higher' if of.higher else 'lower'} is better)"


def _short(name: str) -> str:
    """A name that SVG can hold and that fits; a leading "_" would hide it from the legend."""
    plain = "".join(" " if unicodedata.category(c) in UNREAD else c for c in name)
    plain = f" {plain}" if plain.startswith("_") else plain
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"
