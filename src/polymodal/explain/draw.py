"""An explanation as a PNG: each word over the part of the picture, or beside the seconds, that it attended to.

What was attended to keeps its colour and light, the rest is dimmed, and a line is drawn around all that gets at least
half of the largest attention; so nothing is told by colour alone. Each word's map is scaled to its own maximum: how
much of the word's attention the modality got at all is written below it. It needs matplotlib.

Axes: w word, s token, y row and x column of pixels, c channel, f band, t frame.
"""

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from polymodal.explain.attention import Explanation
from polymodal.modalities.audio.codec import log_mel
from polymodal.modalities.audio.files import read
from polymodal.modalities.image.files import picture
from polymodal.modalities.places import Grid, Seconds
from polymodal.view.plot import GREY, SHEET, Panel, around, axes_at, say, sheet
from polymodal.view.text import cut, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = 40  # words that are drawn
GAP, LABEL, LINE = 0.12, 0.45, 0.24  # inches
COLUMNS, SIDE = 5, 260  # panels in a row; pixels of a panel's longer side
NAMES = 1.7  # inches for the words beside their rows
DIM = 0.4  # light that is left where nothing is attended to
RATE, MELS = 16_000, 48


def png(e: Explanation) -> bytes:
    """The picture of an explanation. Raises ImportError, saying how to get it, without matplotlib."""
    return sheet([_title(e), *(_block(e, m) for m in e.maps), *_notes(e)])


def lit(image_yxc: NDArray[np.uint8], light_yx: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The picture where light is 1, a dim grey of it where light is 0, in proportion between.

    out = light * image + (1 - light) * DIM * grey.
    """
    grey = image_yxc.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    light = light_yx[..., None]
    out: NDArray[np.uint8] = (light * image_yxc + (1 - light) * DIM * grey[..., None]).round().astype(np.uint8)
    return out


def scaled(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """(W, ...) with each word's largest value 1; 0 throughout where it is 0."""
    axes = tuple(range(1, maps.ndim))
    top = maps.max(axis=axes, keepdims=True)
    out: NDArray[np.float64] = maps / np.where(top > 0, top, 1)
    return out


def thumbnail(cell: Any, side: int) -> Image.Image:
    """The picture, upright, its longer side at most (and, where it is tiny, at least a quarter of) `side` pixels."""
    image = picture(cell)
    scale = side / max(image.size)
    if scale < 1 or scale > 4:
        scale = scale if scale < 1 else side / 4 / max(image.size)
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
        )
    return image


def spectrogram(place: Seconds) -> NDArray[np.float64]:
    """(MELS, T) log-mel of what was read of a recording, low bands first, from 0 (silence) to 1."""
    x_n = read(place.cell, RATE, max(place.duration, 1 / RATE))
    x_ft: NDArray[np.float64] = log_mel(torch.from_numpy(x_n), RATE, MELS).double().numpy().T
    x_ft = (x_ft - x_ft.min()) / max(float(np.ptp(x_ft)), 1e-9)
    return x_ft


# --- blocks, from above, each with its height in inches -----------------------------------------------


def _title(e: Explanation) -> Panel:
    lines = wrap(plain(e.text), 90) or ["(no word)"]
    lines = [*lines[:4], "…"] if len(lines) > 5 else lines

    def draw(figure: "Figure", top: float) -> None:
        say(figure, GAP, top - GAP, "\n".join(lines), size=14, weight="bold")
        say(figure, GAP, top - GAP - 0.28 * len(lines), plain(f"{e.table}, row {e.row}"), color=GREY)

    return 0.28 * len(lines) + 0.4, draw


def _notes(e: Explanation) -> list[Panel]:
    notes = [f"{len(e.words) - WORDS} more words are not drawn"] if len(e.words) > WORDS else []
    notes += [f"reference: {r}" for r in e.references[:5]]
    notes += [f"without {m}: it is hidden, empty or can't be read" for m in e.absent]
    notes += [f"can't be read: {b}" for b in e.bad]
    lines = [line for note in notes for line in wrap(plain(note), 130)]
    if not lines:
        return []
    text = "\n".join(lines)
    return [(0.19 * len(lines) + GAP, lambda figure, top: say(figure, GAP, top - GAP / 2, text, color=GREY))]


def _block(e: Explanation, modality: str) -> Panel:
    place = e.where[modality]
    return _panels(e, modality, place) if isinstance(place, Grid) else _rows(e, modality)


def _panels(e: Explanation, modality: str, place: Grid) -> Panel:
    """The picture, then a panel a word: word, probability, share."""
    image = np.asarray(thumbnail(place.cell, SIDE))
    h, w = image.shape[:2]
    maps = scaled(place.over(e.maps[modality][:WORDS], h, w))
    share = e.share[modality]
    columns = min(COLUMNS, len(maps) + 1)
    wide = (SHEET - GAP) / COLUMNS - GAP
    high = min(wide * h / w, 1.6 * wide)
    drawn = min(wide, high * w / h)
    total = -(-(len(maps) + 1) // columns) * (high + LABEL + GAP)

    def draw(figure: "Figure", top: float) -> None:
        axes = axes_at(figure, 0, top - total, SHEET, total)  # one for all panels, in inches: axes are slow to make
        axes.axis("off")
        for i in range(len(maps) + 1):
            x = GAP + (i % columns) * (wide + GAP)
            y = total - (i // columns) * (high + LABEL + GAP) - high
            panel = image if i == 0 else lit(image, maps[i - 1])
            axes.imshow(panel, extent=(x, x + drawn, y, y + high), aspect="auto", interpolation="bilinear")
            if i == 0:
                say(figure, x, top - total + y - 0.04, cut(modality, 24), size=10, style="italic")
                continue
            around(axes, maps[i - 1], (x, x + drawn), (y + high, y))
            say(figure, x, top - total + y - 0.04, cut(e.words[i - 1], 24), size=11, weight="bold")
            say(figure, x, top - total + y - 0.24, _numbers(e, i - 1, share[i - 1]), size=8, color=GREY)
        axes.set(xlim=(0, SHEET), ylim=(0, total))

    return total, draw


def _rows(e: Explanation, modality: str) -> Panel:
    """Seconds, or tokens, from left to right: the spectrogram, then a row a word."""
    place, share = e.where[modality], e.share[modality]
    maps = scaled(e.maps[modality][:WORDS])
    sound = isinstance(place, Seconds)
    above = 1.2 if sound else 0.0
    wide = SHEET - 2 * NAMES - 2 * GAP
    high = LINE * max(1, len(maps))
    edges = place.edges if isinstance(place, Seconds) else list(range(maps.shape[1] + 1))
    end = place.duration if isinstance(place, Seconds) else float(edges[-1])

    def draw(figure: "Figure", top: float) -> None:
        say(figure, GAP, top - 0.04, cut(modality, 26), size=10, style="italic")
        if isinstance(place, Seconds):
            axes = axes_at(figure, GAP + NAMES, top - above, wide, above - 0.06)
            axes.imshow(spectrogram(place), cmap="Greys", origin="lower", aspect="auto", extent=(0, end, 0, 1))
            axes.set(xticks=[], yticks=[])
        axes = axes_at(figure, GAP + NAMES, top - above - high - (0 if sound else 0.25), wide, high)
        axes.pcolormesh(edges, np.arange(len(maps) + 1), maps, cmap="cividis", vmin=0, vmax=1)
        axes.set(xlim=(0, end), ylim=(max(1, len(maps)), 0), yticks=[])
        if not sound:
            shown = range(0, maps.shape[1], -(-maps.shape[1] // 20))
            axes.set_xticks([i + 0.5 for i in shown], [str(i + 1) for i in shown])
        axes.set_xlabel("seconds" if sound else "token", labelpad=1)
        for i in range(len(maps)):
            y = axes.get_position().y1 * figure.get_figheight() - LINE * (i + 0.5)
            say(figure, NAMES, y, cut(e.words[i], 18), size=10, weight="bold", ha="right", va="center")
            say(figure, SHEET - NAMES, y, _numbers(e, i, share[i]), size=8, color=GREY, va="center")

    return above + high + (0.55 if sound else 0.8), draw


def _numbers(e: Explanation, word: int, share: float) -> str:
    return f"p {np.exp(e.logprob[word]):.2f}, {share:.0%} of attention"
