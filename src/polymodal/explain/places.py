"""Where a part lies in its cell: a patch of a picture, a stretch of a recording or a series, a word, a column, a place.

Axes: w word, s token of a modality, h row and x column of a grid.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from polymodal.modalities.audio.codec import HOP, LogMel
from polymodal.modalities.audio.files import samples
from polymodal.modalities.audio.hub import HubAudio
from polymodal.modalities.base import Codec
from polymodal.modalities.image.files import picture
from polymodal.modalities.image.hub import HubImage
from polymodal.modalities.pretrained.hub import Frozen
from polymodal.modalities.pretrained.network import look
from polymodal.modalities.pretrained.source import network, processor

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
LEADS = (0, 1, 2, 5)  # tokens ahead of the grid: none, a class token, with distillation's, with four registers
THIRDS = (("upper left", "top", "upper right"), ("left", "centre", "right"), ("lower left", "bottom", "lower right"))
CLEAR = 2.0  # a ninth of the picture that gets less than this times its share of the area is no place to name
THIRD = 16  # places along a third of a side, when a window is moved over the picture
SPREAD = 0.45  # of the clip: half of an even attention takes half of it
RAMP = 512  # pixels of the longer side
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


def place(codec: Codec, kind: str, cell: Any, name: Any, tokens: int) -> Place:
    """Where the `tokens` of a cell lie that `codec` has read. kind: of the column. name: the cell in the table."""
    label = str(name)[:CELL] if not hasattr(name, "__array__") and isinstance(name, str) else ""
    if kind == "image":
        return _grid(codec, cell, label, tokens) or Sequence(tokens)
    if kind == "audio":
        return _seconds(codec, cell, label, tokens) or Sequence(tokens)
    return Sequence(tokens)


# --- pictures -----------------------------------------------------------------------------------------


def _grid(codec: Codec, cell: Any, name: str, tokens: int) -> Grid | None:
    width, height = picture(cell).size
    inner = codec.inner if isinstance(codec, Frozen) else codec
    box = seen_box(inner, width, height) if isinstance(inner, HubImage) else WHOLE
    if tokens == 1:
        return Grid(cell, name, 1, 1, 0, box)
    side = (int(getattr(inner, "height_", height)), int(getattr(inner, "width_", width)))
    if isinstance(codec, Frozen):
        return _pooled(codec, cell, name, tokens, side, box)
    found = grid_of(tokens, *side)
    return None if found is None else Grid(cell, name, *found, box)


def _pooled(codec: Frozen, cell: Any, name: str, tokens: int, side: tuple[int, int], box: Box) -> Grid | None:
    """The grid of a frozen network, of which neighbours may have been averaged: the network is asked once more."""
    with torch.no_grad():
        seen = look(network(codec.source, "image").module, codec.inner.collate([codec.inner.encode(cell)]))
    count = seen.tokens.values.shape[1]
    if seen.grid is not None:
        if count == tokens:
            return Grid(cell, name, *seen.grid, 0, box)
        h = min(seen.grid[0], max(1, math.isqrt(codec.tokens * seen.grid[0] // seen.grid[1])))
        return Grid(cell, name, h, tokens // h, 0, box)
    found = grid_of(count, *side)
    return None if found is None else Grid(cell, name, *found, box, 0 if count == tokens else count)


def grid_of(tokens: int, height: int, width: int) -> tuple[int, int, int] | None:
    """Rows, columns and leading tokens of a network that makes `tokens` of height x width pixels; None if unknown.

    Tried are equal strides along both sides, powers of two first, then the pair of factors with the nearest aspect
    ratio, if it is within a factor of 1.5.

    >>> grid_of(49, 224, 224), grid_of(197, 224, 224), grid_of(6 * 7, 48, 55), grid_of(12, 30, 40)
    ((7, 7, 0), (14, 14, 1), (6, 7, 0), (3, 4, 0))
    """
    strides = sorted(range(1, max(height, width) + 1), key=lambda s: (s & (s - 1) != 0, s))
    for lead in LEADS:
        for s in strides:
            for h, w in ((-(-height // s), -(-width // s)), (height // s, width // s)):
                if h * w == tokens - lead > 0:
                    return h, w, lead
    pairs = [(h, tokens // h) for h in range(1, tokens + 1) if tokens % h == 0]
    far = [abs(math.log(w / h * height / width)) for h, w in pairs]
    nearest = int(np.argmin(far))
    return (*pairs[nearest], 0) if far[nearest] <= math.log(1.5) else None


def seen_box(codec: HubImage, width: int, height: int) -> Box:
    """What of a width x height picture a network's own processor keeps (many cut out the centre).

    It is shown a picture whose red says how far right a pixel is and whose green how far down, so that the outermost
    pixels that come out tell where they come from; black and white tell how it scales values.
    """
    scale = RAMP / max(width, height)
    w, h = max(2, round(width * scale)), max(2, round(height * scale))
    ramp = np.zeros((h, w, 3))
    ramp[..., 0] = (np.arange(w) + 0.5) / w
    ramp[..., 1] = ((np.arange(h) + 0.5) / h)[:, None]
    shown = [(np.full_like(ramp, v) if v is not None else ramp) * 255 for v in (0, 1, None)]
    black, white, out = (codec.encode(Image.fromarray(x.round().astype(np.uint8))) for x in shown)
    assert black is not None and white is not None and out is not None
    share = ((out - black) / (white - black)).double()
    (left, right), (top, bottom) = _ends(share[0].mean(0)), _ends(share[1].mean(1))
    return left, top, right, bottom


def _ends(at: torch.Tensor) -> tuple[float, float]:
    """The outer edges of pixels whose centres are at these places; 0 and 1 where they are as near as one can tell."""
    half_pixel = float(at[-1] - at[0]) / (len(at) - 1) / 2
    low, high = float(at[0]) - half_pixel, float(at[-1]) + half_pixel
    return (0.0 if low < 0.02 else low), (1.0 if high > 0.98 else high)


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


# --- recordings ---------------------------------------------------------------------------------------


def _seconds(codec: Codec, cell: Any, name: str, tokens: int) -> Seconds | None:
    inner = codec.inner if isinstance(codec, Frozen) else codec
    limit = float(getattr(inner, "seconds", math.inf))
    x_nc, rate = samples(cell, min(limit, 3600.0))
    duration = min(len(x_nc) / rate, limit)
    step = _step(inner, duration, tokens)
    return None if step is None else Seconds(cell, name, [i * step for i in range(tokens)] + [step * tokens], duration)


def _step(codec: Codec, duration: float, tokens: int) -> float | None:
    """Seconds from one token to the next; None where a network's tokens are no sequence in time."""
    if isinstance(codec, HubAudio) and codec.shape_:  # a spectrogram of fixed length, silence after the clip's end
        length = getattr(processor(codec.source, "audio"), "chunk_length", None)
        return None if length is None else float(length) / tokens
    if isinstance(codec, LogMel):
        frames = math.ceil(round(duration / HOP, 6))
        for halvings in range(12):
            stride = 1 << halvings
            if -(-frames // stride) == tokens:
                return HOP * stride
    return duration / tokens


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
