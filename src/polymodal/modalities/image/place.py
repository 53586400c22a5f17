"""Where a part lies in a picture, and how the picture is shown with a score or a share of attention on each part.

Axes: w word, s token, h row and x column of a grid.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from polymodal.modalities.image.preview import photo
from polymodal.modalities.places import NAME, TITLE, Floats, Place, title
from polymodal.view.blocks import Block, Heat, Layer
from polymodal.view.cell import thumbnail, to_unit
from polymodal.view.text import short

Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
THIRDS = (("upper left", "top", "upper right"), ("left", "centre", "right"), ("lower left", "bottom", "lower right"))
CLEAR = 2.0  # a ninth of the picture that gets less than this times its share of the area is no place to name
THIRD = 16  # places along a third of a side, when a window is moved over the picture
SIDE, MAP = 320, 224  # pixels of the longer side of a picture under its scores, of one under attention
FINE = 8  # points along a side of a patch, where a grid is laid on another grid
FAINT = 0.1  # of the strongest place: what is not worth a picture of its own


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
    extent = True

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

    def shares(self, share_t: Floats, place: Callable[[Any, str], Place]) -> Floats | None:
        """Of tokens that lie on a grid too."""
        tokens = place(self.cell, self.name)
        if not isinstance(tokens, Grid) or tokens.height * tokens.width < 2:
            return None
        fine = tokens.over(share_t[None], FINE * self.height, FINE * self.width)[0]
        cells = fine.reshape(self.height, FINE, self.width, FINE).sum((1, 3)).reshape(-1)
        return np.asarray(cells / max(float(cells.sum()), 1e-12) * share_t.sum())

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """The picture; then what speaks for the answer, and against it, bright in the dark, where there is any such."""
        image, s_1 = thumbnail(photo(self.cell).image, SIDE), scores[None]
        size = (image.height, image.width)
        sides = [(what, (sign * s_1).clip(min=0)) for what, sign in (("for", 1), ("against", -1))]
        maps = [self.over(s, *size)[0] for _, s in sides]
        top = max(float(m.max()) for m in maps) or 1.0
        name = short(modality, NAME)
        out: list[Block] = [Heat(self.name or name, f"the picture in {name}", image, np.ones(size))]
        for (what, s), light in zip(sides, maps, strict=True):
            if light.max() >= FAINT * top:
                text = f"what speaks {what} {short(output, NAME)} is bright ({self.words(s)[0]})"
                out.append(Heat(text[0].upper() + text[1:], f"{name}: {text}", image, (light / top).clip(0, 1)))
        return out

    def attended(self, attention_ws: Floats, modality: str, notes: Sequence[str]) -> Layer:
        """The picture under maps."""
        picture, name = photo(self.cell), short(modality, TITLE)
        image = thumbnail(picture.image, MAP)
        maps = to_unit(self.over(attention_ws, max(2, image.height), max(2, image.width)))
        return Layer(title(name, self.name), f"the picture in {name}", picture, maps, notes)


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
