"""Reasons for a row and for a table, from a table of photos, notes and prices to words, a page, a picture and numbers."""

import csv
import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import flat
from conftest import Run, make_shop
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.explain import brief, explain, nearest, pages
from polymodal.explain.evidence import faith
from polymodal.explain.overall import overall
from polymodal.explain.reasons import Reasons
from polymodal.model import Model
from polymodal.view import page as view
from polymodal.view import sheet
from polymodal.view.blocks import Block
from polymodal.view.console import show
from polymodal.view.text import with_sign

NASTY = '<script>alert(1)</script> <b>"it\'s" & 写真 {{ e }}'
Fitted = tuple[Model, Path, Path]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    folder = tmp_path_factory.mktemp("reasons")
    table = make_shop(folder / "it's 店", 48)
    out = folder / "model"
    model = flat.fit(
        table, "kind", fusion="low-rank", size="tiny", epochs=2, baselines=False, ignore=["id", "seller"], out=out,
        cache=folder / "cache",
    )  # fmt: skip
    return model, table, out


@pytest.fixture(scope="module")
def row(fitted: Fitted) -> Reasons:
    model, table, _ = fitted
    found = explain(model, table, 7, train=table)
    assert isinstance(found, Reasons)
    return found


def test_a_row_has_all_reasons(fitted: Fitted, row: Reasons) -> None:
    model, table, _ = fitted
    said = model.predict(table).iloc[6]
    assert row.text == said["prediction"] and row.prediction == pytest.approx(dict(said))
    c = row.contributions
    assert c.numbers == [7] and c.answer[0] == pytest.approx(said["probability"], abs=1e-5)
    assert c.base[0] + c.shapley[0].sum() == pytest.approx(c.answer[0], abs=1e-9)
    without = model.predict(table, without=["photo"]).iloc[6][f"probability[{row.text}]"]
    i, others = c.modalities.index("photo"), [m for m in c.modalities if m != "photo"]
    alone = model.predict(table, without=others).iloc[6][f"probability[{row.text}]"]
    assert c.alone[0, i] + c.base[0] == pytest.approx(alone, abs=1e-5) and without != pytest.approx(alone)
    assert [a.modality for a in row.attributions] == c.modalities and np.isfinite(c.additive[0])
    assert row.truth in ("good", "poor") and not row.absent and not row.bad and set(row.cells) == set(c.modalities)
    form = json.loads(json.dumps(row.to_json()))
    assert [m["modality"] for m in form["modalities"]] == c.modalities and form["row"] == 7
    words = printed(brief.row(row))
    assert (
        all(f"{m} " in words for m in c.modalities) and "Faithfulness: gain" in words and "nearest of 48 rows" in words
    )


def test_neighbours_are_those_of_all_rows(fitted: Fitted, row: Reasons, monkeypatch: pytest.MonkeyPatch) -> None:
    model, table, _ = fitted
    rows = model.preprocessor.encode(Table.read(table), None, quiet=True)
    embedded = model.learner.eval().embed(rows.only(model.learner.reads).batch(range(48)).inputs)
    labels = pd.read_csv(table)["kind"]
    assert row.nearest is not None and row.nearest.rows == 48
    assert [s.modality for s in row.nearest.spaces] == ["", *row.contributions.modalities]
    for space in row.nearest.spaces:
        x = embedded[space.modality].values.astype(float)
        distance = np.array([1 - a @ x[6] / np.linalg.norm(a) / np.linalg.norm(x[6]) for a in x])
        distance[6] = np.inf  # the row itself is no neighbour of its own
        assert [n.distance for n in space.nearest] == pytest.approx(sorted(distance)[:3], abs=1e-5)
        assert all(distance[n.row - 1] == pytest.approx(n.distance, abs=1e-5) for n in space.nearest)
        assert all(n.label == labels[n.row - 1] for n in space.nearest)
        assert space.other is not None and space.other.label != row.text
        assert space.other.distance == pytest.approx(distance[labels != row.text].min(), abs=1e-5)
        assert set(space.nearest[0].cells) == (
            {space.modality} if space.modality else set(row.contributions.modalities)
        )
    one = rows.take([6])
    whole = nearest.nearest(model, one, row.text, table, skip=7)
    monkeypatch.setattr(nearest, "CHUNK", 10)  # the same, read by parts
    by_parts = nearest.nearest(model, one, row.text, table, skip=7)
    assert by_parts.rows == 48
    for a, b in zip(whole.spaces, by_parts.spaces, strict=True):
        assert [n.distance for n in a.nearest] == pytest.approx([n.distance for n in b.nearest], abs=1e-6)
    assert nearest.nearest(model, one, row.text, table).spaces[0].nearest[0].row == 7


class Page(HTMLParser):
    """What a browser would make of a page: its tags and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "col"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def printed(blocks: Sequence[Block]) -> str:
    out = StringIO()
    show(blocks, file=out, width=300)
    return out.getvalue()


def shown(e: Reasons, command: str = "") -> str:
    return view.page(pages.row(e, command=command))


def drawn(e: Reasons) -> bytes:
    return sheet.png(pages.row(e))


def checked(html: str) -> Page:
    """A page without scripts or requests, every picture of which says what it is."""
    page = Page(html)
    assert not [t for t, a in page.tags if t in ("script", "link", "iframe", "object", "b:script")]
    for tag, a in page.tags:
        assert not [k for k in a if k.startswith("on")]
        for link in (a.get("src"), a.get("href")):
            assert link is None or link.startswith(("data:", "#"))
        if tag == "img":
            assert a["alt"] and a["src"]
        if tag == "svg":
            assert (a.get("aria-label") or a["aria-labelledby"]) and a["role"] == "img"
    (policy,) = [a["content"] for t, a in page.tags if t == "meta" and "Content-Security-Policy" in a.values()]
    assert "default-src 'none'" in policy and "script" not in policy and "http" not in html.replace("http-equiv", "")
    return page


def test_the_page_of_a_row(row: Reasons) -> None:
    html = shown(row, "polymodal explain")
    page = checked(html)
    for a in row.attributions:
        assert f"What in {a.modality}" in page.text and faith(a) in page.text
    assert with_sign(float(row.contributions.shapley[0, 0])) in page.text and "Training rows most like it" in page.text
    assert html.count('class="plot"') == len(row.attributions) and len(html) < 1_000_000
    marked = [a["class"] for t, a in page.tags if t == "mark"]
    assert marked and set(marked) <= {"for", "against"}


def test_markup_in_cells_is_text(fitted: Fitted, tmp_path: Path) -> None:
    model, table, _ = fitted
    line = pd.read_csv(table).iloc[0]
    evil = {"photo": str(table.parent / line["photo"]), "note": NASTY, "price": 3.0, "kind": NASTY}
    (tmp_path / "it's <b>写真.png").write_bytes((table.parent / line["photo"]).read_bytes())
    rows = [evil | {"photo": str(tmp_path / "it's <b>写真.png")}, *[evil] * 3]
    e = explain(model, rows, 1, train=rows)
    assert isinstance(e, Reasons) and e.truth == NASTY
    page = checked(shown(e, NASTY))
    assert NASTY in page.text and "it's <b>写真.png" in page.text and "too few to tell the additive part" in page.text
    assert not [t for t, _ in page.tags if t == "b" and "写真" in t]
    assert NASTY not in shown(e)


def test_what_is_absent_or_can_not_be_read_is_told(fitted: Fitted, tmp_path: Path) -> None:
    model, table, _ = fitted
    (tmp_path / "bad.png").write_bytes(b"no picture")
    rows = [
        {"photo": str(tmp_path / "bad.png"), "note": "lovely box", "price": None},
        {"photo": None, "note": None, "price": None},
    ]
    e = explain(model, rows, 1)
    assert isinstance(e, Reasons) and [a.modality for a in e.attributions] == ["note"] and len(e.bad) == 1
    assert e.absent == [m for m in e.contributions.modalities if m != "note"]
    assert not e.contributions.shapley[0][~e.contributions.present[0]].any()
    page = checked(shown(e))
    assert "is not an image" in page.text and "Without photo" in page.text and "--train TABLE" in page.text
    blind = explain(model, rows, 2)
    assert isinstance(blind, Reasons) and not blind.bad and not blind.attributions
    assert "nothing that the model reads" in printed(brief.row(blind)) and not blind.contributions.shapley.any()
    hidden = explain(model, table, 1, without=["photo"], parts=False)
    assert isinstance(hidden, Reasons) and hidden.absent == ["photo"] and not hidden.attributions


def test_the_row_that_is_explained_is_the_one_that_was_asked_for(fitted: Fitted) -> None:
    """Rows keep their numbers where others were taken out, and what can't be read in one is told of that one alone."""
    model, table, _ = fitted
    whole = Table.read(table)
    broken = whole.replaced(
        {"photo": ["nowhere.png" if i in (2, 8) else c for i, c in enumerate(whole.cells("photo"))]}
    )
    for some in (broken, broken.take([30, 8, 11, 2, 25])):
        for row in (3, 12, 26):
            e = explain(model, some, row, parts=False)
            assert isinstance(e, Reasons) and e.row == row and e.contributions.numbers == [row]
            assert e.cells["note"].text == whole.cells("note")[row - 1]
            assert [b.row for b in e.bad] == [row] * (row == 3) and ("photo" in e.absent) == (row == 3)
            said = model.predict(broken.take([row - 1])).iloc[0]
            assert e.prediction == pytest.approx(dict(said)) and e.truth == whole.cells("kind")[row - 1]
    with pytest.raises(InputError, match="has no row 1; its rows are 3 to 31"):
        explain(model, broken.take([30, 8, 11, 2, 25]), 1)


def test_a_row_is_no_neighbour_of_itself_in_memory_either(fitted: Fitted) -> None:
    model, table, _ = fitted
    frame = pd.read_csv(table)
    frame["photo"] = [str(table.parent / p) for p in frame["photo"]]
    e = explain(model, frame, 7, train=frame, parts=False)
    assert isinstance(e, Reasons) and e.nearest is not None
    assert all(n.row != 7 for s in e.nearest.spaces for n in s.nearest)


@pytest.mark.parametrize("size", [(300, 1), (1, 300), (1, 1)])
def test_pictures_one_pixel_thin_are_drawn(fitted: Fitted, tmp_path: Path, size: tuple[int, int]) -> None:
    pytest.importorskip("matplotlib")
    thin = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(thin).save(tmp_path / "thin.png")
    e = explain(fitted[0], [{"photo": str(tmp_path / "thin.png"), "note": None, "price": None}], 1, method="occlusion")
    assert isinstance(e, Reasons) and [a.modality for a in e.attributions] == ["photo"]
    strong = e._replace(attributions=[a._replace(scores=np.arange(len(a.scores)) + 1.0) for a in e.attributions])
    assert drawn(strong).startswith(b"\x89PNG") and "speaks for" in shown(strong)


def test_bad_requests(fitted: Fitted) -> None:
    model, table, _ = fitted
    for asked, said in (
        ({"row": 0}, "has no row 0; its rows are 1 to 48"),
        ({"output": "zebra"}, "the model has no class 'zebra'; it has: 'good', 'poor'"),
        ({"method": "magic"}, "there is no method 'magic'; it is one of: auto, integrated-gradients"),
        ({"method": "rollout"}, "attends"),
        ({"train": [{"note": "a"}]}, "has no column 'photo'"),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            explain(model, table, **{"row": 1, **asked})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has no column 'photo'"):
        explain(model, [{"smell": 1}], 1)


def test_a_table(fitted: Fitted) -> None:
    model, table, _ = fitted
    o = overall(model, table, limit=20)
    assert o.rows == 20 and o.total == 48 and "20 of the 48 rows, drawn at random" in str(o.notes[0])
    frame = o.frame()
    values = [c for c in frame if str(c).startswith("shapley[")]
    assert len(frame) == 20 and np.allclose(frame["base"] + frame[values].sum(axis=1), frame["answer"])
    page = checked(view.page(pages.table(o)))
    assert all(m.modality in page.text for m in o.summary.modalities) and "20 of 48 rows" in page.text
    good = overall(model, table, output="good")
    assert set(good.contributions.output) == {"good"} and good.unit == "the probability of good" and not good.notes
    assert json.loads(json.dumps(good.to_json()))["rows"] == 48


def test_the_command(fitted: Fitted, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    _, table, folder = fitted
    ask = ["explain", folder, table]
    done = run(*ask, "--row", 2, "--class", "good")
    assert done.returncode == 0 and "the probability of good" in done.stdout and "photo, by " in done.stdout
    form = json.loads(run(*ask, "--row", 2, "--no-parts", "--train", table, "--json").stdout)
    assert not form["parts"] and form["nearest"]["rows"] == 48
    for suffix, start in (
        (".png", b"\x89PNG"),
        (".html", b"<!DOCTYPE html>"),
        (".json", b"{"),
        (".csv", b"row,explained"),
    ):
        out = tmp_path / f"見 '{suffix}"
        assert run(*ask, "--limit", 20, "--out", out).stdout == f"{out}: 20 rows explained\n"
        assert out.read_bytes().startswith(start)
        if suffix != ".csv":
            assert run(*ask, "--row", 2, "--no-parts", "--out", out).returncode == 0 and out.read_bytes().startswith(
                start
            )
    assert len(list(csv.DictReader((tmp_path / "見 '.csv").read_text().splitlines()))) == 20
    assert "mean |Shapley value|" in run(*ask).stdout
    for words, said in (
        (["--row", 99], "has no row 99; its rows are 1 to 48"),
        (["--row", 1, "--class", "bad"], "the model has no class 'bad'"),
        (["--row", 1, "--out", "x.csv"], "a CSV is of a whole table, so leave --row out"),
        (["--out", "x.pdf"], "explain writes .png, .html, .json, .csv"),
        (["--train", table], "name that row with --row"),
        (["--row", 1, "--beams", 2], "the model writes no text"),
    ):
        done = run(*ask, *words)
        assert done.returncode == 2 and said in done.stderr and not done.stdout


def test_the_picture_has_every_part(row: Reasons) -> None:
    pytest.importorskip("matplotlib")
    bare = row._replace(attributions=[])
    assert drawn(row).startswith(b"\x89PNG") and len(drawn(row)) > len(drawn(bare))


def test_numbers_have_signs_and_places() -> None:
    assert [with_sign(x) for x in (0.25, -3.0, 0.00012, 12345.6)] == ["+0.250", "-3.000", "+0.000120", "+1.235e+04"]
