"""A table as people have them: photographs, recordings, series and texts of every shape, whole and damaged."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from PIL import Image

ROWS = 56
COLUMNS = ("photo", "clip", "pulse", "motion", "note", "vector", "price", "seller", "day", "gift")
RNG = np.random.default_rng


class Messy(NamedTuple):
    """path: the table. brief: the same without the rows whose recording takes three minutes to play. bad: the
    cells that can't be read, by row, counted from 1, and column.
    """

    path: Path
    brief: Path
    bad: dict[tuple[int, str], Any]


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    g = RNG(seed)
    x = np.linspace(0, 255, width)[None, :, None] + np.linspace(0, 60, height)[:, None, None] + g.normal(0, 9, 3)
    return (x + g.normal(0, 12, (height, width, 3))).clip(0, 255).astype(np.uint8)


def _saved(mode: str, name: str, **more: Any) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        Image.fromarray(pixels(40, 30)).convert(mode).save(folder / name, **more)
        return name

    return save


def _sized(height: int, width: int) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        name = f"{height}x{width}.jpg" if height * width > 4 else f"{height}x{width}.png"
        Image.fromarray(pixels(height, width)).save(folder / name)
        return name

    return save


def _deep(folder: Path) -> str:
    Image.fromarray(pixels(40, 30)[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    return "deep.png"


def _animated(folder: Path) -> str:
    frames = [Image.fromarray(pixels(24, 31, seed)) for seed in range(3)]
    frames[0].save(folder / "moves.gif", save_all=True, append_images=frames[1:], duration=90)
    return "moves.gif"


def _rotated(folder: Path) -> str:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(30, 70)).save(folder / "turned.jpg", exif=exif)
    return "turned.jpg"


def _clear(folder: Path) -> str:
    Image.fromarray(np.zeros((20, 20, 4), np.uint8), "RGBA").save(folder / "clear.png")
    return "clear.png"


def _cut(name: str) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        whole = folder / f"whole-{name}"
        Image.fromarray(pixels(120, 90)).save(whole)
        (folder / name).write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        return name

    return save


def _written(name: str, content: bytes) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        (folder / name).write_bytes(content)
        return name

    return save


PHOTOS: list[Callable[[Path], str]] = [
    *(_sized(h, w) for h, w in [(60, 4000), (1, 1), (120, 160), (94, 160), (160, 73), (1, 300), (300, 1)]),
    _sized(2000, 40),
    *(_saved(mode, f"{mode}.png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    _saved("CMYK", "ink.jpg"), _saved("RGB", "p.webp"), _saved("RGB", "p.tiff"), _saved("RGB", "p.bmp"),
    _deep, _animated, _rotated, _clear, _sized(33, 47), _sized(64, 64),
]  # fmt: skip
NO_PHOTOS: list[Any] = [
    _cut("cut.jpg"), _cut("cut.png"), _written("words.jpg", b"not a photograph"), _written("empty.png", b""),
    "nowhere.jpg",
]  # fmt: skip


def wave(seconds: float, rate: int, channels: int = 1, pitch: float = 220.0) -> np.ndarray:
    t = np.arange(max(1, round(seconds * rate))) / rate
    x = 0.3 * np.sin(2 * np.pi * pitch * t) + RNG(0).normal(0, 0.01, t.shape)
    return np.stack([x * (1 - c / 4) for c in range(channels)], axis=1)


def _clip(name: str, seconds: float, rate: int, channels: int = 1, **more: Any) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        soundfile.write(folder / name, wave(seconds, rate, channels), rate, **more)
        return name

    return save


def _samples(name: str, x: np.ndarray, **more: Any) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        soundfile.write(folder / name, x, 8000, **more)
        return name

    return save


CLIPS: list[Callable[[Path], str]] = [
    _clip("long.wav", 180, 8000, subtype="ULAW"), _clip("short.wav", 0.05, 16_000), _clip("one.wav", 1 / 8000, 8000),
    _clip("stereo.wav", 0.3, 44_100, 2), _clip("eight.wav", 0.2, 8000, 8), _clip("low.wav", 0.4, 4000),
    _clip("high.flac", 0.2, 96_000, subtype="PCM_24"), _clip("lossy.ogg", 0.5, 22_050), _clip("lossy.mp3", 0.5, 48_000),
    _clip("bytes.wav", 0.3, 11_025, subtype="PCM_U8"), _clip("float.wav", 0.3, 16_000, subtype="FLOAT"),
    _samples("silent.wav", np.zeros(2400)), _samples("stuck.wav", np.full(2400, 0.5)),
    _samples("clipped.wav", np.sign(wave(0.3, 8000))), _samples("click.wav", np.eye(1, 2400, 1200)[0]),
]  # fmt: skip
NO_CLIPS: list[Any] = [
    _written("words.wav", b"not a recording"), _samples("none.wav", np.zeros(0)), _written("empty.wav", b""),
    _samples("nan.wav", np.array([0.1, math.nan, 0.2]), subtype="FLOAT"), "nowhere.wav",
]  # fmt: skip


def walk(length: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return RNG(seed).normal(0, 1, (length, channels)).cumsum(0)


def _listed(x: np.ndarray) -> list[float | None]:
    return [None if math.isnan(v) else round(float(v), 4) for v in x]


GAPS = np.where(np.arange(60) % 5 < 2, math.nan, walk(60)[:, 0])
PULSES: list[list[Any]] = [
    *(_listed(walk(n, seed=n)[:, 0]) for n in (10_000, 1, 2, 3, 10, 57, 300)),
    _listed(GAPS), [None, *_listed(walk(20)[:, 0])], [3.5] * 40, [0] * 12, [1e30, -1e30, 1e29] * 9, [1, None, 1],
]  # fmt: skip
EMPTY_PULSES: list[Any] = [[None] * 25, []]  # nothing is in them
NO_PULSES: list[Any] = [["a", "b"], [[1, 2, 3, 4], [5, 6, 7, 8]]]  # no numbers; of other channels than the rest


def _motion(name: str, x: np.ndarray) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        if name.endswith(".npy"):
            np.save(folder / name, x)
        else:
            np.savetxt(folder / name, x, fmt="%.4f", delimiter=",", header="x,y,z", comments="")
        return name

    return save


MOTIONS: list[Callable[[Path], str]] = [
    *(_motion(f"{n}.csv", walk(n, 3, n)) for n in (2000, 1, 2, 9, 100)),
    *(_motion(f"{n}.npy", walk(n, 3, n)) for n in (1, 4, 64)),
    _motion("gaps.csv", np.where(RNG(1).random((50, 3)) < 0.3, math.nan, walk(50, 3))),
    _motion("still.npy", np.ones((30, 3))), _motion("dead.npy", walk(30, 3) * [1, math.nan, 0]),
]  # fmt: skip
NO_MOTIONS: list[Any] = [
    _written("torn.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'"), _written("words.csv", b"to be\nor not\n"),
    _motion("two.npy", walk(30, 2)), "nowhere.csv",
]  # fmt: skip

NOTES = [
    "word " * 10_000, "a", "?", "...", "It was lovely, and it came today.", "awful\nbox\r\nhm\tindeed", "x" * 12_000,
    "Это было прекрасно", "とても良い箱でした", "كان رائعا جدا", "אהבתי", "ดีมาก", "👍🏽👨‍👩‍👧‍👦 🏳️‍🌈", "\x00\x01\x07\x1b[31mred\x7f",
    "zero\u200bwidth\ufeffjoin\u202eers", "e\u0301" * 30, "lone \ud83d surrogate", "<b>bold</b> & \"quoted\" 'text'",
    "0", "-1e9", "None", "nan", "=1+1", "{\"a\": [1]}", "[red]rich[/red] \\[x]", "{{ 7 * 7 }}",
]  # fmt: skip
EMPTY_NOTES = ["", "  \n\t "]
VECTORS = [[0.1 * i - k for i in range(6)] for k in range(9)] + [[0] * 6, [1e20] * 6]
NO_VECTORS: list[Any] = [[1, 2, 3], "three"]
PRICES = [1e300, -1e-9, 12.5, 1e12, -1, 0, 3, 7]
SELLERS = ["ann", "bob", "", "ann ", "Ann", "日本", 'a,b;"c"', "🙂", "x" * 500, "\ud83d"]
DAYS = ["2024-02-29", "1969-07-20", "2024-12-31", "2038-01-19"]


DAMAGED: dict[str, list[Any]] = {
    "photo": NO_PHOTOS, "clip": NO_CLIPS, "pulse": NO_PULSES, "motion": NO_MOTIONS, "vector": NO_VECTORS,
    "price": ["twelve", "1/2", math.inf], "day": ["someday", "2024-13-45"],
}  # fmt: skip
EMPTY: dict[str, list[Any]] = {"pulse": EMPTY_PULSES, "note": EMPTY_NOTES}
WHOLE: dict[str, list[Any]] = {
    "photo": PHOTOS, "clip": CLIPS, "pulse": PULSES, "motion": MOTIONS, "note": NOTES, "vector": VECTORS,
    "price": PRICES, "seller": SELLERS, "day": DAYS, "gift": [True, False],
}  # fmt: skip


def saved(cells: list[Any], folder: Path) -> list[Any]:
    """The cells, those that are files being written."""
    return [c(folder) if callable(c) else c for c in cells]


def make(folder: Path, seed: int = 0) -> Messy:
    """The table as JSON lines: row by row the next shape of each column, damaged cells and gaps spread among them.

    The first row has the largest of each column, the second the smallest, the last nothing.
    """
    folder.mkdir(parents=True)
    g = RNG(seed)
    table: list[dict[str, Any]] = [{"id": i} for i in range(ROWS)]
    bad: dict[tuple[int, str], Any] = {}
    for column in COLUMNS:
        whole, damaged = saved(WHOLE[column], folder), saved(DAMAGED.get(column, []), folder)
        odd = [*damaged, *EMPTY.get(column, []), None, None, None]
        cells = [whole[i % len(whole)] for i in range(ROWS - 1)] + [None]
        for i, (place, cell) in enumerate(zip(2 + g.choice(ROWS - 3, len(odd), replace=False), odd, strict=True)):
            cells[place] = cell
            if i < len(damaged):
                bad[int(place) + 1, column] = cell
        for row, cell in zip(table, cells, strict=True):
            row[column] = cell
    kinds = g.permutation(["good", "poor"] * (ROWS // 2)).tolist()
    for i, row in enumerate(table):
        row["kind"] = None if i in (5, 17) else kinds[i]
    path, brief = folder / "messy.jsonl", folder / "brief.jsonl"
    lines = [json.dumps(row) for row in table]
    path.write_text("\n".join(lines), encoding="utf-8")
    brief.write_text("\n".join(line for line in lines if "long.wav" not in line), encoding="utf-8")
    return Messy(path, brief, bad)
