"""The report in a browser: nothing is complained of, nothing leaves, all is drawn, wide and narrow, light and dark.

It stands here, and not beside the other tests of the report, since a browser is no part of an installation.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from polymodal.view.text import short
from real.browser import Browser, browser
from report.conftest import Written, fitted, make, reported

DRAWN = """
(() => {
  const seen = (x) => { const b = x.getBoundingClientRect(); return b.width > 8 && b.height > 8; };
  for (const d of document.querySelectorAll("details")) d.open = true;
  const pictures = [...document.images], plots = [...document.querySelectorAll("svg")];
  return {
    pictures: pictures.length,
    plots: plots.length,
    undrawn: [...pictures.filter(i => !i.complete || !i.naturalWidth), ...pictures.filter(i => !seen(i)), ...plots.filter(s => !seen(s))].length,
    across: document.documentElement.scrollWidth - innerWidth,
    outside: [...document.querySelectorAll("p, h1, h2, h3, h4, figure, article, pre, dd")].filter(x => x.getBoundingClientRect().right > innerWidth + 1).length,
  };
})()
"""
SOUNDS = """
Promise.all([...document.querySelectorAll("audio")].map(a => new Promise(done => {
  if (a.readyState > 0) return done(a.duration);
  a.onloadedmetadata = () => done(a.duration); a.onerror = () => done(-1); a.load();
})))
"""
FAINT = """
(() => {
  const numbers = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (x) => {
    const layers = [];
    for (let e = x; e; e = e.parentElement) layers.push(numbers(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, [r, g, b, a = 1]) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a)), [255, 255, 255]);
  };
  const bad = [];
  for (const x of document.querySelectorAll("p, h1, h2, h3, h4, td, th, dd, dt, a, summary, figcaption, caption, code, span")) {
    if (![...x.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(numbers(getComputedStyle(x).color)), light(behind(x))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${x.tagName} ${ratio.toFixed(2)} ${x.textContent.slice(0, 40)}`);
  }
  return bad;
})()
"""
PRINTED = """
(() => {
  const tables = [...document.querySelectorAll("table")];
  const light = (c) => { const [r, g, b, a = 1] = c.match(/[\\d.]+/g).map(Number); return a === 0 || Math.min(r, g, b) > 230 || a < 0.5; };
  return {
    closed: document.querySelectorAll("details:not([open])").length,
    tables: tables.length,
    shown: tables.filter(t => t.checkVisibility({contentVisibilityAuto: true}) && t.getBoundingClientRect().height > 8).length,
    audio: [...document.querySelectorAll("audio, nav")].filter(x => x.checkVisibility()).length,
    across: document.documentElement.scrollWidth - innerWidth,
    dark: [...document.querySelectorAll("body, article, pre, td, figure, section")]
      .map(x => [x.tagName, getComputedStyle(x).backgroundColor]).filter(([_, c]) => !light(c)),
  };
})()
"""
PLACES = """
(() => {
  const node = document.querySelector("p").firstChild;
  return ["label", "97", "12", "5", "rows"].map(word => {
    const range = document.createRange(), at = node.data.lastIndexOf(word);
    range.setStart(node, at);
    range.setEnd(node, at + word.length);
    return range.getBoundingClientRect().left;
  });
})()
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("things")
    things = make(folder, 32)
    return reported(fitted(things, folder / "cells", folder / "model"), things, folder / "cells", folder)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_has_nothing_to_complain_of(chromium: Browser, written: Written, width: int) -> None:
    chromium.open(written.path, width)
    found = chromium.value(DRAWN)
    assert found["pictures"] > 10 and found["plots"] > 8
    assert (found["undrawn"], found["across"] <= 0, found["outside"]) == (0, True, 0)
    seconds = chromium.value(SOUNDS)
    assert seconds and all(0.1 < s < 1 for s in seconds)
    assert chromium.value(FAINT) == []
    asked = [r["request"]["url"] for r in chromium.seen("Network.requestWillBeSent")]
    assert [u for u in asked if not u.startswith("data:")] == [written.path.resolve().as_uri()]
    for complaint in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Audits.issueAdded"):
        assert chromium.seen(complaint) == []


def test_it_can_be_read_in_the_dark(chromium: Browser, written: Written) -> None:
    chromium.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    try:
        chromium.open(written.path, 1280)
        assert chromium.value("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 22)"
        assert chromium.value(FAINT) == []
    finally:
        chromium.tell("Emulation.setEmulatedMedia", features=[])


def test_it_can_be_printed(chromium: Browser, written: Written) -> None:
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    chromium.tell("Emulation.setEmulatedMedia", media="print", features=[dark])
    try:
        chromium.open(written.path, 690)  # A4 less its margins
        found = chromium.value(PRINTED)
        assert found["closed"] > 3 and found["tables"] == found["shown"] > 10
        assert (found["audio"], found["across"] <= 0, found["dark"]) == (0, True, [])
        assert chromium.value(FAINT) == []
        page = base64.b64decode(chromium.tell("Page.printToPDF", printBackground=False)["data"])
        assert page.startswith(b"%PDF") and 5 < page.count(b"/Type /Page\n") < 40
    finally:
        chromium.tell("Emulation.setEmulatedMedia", media="", features=[])


@pytest.mark.parametrize("cell", ["\u202elovely", "\u05e9\u05dc\u05d5\u05dd", "\u2067lovely", "\u05e9 1"])
def test_a_cell_stays_where_it_stands(chromium: Browser, tmp_path: Path, cell: str) -> None:
    page = tmp_path / "cell.html"
    words = f"<p>label {short(cell, 40)}, 97, 12: 5 rows</p>"
    page.write_text(f'<html lang="en"><meta charset="utf-8"><title>x</title>{words}', encoding="utf-8")
    chromium.open(page, 1280)
    places = chromium.value(PLACES)
    assert len(places) == 5 and places == sorted(places)


def test_the_browser_tells_of_requests_and_errors(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        '<html lang="en"><title>x</title><img src="nothing.png" alt="x"><script>throw new Error("x")</script>'
    )
    chromium.open(page, 390)
    assert any(r["request"]["url"].endswith("nothing.png") for r in chromium.seen("Network.requestWillBeSent"))
    assert chromium.seen("Runtime.exceptionThrown") and chromium.value(DRAWN)["undrawn"] >= 1
