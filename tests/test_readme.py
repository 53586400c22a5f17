"""Every block of the README runs: Python as it stands, and each polymodal command, in order, on the demo's table."""

import re
import shlex
from pathlib import Path

import pytest

from conftest import Run
from polymodal.demo import make_table, shapes
from polymodal.experiment.search import PRESETS

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)
COMMANDS = re.findall(r"^polymodal .*$", "\n".join(re.findall(r"```\n(.*?)```", TEXT, re.S)), re.M)
FAST = {
    "polymodal fit": ["--epochs", "2", "--size", "tiny", "--preset", "fast"],
    "polymodal distill": ["--epochs", "2", "--size", "tiny"],
    "polymodal learning-curve": ["--epochs", "2", "--size", "tiny"],
    "polymodal robustness": ["--levels", "2"],
    "polymodal report": ["--no-robustness", "--rows", "2"],
    "polymodal compare": ["--epochs", "2", "--size", "tiny", "--preset", "fast", "--folds", "2"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's tables, smaller; blocks and commands run in this process, where torch is loaded already."""
    folder = tmp_path_factory.mktemp("readme")
    make_table(folder / "demo", rows=80, unseen=16)
    shapes.make_table(folder / "demo" / "shapes", rows=48, unseen=16)
    return folder


def test_there_is_something_to_run():
    assert len(PYTHON) == 3 and len(COMMANDS) >= 6


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block(folder, number, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setitem(PRESETS, "fast", PRESETS["fast"]._replace(seconds=(8, 0, 8)))  # that it runs, not how well
    exec(compile(PYTHON[number], f"README.md, block {number}", "exec"), {"__name__": "__main__"})


def test_commands(folder, run: Run, monkeypatch):
    monkeypatch.chdir(folder)
    for command in COMMANDS:
        words = shlex.split(command, comments=True)
        done = run(*words[1:], *FAST.get(" ".join(words[:2]), []))
        assert done.returncode == 0, (command, done.stderr[-2000:])
    assert len((folder / "predictions.csv").read_text().splitlines()) == 17
