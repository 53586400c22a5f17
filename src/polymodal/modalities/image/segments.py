"""The parts of an image that explanations hide, patches of a grid; and where a network's tokens lie in it.

Axes: h height, w width.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from polymodal.batch import Masked
from polymodal.modalities.base import Codec
from polymodal.modalities.image.codec import Pixels
from polymodal.modalities.image.files import picture
from polymodal.modalities.image.hub import HubImage
from polymodal.modalities.image.place import WHOLE, Box, Grid
from polymodal.modalities.places import Place, Sequence
from polymodal.modalities.pretrained.hub import Frozen
from polymodal.modalities.pretrained.network import look
from polymodal.modalities.pretrained.source import network
from polymodal.modalities.segments import Codecs, Cut, Inputs, Open, Segments, views

GREY = (128, 128, 128)
LEADS = (0, 1, 2, 5)  # tokens ahead of the grid: none, a class token, with distillation's, with four registers
RAMP = 512  # pixels of the longer side


def parts(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    """Patches of a grid; a picture is shown in the mean colour without them."""
    image = picture(cell)
    width, height = image.size
    rows = min(most, height, max(1, round(math.sqrt(most * height / width))))
    columns = min(width, max(1, most // rows))
    mean = next((tuple(round(255 * m) for m in c.mean_) for c in codecs.values() if isinstance(c, Pixels)), GREY)

    def open_view(view: str, codec: Codec, x: Masked) -> Open | None:
        if not isinstance(codec, Pixels | HubImage):
            return None
        box = seen_box(codec, width, height) if isinstance(codec, HubImage) else WHOLE
        h, w = x.values.shape[2:]
        y, left = _bins(h, box[1], box[3], rows), _bins(w, box[0], box[2], columns)
        owner = torch.from_numpy(y[:, None] * columns + left)[None].to(x.mask.device)
        blank = torch.tensor([255 * m for m in codec.mean_]) if isinstance(codec, Pixels) else torch.zeros(3)
        return Open(x, owner, blank[:, None, None].to(x.mask.device))

    def without(away: NDArray[np.bool_]) -> Image.Image:
        out = image.copy()
        draw = ImageDraw.Draw(out)
        for y, left in zip(*np.nonzero(away.reshape(rows, columns)), strict=True):
            corner = (left * width // columns, y * height // rows)
            draw.rectangle((corner, ((left + 1) * width // columns - 1, (y + 1) * height // rows - 1)), fill=mean)
        return out

    return Cut(Grid(cell, label, rows, columns), rows * columns, views(codecs, xs, open_view, without))


def _bins(count: int, low: float, high: float, parts: int) -> NDArray[np.int64]:
    """(count,) which of equal parts of 0 to 1 each of `count` places between low and high lies in."""
    at = low + (np.arange(count) + 0.5) / count * (high - low)
    return np.minimum((at * parts).astype(np.int64), parts - 1)


# --- where tokens lie ---------------------------------------------------------------------------------


def place(codec: Codec, cell: Any, name: str, tokens: int) -> Place:
    """Where the tokens lie: on a grid over what the network sees of the picture, if one is known."""
    return _grid(codec, cell, name, tokens) or Sequence(tokens)


def _grid(codec: Codec, cell: Any, name: str, tokens: int) -> Grid | None:
    width, height = picture(cell).size
    inner = codec.inner if isinstance(codec, Frozen) else codec
    box = seen_box(inner, width, height) if isinstance(inner, HubImage) else WHOLE
    if tokens == 1:
        return Grid(cell, name, 1, 1, 0, box)
    side = (int(getattr(inner, "height_", height)), int(getattr(inner, "width_", width)))
    if isinstance(codec, Frozen):
        return _pooled_grid(codec, cell, name, tokens, side, box)
    grid = grid_of(tokens, *side)
    return None if grid is None else Grid(cell, name, *grid, box)


def _pooled_grid(codec: Frozen, cell: Any, name: str, tokens: int, side: tuple[int, int], box: Box) -> Grid | None:
    """The grid of a frozen network, of which neighbours may have been averaged: the network is asked once more."""
    with torch.no_grad():
        outputs = look(network(codec.source, codec.inner.tower).module, codec.inner.collate([codec.inner.encode(cell)]))
    count = outputs.tokens.values.shape[1]
    if outputs.grid is not None:
        if count == tokens:
            return Grid(cell, name, *outputs.grid, 0, box)
        h = min(outputs.grid[0], max(1, math.isqrt(codec.tokens * outputs.grid[0] // outputs.grid[1])))
        return Grid(cell, name, h, tokens // h, 0, box)
    grid = grid_of(count, *side)
    return None if grid is None else Grid(cell, name, *grid, box, 0 if count == tokens else count)


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
    pictures = [(np.full_like(ramp, v) if v is not None else ramp) * 255 for v in (0, 1, None)]
    black, white, out = (codec.encode(Image.fromarray(x.round().astype(np.uint8))) for x in pictures)
    assert black is not None and white is not None and out is not None
    share = ((out - black) / (white - black)).double()
    (left, right), (top, bottom) = _ends(share[0].mean(0)), _ends(share[1].mean(1))
    return left, top, right, bottom


def _ends(at: torch.Tensor) -> tuple[float, float]:
    """The outer edges of pixels whose centres are at these places; 0 and 1 where they are as near as one can tell."""
    half_pixel = float(at[-1] - at[0]) / (len(at) - 1) / 2
    low, high = float(at[0]) - half_pixel, float(at[-1]) + half_pixel
    return (0.0 if low < 0.02 else low), (1.0 if high > 0.98 else high)


SEGMENTS = Segments(64, parts, place)
