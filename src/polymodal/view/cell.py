"""One cell, to be looked at and listened to: a picture, a recording, a series, a text, named values.

    cell --its kind's preview--> Photo | Recording | Series | Text | Fields --figure(detail)--> data URIs, SVG, text

Everything is small and inside the page, and each picture has words for those who can't see it. How much is kept is a
question of `Detail`, so that a page of many rows still fits.

Axes: y row and x column of pixels, n sample, f band, t frame or reading, c channel, s part.
"""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.view.text import plain, short

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.floating]
SIDE = 1024  # pixels of a picture's longer side, at most
RATE = 16_000  # samples a second of a recording
POINTS, WIDE, HIGH = 160, 320, 80  # of the line through a series; units that it is wide and high
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # a channel each: lines are told apart by more than colour
STRIP = 96  # pixels that a spectrogram is high
SHADE, LEVELS = 0.7, 32  # how dark it gets where nothing counts, in so many steps
LIGHT = (255, 176, 0)


# --- what there is to see -----------------------------------------------------------------------------


class Photo(NamedTuple):
    """A picture, upright, at most `SIDE` pixels long."""

    image: "Image.Image"


class Recording(NamedTuple):
    """(N,) mono samples at `RATE`, their spectrogram (F, T), low bands first, 0 silence to 1, and how long it is."""

    samples: NDArray[np.float32]
    bands: Floats
    seconds: float

    def first(self, seconds: float) -> "Recording":
        """The beginning, where it is longer."""
        share = min(1.0, seconds / self.seconds) if self.seconds else 1.0
        n, t = (max(1, round(share * k)) for k in (len(self.samples), self.bands.shape[1]))
        return Recording(self.samples[:n], self.bands[:, :t], min(self.seconds, seconds))


class Series(NamedTuple):
    """(T, C) readings, NaN where there are none. words: what they are, as "97 readings of 2 channels"."""

    values: Floats
    words: str


class Text(NamedTuple):
    """What is written."""

    text: str


class Fields(NamedTuple):
    """Names and values, "" where a value is absent."""

    items: Sequence[tuple[str, str]]


Preview = Photo | Recording | Series | Text | Fields


class Detail(NamedTuple):
    """How much of a cell is kept: pixels of a picture's longer side and of a map's over it, bytes of a recording,
    characters of a text. side 0: no pictures and no sound."""

    side: int
    map: int
    sound: int
    text: int

    @property
    def thumb(self) -> "Detail":
        """Half as large, without sound."""
        return self._replace(side=self.side // 2, sound=0, text=self.text // 2)


class Figure(NamedTuple):
    """A cell as a page has it. image: data URI, alt: the same in words. wide: whether it is as wide as there is room.
    audio: data URI. svg: markup. marks: along its axis. words: beneath it."""

    image: str = ""
    alt: str = ""
    wide: bool = False
    audio: str = ""
    svg: str = ""
    text: str = ""
    items: Sequence[tuple[str, str]] = ()
    words: str = ""
    marks: Sequence[str] = ()


def figure(cell: Preview, name: str, detail: Detail) -> Figure:
    """A cell for a page. name: of its modality."""
    if isinstance(cell, Text):
        return Figure(text=short(cell.text, detail.text))
    if isinstance(cell, Fields):
        return Figure(items=cell.items)
    if isinstance(cell, Series):
        more = f", of which {len(DASHES)} are drawn" if cell.values.shape[1] > len(DASHES) else ""
        return Figure(svg=lines(cell.values, f"{name}: {cell.words}{more}"), words=cell.words + more)
    if isinstance(cell, Photo):
        if not detail.side:
            return Figure(words="a picture, left out to keep the page small")
        return Figure(jpeg(thumbnail(cell.image, detail.side)), f"the picture in {name}")
    long = f"{cell.seconds:.1f} seconds"
    if not detail.side:
        return Figure(words=f"a recording of {long}, left out to keep the page small")
    alt = f"spectrogram of the recording in {name}, {long}, low notes at the bottom"
    return Figure(png(spectrogram(cell)), alt, True, sound(cell, detail.sound), words=long)


# --- pictures -----------------------------------------------------------------------------------------


def thumbnail(image: "Image.Image", side: int) -> "Image.Image":
    """The picture, its longer side at most (and, where it is tiny, at least a quarter of) `side` pixels."""
    from PIL import Image

    scale = side / max(image.size)
    if scale < 1 or scale > 4:
        scale = scale if scale < 1 else side / 4 / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image


def to_unit(maps: Floats) -> Floats:
    """(W, ...) with each one's largest value 1; 0 throughout where it is 0."""
    top = maps.max(axis=tuple(range(1, maps.ndim)), keepdims=True)
    return np.asarray(maps / np.where(top > 0, top, 1))


def shade(light_yx: Floats) -> "Image.Image":
    """What is laid over a picture: dark where light is 0, nothing where it is 1, a line where it crosses a half."""
    from PIL import Image

    alpha = (1 - light_yx) * SHADE
    out = np.zeros((*light_yx.shape, 4), dtype=np.uint8)
    out[..., 3] = (alpha * LEVELS).round() / LEVELS * 255
    inside = np.pad(light_yx >= 0.5, 1, mode="edge")
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    out[inside[1:-1, 1:-1] & ~core] = (*LIGHT, 255)
    return Image.fromarray(out)


def light(image: "Image.Image", light_yx: Floats) -> "Image.Image":
    """The picture with `shade` over it: what counts keeps its light."""
    from PIL import Image

    over = shade(light_yx).resize(image.size, Image.Resampling.NEAREST)
    return Image.alpha_composite(image.convert("RGBA"), over).convert("RGB")


def jpeg(image: "Image.Image") -> str:
    """A photograph as a data URI."""
    return _uri("image/jpeg", image.convert("RGB"), "JPEG", quality=80)


def png(image: "Image.Image") -> str:
    """A drawing as a data URI."""
    return _uri("image/png", image, "PNG")


def _uri(kind: str, image: "Image.Image", form: str, **settings: Any) -> str:
    out = io.BytesIO()
    image.save(out, form, **settings)
    return uri(kind, out.getvalue())


def uri(kind: str, data: bytes) -> str:
    """A file as the address of itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


# --- recordings ---------------------------------------------------------------------------------------


def spectrogram(cell: Recording) -> "Image.Image":
    """Dark where it is loud, low bands at the bottom."""
    from PIL import Image

    grey = Image.fromarray(255 - (cell.bands[::-1] * 255).astype(np.uint8))
    return grey.resize((min(max(grey.width, 240), 800), STRIP), Image.Resampling.BILINEAR)


def blank() -> "Image.Image":
    """Where there is nothing to see."""
    from PIL import Image

    return Image.new("L", (2, 1), 225)


def bands_of(light_sx: Floats) -> list["Image.Image"]:
    """What is laid over a spectrogram: dark where light is 0, and a bar below whose strength is the light."""
    from PIL import Image

    out = []
    for light_x in light_sx:
        pixels = np.zeros((12, len(light_x), 4), dtype=np.uint8)
        pixels[:10, :, 3] = (1 - light_x) * SHADE * 255
        pixels[10:] = (0, 0, 0, 255)
        pixels[10:, :, :3] = (light_x[:, None] * LIGHT).round()
        out.append(Image.fromarray(pixels))
    return out


def sound(cell: Recording, limit: int) -> str:
    """The recording as FLAC at 16 or else 8 kHz, as a data URI; "" where that is more than `limit` bytes."""
    import soundfile

    for half in (False, True) if cell.seconds < limit / 4_000 else ():
        x_n, rate, out = cell.samples, RATE, io.BytesIO()
        if half:
            from scipy.signal import resample_poly

            x_n, rate = resample_poly(x_n, 1, 2).astype(np.float32), RATE // 2
        soundfile.write(out, x_n, rate, format="FLAC", subtype="PCM_16")
        if out.tell() <= limit:
            return uri("audio/flac", out.getvalue())
    return ""


# --- lines and bars, as SVG ---------------------------------------------------------------------------


def lines(x_tc: Floats, words: str) -> str:
    """A line a channel, all on one scale; gaps where readings are not known.

    >>> lines(np.array([[0.0], [1.0]]), "up").count("<path")
    1
    """
    x_tc = x_tc[:: -(-len(x_tc) // POINTS)]
    finite = x_tc[np.isfinite(x_tc)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    scale = (HIGH - 8) / (high - low) if high > low else 0.0
    at = np.linspace(2, WIDE - 2, max(2, len(x_tc)))
    paths = []
    for x_t, dashes in zip(x_tc.T, DASHES, strict=False):
        pen, points = "M", []
        for x, y in zip(at, x_t, strict=False):
            if np.isfinite(y):
                points.append(f"{pen}{x:.1f} {HIGH - 4 - (y - low) * scale:.1f}")
            pen = "L" if np.isfinite(y) else "M"
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        paths.append(f'<path d="{"".join(points)}"{dash}/>')
    return f'<svg class="line" viewBox="0 0 {WIDE} {HIGH}" {_label(words)}>{"".join(paths)}</svg>'


def steps(scores_s: Floats, edges: Sequence[float], name: str, top: float) -> str:
    """A bar for each part: up, filled, for the answer; down, empty, against it. edges: shares of the width."""
    rects = []
    for x, start, right in zip(scores_s.tolist(), edges, edges[1:], strict=False):
        high = 46 * abs(x) / (top or 1.0)
        y, side = (50 - high, "for") if x > 0 else (50.0, "against")
        size = f'x="{1000 * start + 1:.1f}" width="{max(1.0, 1000 * (right - start) - 2):.1f}" height="{high:.1f}"'
        rects.append(f'<rect class="{side}" {size} y="{y:.1f}" vector-effect="non-scaling-stroke"/>')
    label = _label(f"scores of the parts of {name}, from left to right")
    axis = '<path class="axis" d="M0 50H1000" vector-effect="non-scaling-stroke"/>'
    return f'<svg class="parts" viewBox="0 0 1000 100" preserveAspectRatio="none" {label}>{"".join(rects)}{axis}</svg>'


def _label(words: str) -> str:
    return f'role="img" aria-label="{escape(plain(words))}"'
