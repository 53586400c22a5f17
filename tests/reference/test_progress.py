"""Progress is for a person who looks on: in a terminal and in a notebook, elsewhere only where it is asked for."""

import io
import sys

import pytest

import polymodal
from cases import over
from polymodal import Run
from polymodal.progress import bar, silent


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


class Notebook(io.StringIO):
    """Standard error in a notebook, told by its module."""


Notebook.__module__ = "ipykernel.iostream"


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, progress: bool | None) -> str:
    """What a fit and an evaluation write to this stream."""
    from polymodal import Search, Training

    rows = [{"x": i % 7, "y": float(i % 7)} for i in range(40)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        config = [Search("concat", "tiny", baselines=False), Training(epochs=1), Run(progress=progress)]
        model = polymodal.fit(rows, "y", config=config, task="regression")
        model.evaluate(rows, progress=progress)
    return stream.getvalue()


@over("progress, seen", [(None, True), (True, True), (False, False)])
def test_a_terminal_has_a_bar_unless_it_is_not_wanted(monkeypatch, progress, seen):
    monkeypatch.setenv("TERM", "xterm")
    text = shown(monkeypatch, Terminal(), progress)
    assert ("reading" in text and "table alone" in text and "decoding" in text) == seen == bool(text)


def test_a_file_has_none_unless_it_is_wanted(monkeypatch):
    assert shown(monkeypatch, io.StringIO(), None) == ""
    assert silent(None) and not silent(True) and silent(False)


def test_a_notebook_has_a_line_that_is_written_over(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream := Notebook())
        assert not silent(None) and silent(False)
        with bar("training", 10) as tick:
            tick(5, "too soon to tell")
            tick.every = 0.0
            tick(5, "loss 0.5")
    lines = stream.getvalue().split("\r")
    assert "training: 50%, about 0 s left  loss 0.5" in lines[1] and "too soon" not in stream.getvalue()
    assert lines[2].strip() == lines[3] == "" and "\n" not in stream.getvalue()
