"""An alignment as a picture: its path through the local costs, or lines between the frames of two streams."""

from pathlib import Path
from typing import Any

import numpy as np

from polymodal.alignment.arrays import stream
from polymodal.alignment.dtw import Alignment
from polymodal.errors import InputError
from polymodal.view import plot
from polymodal.view.blocks import Page, Picture, Section, Words
from polymodal.view.page import page
from polymodal.view.plot import Plot
from polymodal.view.text import many

SUFFIXES = (".png", ".svg", ".html")


def path_plot(of: Alignment, names: tuple[str, str] = ("a", "b")) -> Plot:
    """The path, over the local costs: darker is dearer, and closed cells are empty."""
    costs, path = of.costs.detach().cpu().numpy(), of.path.cpu().numpy()
    return plot.matrix(_title(names), costs, path, f"{names[1]}, frame", f"{names[0]}, frame", _words(of, names))


def link_plot(of: Alignment, a: Any, b: Any, names: tuple[str, str] = ("a", "b")) -> Plot:
    """Both streams (T, C) and (U, C), each channel scaled to its own range, and lines between frames that lie together.

    Raises InputError for streams that are not those of the path, and as `dtw`.
    """
    x, y = (stream(s, name).detach().cpu().numpy() for s, name in ((a, "a"), (b, "b")))
    path = of.path.cpu().numpy()
    if (len(x), len(y)) != tuple(of.costs.shape):
        t, u = of.costs.shape
        raise InputError(
            f"the alignment is of {t:,} and {u:,} frames, and a has {len(x):,} and b {len(y):,}; give its own"
        )
    return plot.links(_title(names), x, y, path, names, _words(of, names))


def save_plot(of: Plot, file: Path | str) -> Path:
    """Write a plot as .png, .svg or, with its words, .html. Raises InputError for another suffix, and ImportError,
    saying how to get it, without matplotlib."""
    path = Path(file)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path.name} ends in {path.suffix or 'no suffix'}; give {', '.join(SUFFIXES)}")
    if path.suffix == ".html":
        section = Section("alignment", of.title, [Words(of.told), Picture(of.told, of)])
        html = page(Page("alignment", of.title, of.title, [], [section]))
        path.write_text(html, encoding="utf-8")
    else:
        path.write_bytes(plot.png(of) if path.suffix == ".png" else plot.svg(of))
    return path


def _title(names: tuple[str, str]) -> str:
    return f"{names[0]} and {names[1]}, aligned"


def _words(of: Alignment, names: tuple[str, str]) -> str:
    """Its length and cost, and at most five of its cells."""
    places = np.unique(np.linspace(0, len(of.path) - 1, 5).round().astype(int))
    cells = ", ".join(f"{i} with {j}" for i, j in of.path[places].tolist())
    start = f"A path of {many(len(of.path), 'cell')} and cost {of.cost:.4g}"
    return f"{start}; frames of {names[0]} with those of {names[1]}: {cells}"
