"""A small table of everything a page shows, with names and words that would break a careless one, and models of it."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
import soundfile
from PIL import Image

import flat
import polymodal
from polymodal import report
from polymodal.report import rows, sturdy

NASTY = '<script>alert("x")</script><img src=http://example.com/a.png onerror=alert(1)> & it\'s'
ODD = 'photos/it\'s "odd" <b>照片\u202e \u05e9\u05dc\u05d5\u05dd #{}%.png'  # turned around, and Hebrew


class Written(NamedTuple):
    """A report: where it is, what was told of it, and its text."""

    path: Path
    told: Any
    html: str


def make(folder: Path, count: int, seed: int = 0) -> Path:
    """things.csv: photo, sound, note, price, weight, kind; some cells are empty, one can't be read, some are nasty."""
    g = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    lines: list[Sequence[Any]] = [("photo", "sound", "note", "price", "weight", "<i>kind</i>")]
    for i in range(count):
        good = bool(g.integers(2))
        name = ODD.format(i)
        pixels = np.full((12, 16, 3), (200, 40, 40) if good else (40, 40, 200)) + g.normal(0, 20, (12, 16, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
        t = np.arange(1600) / 8000
        soundfile.write(folder / f"{i}.wav", 0.3 * np.sin(2 * np.pi * (1500 if good else 300) * t), 8000)
        note = f"{NASTY} {'lovely' if good else 'awful'} {i}" if i % 2 else f"{'lovely' if good else 'awful'} thing {i}"
        photo, sound = "" if i % 7 == 3 else name, "" if i % 9 == 4 else "gone.wav" if i == 5 else f"{i}.wav"
        price = round(float(g.normal(2 if good else 1, 0.3)), 2)
        lines.append(
            (photo, sound, note, price, round(2 * price + float(g.normal(0, 0.2)), 3), "good" if good else NASTY)
        )
    with (folder / "things.csv").open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(lines)
    return folder / "things.csv"


@pytest.fixture(autouse=True, scope="session")
def _few() -> Iterator[None]:
    """One row of a kind, and the noise of two levels: each takes seconds."""
    with mock.patch.object(rows, "EACH", 1), mock.patch.object(sturdy, "LEVELS", 2):
        yield


@pytest.fixture(scope="session")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("things"), 32)


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that all reports of these tests share."""
    return tmp_path_factory.mktemp("cells")


def fitted(things: Path, cells: Path, out: Path) -> polymodal.Model:
    return flat.fit(
        things, "<i>kind</i>", fusion="gated", size="tiny", epochs=2, batch_size=32, ignore=["weight"], cache=cells,
        out=out, overwrite=True,
    )  # fmt: skip


def reported(model: polymodal.Model, things: Path, cells: Path, folder: Path) -> Written:
    """A report of everything."""
    path = folder / 'it\'s a "report" 照片.html'
    told = report.write(model, things, path, train=things, cache=cells, command=f"polymodal report '{NASTY}\u202e'")
    return Written(path, told, path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def model(things: Path, cells: Path, tmp_path_factory: pytest.TempPathFactory) -> polymodal.Model:
    return fitted(things, cells, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def written(model: polymodal.Model, things: Path, cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return reported(model, things, cells, tmp_path_factory.mktemp("report"))
