"""Where a part lies in its cell: a patch of a picture, a stretch of a recording or a series, a word, a column, a place.

Axes: w word, s token of a modality, h row and x column of a grid.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
THIRDS = (("upper left", "top", "upper right"), ("left", "centre", "right"), ("lower left", "bottom", "lower right"))
CLEAR = 2.0  # a ninth of the picture that gets less than this times its share of the area is no place to name
THIRD = 16  # places along a third of a side, when a window is moved over the picture
SPREAD = 0.45  # of the clip: half of an even attention takes half of it
CELL = 200  # characters of a cell that are kept as its name


class Grid(NamedTuple):
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


SHORT = 3.0  # seconds: of shorter recordings hundredths are said


class Seconds(NamedTuple):
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


class Sequence(NamedTuple):
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


class Columns(NamedTuple):
    """Parts that are the columns of a table's row, or groups of a vector's dimensions: names, and what they hold."""

    names: tuple[str, ...]
    cells: tuple[str, ...]

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the column that gets most."""
        return [self.names[int(a_s.argmax())] for a_s in attention_ws]

    def to_json(self) -> dict[str, Any]:
        """Names and cells."""
        return {"kind": "columns", "names": list(self.names), "cells": list(self.cells)}


class Words(NamedTuple):
    """Parts that are the words and marks of a text: part s is text[spans[s][0] : spans[s][1]].

    In a long text a part is several neighbouring words.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    @property
    def parts(self) -> list[str]:
        """What is written at each."""
        return [self.text[i:j] for i, j in self.spans]

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the part of the text that gets most."""
        return [self.parts[int(a_s.argmax())] for a_s in attention_ws]

    def to_json(self) -> dict[str, Any]:
        """The text, and where its parts begin and end, in characters."""
        return {"kind": "words", "text": self.text, "spans": [list(s) for s in self.spans]}


class Steps(NamedTuple):
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


Place = Grid | Seconds | Sequence | Columns | Words | Steps


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
