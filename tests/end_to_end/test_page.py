"""The leaderboard of a comparison: what is tested and recommended, that it survives JSON, and the page and table of it."""

import io
import json
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from polymodal.evaluate.compare import verdict
from polymodal.evaluate.emap import Cost
from polymodal.evaluate.information import Shares
from polymodal.evaluate.intervals import Interval
from polymodal.evaluate.leaderboard import TEST, Entry, Leaderboard, interaction, leaderboard, versus_text
from polymodal.evaluate.page import brief, page, plots
from polymodal.evaluate.significance import PairedTest, corrected_t, holm
from polymodal.view import plot
from polymodal.view.blocks import Table
from polymodal.view.console import show
from polymodal.view.page import page as html_of

NAN = float("nan")
NASTY = '<script>alert("1")</script> & $x_1$ [b] 照片\x07'
FAMILIES = {"concat": "concat", "ensemble": "ensemble"}


def entry(name: str, mean: float, noise: float = 0.004, folds: int = 5, repeats: int = 2) -> Entry:
    rng = np.random.default_rng(sum(map(ord, name)))
    fold = np.random.default_rng(0).normal(0, 0.01, (repeats, folds))  # folds are hard or easy for all
    scores = (mean + fold + noise * rng.normal(size=(repeats, folds))).tolist()
    alone = name.endswith(" alone")
    family = "single" if alone else FAMILIES.get(name, "fusion")
    return Entry(name, family, not alone, ["text"], scores, 1000, 2.5, 300.0)


def made(means: dict[str, float], higher: bool = True, metric: str = "accuracy", **more: object) -> Leaderboard:
    return leaderboard(metric, higher, [entry(k, v) for k, v in means.items()], 0.2, 500, **more)  # type: ignore[arg-type]


USUAL = {"text alone": 0.78, "photo alone": 0.65, "concat": 0.82, "gated": 0.8205, "low_rank": 0.81}
SHARES = [Shares("text", NASTY, Interval(0.6, 0.5, 0.7), Interval(0.2, 0.1, 0.3), Interval(0.2, 0.1, 0.3), Interval(0.1, 0, 0.2), Interval(0.1, 0, 0.2), 0.99, 500, False)]  # fmt: skip
NEEDED = Cost("gated", Interval(0.83, 0.78, 0.88), Interval(0.75, 0.7, 0.8), Interval(0.08, 0.02, 0.14), 128)


def test_what_is_tested_is_tested_by_the_corrected_t_and_holm() -> None:
    b = made(USUAL)
    assert [e.name for e in b.entries][-1] == "photo alone" and b.method == TEST
    asked = {(t.name, t.rival) for t in b.tests}
    assert asked >= {("gated", "text alone"), ("gated", "concat"), ("low_rank", "concat"), ("concat", "text alone")}
    assert not any("photo" in t.name + t.rival for t in b.tests)
    scores = {e.name: np.array(e.scores) for e in b.entries}
    for t in b.tests:
        expected = corrected_t((scores[t.name] - scores[t.rival]).tolist(), 0.2)
        assert (t.gain, t.p) == (pytest.approx(expected.gain), pytest.approx(expected.p))
    assert [t.adjusted for t in b.tests] == holm([t.p for t in b.tests])
    assert len(asked) == len(b.tests)


def test_the_simplest_within_noise_is_recommended() -> None:
    b = made(USUAL)
    assert b.use == "concat"
    assert re.search(
        r"gated beats text alone by \d\.\d points of accuracy \[.*\] \(p < 0\.001 after Holm\)\.", b.verdict
    )
    assert "No difference between gated and concat was shown on 500 rows" in b.verdict and b.verdict.endswith(
        "Use concat: it is the simplest within one standard error of the best, gated."
    )


@pytest.mark.parametrize(
    ("means", "use"),
    [
        ({"text alone": 0.8, "concat": 0.801, "gated": 0.802}, "text alone"),
        ({"text alone": 0.8, "concat": 0.7, "gated": 0.7}, "text alone"),
        ({"text alone": 0.7, "concat": 0.75, "gated": 0.85, "ensemble": 0.851}, "gated"),
        ({"text alone": 0.7, "concat": 0.75, "gated": 0.8, "ensemble": 0.9}, "ensemble"),
        ({"text alone": 0.7, "photo alone": 0.6}, "text alone"),
        ({"gated": 0.7}, "gated"),
    ],
)
def test_recommendations(means: dict[str, float], use: str) -> None:
    assert made(means).use == use
    # of an error, less is better: the same order turned round
    lower = made({k: 1 - v for k, v in means.items()}, higher=False, metric="mae")
    assert lower.use == use


def test_a_gain_in_an_error_is_positive_where_it_falls() -> None:
    b = made({"text alone": 0.5, "concat": 0.3}, higher=False, metric="mae")
    (t,) = b.tests
    assert t.name == "concat" and 0.19 < t.gain.low < t.gain.value < t.gain.high
    assert "concat beats text alone by 0.2" in b.verdict and "points" not in b.verdict


def test_a_gain_that_many_tests_undo_is_within_noise() -> None:
    def paired(a: str, b: str) -> PairedTest:
        return PairedTest(Interval(0.02, 0.001, 0.039), 0.04)

    b = made(USUAL, pair_test=paired, method="bootstrap by group")
    assert not any(t.clear for t in b.tests) and b.use == "gated"  # a choice, not a claim
    assert f"after Holm), since all {len(b.tests)} tests are allowed for." in b.verdict
    assert "No difference between gated and text alone was shown on 500 rows: 2.0 points" in b.verdict
    assert b.method == "bootstrap by group"


def test_one_fold_can_tell_nothing() -> None:
    b = leaderboard("accuracy", True, [entry(n, m, folds=1, repeats=1) for n, m in USUAL.items()], 0.2, 500)
    assert b.use == "text alone" and "one fold can't tell whether that is noise" in b.verdict and b.ranks is None


def test_folds_without_a_score_are_left_out() -> None:
    a, c = entry("text alone", 0.7), entry("concat", 0.8)
    c.scores[0][0] = NAN
    (t,) = leaderboard("roc_auc", True, [a, c], 0.2, 500).tests
    assert not math.isnan(t.p)
    dead = entry("gated", 0.8)._replace(scores=[[NAN] * 5] * 2)
    b = leaderboard("roc_auc", True, [dead, a, c], 0.2, 500)
    assert b.entries[-1].name == "gated" and "nothing can be said of gated and text alone" in b.verdict
    assert "nan" not in html_of(page(b, title="t")).lower().replace("nantes", "")


def test_the_best_is_measured_against_baselines_which_are_no_rivals_and_never_used() -> None:
    base = [entry("majority (baseline)", 0.5), entry("persistence (baseline)", 0.9)]
    families = {"majority (baseline)": "constant", "persistence (baseline)": "persistence"}
    base = [e._replace(family=families[e.name], fused=False, modalities=[]) for e in base]
    b = leaderboard("accuracy", True, [*base, *(entry(k, v) for k, v in USUAL.items())], 0.2, 500)
    plain = made(USUAL)
    assert (b.use, b.ranks) == (plain.use, plain.ranks) and b.entries[0].family == "persistence"
    assert {(t.name, t.rival) for t in b.tests} - {(t.name, t.rival) for t in plain.tests} == {
        ("gated", "majority (baseline)"), ("gated", "persistence (baseline)"),
    }  # fmt: skip
    assert re.search(r"gated beats majority \(baseline\) by 3\d\.\d points of accuracy", b.verdict)
    assert "gated is worse than persistence (baseline)" in b.verdict
    assert "squares baselines" in html_of(page(b, title="t"))


def test_a_dropped_candidate_stands_where_the_folds_that_it_has_put_it() -> None:
    """On an easy fold it has more than others have on all; on that fold the best one has more still."""
    easy = [[0.9, 0.6, 0.6, 0.6, 0.6]]
    best, worse = (entry(n, 0)._replace(scores=[[x - d for x in easy[0]]]) for n, d in (("gated", 0), ("concat", 0.05)))
    late = entry("product", 0)._replace(scores=[[0.86, NAN, NAN, NAN, NAN]], dropped="dropped after 1 fold")
    alone = entry("text alone", 0)._replace(scores=[[0.8, NAN, NAN, NAN, NAN]], dropped="dropped after 1 fold")
    b = leaderboard("accuracy", True, [alone, late, worse, best], 0.2, 500)
    assert [e.name for e in b.entries] == ["gated", "product", "concat", "text alone"]
    assert [m.value for m in b.means] == pytest.approx([0.66, 0.86, 0.61, 0.8])
    assert {n for t in b.tests for n in (t.name, t.rival)} == {"gated", "concat"} == {*b.ranks.names}  # type: ignore[union-attr]
    assert html_of(page(b, title="t")).count("dropped after 1 fold") == 2 and b.folds == 5


def test_no_entry_is_told() -> None:
    with pytest.raises(ValueError, match="needs an entry"):
        leaderboard("accuracy", True, [], 0.2, 0)


def test_sentences_are_those_of_fit_with_their_p() -> None:
    (t,) = [t for t in made(USUAL).tests if (t.name, t.rival) == ("gated", "text alone")]
    plain = verdict(t.name, "accuracy", {t.rival: t.gain}, 500)
    assert versus_text(t, "accuracy", 3, 500).replace(" (p < 0.001 after Holm)", "") == plain
    odd = t._replace(rival="text [de] alone", gain=Interval(0.001, -0.01, 0.012), p=0.4, adjusted=0.4)
    assert versus_text(odd, "accuracy", 3, 500) == (
        "No difference between gated and text [de] alone was shown on 500 rows: 0.1 points of accuracy [-1.0, 1.2] "
        "(p = 0.40 after Holm)."
    )
    worse = t._replace(gain=Interval(-0.03, -0.04, -0.02))
    assert versus_text(worse, "accuracy", 3, 500).startswith(
        "gated is worse than text alone by 3.0 points of accuracy [2.0, 4.0] (p <"
    )


def test_what_interaction_brings_is_said() -> None:
    assert interaction(NEEDED, "accuracy").startswith(
        "Interaction between modalities gives gated 8.0 points of accuracy [2.0"
    )
    assert "No gain of gated by interaction between modalities was shown on 128 rows: 1.0 points" in interaction(
        NEEDED._replace(gain=Interval(0.01, -0.01, 0.03)), "accuracy"
    )
    assert "worse for" in interaction(NEEDED._replace(gain=Interval(-0.03, -0.05, -0.01)), "accuracy")


def full() -> Leaderboard:
    entries = [entry(n, m) for n, m in USUAL.items()]
    entries.append(entry("nasty alone", 0.6)._replace(name=NASTY, note=NASTY, parameters=None, memory_mb=None))
    entries[1].scores[0][0] = NAN
    return leaderboard("accuracy", True, entries, 0.2, 500, groups=40, information=SHARES, emap=NEEDED)


def test_a_board_survives_strict_json() -> None:
    b = full()
    text = json.dumps(b.to_json(), allow_nan=False)
    again = Leaderboard.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text and repr(again) == repr(b)


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Seen()
    parser.feed(html)
    parser.close()
    assert not parser.open
    return parser.tags


@pytest.mark.parametrize("drawn", [True, False])
def test_the_page_stands_alone_escaped_and_for_everybody(drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if drawn:
        pytest.importorskip("matplotlib")
    else:
        monkeypatch.setattr(plot, "available", lambda: False)
    html = html_of(page(full(), title=NASTY, command=f"polymodal compare '{NASTY}'"))
    tags = read(html)
    names = [t for t, _ in tags]
    assert "script" not in names and "link" not in names and "img" not in names and "iframe" not in names
    assert not [
        v for _, a in tags for k, v in a.items() if k in ("src", "href", "xlink:href") and not str(v).startswith("#")
    ]
    assert (
        "@import" not in html
        and not re.search(r"url\((?!#)", html)
        and not any(k.startswith("on") for _, a in tags for k in a)
    )
    assert next(a for t, a in tags if t == "html")["lang"] == "en" and names.count("h1") == 1
    assert all(a.get("scope") in ("row", "col") for t, a in tags if t == "th")
    assert names.count("table") == names.count("caption") == 5
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {i for _, a in tags for i in str(a.get("aria-labelledby", "")).split()} <= set(ids)
    assert any(a.get("name") == "viewport" for _, a in tags)
    assert names.count("svg") == (3 if drawn else 0)
    assert ("pip install 'polymodal[explain]'" in html.replace("&#39;", "'")) is not drawn
    assert "Use concat" in html and "照片" in html


def test_pictures_are_well_formed_the_same_twice_and_say_what_they_show() -> None:
    pytest.importorskip("matplotlib")
    found = plots(full())
    assert list(found) == ["intervals", "ranks", "information"]
    for key, drawn in found.items():
        svg = plot.inline(drawn, key)
        assert svg == plot.inline(drawn, key)
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img" and root.get("width") is None and root.get("viewBox")
        texts = " ".join(x.text or "" for x in root.iter() if x.tag.endswith("text"))
        words = next(x.text or "" for x in root.iter() if x.tag.endswith("desc"))
        assert "text" in texts and "text" in words and "照片" in texts and "照片" in words
        assert not [x for x in root.iter() if x.tag.endswith("script")]


def test_pictures_without_matplotlib_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'polymodal\[explain\]'"):
        plot.inline(plots(full())["information"], "x")


def test_the_table_of_the_terminal() -> None:
    out = io.StringIO()
    show(brief(full()), file=out, width=200)
    text = out.getvalue()
    assert "concat (recommended)" in text and "is the simplest" in text and "[b]" in text and "synergy" in text
    assert text.index("gated") < text.index("photo alone")


def test_names_are_words_in_a_narrow_terminal():
    """Where a table is too wide, the heads of numbers are broken and not the names of its rows."""
    out = io.StringIO()
    head = ["candidate", "balanced_accuracy", "95% interval", "parameters", "seconds", "memory, MB"]
    show([Table("", head, [["table alone", "0.369", "[0.250, 0.489]", "455", "1.5", "81"]])], file=out, width=72)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 and "balanced_" in lines[0] and "accuracy" in lines[1], lines
    assert "table alone" in lines[2] and lines[2].rstrip().endswith("81"), lines
