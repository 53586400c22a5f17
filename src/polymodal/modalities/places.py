"""Where a part lies in its cell: a patch of a picture, a stretch of a recording or a series, a word, a column, a place;
and how the cell is shown with a score or a share of attention on each part.

Axes: w word, s token of a modality, h row and x column of a grid.
"""

from abc import ABC, abstractmethod
from collections import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polymodal.view.blocks import Block, Heat, Layer, Marked, Strip
from polymodal.view.cell import Photo, Recording, scaled, thumbnail
from polymodal.view.text import SMALL, short

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
THIRDS = (("upper left", "top", "upper right"), ("left", "centre", "right"), ("lower left", "bottom", "lower right"))
CLEAR = 2.0  # a ninth of the picture that gets less than this times its share of the area is no place to name
THIRD = 16  # places along a third of a side, when a window is moved over the picture
SPREAD = 0.45  # of the clip: half of an even attention takes half of it
CELL = 200  # characters of a cell that are kept as its name
SIDE, MAP, ACROSS = 320, 224, 240  # pixels of a picture under its scores, of a map's longer side, and of one along time
FINE = 8  # points along a side of a patch, where a grid is laid on another grid
FAINT = 0.1  # of the strongest place: what is not worth a picture of its own
NAME, TITLE = 40, 80  # characters of a part's name, of a cell's


class Place(ABC):
    """Where the parts of one cell, or its tokens, lie.

    bars: how many parts a list of the strongest has; none where their names say little. in_place: whether their scores
    are read on the cell itself, and not in a list.
    """

    bars: ClassVar[int] = 8
    in_place: ClassVar[bool] = False

    @abstractmethod
    def words(self, attention_ws: Floats) -> list[str]:
        """(W, S) -> of each word where most of its attention went."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain containers, without the cell."""

    def names(self, parts: int) -> list[str]:
        """What each part is called."""
        return [w or f"part {i + 1}" for i, w in enumerate(self.words(np.eye(parts)))]

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """The cell with (S,) scores that speak for an output or against it; nothing where it has no look of its own.

        characters: of a text that are shown.
        """
        return []

    def attended(self, attention_ws: Floats, modality: str, notes: abc.Sequence[str]) -> Layer | None:
        """The cell under the words that attended to it; None where there is nothing to see."""
        return None


@dataclass(frozen=True)
class Grid(Place):
    """Tokens that are the positions of a grid over a picture, row by row, after `lead` tokens about all of it.

    cell: the picture. name: the cell as the table has it. box: left, top, right, bottom of what the network sees, as
    shares of the upright picture's sides. pooled: 0, or of how many tokens (`lead` and the grid) the memory's tokens
    are means over neighbours, as adaptive_avg_pool1d takes them.
    """

    cell: Any
    name: str
    height: int
    width: int
    lead: int = 0
    box: Box = WHOLE
    pooled: int = 0

    bars = 0
    in_place = True

    def grid(self, attention_ws: Floats) -> Floats:
        """(W, S) -> (W, height, width): attention of each position; what went to the lead is left out."""
        if self.pooled:
            attention_ws = attention_ws @ windows(attention_ws.shape[1], self.pooled)
        return attention_ws[:, self.lead :].reshape(-1, self.height, self.width)

    def over(self, attention_ws: Floats, height: int, width: int) -> Floats:
        """(W, S) -> (W, height, width) over the whole picture, smooth between positions, 0 beyond the box."""
        left, top, right, bottom = self.box
        x0, x1 = _inside(left, right, width)
        y0, y1 = _inside(top, bottom, height)
        out = np.zeros((len(attention_ws), height, width))
        for i, map_hx in enumerate(self.grid(attention_ws)):
            image = Image.fromarray(map_hx.astype(np.float32))
            smooth = image.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC)
            out[i, y0:y1, x0:x1] = np.asarray(smooth, dtype=np.float64).clip(min=0)
        return out

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word where the ninth of the picture lies that gets most; "spread out" where none stands out."""
        maps = self.over(attention_ws, 3 * THIRD, 3 * THIRD)
        return [_ninth(m / max(float(m.sum()), 1e-12)) for m in maps]

    def to_json(self) -> dict[str, Any]:
        """Without the picture."""
        grid = [self.height, self.width]
        return {"kind": "grid", "source": self.name, "grid": grid, "lead": self.lead, "box": list(self.box)} | (
            {"pooled": self.pooled} if self.pooled else {}
        )

    def shares(self, share_t: Floats, tokens: Place) -> Floats | None:
        """(T,) shares of tokens that lie on a grid too -> (S,) of the patches; None where they lie on none."""
        if not isinstance(tokens, Grid) or tokens.height * tokens.width < 2:
            return None
        fine = tokens.over(share_t[None], FINE * self.height, FINE * self.width)[0]
        cells = fine.reshape(self.height, FINE, self.width, FINE).sum((1, 3)).reshape(-1)
        return np.asarray(cells / max(float(cells.sum()), 1e-12) * share_t.sum())

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """The picture; then what speaks for the answer, and against it, bright in the dark, where there is any such."""
        image, s_1 = thumbnail(_photo(self.cell).image, SIDE), scores[None]
        size = (image.height, image.width)
        sides = [(what, (sign * s_1).clip(min=0)) for what, sign in (("for", 1), ("against", -1))]
        maps = [self.over(s, *size)[0] for _, s in sides]
        top = max(float(m.max()) for m in maps) or 1.0
        name = short(modality, NAME)
        out: list[Block] = [Heat(self.name or name, f"the picture in {name}", image, np.ones(size))]
        for (what, s), light in zip(sides, maps, strict=True):
            if light.max() >= FAINT * top:
                said = f"what speaks {what} {short(output, NAME)} is bright ({self.words(s)[0]})"
                out.append(Heat(said[0].upper() + said[1:], f"{name}: {said}", image, (light / top).clip(0, 1)))
        return out

    def attended(self, attention_ws: Floats, modality: str, notes: abc.Sequence[str]) -> Layer:
        """The picture under maps."""
        photo, name = _photo(self.cell), short(modality, TITLE)
        image = thumbnail(photo.image, MAP)
        maps = scaled(self.over(attention_ws, max(2, image.height), max(2, image.width)))
        return Layer(_title(name, self.name), f"the picture in {name}", photo, maps, notes)


SHORT = 3.0  # seconds: of shorter recordings hundredths are said


@dataclass(frozen=True)
class Seconds(Place):
    """Tokens that follow one another along a recording: token s is edges[s] to edges[s + 1], in seconds.

    cell: the recording. name: the cell as the table has it. duration: of what was read of it, in seconds.
    """

    cell: Any
    name: str
    edges: list[float]
    duration: float

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the shortest stretch that gets half of its attention; "throughout" where that is long, "after
        the end" in what a network of fixed length has padded."""
        out, digits = [], 1 if self.duration >= SHORT else 2
        for a_s in attention_ws:
            start, stop = half(a_s)
            begin, end = self.edges[start], min(self.edges[stop], self.duration)
            long = end - begin > SPREAD * self.duration
            late = begin >= self.duration
            out.append("after the end" if late else "throughout" if long else f"{begin:.{digits}f}-{end:.{digits}f} s")
        return out

    def to_json(self) -> dict[str, Any]:
        """Without the samples."""
        edges = [round(x, 4) for x in self.edges]
        return {"kind": "seconds", "source": self.name, "edges": edges, "duration": round(self.duration, 4)}

    def shares(self, share_t: Floats, tokens: Place) -> Floats | None:
        """(T,) shares of tokens along the recording too -> (S,) of the stretches; None where they lie elsewhere."""
        return np.asarray(share_t @ overlap(tokens.edges, self.edges)) if isinstance(tokens, Seconds) else None

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """A strip under the recording."""
        edges = [min(x, self.duration) / self.duration for x in self.edges]
        return [Strip(self.name or modality, self._heard(), edges, scores, _top(scores), self._marks())]

    def attended(self, attention_ws: Floats, modality: str, notes: abc.Sequence[str]) -> Layer:
        """The recording under maps from left to right."""
        at = (np.arange(ACROSS) + 0.5) / ACROSS * self.duration
        token = np.clip(np.searchsorted(self.edges, at, side="right") - 1, 0, attention_ws.shape[1] - 1)
        name = short(modality, TITLE)
        alt = f"spectrogram of {name}, {self.duration:.1f} seconds"
        return Layer(_title(name, self.name), alt, self._heard(), scaled(attention_ws[:, token]), notes, self._marks())

    def _heard(self) -> Recording:
        return _recording(self.cell).first(self.duration)

    def _marks(self) -> list[str]:
        return [f"{self.duration * i / 4:.1f} s" for i in range(5)]


@dataclass(frozen=True)
class Sequence(Place):
    """Tokens of which nothing is known but their order."""

    tokens: int

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the token that gets most; nothing where there is only one."""
        if self.tokens == 1:
            return [""] * len(attention_ws)
        return [f"token {int(a_s.argmax()) + 1} of {self.tokens}" for a_s in attention_ws]

    def to_json(self) -> dict[str, Any]:
        """How many."""
        return {"kind": "sequence", "tokens": self.tokens}

    def attended(self, attention_ws: Floats, modality: str, notes: abc.Sequence[str]) -> Layer | None:
        """Maps of the tokens from left to right, of several."""
        if self.tokens < 2:
            return None
        name = short(modality, TITLE)
        token = np.arange(ACROSS) * self.tokens // ACROSS if self.tokens < ACROSS else np.arange(self.tokens)
        alt, marks = f"the {self.tokens} tokens of {name}, one after another", ["token 1", f"token {self.tokens}"]
        return Layer(name, alt, None, scaled(attention_ws[:, token]), notes, marks)


@dataclass(frozen=True)
class Columns(Place):
    """Parts that are the columns of a table's row, or groups of a vector's dimensions: names, and what they hold."""

    columns: tuple[str, ...]
    cells: tuple[str, ...]

    bars = 40

    def names(self, parts: int) -> list[str]:
        """The column and what it holds."""
        each = zip(self.columns, self.cells, strict=True)
        return [f"{short(n, NAME)}: {short(x, NAME)}" if x else short(n, NAME) for n, x in each]

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the column that gets most."""
        return [self.columns[int(a_s.argmax())] for a_s in attention_ws]

    def to_json(self) -> dict[str, Any]:
        """Names and cells."""
        return {"kind": "columns", "names": list(self.columns), "cells": list(self.cells)}


@dataclass(frozen=True)
class Words(Place):
    """Parts that are the words and marks of a text: part s is text[spans[s][0] : spans[s][1]].

    In a long text a part is several neighbouring words.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    in_place = True

    @property
    def parts(self) -> list[str]:
        """What is written at each."""
        return [self.text[i:j] for i, j in self.spans]

    def names(self, parts: int) -> list[str]:
        """What is written."""
        return self.parts

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the part of the text that gets most."""
        return [self.parts[int(a_s.argmax())] for a_s in attention_ws]

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """The text in pieces: each part with how strong it is, and what stands between."""
        top, at = _top(scores) or 1.0, 0
        out: list[tuple[str, float]] = []
        for (i, j), x in zip(self.spans, scores.tolist(), strict=True):
            if j > characters:
                break
            weak = abs(x) <= max(SMALL, 0.02 * top)
            out += [(self.text[at:i], 0.0), (self.text[i:j], 0.0 if weak else x / top)]
            at = j
        out.append((self.text[at : max(at, characters)], 0.0))
        more = len(self.text) - max(at, characters)
        tail = [(f" … and {more:,} more characters", 0.0)] if more > 0 else []
        return [Marked(short(modality, NAME), [p for p in out if p[0]] + tail)]

    def to_json(self) -> dict[str, Any]:
        """The text, and where its parts begin and end, in characters."""
        return {"kind": "words", "text": self.text, "spans": [list(s) for s in self.spans]}


@dataclass(frozen=True)
class Steps(Place):
    """Parts that follow one another along a series: readings edges[t] to edges[t + 1], counted from 0.

    channels: names of the channels, where each has parts of its own; part s is then segment s // C of channel s % C.
    Empty where a part is all channels together. length: readings of the series.
    """

    edges: tuple[int, ...]
    length: int
    channels: tuple[str, ...] = ()

    def grid(self, attention_ws: Floats) -> Floats:
        """(W, S) -> (W, channels, segments), one channel where parts are all of them together."""
        rows = attention_ws.reshape(len(attention_ws), len(self.edges) - 1, -1)
        return np.asarray(rows.transpose(0, 2, 1))

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the part that gets most."""
        many = max(1, len(self.channels))
        names = []
        for at in attention_ws.argmax(1).tolist():
            start, stop = self.edges[at // many] + 1, self.edges[at // many + 1]
            name = f"readings {start}-{stop}" if stop > start else f"reading {start}"
            names.append(f"{name} of {self.channels[at % many]}" if self.channels else name)
        return names

    def to_json(self) -> dict[str, Any]:
        """Edges, length and channels."""
        return {"kind": "steps", "edges": list(self.edges), "length": self.length, "channels": list(self.channels)}

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """A strip a channel."""
        edges = [x / max(1, self.length) for x in self.edges]
        marks = ["reading 1", f"reading {self.length}"]
        names = [f"{modality}, {c}" for c in self.channels or ("all channels",)]
        each = zip(names, self.grid(scores[None])[0], strict=True)
        return [Strip(name, None, edges, x, _top(scores), marks) for name, x in each]


# the folders of kinds import this file, so that their previews are imported where used


def _photo(cell: Any) -> Photo:
    from polymodal.modalities.image.preview import photo

    return photo(cell)


def _recording(cell: Any) -> Recording:
    from polymodal.modalities.audio.preview import recording

    return recording(cell)


def _top(scores: Floats) -> float:
    return float(np.abs(scores).max(initial=0))


def _title(modality: str, name: str) -> str:
    return f"{modality}: {short(name, TITLE)}" if name else modality


def _ninth(share_yx: Floats) -> str:
    """The name of the place where a window of a third of each side gets most, by the third that its centre is in."""
    total = np.pad(share_yx.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    mass = total[THIRD:, THIRD:] - total[:-THIRD, THIRD:] - total[THIRD:, :-THIRD] + total[:-THIRD, :-THIRD]
    y, x = np.unravel_index(int(mass.argmax()), mass.shape)
    name = THIRDS[(int(y) + THIRD // 2) // THIRD][(int(x) + THIRD // 2) // THIRD]
    return name if 9 * mass.max() >= CLEAR else "spread out"


def _inside(low: float, high: float, size: int) -> tuple[int, int]:
    """First and last pixel (excluded) of a share of `size`, at least one."""
    start = min(round(low * size), size - 1)
    return start, max(start + 1, round(high * size))


def windows(tokens: int, count: int) -> Floats:
    """(tokens, count): row i spreads 1 evenly over those of `count` that adaptive_avg_pool1d averages into its i-th.

    Token i is the mean of floor(i count / tokens) up to ceil((i + 1) count / tokens).
    """
    out = np.zeros((tokens, count))
    for i in range(tokens):
        start, stop = i * count // tokens, -(-(i + 1) * count // tokens)
        out[i, start:stop] = 1 / (stop - start)
    return out


def half(a_s: Floats) -> tuple[int, int]:
    """First and last (excluded) token of the shortest run that has half of the sum; of several, the heaviest.

    >>> half(np.array([0.1, 0.1, 0.5, 0.2, 0.1]))
    (2, 3)
    """
    total = np.concatenate([[0.0], np.cumsum(a_s)])
    for length in range(1, len(a_s) + 1):
        mass = total[length:] - total[:-length]
        if mass.max() >= total[-1] / 2 - 1e-12:
            start = int(mass.argmax())
            return start, start + length
    return 0, len(a_s)


def overlap(edges: abc.Sequence[float], parts: abc.Sequence[float]) -> Floats:
    """(T, S): what share of each stretch lies in each part; a stretch beyond all parts belongs to the last.

    >>> overlap([0, 2, 4, 6], [0, 3, 4]).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    a, b = np.asarray(edges, dtype=np.float64)[:, None], np.asarray(parts, dtype=np.float64)
    common = (np.minimum(a[1:], b[1:]) - np.maximum(a[:-1], b[:-1])).clip(min=0)
    common[common.sum(1) == 0, -1] = 1
    return np.asarray(common / common.sum(1, keepdims=True))
