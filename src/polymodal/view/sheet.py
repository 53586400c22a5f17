"""A page of blocks as one PNG, from above to below: what can be seen of it, without plots, tables, cards and sounds.

Each block becomes panels, of a height in inches. It needs matplotlib.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.view.blocks import Attended, Bar, Bars, Block, Heading, Heat, Layer, Page, Strip, Words
from polymodal.view.cell import Photo, Recording, light, spectrogram, thumbnail, to_unit
from polymodal.view.plot import GREY, figure
from polymodal.view.text import plain, truncate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, DPI, GAP, LABEL, ROW = 10.0, 110, 0.12, 0.45, 0.24  # inches; pixels an inch
NAMES = 2.2  # inches for the words beside their rows
COLUMNS, SIDE = 5, 260  # panels in a row; pixels of a panel's longer side
FOR, AGAINST = "#c25b00", "#1c63a8"
FIGURES = Bars | Heat | Strip | Attended  # without which a section has nothing to look at
Panel = tuple[float, "Callable[[Figure, float], None]"]  # its height in inches, and what draws it below a place


def png(of: Page) -> bytes:
    """The picture of a page. Raises ImportError, saying how to get it, without matplotlib."""
    panels = [_words(of.heading, 14, "bold", 4), *(_words(s) for s in of.summary), *_panels(of.blocks)]
    for section in of.sections:
        if any(isinstance(b, FIGURES) for b in section.blocks):
            panels += [_words(section.title, 12, "bold"), *_panels(section.blocks)]
    top = sum(high for high, _ in panels) + GAP
    with figure(WIDE, top, "png", dpi=DPI) as drawing:
        for high, draw in panels:
            draw(drawing, top)
            top -= high
        out = io.BytesIO()
        drawing.savefig(out, format="png")
    return out.getvalue()


def _panels(blocks: Sequence[Block]) -> list[Panel]:
    out: list[Panel] = []
    for kind, group in groupby(blocks, type):
        some: list[Any] = list(group)
        if kind is Heat:
            out.append(_heats(some))
        elif kind in PANELS:
            out += [p for b in some for p in PANELS[kind](b)]
    return out


def _words(text: str, size: float = 9, weight: str = "normal", most: int = 99, color: str = "black") -> Panel:
    lines = wrap(plain(text), int((1250 if weight == "normal" else 1080) / size)) or [""]
    lines = [*lines[:most], "…"] if len(lines) > most else lines
    high = 0.02 * size * len(lines)

    def draw(drawing: "Figure", top: float) -> None:
        _say(drawing, GAP, top - GAP / 2, "\n".join(lines), size, weight=weight, color=color)

    return high + GAP / 2, draw


def _paragraph(b: Words) -> Iterator[Panel]:
    yield _words(b.text, color=GREY if b.small else "black")


def _heading(b: Heading) -> Iterator[Panel]:
    yield _words(b.text, 10, "bold")


def _bars(b: Bars) -> Iterator[Panel]:
    """A line a bar: to the right for, and hatched to the left against."""
    high = ROW * len(b.bars)

    def draw(drawing: "Figure", top: float) -> None:
        axes = _axes(drawing, NAMES, top - high, WIDE - 2 * NAMES, high)
        for i, x in enumerate(b.bars):
            _bar(axes, i, x)
        values = [v for x in b.bars for v in (x.value, *(x.ends or ())) if v == v]
        reach, low = max(map(abs, values), default=0.0) or 1.0, min(values, default=0.0)
        axes.set(ylim=(len(b.bars) - 0.5, -0.5), xlim=(-1.05 * reach if low < 0 else 0.0, 1.05 * reach))
        axes.axis("off")
        axes.axvline(0, color="black", linewidth=0.8)
        for i, x in enumerate(b.bars):
            at = top - ROW * (i + 0.5)
            _say(drawing, NAMES - 0.1, at, truncate(x.name, 30), ha="right", va="center")
            _say(drawing, WIDE - NAMES + 0.1, at, truncate(x.said, 34), color=GREY, va="center")

    if b.bars:
        yield _words(b.caption, color=GREY)
        yield high + GAP, draw


def _bar(axes: "Axes", y: int, x: Bar) -> None:
    if x.value == x.value:
        look: dict[str, Any] = {"facecolor": "white", "edgecolor": AGAINST, "hatch": "////"}
        axes.barh(y, x.value, 0.7, **(look if x.value < 0 else {"color": FOR}))
    if x.ends and x.ends[0] == x.ends[0]:
        axes.plot(x.ends, [y, y], color="black", linewidth=1.2)


def _heats(blocks: Sequence[Heat]) -> Panel:
    """Side by side, each with its caption beneath."""
    images = [thumbnail(light(b.image, b.light), SIDE) for b in blocks]
    wide = (WIDE - GAP) / max(3, len(blocks)) - GAP
    high = min(2.6, max(wide * i.height / i.width for i in images))

    def draw(drawing: "Figure", top: float) -> None:
        for k, (b, image) in enumerate(zip(blocks, images, strict=True)):
            x, own = GAP + k * (wide + GAP), min(wide, high * image.width / image.height)
            axes = _axes(drawing, x, top - own * image.height / image.width, own, own * image.height / image.width)
            axes.imshow(np.asarray(image), aspect="auto")
            axes.axis("off")
            _say(drawing, x, top - high - 0.04, "\n".join(wrap(plain(b.caption), int(15 * wide))[:3]), 8, color=GREY)

    return high + 0.6, draw


def _strip(b: Strip) -> Iterator[Panel]:
    """The spectrogram where there is one, and under it a bar for each part."""
    above = 1.0 if isinstance(b.preview, Recording) else 0.0

    def draw(drawing: "Figure", top: float) -> None:
        if isinstance(b.preview, Recording):
            axes = _axes(drawing, NAMES, top - above, WIDE - 2 * NAMES, above)
            axes.imshow(np.asarray(spectrogram(b.preview)), cmap="gray", aspect="auto")
            axes.axis("off")
        axes = _axes(drawing, NAMES, top - above - 0.55, WIDE - 2 * NAMES, 0.5)
        colours = [FOR if x > 0 else "white" for x in b.scores]
        axes.bar(
            b.edges[:-1], b.scores, np.diff(b.edges), align="edge", color=colours, edgecolor=AGAINST, linewidth=0.5
        )
        axes.set(xlim=(0, 1), ylim=(-1.05 * b.top or -1, 1.05 * b.top or 1), xticks=[], yticks=[])
        _marks(drawing, b.marks, top - above - 0.58)

    yield _words(b.caption, color=GREY)
    yield above + 0.85, draw


def _marks(drawing: "Figure", marks: Sequence[str], y: float) -> None:
    for k, mark in enumerate(marks):
        x = NAMES + (WIDE - 2 * NAMES) * k / max(1, len(marks) - 1)
        _say(drawing, x, y, mark, 8, color=GREY, ha="center" if 0 < k < len(marks) - 1 else "right" if k else "left")


def _attention(b: Attended) -> Iterator[Panel]:
    for layer in b.layers:
        yield _photos(b, layer, layer.preview) if isinstance(layer.preview, Photo) else _lines(b, layer)


def _photos(b: Attended, layer: Layer, photo: Photo) -> Panel:
    """The picture, then a panel a word."""
    image = thumbnail(photo.image, SIDE)
    panels = [image, *(light(image, m) for m in to_unit(layer.maps))]
    wide = (WIDE - GAP) / COLUMNS - GAP
    high = min(wide * image.height / image.width, 1.6 * wide)
    own = min(wide, high * image.width / image.height)
    total = -(-len(panels) // COLUMNS) * (high + LABEL + GAP)

    def draw(drawing: "Figure", top: float) -> None:
        axes = _axes(drawing, 0, top - total, WIDE, total)  # one for all panels, in inches: axes are slow to make
        axes.axis("off")
        for i, panel in enumerate(panels):
            x = GAP + (i % COLUMNS) * (wide + GAP)
            y = total - (i // COLUMNS) * (high + LABEL + GAP) - high
            axes.imshow(np.asarray(panel), extent=(x, x + own, y, y + high), aspect="auto", interpolation="bilinear")
            name = b.words[i - 1] if i else layer.caption
            _say(
                drawing, x, top - total + y - 0.04, truncate(name, 24), 11 if i else 9, weight="bold" if i else "normal"
            )
            if i:
                _say(drawing, x, top - total + y - 0.24, layer.notes[i - 1], 8, color=GREY)
        axes.set(xlim=(0, WIDE), ylim=(0, total))

    return total, draw


def _lines(b: Attended, layer: Layer) -> Panel:
    """From left to right: the spectrogram where there is one, then a row a word."""
    maps = to_unit(layer.maps)
    above, high = (1.2 if isinstance(layer.preview, Recording) else 0.3), ROW * max(1, len(maps))

    def draw(drawing: "Figure", top: float) -> None:
        _say(drawing, GAP, top - 0.04, truncate(layer.caption, 26))
        if isinstance(layer.preview, Recording):
            axes = _axes(drawing, NAMES, top - above, WIDE - 2 * NAMES, above - 0.06)
            axes.imshow(np.asarray(spectrogram(layer.preview)), cmap="gray", aspect="auto")
            axes.axis("off")
        if len(maps):
            axes = _axes(drawing, NAMES, top - above - high, WIDE - 2 * NAMES, high)
            axes.imshow(maps, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
            axes.axis("off")
        _marks(drawing, layer.marks, top - above - high - 0.04)
        for i in range(len(maps)):
            y = top - above - ROW * (i + 0.5)
            _say(drawing, NAMES - 0.1, y, truncate(b.words[i], 18), 10, weight="bold", ha="right", va="center")
            _say(drawing, WIDE - NAMES + 0.1, y, layer.notes[i], 8, color=GREY, va="center")

    return above + high + 0.45, draw


PANELS: dict[type, Callable[[Any], Iterator[Panel]]] = {
    Words: _paragraph, Heading: _heading, Bars: _bars, Strip: _strip, Attended: _attention,
}  # fmt: skip


# --- places, in inches --------------------------------------------------------------------------------


def _axes(drawing: "Figure", x: float, y: float, wide: float, high: float) -> "Axes":
    """Axes whose lower left corner is so many inches from that of the figure."""
    width, height = drawing.get_size_inches()
    return drawing.add_axes((x / width, y / height, wide / width, high / height))


def _say(drawing: "Figure", x: float, y: float, text: str, size: float = 9, va: str = "top", **style: Any) -> None:
    """Text, its upper left corner so many inches from the figure's lower left one."""
    width, height = drawing.get_size_inches()
    drawing.text(x / width, y / height, text, fontsize=size, va=va, parse_math=False, **style)
