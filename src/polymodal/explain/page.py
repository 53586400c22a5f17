"""An explanation as one HTML page, which needs nothing beside itself: each word lights what it attended to.

Axes: w word, s token, y row and x column of pixels.
"""

import base64
import hashlib
import io
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polymodal.explain.attention import Explanation
from polymodal.explain.draw import WORDS, scaled, spectrogram, thumbnail
from polymodal.modalities.audio.files import read
from polymodal.modalities.places import Grid, Seconds, Sequence
from polymodal.view.text import figure, plain, signed

LARGEST = 1_000_000  # bytes of a page
LIT = (255, 176, 0)
SHADE, LEVELS = 0.7, 32  # how dark it gets where nothing is attended to, in so many steps
STRIP = 240  # pixels along time
LEAST = 0.005  # of the attention: what is not rounded to 0%


class Detail(NamedTuple):
    """How much a page may hold: pixels of a picture's longer side, of a map's, bytes of a recording."""

    side: int
    map: int
    sound: int


DETAILS = (
    Detail(640, 224, 400_000),
    Detail(480, 96, 200_000),
    Detail(480, 64, 0),
    Detail(256, 32, 0),
    Detail(128, 16, 0),
)


class Figure(NamedTuple):
    """One modality on the page. image: what the maps lie over, and maps: one a word; data URIs. audio: or ""."""

    modality: str
    name: str
    kind: str
    alt: str
    image: str
    ratio: str
    maps: list[str]
    audio: str
    marks: list[str]


def page(e: Explanation, *, command: str = "") -> str:
    """The page; in less detail where it would be larger than 1 MB."""
    return small(lambda detail: _page(e, command, detail))


def small(made: Callable[[Detail], str]) -> str:
    """The first of the pages, each in less detail than the one before, that is below 1 MB, or else the last."""
    html = ""
    for detail in DETAILS:
        html = made(detail)
        if len(html.encode()) < LARGEST:
            break
    return html


def rendered(template: str, **context: Any) -> str:
    """A template of this folder, filled; `allowed` is the hash of its script, for the page's policy."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    home = files("polymodal.explain")
    sources = {name: home.joinpath(name).read_text(encoding="utf-8") for name in ("base.html", template)}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "plain": lambda x: plain(str(x)), "figure": figure, "signed": signed,
        "percent": lambda x: f"{x:.0%}", "two": lambda x: f"{x:.2f}",
    }  # fmt: skip
    scripts = re.findall(r"<script>(.*?)</script>", sources[template], re.DOTALL)
    allowed = [f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts]
    return environment.get_template(template).render(**context, allowed=allowed)


def _page(e: Explanation, command: str, detail: Detail) -> str:
    return rendered(
        "caption.html",
        e=e,
        words=e.words[:WORDS],
        more=max(0, len(e.words) - WORDS),
        chance=np.exp(e.logprob),
        share=e.share,
        told=e.told(),
        said=said(e),
        figures=[f for m in e.maps if (f := _figure(e, m, detail)) is not None],
        command=command,
    )


def said(e: Explanation) -> list[str]:
    """A sentence a word: how sure it was, and where it looked."""
    told, share = e.told(), e.share
    out = []
    for i, word in enumerate(e.words):
        parts = [f"{m} {share[m][i]:.0%}" + (f", {told[m][i]}" if told[m][i] else "") for m in e.maps]
        parts += [f"nothing {e.nothing[i]:.0%}"] if e.nothing[i] >= LEAST else []
        out.append(f"{word} (p {np.exp(e.logprob[i]):.2f}): {'; '.join(parts)}")
    return out


# --- figures ------------------------------------------------------------------------------------------


def _figure(e: Explanation, modality: str, detail: Detail) -> Figure | None:
    """The figure of a modality; None where there is nothing to see, as of a single token."""
    where, a_ws = e.where[modality], e.maps[modality][:WORDS]
    if isinstance(where, Grid):
        image = thumbnail(where.cell, detail.side)
        scale = detail.map / max(image.size)
        maps = scaled(where.over(a_ws, max(2, round(image.height * scale)), max(2, round(image.width * scale))))
        return Figure(
            modality,
            where.name,
            "picture",
            f"the picture in {modality}",
            uri("image/jpeg", encoded(image, "JPEG", quality=80)),
            f"{image.width} / {image.height}",
            [uri("image/png", encoded(shade(m), "PNG")) for m in maps],
            "",
            [],
        )
    if isinstance(where, Seconds):
        at = (np.arange(STRIP) + 0.5) / STRIP * where.duration
        token = np.clip(np.searchsorted(where.edges, at, side="right") - 1, 0, a_ws.shape[1] - 1)
        strip, alt, marks, recording = heard(where, modality, detail.sound)
        return Figure(modality, where.name, "strip", alt, strip, "", _strips(a_ws[:, token]), recording, marks)
    if isinstance(where, Sequence) and where.tokens > 1:
        token = np.arange(STRIP) * where.tokens // STRIP if where.tokens < STRIP else np.arange(where.tokens)
        blank = uri("image/png", encoded(Image.new("L", (2, 1), 225), "PNG"))
        marks = ["token 1", f"token {where.tokens}"]
        alt = f"the {where.tokens} tokens of {modality}, one after another"
        return Figure(modality, "", "strip", alt, blank, "", _strips(a_ws[:, token]), "", marks)
    return None


def heard(where: Seconds, modality: str, limit: int) -> tuple[str, str, list[str], str]:
    """A recording on a page: its spectrogram, what that is, marks of the time below it, and its `sound`."""
    grey = Image.fromarray(255 - (spectrogram(where)[::-1] * 255).astype(np.uint8))
    strip = grey.resize((min(max(grey.width, STRIP), 800), 96), Image.Resampling.BILINEAR)
    marks = [f"{where.duration * i / 4:.1f} s" for i in range(5)]
    alt = f"spectrogram of {modality}, {where.duration:.1f} seconds"
    return uri("image/png", encoded(strip, "PNG")), alt, marks, sound(where.cell, where.duration, limit)


def shade(light_yx: NDArray[np.float64]) -> Image.Image:
    """What is laid over a picture: dark where light is 0, nothing where it is 1, a line where it crosses a half."""
    alpha = (1 - light_yx) * SHADE
    out = np.zeros((*light_yx.shape, 4), dtype=np.uint8)
    out[..., 3] = (alpha * LEVELS).round() / LEVELS * 255
    inside = np.pad(light_yx >= 0.5, 1, mode="edge")
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    out[inside[1:-1, 1:-1] & ~core] = (*LIT, 255)
    return Image.fromarray(out)


def _strips(light_wx: NDArray[np.float64]) -> list[str]:
    """Over a spectrogram: dark where nothing is attended to, and a bar below whose strength is the attention."""
    out = []
    for light_x in scaled(light_wx):
        pixels = np.zeros((12, len(light_x), 4), dtype=np.uint8)
        pixels[:10, :, 3] = (1 - light_x) * SHADE * 255
        pixels[10:] = (0, 0, 0, 255)
        pixels[10:, :, :3] = (light_x[:, None] * LIT).round()
        out.append(uri("image/png", encoded(Image.fromarray(pixels), "PNG")))
    return out


def sound(cell: Any, seconds: float, limit: int) -> str:
    """The recording as FLAC, mono, at 16 or else 8 kHz, as a data URI; "" where that is more than `limit` bytes."""
    import soundfile

    for rate in (16_000, 8_000) if seconds < limit / 4_000 else ():
        out = io.BytesIO()
        soundfile.write(out, read(cell, rate, seconds), rate, format="FLAC", subtype="PCM_16")
        if out.tell() <= limit:
            return uri("audio/flac", out.getvalue())
    return ""


def encoded(image: Image.Image, form: str, **settings: Any) -> bytes:
    """The bytes of a picture's file."""
    out = io.BytesIO()
    image.save(out, form, **settings)
    return out.getvalue()


def uri(kind: str, data: bytes) -> str:
    """A file as the address of itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
