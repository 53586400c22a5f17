"""Reasons for one row, or of a whole table, as a PNG. It needs matplotlib."""

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.explain.draw import lit, spectrogram, thumbnail
from polymodal.explain.overall import Overall
from polymodal.explain.parts import Attribution
from polymodal.explain.reasons import Reasons, faith, named
from polymodal.modalities.places import Grid, Seconds
from polymodal.view.plot import GREY, SHEET, Panel, around, axes_at, say, sheet
from polymodal.view.text import cut, figure, plain, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GAP, LINE, NAMES = 0.15, 0.24, 2.6  # inches
FOR, AGAINST = "#c25b00", "#1c63a8"
SIDE, STRONGEST = 300, 10  # pixels of a picture's longer side; parts that are drawn as bars
Row = tuple[str, float, str]  # name, value, the value in words


def png(e: Reasons) -> bytes:
    """The picture of one row's reasons. Raises ImportError, saying how to get it, without matplotlib."""
    c = e.contributions
    beside = "" if e.truth is None else f"; the table says {e.truth}"
    values = [(m, float(c.shapley[0, i]), signed(float(c.shapley[0, i]))) for i, m in enumerate(c.modalities)]
    values.sort(key=lambda x: -abs(x[1]))
    pairs = [(f"{a}, {b}", x, signed(x)) for a, b, x, _ in e.interactions[:6]]
    blocks = [
        _words(e.text, f"{e.table}, row {e.row}{beside}", size=14),
        _words(f"{e.unit}: {figure(float(c.answer[0]))}, with nothing known {figure(float(c.base[0]))}"),
        _bars("Shapley value of each modality", values),
        *([_bars("interactions", pairs)] if pairs else []),
        *(b for a in e.attributions for b in _part(a)),
    ]
    notes = [f"without {m}: it is hidden, empty or can't be read" for m in e.absent]
    notes += [f"can't be read: {b}" for b in e.bad]
    return sheet([*blocks, *([_words("", "\n".join(notes))] if notes else [])])


def overview(e: Overall) -> bytes:
    """The picture of a table. Raises ImportError as `png`."""
    sizes = [
        (m.modality, m.size.value, f"{figure(m.size.value)} [{figure(m.size.low)}, {figure(m.size.high)}]")
        for m in e.summary.modalities
    ]
    pairs = [(f"{p.first}, {p.second}", p.mean, signed(p.mean)) for p in e.summary.pairs[:10]]
    blocks = [
        _words("Which modality the answers come from", f"{e.table}, {e.rows:,} of {e.total:,} rows; {e.unit}", size=14),
        _bars("mean |Shapley value| with its 95% interval", sizes),
        *([_bars("mean interactions", pairs)] if pairs else []),
        *([_words("", "\n".join(e.notes))] if e.notes else []),
    ]
    return sheet(blocks)


# --- blocks, from above, each with its height in inches -----------------------------------------------


def _words(title: str, text: str = "", size: float = 10) -> Panel:
    lines = wrap(plain(title), int(1250 / size)) if title else []
    small = [line for part in text.split("\n") for line in wrap(plain(part), 125)]
    high = 0.021 * size * len(lines)

    def draw(drawing: "Figure", top: float) -> None:
        say(drawing, GAP, top - GAP, "\n".join(lines), size=size, weight="bold" if size > 10 else "normal")
        say(drawing, GAP, top - GAP - high, "\n".join(small), color=GREY)

    return high + 0.18 * len(small) + GAP, draw


def _bars(title: str, rows: list[Row]) -> Panel:
    """A line a row: orange to the right is for the answer, hatched blue to the left against it."""
    high = LINE * max(1, len(rows))

    def draw(drawing: "Figure", top: float) -> None:
        say(drawing, GAP, top - GAP, title, size=10, style="italic")
        axes = axes_at(drawing, NAMES, top - GAP - 0.25 - high, SHEET - 2 * NAMES, high)
        values = [0.0 if v != v else v for _, v, _ in rows]
        y = np.arange(len(rows))
        looks: list[dict[str, Any]] = [
            {"color": FOR} if v > 0 else {"facecolor": "white", "edgecolor": AGAINST, "hatch": "////"} for v in values
        ]
        for i, v, look in zip(y, values, looks, strict=True):
            axes.barh(i, v, height=0.7, **look)
        reach = max((abs(v) for v in values), default=0.0) or 1.0
        low = -1.05 * reach if min(values, default=0.0) < 0 else 0.0
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlim=(low, 1.05 * reach), xticks=[], yticks=[])
        axes.axvline(0, color="black", linewidth=0.8)
        axes.spines[:].set_visible(False)
        for n, (name, _, said) in enumerate(rows):
            at = top - GAP - 0.25 - LINE * (n + 0.5)
            say(drawing, NAMES - 0.1, at, cut(name, 34), ha="right", va="center")
            say(drawing, SHEET - NAMES + 0.1, at, said, color=GREY, va="center")

    return high + 0.25 + GAP, draw


def _part(a: Attribution) -> list[Panel]:
    """What in a modality: a picture or a spectrogram, the strongest parts, and how far to trust them."""
    order, names = np.argsort(-np.abs(a.scores), kind="stable")[:STRONGEST], named(a)
    rows = [(names[i], float(a.scores[i]), signed(float(a.scores[i]))) for i in order]
    title = f"{a.modality}, by {a.method.replace('-', ' ')}, for {a.output}"
    body = [_heat(title, a)] if isinstance(a.where, Grid) else [_bars(title, rows)]
    strip = [_strip(a, a.where)] if isinstance(a.where, Seconds) else []
    return [*strip, *body, _words("", faith(a))]


def _heat(title: str, a: Attribution) -> Panel:
    where = a.where
    assert isinstance(where, Grid)
    image = np.asarray(thumbnail(where.cell, SIDE).convert("RGB"))
    h, w = image.shape[:2]
    maps = np.concatenate([where.over((s * a.scores[None]).clip(min=0), h, w) for s in (1, -1)])
    maps = (maps / (maps.max() or 1.0)).clip(0, 1)
    wide = (SHEET - 4 * GAP) / 3
    high = min(wide * h / w, 2.6)
    wide = high * w / h if high < wide * h / w else wide

    def draw(drawing: "Figure", top: float) -> None:
        say(drawing, GAP, top - GAP, cut(title, 110), size=10, style="italic")
        panels = (("", image), ("what speaks for it is lit", lit(image, maps[0])), ("against it", lit(image, maps[1])))
        for i, (name, panel) in enumerate(panels):
            axes = axes_at(drawing, GAP + i * (wide + GAP), top - GAP - 0.25 - high, wide, high)
            axes.imshow(panel, aspect="auto")
            axes.axis("off")
            if i:
                around(axes, maps[i - 1], (-0.5, w - 0.5), (-0.5, h - 0.5))
            say(drawing, GAP + i * (wide + GAP), top - GAP - 0.28 - high, name, size=8, color=GREY)

    return high + 0.6, draw


def _strip(a: Attribution, where: Seconds) -> Panel:
    """The spectrogram, and under it a bar for each part."""

    def draw(drawing: "Figure", top: float) -> None:
        say(drawing, GAP, top - GAP, cut(a.modality, 26), size=10, style="italic")
        axes = axes_at(drawing, NAMES, top - 1.2, SHEET - 2 * NAMES, 1.0)
        axes.imshow(spectrogram(where), cmap="Greys", origin="lower", aspect="auto", extent=(0, where.duration, 0, 1))
        axes.set(xticks=[], yticks=[])
        axes = axes_at(drawing, NAMES, top - 1.8, SHEET - 2 * NAMES, 0.55)
        edges = np.minimum(where.edges, where.duration)
        colours = [FOR if x > 0 else "white" for x in a.scores]
        axes.bar(edges[:-1], a.scores, np.diff(edges), align="edge", color=colours, edgecolor=AGAINST, linewidth=0.5)
        axes.set(xlim=(0, where.duration), yticks=[])
        axes.set_xlabel("seconds", labelpad=1)

    return 2.3, draw
