"""Small real tables that tests make: files on disk, as a user has them."""

import csv
import gc
import io
import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import soundfile
from PIL import Image, ImageDraw

os.environ.setdefault("OMP_NUM_THREADS", "1")
COLOURS = {"red": (200, 40, 40), "blue": (40, 40, 200)}
NUMBERS = itertools.count()
Run = Callable[..., subprocess.CompletedProcess[str]]


LONG = ("tests/test_readme", "tests/end_to_end", "tests/cli")  # files of tests that train


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """A file goes to one process, so that what its fixtures fit is fitted once; the long files go first."""
    from xdist.scheduler import LoadFileScheduling, LoadScheduling

    if config.getoption("dist") != "load":
        return None
    if config.args_source is not config.ArgsSource.TESTPATHS:
        return LoadScheduling(config, log)  # a few files: rather share out their tests
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def pytest_collection_finish() -> None:
    """Thousands of tests and three large libraries are no garbage: they need not be looked through again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is read of what another run left in the user's cache, by fixtures of a module either."""
    folder = tmp_path_factory.mktemp("caches")
    with mock.patch.dict(os.environ, {"POLYMODAL_CACHE": str(folder / "of-fixtures")}):
        yield folder


@pytest.fixture(autouse=True)
def _own_cache(_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache for each test, made when something is written: thousands of tests write nothing."""
    monkeypatch.setenv("POLYMODAL_CACHE", str(_caches / str(next(NUMBERS))))


@pytest.fixture(autouse=True)
def _messages_as_typed() -> Iterator[None]:
    """Tests read what errors say in one notation, that of the command line; `test_errors` tests that of Python."""
    from polymodal.errors import command_line

    with command_line():
        yield


@pytest.fixture(autouse=True, scope="session")
def _cheap() -> Iterator[None]:
    """What costs much and tests nothing: forests and boosting have 16 trees, and no garbage is collected before each
    candidate, which takes half a second in a process that holds all tests."""
    from polymodal.experiment import peak
    from polymodal.learners.estimators import KINDS, Make

    def small(make: Make) -> Make:
        return lambda seed, outputs: make(seed, outputs).set_params(n_estimators=16, n_jobs=1)

    trees = {k: KINDS[k] for k in ("forest", "boosted")}
    few = {k: x._replace(classifier=small(x.classifier), regressor=small(x.regressor)) for k, x in trees.items()}
    with mock.patch.dict(KINDS, few), mock.patch.object(peak, "gc"):
        yield


class Clock:
    """Stands in for the module `time`: each reading is `step` seconds after the one before, so limits are counts."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all that is limited in time, a millisecond a reading."""
    from polymodal.experiment import budget, candidates
    from polymodal.learners import library
    from polymodal.training import checkpoint, loop

    clock = Clock(0.001)
    for module in (budget, candidates, library, checkpoint, loop):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """shop.csv: a photo, a note and a price; the kind is told by the photo's colour and the note together."""
    return make_shop(tmp_path / "shop", 120)


def make_shop(folder: Path, rows: int, seed: int = 0) -> Path:
    """A table of `rows` rows. kind = "good" when the photo is red and the note praises, or neither; a tenth is noise."""
    g = np.random.default_rng(seed)
    (folder / "photos").mkdir(parents=True)
    with (folder / "shop.csv").open("w", newline="", encoding="utf-8") as f:
        write = csv.writer(f)
        write.writerow(["id", "photo", "note", "price", "seller", "kind"])
        for i in range(rows):
            red, praise = bool(g.integers(2)), bool(g.integers(2))
            pixels = np.full((12, 16, 3), COLOURS["red" if red else "blue"]) + g.normal(0, 20, (12, 16, 3))
            name = f"photos/{i}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
            words = ["really", "very", "this", "it", "was", "box", "came", "today", "well", "hm"]
            note = " ".join([*g.choice(words, 4), "lovely" if praise else "awful", *g.choice(words, 2)])
            good = (red and praise) if g.random() > 0.1 else bool(g.integers(2))
            price = round(float(g.lognormal(3, 0.5)) * (2 if good else 1), 2)
            write.writerow([f"item-{i}", name, note, price, f"s{i % 9}", "good" if good else "poor"])
    return folder / "shop.csv"


def make_tones(folder: Path, rows: int, seed: int = 0) -> Path:
    """tones.csv: a short WAV, high or low, and its class."""
    g = np.random.default_rng(seed)
    (folder / "wav").mkdir(parents=True)
    lines: list[Sequence[str]] = [("sound", "pitch")]
    for i in range(rows):
        high = bool(g.integers(2))
        t = np.arange(int(8000 * g.uniform(0.1, 0.3))) / 8000
        wave = 0.3 * np.sin(2 * np.pi * (1500 if high else 300) * g.uniform(0.8, 1.2) * t) + g.normal(0, 0.02, t.shape)
        soundfile.write(folder / f"wav/{i}.wav", wave, 8000)
        lines.append((f"wav/{i}.wav", "high" if high else "low"))
    with (folder / "tones.csv").open("w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(lines)
    return folder / "tones.csv"


@pytest.fixture(scope="session")
def run() -> Run:
    """The command line: what it prints and its exit code, in this process, where torch is loaded already."""
    from polymodal.cli import main

    def run(*args: object, timeout: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
        words, out, err, code = ["polymodal", *map(str, args)], io.StringIO(), io.StringIO(), None
        with (
            mock.patch.object(sys, "argv", words),
            mock.patch.dict(os.environ, {"COLUMNS": "120", **env}),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as e:
                code = e.code
        return subprocess.CompletedProcess(words, int(code or 0), out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def process() -> Run:
    """The command line as a user runs it: a process of its own, which takes seconds to load torch."""

    def process(*args: object, timeout: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "polymodal", *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", **env},
            check=False,
        )

    return process


SQUARES = {"red": (230, 20, 20), "green": (20, 190, 20), "blue": (30, 30, 230)}


def squares(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """A table of pictures of a coloured square, three sentences each, a row a sentence."""
    folder.mkdir(parents=True, exist_ok=True)
    draw, rows = random.Random(seed), []
    for i in range(count):
        colour, side = draw.choice([*SQUARES]), draw.choice(["left", "right"])
        picture = Image.new("RGB", (32, 32), "white")
        x = 2 if side == "left" else 18
        ImageDraw.Draw(picture).rectangle([x, 9, x + 11, 21], fill=SQUARES[colour])
        picture.save(folder / f"{i}.png")
        texts = [f"a {colour} square on the {side}", f"one {colour} square", f"the {side} holds something {colour}"]
        rows += [{"image": f"{i}.png", "caption_id": k, "caption": t} for k, t in enumerate(texts)]
    path = folder / "captions.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path
