"""What pages are made of. Nothing here is markup, and nothing is a colour: a page (or a sheet) decides how it looks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from polymodal.view.cell import Floats, Preview
from polymodal.view.plot import Plot
from polymodal.view.text import many

if TYPE_CHECKING:
    from PIL import Image


LIST = 10  # entries of a list before the rest is counted


class Heading(NamedTuple):
    """The title of a part of a section. warning: of what should be looked at."""

    text: str
    warning: bool = False


class Words(NamedTuple):
    """A paragraph. small: a remark."""

    text: str
    small: bool = False


class Table(NamedTuple):
    """A table; the first column names its rows. words: which other columns hold words. strong: places (row, column) of
    cells that stand out. shades: how much of a tint each cell after the first gets, 0 to 1. folded: shown when asked
    for; None: only where a plot or bars right before it say the same."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset()
    strong: frozenset[tuple[int, int]] = frozenset()
    shades: Sequence[Sequence[float]] = ()
    folded: bool | None = None


class Picture(NamedTuple):
    """A plot; left out where none can be drawn, so something beside it says the same."""

    caption: str
    plot: Plot


class Bar(NamedTuple):
    """A named number. said: it in words. ends: of its interval. A number that is NaN has no bar."""

    name: str
    value: float
    said: str
    ends: tuple[float, float] | None = None


class Bars(NamedTuple):
    """A few numbers: where any is negative, bars go to the right for and, hatched, to the left against."""

    caption: str
    bars: Sequence[Bar]


class Marked(NamedTuple):
    """A text of which parts speak for an answer or against it. parts: each with its strength, -1 to 1, or 0."""

    caption: str
    parts: Sequence[tuple[str, float]]


class Cell(NamedTuple):
    """A cell of a modality. title: what the table has there. note: why there is nothing to see. thumb: small."""

    modality: str
    preview: Preview | None
    title: str = ""
    note: str = ""
    thumb: bool = False

    @property
    def caption(self) -> str:
        """What stands beneath it."""
        return f"{self.modality}: {self.title}" if self.title else self.modality


class Heat(NamedTuple):
    """A picture in which what counts keeps its light, (Y, X) from 0 to 1. alt: it in words."""

    caption: str
    alt: str
    image: "Image.Image"
    light: Floats


class Strip(NamedTuple):
    """A series of parts from left to right with a score each, under the cell that they are parts of, where it can be
    seen. edges: of the parts, 0 to 1. top: the score that is as high as there is room. marks: along the axis."""

    caption: str
    preview: Preview | None
    edges: Sequence[float]
    scores: Floats
    top: float
    marks: Sequence[str]


class Layer(NamedTuple):
    """A modality under the words of `Attended`. maps: where each looked, (W, Y, X) over a picture, (W, X) from left to
    right over what else there is, from 0 to 1. notes: a few words on each."""

    caption: str
    alt: str
    preview: Preview | None
    maps: Floats
    notes: Sequence[str]
    marks: Sequence[str] = ()


class Attended(NamedTuple):
    """Words that show, when they are chosen, where they looked. said: of each word, the same in words."""

    words: Sequence[str]
    said: Sequence[str]
    layers: Sequence[Layer]


class Card(NamedTuple):
    """A row of a table. odd: it stands out."""

    title: str
    lines: Sequence[str] = ()
    blocks: Sequence["Block"] = ()
    odd: bool = False


class Cards(NamedTuple):
    """Cards side by side."""

    cards: Sequence[Card]


class Items(NamedTuple):
    """A list, of which a terminal shows the first ones and counts the rest. noun: what one is. where: the rest is."""

    texts: Sequence[str]
    noun: str = "line"
    where: str = ""
    most: int = LIST


class Code(NamedTuple):
    """What a terminal is given."""

    text: str


class Facts(NamedTuple):
    """Names and what they stand for."""

    items: Sequence[tuple[str, str]]


Seen = Picture | Bars | Marked | Cell | Heat | Strip | Attended | Cards
Block = Heading | Words | Items | Facts | Code | Table | Seen


class Section(NamedTuple):
    """A part of a page. key: its anchor. folded: shown when asked for."""

    key: str
    title: str
    blocks: Sequence[Block]
    folded: bool = False


class Page(NamedTuple):
    """A whole page. kind: what it is, such as "report". title: of the window; heading: of the page. blocks: before the
    sections. summary: what stands out. command: what made it. contents: whether the sections are listed."""

    kind: str
    title: str
    heading: str
    blocks: Sequence[Block]
    sections: Sequence[Section]
    summary: Sequence[str] = ()
    command: str = ""
    contents: bool = False


def small(text: str) -> Words:
    """A remark."""
    return Words(text, small=True)


def signed_bars(caption: str, values: Sequence[tuple[str, float]], places: int = 3) -> Bars:
    """Bars of numbers that have a sign, the largest first."""
    bars = sorted([(n, v) for n, v in values if v == v], key=lambda x: -abs(x[1]))
    return Bars(caption, [Bar(n, v, f"{v:+.{places}f}") for n, v in bars])


def unreadable(bad: Sequence[object]) -> list[Block]:
    """Cells that count as absent."""
    if not bad:
        return []
    title = f"{many(len(bad), 'unreadable cell')} {'was' if len(bad) == 1 else 'were'} treated as absent:"
    more = [f"and {len(bad) - LIST:,} more; --json lists them all"] if len(bad) > LIST else []
    lines = [*map(str, bad[:LIST]), *more]  # as they are, not wrapped: paths may be copied
    return [Heading(title, warning=True), *(Words(f"  {line}") for line in lines)]
