"""Every block of the README runs: Python as it stands, and each polymodal command, in order, on the demo's table."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from polymodal.demo import make_table, shapes

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)
COMMANDS = re.findall(r"^polymodal .*$", "\n".join(re.findall(r"```\n(.*?)```", TEXT, re.S)), re.M)
FAST = {
    "polymodal fit": ["--epochs", "2", "--size", "tiny", "--preset", "fast"],
    "polymodal compare": ["--epochs", "2", "--size", "tiny", "--preset", "fast", "--folds", "2"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    make_table(folder / "demo", rows=150, unseen=40)
    shapes.make_table(folder / "demo" / "shapes", rows=60, unseen=24)
    return folder


def test_there_is_something_to_run():
    assert len(PYTHON) == 3 and len(COMMANDS) >= 6


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block(folder, number):
    done = subprocess.run(
        [sys.executable, "-c", PYTHON[number]], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_commands(folder):
    for command in COMMANDS:
        words = shlex.split(command, comments=True)
        more = FAST.get(" ".join(words[:2]), [])
        done = subprocess.run(
            [sys.executable, "-m", *words, *more], cwd=folder, capture_output=True, text=True, timeout=200,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr[-2000:])
    assert len((folder / "predictions.csv").read_text().splitlines()) == 41
