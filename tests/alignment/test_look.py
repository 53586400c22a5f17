"""Pictures of an alignment: what they show is where the path goes."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polymodal.alignment import SakoeChiba, dtw, link_plot, path_plot, save_plot, warp
from polymodal.errors import InputError
from polymodal.view.plot import Plot

A, B = np.sin(np.arange(30) / 4), np.sin(np.arange(0, 30, 0.75) / 4)


def colours(plot: Plot, file: Path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(save_plot(plot, file).read_bytes())).convert("RGB")).reshape(-1, 3)


def test_a_path_is_drawn_over_its_costs(tmp_path: Path) -> None:
    of = dtw(A, B, band=SakoeChiba(12))
    seen = colours(path_plot(of, ("sound", "motion")), tmp_path / "path.png")
    orange = (np.abs(seen - np.array([0xD5, 0x5E, 0x00])) < 30).all(1)
    grey = (np.ptp(seen, axis=1) < 8) & (seen[:, 0] > 40) & (seen[:, 0] < 200)
    assert orange.sum() > 1000 and grey.sum() > 10_000


def test_where_the_path_goes_the_picture_goes(tmp_path: Path) -> None:
    """A path along the lower edge and one along the upper have their colour there."""
    rows = []
    for up in (False, True):
        costs = np.ones((20, 20))
        costs[-1 if up else 0, :], costs[:, 0 if up else -1] = 0.0, 0.0
        image = Image.open(save_plot(path_plot(warp(costs)), tmp_path / f"{up}.png")).convert("RGB")
        pixels = np.asarray(image).astype(int)
        orange = (np.abs(pixels - np.array([0xD5, 0x5E, 0x00])) < 30).all(2)
        y, x = orange.nonzero()
        rows.append((y.mean() / image.height, x.mean() / image.width))
    assert rows[1][0] < rows[0][0] - 0.1 and rows[1][1] < rows[0][1] - 0.1


def test_streams_are_linked(tmp_path: Path) -> None:
    of = dtw(A, B)
    text = save_plot(link_plot(of, A, B, ("sound", "motion")), tmp_path / "links.svg").read_text()
    assert "sound" in text and "motion" in text and text.count("<path") > 40
    wide = np.stack([A, A**2, np.full(30, 2.0), A, A, A], axis=1)
    save_plot(link_plot(dtw(wide, wide), wide, wide), tmp_path / "wide.png")


def test_a_page_says_in_words_what_it_shows(tmp_path: Path) -> None:
    of = dtw([0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0])
    html = save_plot(path_plot(of, ("<b>", "motion")), tmp_path / "page.html").read_text(encoding="utf-8")
    assert "A path of 4 cells and cost 0; frames of &lt;b&gt; with those of motion: 0 with 0, 1 with 1" in html
    assert "<svg" in html and "<b>" not in html and len(html) < 200_000


def test_large_and_closed_matrices_stay_small(tmp_path: Path) -> None:
    costs = np.random.default_rng(0).random((700, 900))
    costs[:, 0] = math.inf
    costs[0, 0] = 0.0
    assert save_plot(path_plot(warp(costs)), tmp_path / "large.svg").stat().st_size < 400_000


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    of = dtw(A, B)
    with pytest.raises(InputError, match=r"x.jpg ends in .jpg; give .png, .svg, .html"):
        save_plot(path_plot(of), tmp_path / "x.jpg")
    with pytest.raises(InputError, match="the alignment is of 30 and 40 frames, and a has 40 and b 30; give its own"):
        link_plot(of, B, A)
