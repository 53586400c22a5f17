"""What a report is made of: sections of words, tables, pictures and cards. Nothing here is markup; the page escapes."""

from collections.abc import Sequence
from typing import NamedTuple

from polymodal.view.plot import Plot


class Words(NamedTuple):
    """A paragraph. small: a remark."""

    text: str
    small: bool = False


class Heading(NamedTuple):
    """The title of a part of a section."""

    text: str


class Grid(NamedTuple):
    """A table; the first column names its rows. text: which other columns hold words. shades: how much of a tint each
    cell after the first gets, 0 to 1. folded: whether it is shown when asked for."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: frozenset[int] = frozenset()
    shades: Sequence[Sequence[float]] = ()
    folded: bool = False


class Picture(NamedTuple):
    """A plot; tables beside it say the same."""

    caption: str
    plot: Plot


class Bar(NamedTuple):
    """A named number with its sign, and its share of the largest, 0 to 1."""

    name: str
    said: str
    share: float
    negative: bool


class Bars(NamedTuple):
    """A few signed numbers. caption: what they are."""

    caption: str
    bars: Sequence[Bar]


class Marked(NamedTuple):
    """A text of which parts speak for an answer or against it. parts: each with its strength, -1 to 1."""

    caption: str
    parts: Sequence[tuple[str, float]]


class Heat(NamedTuple):
    """A picture in which what counts keeps its light. image: data URI; alt: the same in words."""

    caption: str
    image: str
    alt: str


class Card(NamedTuple):
    """A row of the sample, at this position, as one can look at and listen to it, and what is said of it."""

    row: int
    title: str
    lines: Sequence[str] = ()
    blocks: Sequence["Block"] = ()


class Cards(NamedTuple):
    """Rows side by side."""

    cards: Sequence[Card]


class Code(NamedTuple):
    """What a terminal is given."""

    text: str


class Facts(NamedTuple):
    """Names and what they stand for."""

    items: Sequence[tuple[str, str]]


Block = Words | Heading | Grid | Picture | Bars | Marked | Heat | Cards | Code | Facts


class Section(NamedTuple):
    """A part of the page. key: its anchor."""

    key: str
    title: str
    blocks: Sequence[Block]


def small(text: str) -> Words:
    """A remark."""
    return Words(text, small=True)


def signed(values: Sequence[tuple[str, float]], caption: str, digits: int = 3) -> Bars:
    """Bars of numbers that have a sign, the largest first."""
    top = max([abs(v) for _, v in values if v == v], default=0.0) or 1.0
    ranked = sorted([(n, v) for n, v in values if v == v], key=lambda x: -abs(x[1]))
    return Bars(caption, [Bar(n, f"{v:+.{digits}f}", abs(v) / top, v < 0) for n, v in ranked])
