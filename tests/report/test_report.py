"""What a report says of unusual models and tables, which rows it chooses, and what it refuses."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import flat
import polymodal
from conftest import Run, squares
from polymodal import InputError, report
from polymodal.data.table import Table
from polymodal.evaluate.compare import Comparison
from polymodal.output import logits_of
from polymodal.report import brief, evidence, results, rows, writing
from polymodal.report import study as sample
from polymodal.report.card import PARTS
from polymodal.report.data import lacking
from polymodal.report.results import reliability
from polymodal.view.blocks import Facts
from polymodal.view.blocks import Table as Grid
from report.conftest import NASTY, Written
from report.test_page import read

KIND = "<i>kind</i>"


def text(path: Path) -> str:
    return " ".join(read(path.read_text(encoding="utf-8")).text.split())


# --- the sample ---------------------------------------------------------------------------------------


def test_the_sample_is_the_same_however_a_file_is_read(
    model: polymodal.Model, things: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema, task = model.preprocessor.schema, model.task
    found = []
    for part in (3, 7, 1000):
        monkeypatch.setattr(sample, "PART", part)
        s = sample.draw_sample(things, schema, task, 10, seed=3)
        found.append(([s.table.row_number(i) for i in range(10)], s.table.cells("note"), s.filled, s.labels, s.rows))
    assert found[0] == found[1] == found[2]
    numbers, notes, filled, labels, count = found[0]
    assert numbers == sorted(numbers) and len(set(numbers)) == 10 and count == 32
    whole = Table.read(things)
    assert notes == [whole.cells("note")[i - 1] for i in numbers]
    assert filled["photo"] == sum(c is not None for c in whole.cells("photo"))
    assert sum(labels.values()) == 32 and labels["good"] == whole.cells(KIND).count("good")
    other = sample.draw_sample(things, schema, task, 10, seed=4).table
    assert [other.row_number(i) for i in range(10)] != numbers


def test_lines_may_lack_columns(
    model: polymodal.Model, things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Table.read(things).frame().head(6).to_dict("records")
    some = [
        {k: v for k, v in x.items() if v is not None and (i > 2 or k not in (KIND, "photo"))}
        for i, x in enumerate(lines)
    ]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(x) + "\n" for x in some), encoding="utf-8")
    for part in (1, 2, 100):
        monkeypatch.setattr(sample, "PART", part)
        s = sample.draw_sample(tmp_path / "some.jsonl", model.preprocessor.schema, model.task, 4, 0)
        assert (s.target, s.unlabelled, sum(s.labels.values())) == (True, 3, 3)
        assert s.filled["photo"] == sum("photo" in x for x in some) and s.filled["nothing"] == 0


def test_every_row_is_drawn_as_often_as_any_other(model: polymodal.Model, things: Path) -> None:
    schema, task, counts = model.preprocessor.schema, model.task, np.zeros(32)
    table = Table.read(things)
    for seed in range(150):
        drawn = sample.draw_sample(table, schema, task, 8, seed).table
        counts[[drawn.row_number(i) - 1 for i in range(8)]] += 1
    assert counts.sum() == 150 * 8 and 15 < counts.min() <= counts.max() < 65  # 37.5 expected, deviation 5.3


def test_no_more_than_the_sample_and_a_part_is_held(
    model: polymodal.Model, things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.read_csv(things)
    pd.concat([frame] * 40).to_csv(tmp_path / "many.csv", index=False)
    monkeypatch.setattr(sample, "PART", 64)
    held: list[int] = []
    inner = sample._concatenate
    monkeypatch.setattr(sample, "_concatenate", lambda a, b: held.append(a.rows + b.rows) or inner(a, b))
    found = sample.draw_sample(tmp_path / "many.csv", model.preprocessor.schema, model.task, 20, 0)
    assert found.rows == 1280 and found.table.rows == 20 and max(held) <= 20 and not found.whole


# --- which rows ---------------------------------------------------------------------------------------


def test_rows_are_chosen_as_it_is_defined(
    model: polymodal.Model, things: Path, cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "EACH", 2)
    looked = sample.study(model, things, 32, cache=cells, seed=0)
    best, worst, odd = rows.row_groups(looked)
    p = torch.softmax(logits_of(looked.output).double(), 1)
    assert looked.truth is not None
    y = looked.truth.values.tolist()
    chance, guess = [float(p[i, y[i]]) for i in range(32)], p.argmax(1).tolist()
    right = [i for i in range(32) if guess[i] == y[i]]
    wrong = [i for i in range(32) if guess[i] != y[i]]
    assert [i for i, _ in best.rows] == sorted(right, key=lambda i: -chance[i])[:2]
    assert [i for i, _ in worst.rows] == sorted(wrong, key=lambda i: -float(p[i].max()))[:2]
    shown = {i for g in (best, worst) for i, _ in g.rows}
    assert [i for i, _ in odd.rows] == sorted(set(range(32)) - shown, key=lambda i: chance[i])[:2]
    bins = reliability(looked)
    assert sum(n for *_, n in bins) == 32
    assert sum(share * n for _, share, _, _, n in bins) == pytest.approx(len(right))


def test_notes_do_not_name_what_a_report_has_not(written: Written) -> None:
    said = read(written.html).text
    assert "--limit" not in said and "--against" not in said and "in the CSV" not in said


def test_patterns_in_words() -> None:
    names = ["photo", "note", "table"]
    said = [lacking(names, np.array(x)) for x in ([1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0])]
    assert said == ["nothing is absent", "without note", "table alone", "everything is absent"]


def test_a_training_row_is_skipped_only_where_it_is_the_row_itself(
    model: polymodal.Model, things: Path, cells: Path
) -> None:
    looked = sample.study(model, things, 4, cache=cells, seed=0)
    own = looked.table.row_number(0)
    table = Table.read(things)
    turned = Table.read(table.frame().iloc[::-1], table.folder)  # the same rows by other numbers
    for train, same in ((table, True), (turned, False)):
        *_, facts = evidence.neighbours(looked, 0, evidence.training_rows(looked, train))
        assert isinstance(facts, Facts)
        found = [name for name, _ in facts.items]
        if same:
            assert f"training row {own}" not in found
        else:
            assert found[0] == f"training row {33 - own}" and "distance 0.000" in facts.items[0][1]


# --- unusual models and tables ------------------------------------------------------------------------


def test_two_rows_and_what_they_cannot_tell(model: polymodal.Model, things: Path, cells: Path, tmp_path: Path) -> None:
    Table.read(things).take([0, 1]).frame().to_csv(things.parent / "two.csv", index=False)
    told = report.write(model, things.parent / "two.csv", tmp_path / "r.html", cache=cells)
    said = text(tmp_path / "r.html")
    assert (told.rows, told.total) == (2, 2) and "2 rows are too few" in said and "all 2 rows of two.csv" in said
    assert "too few rows for that to mean much" in told.summary[1] and "2 rows are too few" in told.summary[2]


def test_a_table_without_the_target(model: polymodal.Model, things: Path, cells: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(things).drop(columns=KIND).head(6)
    frame.to_csv(things.parent / "blind.csv", index=False)
    told = report.write(model, things.parent / "blind.csv", tmp_path / "r.html", cache=cells)
    said = text(tmp_path / "r.html")
    assert told.metrics == {} and told.robustness == [] and "Some answers" in said and "predicted:" in said
    assert f"blind.csv has no column {KIND}, so nothing can be said of how good" in said


def test_rows_without_a_label_are_not_counted_as_scored(
    model: polymodal.Model, things: Path, cells: Path, tmp_path: Path
) -> None:
    frame = Table.read(things).frame()
    frame.loc[3:, KIND] = None
    frame.to_csv(things.parent / "few.csv", index=False)
    told = report.write(model, things.parent / "few.csv", tmp_path / "r.html", cache=cells, robust=False)
    said = text(tmp_path / "r.html")
    assert "too few rows for that to mean much" in told.summary[1] and "3 rows here" in said
    assert "29 of 32 rows have no label" in said and "3 of which have a label" in said
    frame[KIND] = None
    frame.to_csv(things.parent / "none.csv", index=False)
    report.write(model, things.parent / "none.csv", tmp_path / "n.html", cache=cells, robust=False)
    assert f"No row has a label in {KIND}" in text(tmp_path / "n.html")


def test_the_summary_names_the_best_rivals(model: polymodal.Model, written: Written) -> None:
    rivals = Comparison.from_json(model.report.to_json()["comparison"]).candidates[1:]
    best = sorted(rivals, key=lambda x: -x.score.value)[:4]
    beside = written.told.summary[1].partition(", beside ")[2]
    assert [beside.find(x.name) for x in best] == sorted(beside.find(x.name) for x in best) and best[0].name in beside


def test_numbers_from_one_modality(things: Path, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.read_csv(things)[["price", "weight"]]
    net = flat.fit(frame, "weight", fusion="concat", size="tiny", epochs=1, cache=cells)
    monkeypatch.setattr(sample, "PART", 4)
    frame.loc[:7, "weight"] = None  # parts without a label
    told = report.write(net, frame, tmp_path / "r.html", cache=cells, train=frame)
    said = text(tmp_path / "r.html")
    assert "r2" in told.metrics and list(told.contributions) == ["table"]
    for words in ("Predictions of weight over true values", "furthest above the truth", "Prediction less truth",
                  "its mean size", "The model has one modality"):  # fmt: skip
        assert words in said, words


def test_estimators_and_sets_of_labels(things: Path, cells: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(things)[["note", "price"]]
    frame["tags"] = ["a|b" if p > 1.6 else "b" if i % 3 else "" for i, p in enumerate(frame["price"])]
    labelled, with_b = sum(t != "" for t in frame["tags"]), sum("b" in t for t in frame["tags"])
    model = flat.fit(
        frame, "tags", task="multilabel", fusion="features", preset="fast", time_limit=5, baselines=False, cache=cells
    )
    assert not model.report.to_json()["history"]
    told = report.write(model, frame, tmp_path / "r.html", cache=cells, robust=False)
    said = text(tmp_path / "r.html")
    assert "average_precision" in told.metrics and "made of estimators, which have none" in said
    line = f'<th scope="row">b</th><td>{with_b}</td><td>{with_b / labelled:.1%}</td>'
    assert line in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "All labels are right" in said and "--no-robustness" in said


def test_a_model_that_writes(tmp_path: Path, cells: Path) -> None:
    table = squares(tmp_path / "data", 8)
    model = flat.fit(
        table, "caption", task="generate", size="tiny", epochs=1, batch_size=8, baselines=False, ignore=["caption_id"],
        cache=cells,
    )  # fmt: skip
    told = report.write(model, table, tmp_path / "r.html", cache=cells, robust=False)
    said = text(tmp_path / "r.html")
    assert "cider_d" in told.metrics and (told.rows, told.total) == (8, 8) and told.contributions == {}
    assert "so there are none here" in said and "The greatest cider_d" in said and "predicted:" in said


# --- what is asked and refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("card.json", "{", "is no JSON"),
        ("card.toml", "x = ", "is no TOML"),
        ("card.json", "[1]", "holds a list, expected names and texts"),
        ("card.json", '{"use": "x"}', "'use', which is no part of the card; it may have details"),
        ("card.json", '{"ethics": 3}', "'ethics' is a int, expected a text"),
    ],
)
def test_a_card_that_says_something_else(
    model: polymodal.Model, things: Path, tmp_path: Path, name: str, content: str, words: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        report.write(model, things, tmp_path / "r.html", card=tmp_path / name)
    with pytest.raises(InputError, match=r"nothing\.json can't be read: No such file"):
        report.write(model, things, tmp_path / "r.html", card=tmp_path / "nothing.json")
    assert not (tmp_path / "r.html").exists()


def test_what_is_no_report_stays(model: polymodal.Model, things: Path, written: Written, tmp_path: Path) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("my page")
    with pytest.raises(InputError, match=r"mine\.html is no report of polymodal's; name another file, or add --over"):
        report.write(model, things, mine)
    with pytest.raises(InputError, match=r"is a folder; name a file, such as .*report\.html"):
        report.write(model, things, tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        report.write(model, things, tmp_path / "a" / "b.html")
    with pytest.raises(InputError, match="rows 0, seed 0: expected at least 1 and 0"):
        report.write(model, things, tmp_path / "c.html", rows=0)
    with pytest.raises(InputError, match=f"seed can't be {10**20}; it must be a whole number from 0"):
        report.write(model, things, tmp_path / "c.html", seed=10**20)
    assert mine.read_text() == "my page"
    writing._refuse(mine, overwrite=True)
    writing._refuse(written.path, overwrite=False)  # a report may be made anew


def test_the_command(model: polymodal.Model, things: Path, cells: Path, tmp_path: Path, run: Run) -> None:
    model.save(tmp_path / "model")
    out = tmp_path / "r.html"
    card = tmp_path / "card.toml"
    card.write_text(f"intended_use = '''For {NASTY}'''\n", encoding="utf-8")
    words = ("report", tmp_path / "model", things, "--out", out, "--rows", 3, "--seed", 5, "--no-robustness")
    done = run(*words, "--card", card, "--cache", cells, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["total"], told["bytes"]) == (3, 32, out.stat().st_size) and len(told["summary"]) == 3
    said = text(out)
    assert "3 of the 32 rows of things.csv, drawn by seed 5" in said and "--no-robustness" in said
    assert f"For {NASTY}" in said and said.count("To be filled in by a person") == 3  # factors, limitations, ethics
    assert all(title in said for title in PARTS.values())
    out.write_text("mine")
    done = run(*words)
    assert done.returncode == 2 and "is no report of polymodal's" in done.stderr and out.read_text() == "mine"


def test_the_command_that_was_typed_is_the_one_to_repeat(things: Path, cells: Path, tmp_path: Path, run: Run) -> None:
    fit = ("fit", things, "--target", "<i>kind</i>", "--ignore", "photo", "--ignore", "sound", "--epochs", 1)
    done = run(*fit, "--size", "tiny", "--fusion", "gated", "--no-baselines", "--cache", cells, "--out", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    model = polymodal.load(tmp_path / "m")
    assert (
        model.report.to_json()["command"].startswith("polymodal fit ")
        and "--ignore photo" in model.report.to_json()["command"]
    )
    told = report.write(model, things, tmp_path / "r.html", cache=cells, robust=False)
    assert "--ignore photo" in Path(told.path).read_text(encoding="utf-8")


@pytest.mark.parametrize("t", [1.0, 1.3])
def test_nothing_is_said_of_a_temperature_that_is_not_used(t: float) -> None:
    """Where it would make the other half worse it stays 1, and figures after it would be those of no model."""
    scores = SimpleNamespace(
        probabilities={"temperature": t, "log_loss": 0.7, "ece": 0.1}, confusion=None, selective=None, coverage=None
    )
    calibration = SimpleNamespace(rows=40, log_loss={"before": 0.5, "after": 0.6}, ece={"before": 0.2, "after": 0.3})
    of: Any = SimpleNamespace(scores=scores, model=SimpleNamespace(calibration=calibration), labelled=range(30))
    (grid,) = [b for b in results._reliability(of) if isinstance(b, Grid)]
    lines = [row[0] for row in grid.rows]
    whens = ["40 validation rows, before the temperature", "40 validation rows, after the temperature"]
    assert lines == [*(whens if t != 1 else ["40 validation rows"]), "30 rows here"]
    (facts,) = brief._certainty(scores)
    assert ("temperature" in facts.items[0][1]) is (t != 1)
