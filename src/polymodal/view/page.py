"""A page of blocks as one HTML file, which needs nothing beside itself and runs no script but that of `Attended`."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polymodal.view import cell as cells
from polymodal.view import plot as plots
from polymodal.view.blocks import Attended, Bars, Block, Cards, Cell, Heat, Layer, Page, Picture, Strip
from polymodal.view.cell import Detail, Figure, Floats, Photo, Recording
from polymodal.view.plot import Plot
from polymodal.view.text import plain

if TYPE_CHECKING:
    from jinja2 import Environment

LARGEST = 1_000_000  # bytes of a page, unless asked otherwise
DETAILS = (
    Detail(640, 224, 400_000, 400),
    Detail(480, 96, 200_000, 400),
    Detail(480, 64, 0, 300),
    Detail(256, 32, 0, 200),
    Detail(128, 16, 0, 120),
)


def page(of: Page, *, largest: int = LARGEST, details: Sequence[Detail] = DETAILS) -> str:
    """The page, in the first of these details in which it is smaller than `largest` bytes, or else in the last."""
    svg, has_plots = cache(_svg), plots.available()  # plots are the same in every detail
    html = ""
    for detail in details:
        html = _environment(detail, svg).get_template("page.html").render(**_context(of, has_plots))
        if len(html.encode("utf-8", "replace")) < largest:
            break
    return html


def _context(of: Page, has_plots: bool) -> dict[str, Any]:
    """What the template is filled with beside the blocks. allowed: the hash of the script, for the page's policy."""
    from markupsafe import Markup

    blocks = list(_all([*of.blocks, *(b for s in of.sections for b in s.blocks)]))
    script = _source("words.js") if any(isinstance(b, Attended) for b in blocks) else ""
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "page": of,
        "plots": has_plots,
        "hint": plots.HINT if not has_plots and any(isinstance(b, Picture) for b in blocks) else "",
        "style": Markup(_source("style.css")),
        "script": Markup(script),
        "allowed": Markup(f"'sha256-{script_hash}'"),
        "version": version("polymodal"),
    }


def _all(blocks: Sequence[Block]) -> list[Block]:
    """Those of cards too."""
    inner = [b for x in blocks if isinstance(x, Cards) for c in x.cards for b in _all(c.blocks)]
    return [*blocks, *inner]


@cache
def _source(name: str) -> str:
    return files("polymodal.view").joinpath("html", name).read_text(encoding="utf-8")


def _environment(detail: Detail, svg: Callable[[Plot, str], str]) -> "Environment":
    """Templates in which all text is made plain, and escaped; markup is what was made here."""
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    def finalize(x: Any) -> Any:
        return plain(x) if isinstance(x, str) and not isinstance(x, Markup) else x

    def figure_of(b: Cell | Heat | Strip) -> tuple[Figure, str, str]:
        f = figure(b, detail)
        made = f._replace(image=Markup(f.image), audio=Markup(f.audio), svg=Markup(f.svg))
        return made, b.caption, b.modality if isinstance(b, Cell) else b.caption

    out = Environment(
        loader=DictLoader({name: _source(name) for name in ("page.html", "blocks.html")}), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=finalize,
    )  # fmt: skip
    out.filters |= {
        "kind": lambda b: type(b).__name__,
        "svg": lambda p, key: Markup(svg(p, key)),
        "tracks": tracks,
        "shown": figure_of,
        "layers": lambda b: [layer(x, detail) for x in b.layers],
    }
    return out


def _svg(plot: Plot, key: str) -> str:
    return plots.inline(plot, key)


# --- how each block is seen ---------------------------------------------------------------------------


class Track(NamedTuple):
    """A bar. bar, ends: their places as CSS, or ""."""

    name: str
    said: str
    bar: str
    ends: str
    signed: bool
    against: bool


def tracks(b: Bars) -> list[Track]:
    """The bars of a block, of which the longest fills its room: from the middle on where any is negative."""
    values = [v for x in b.bars for v in (x.value, *(x.ends or ())) if v == v]
    top, both_signs = max(map(abs, values), default=0.0) or 1.0, min(values, default=0.0) < 0
    scale, start = (50 / top, 50.0) if both_signs else (100 / top, 0.0)

    def place(low: float, high: float) -> str:
        return f"left: {start + scale * low:.2f}%; width: {scale * (high - low):.2f}%"

    out = []
    for x in b.bars:
        bar = place(min(0.0, x.value), max(0.0, x.value)) if x.value == x.value else ""
        ends = place(*x.ends) if x.ends and x.ends[0] == x.ends[0] else ""
        out.append(Track(x.name, x.said, bar, ends, both_signs, x.value < 0))
    return out


def figure(b: Cell | Heat | Strip, detail: Detail) -> Figure:
    """A block that shows a cell."""
    if isinstance(b, Cell):
        half = detail.thumb if b.thumb else detail._replace(side=detail.side // 2)
        return Figure(words=b.note) if b.preview is None else cells.figure(b.preview, b.modality, half)
    if isinstance(b, Heat):
        if not detail.side:
            return Figure()
        return Figure(cells.jpeg(cells.thumbnail(cells.light(b.image, b.light), detail.side // 2)), b.alt)
    bars = cells.steps(b.scores, b.edges, b.caption, b.top)
    if not isinstance(b.preview, Recording):
        return Figure(svg=bars, marks=b.marks)
    return cells.figure(b.preview, b.caption, detail)._replace(svg=bars, marks=b.marks, words="")


class Overlay(NamedTuple):
    """A modality under words: what the maps lie over, and the maps; data URIs. ratio: of a picture's sides, or ""."""

    of: Layer
    image: str
    maps: Sequence[str]
    audio: str = ""
    ratio: str = ""


def layer(b: Layer, detail: Detail) -> Overlay:
    """A modality under words."""
    from markupsafe import Markup

    if isinstance(b.preview, Photo):
        image = cells.thumbnail(b.preview.image, detail.side)
        maps = [Markup(cells.png(cells.shade(_resize(m, detail.map)))) for m in b.maps]
        return Overlay(b, Markup(cells.jpeg(image)), maps, ratio=f"{image.width} / {image.height}")
    maps = [Markup(cells.png(m)) for m in cells.bands_of(b.maps)]
    if not isinstance(b.preview, Recording):
        return Overlay(b, Markup(cells.png(cells.blank())), maps)
    return Overlay(
        b, Markup(cells.png(cells.spectrogram(b.preview))), maps, Markup(cells.sound(b.preview, detail.sound))
    )


def _resize(map_yx: Floats, side: int) -> Floats:
    from PIL import Image

    image = Image.fromarray(map_yx.astype(np.float32))
    scale = min(1.0, side / max(image.size))
    size = max(2, round(image.width * scale)), max(2, round(image.height * scale))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.float64).clip(0, 1)
