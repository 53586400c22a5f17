"""The page: it stands alone, is escaped, small, the same twice, and for everybody."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

import polymodal
from polymodal import report
from polymodal.report import writing
from polymodal.view import plot
from polymodal.view.text import MARKS, short, tail
from polymodal.view.text import plain as text_of
from report.conftest import NASTY, Written

VOID = {"meta", "br", "img", "link", "input", "hr"}
SECTIONS = ["result", "details", "robustness", "contributions", "rows", "data", "training", "repeat", "card"]
Tag = tuple[str, dict[str, str | None]]


class Seen(HTMLParser):
    """The tags of a page, whose ends match, and the text outside of style."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[Tag] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self.open else ""


def read(html: str) -> Seen:
    seen = Seen()
    seen.feed(html)
    seen.close()
    assert not seen.open
    return seen


def test_the_page_is_whole_and_stands_alone(written: Written) -> None:
    tags = read(written.html).tags
    names = {t for t, _ in tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for tag, attrs in tags:
        for k, v in attrs.items():
            assert not k.startswith("on"), (tag, k)
            if k in ("src", "href", "xlink:href", "srcset", "poster", "action"):
                assert str(v).startswith(("#", "data:")), (tag, k, v)
    assert "@import" not in written.html and not re.search(r"url\((?!#)", written.html)
    (policy,) = [a["content"] for t, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'") and "http" not in policy
    assert written.told.sections == SECTIONS
    assert written.told.bytes == written.path.stat().st_size < 3_000_000
    assert written.path.read_bytes().find(writing.MARK) in range(2048)


def test_what_cells_hold_is_text(written: Written) -> None:
    seen = read(written.html)
    assert NASTY in seen.text and "<i>kind</i>" in seen.text and "照片" in seen.text and '"odd" <b>' in seen.text
    assert "onerror" not in {k for _, a in seen.tags for k in a} and "i" not in {t for t, _ in seen.tags}


def test_cells_do_not_turn_the_words_around_them(written: Written) -> None:
    seen = read(written.html)
    assert "[U+202E]" in seen.text and not {chr(c) for c in MARKS} & set(written.html)
    pieces = re.findall(r"[^<>\"]*[\u2068\u2069][^<>\"]*", written.html)
    assert any("\u05e9\u05dc\u05d5\u05dd" in p for p in pieces)
    for piece in pieces:  # what is isolated ends where it began: in one text, or one attribute
        assert re.fullmatch(r"[^\u2068\u2069]*(\u2068[^\u2068\u2069]*\u2069[^\u2068\u2069]*)+", piece), piece


@pytest.mark.parametrize(
    "cell", ["\u202eexe.gpj", "a\u2069b\u2068", "\u2067x", "\u05e9\u202e\u05dc 1", "x\u2029y" * 90]
)
def test_what_a_cell_has_of_directions_ends_with_it(cell: str) -> None:
    for said in (short(cell, 100), tail(cell)):
        assert not {chr(c) for c in MARKS} & set(said)
        inner = said[1:-1] if said.startswith("\u2068") else said
        assert said.startswith("\u2068") == said.endswith("\u2069") == ("\u05e9" in cell)
        assert not set(inner) & {"\u2068", "\u2069"}
    assert not {chr(c) for c in MARKS} & set(text_of(cell))


def test_the_page_is_for_everybody(written: Written) -> None:
    tags = read(written.html).tags
    names = [t for t, _ in tags]
    for landmark in ("header", "nav", "main", "footer"):
        assert names.count(landmark) == 1
    levels = [int(t[1]) for t in names if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels)), levels
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    named = {i for _, a in tags for k in ("aria-labelledby", "aria-describedby") for i in str(a.get(k, "")).split()}
    links = {str(a["href"])[1:] for t, a in tags if t == "a"}
    assert named <= set(ids) and links <= set(ids)
    assert all(str(a.get("alt", "")).strip() for t, a in tags if t == "img")
    assert all(
        a.get("role") == "img" and (a.get("aria-label") or a.get("aria-labelledby")) for t, a in tags if t == "svg"
    )
    assert all(a.get("aria-label") for t, a in tags if t == "audio")
    assert all(a.get("scope") in ("row", "col") for t, a in tags if t == "th")
    assert names.count("table") == names.count("caption") > 10
    # what scrolls can be reached by keys
    assert all(a.get("tabindex") == "0" for t, a in tags if a.get("class") == "wide")
    assert next(a for t, a in tags if t == "html")["lang"] == "en"


def test_it_shows_and_plays_what_rows_hold(written: Written) -> None:
    sources = [str(a["src"]) for t, a in read(written.html).tags if t in ("img", "audio")]
    assert {s.split(";")[0] for s in sources} == {"data:image/jpeg", "data:image/png", "data:audio/flac"}


def test_it_says_what_was_asked_of_it(written: Written) -> None:
    text = read(written.html).text
    for said in (
        "concat", "photo alone", "What is taken for what", "calibration error", "hold the truth", "Worst of 15 subsets",
        "Interactions", "Best", "Most surprising", "given the least chance", "Nearest of 32 training rows", "by epoch",
        "digest of the training table", "polymodal fit TABLE", "seed of the training", "Intended use", "gone.wav",
    ):  # fmt: skip
        assert said in text, said
    assert len(written.told.summary) == 3 and all(s in " ".join(text.split()) for s in written.told.summary)
    assert set(written.told.contributions) == {"photo", "sound", "note", "table"}


def test_the_same_twice(model: polymodal.Model, things: Path, cells: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "1.html", tmp_path / "2.html"
    for path in (one, two):
        report.write(model, things, path, robust=False, rows=2, cache=cells)
    assert one.read_bytes() == two.read_bytes()


def test_a_page_that_would_be_too_large_shows_less(
    model: polymodal.Model, things: Path, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LARGEST", 1)
    small = tmp_path / "small.html"
    report.write(model, things, small, robust=False, rows=2, cache=cells)
    html = small.read_text(encoding="utf-8")
    assert "data:" not in html.replace("img-src data:", "").replace("media-src data:", "")
    assert "left out to keep the page small" in read(html).text and writing.DETAILS[-1].side == 0


def test_without_matplotlib_the_tables_stay(
    model: polymodal.Model, things: Path, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plot, "available", lambda: False)
    path = tmp_path / "plain.html"
    report.write(model, things, path, robust=False, rows=2, cache=cells)
    html = path.read_text(encoding="utf-8")
    assert 'class="plot"' not in html.replace("figure.plot", "") and "pip install" in html and "Rows by" in html


def test_what_is_in_sight_is_one_page(written: Written) -> None:
    """The summary, a plot and bars; tables, and all other sections, are shown when they are asked for."""
    depth, in_sight = 0, []
    for tag in re.findall(r"<(/?details|table|svg|h2|li class)[ >]", written.html.partition("<main")[2]):
        depth += {"details": 1, "/details": -1}.get(tag, 0)
        in_sight += [tag] if not depth else []
    assert in_sight.count("h2") == 1 and "table" not in in_sight
    assert 1 <= in_sight.count("svg") <= 2
