"""What a person sees of an object in a prompt: a few short lines, whatever it holds."""

import re

import pytest

import polymodal
from conftest import make_shop
from polymodal import Search, Training
from polymodal.explain import explain
from polymodal.explain.overall import overall
from polymodal.robustness.run import robustness


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    table = make_shop(tmp_path_factory.mktemp("repr") / "shop", 40)
    config = [Search("concat", "tiny", baselines=False), Training(epochs=1)]
    return table, polymodal.fit(table, "kind", config=config)


def test_objects_say_what_they_are(fitted):
    table, model = fitted
    rows = model.preprocessor.encode(polymodal.Table.read(table), model.task, quiet=True)
    score = r"[01]\.\d{3} \[[01]\.\d{3}, [01]\.\d{3}\]"
    bare = polymodal.Model(model.preprocessor, model.learner)
    reads = r"<Model of kind \(binary\) from photo \(image\), note \(text\), table \(tabular\)"
    for thing, text in (
        (model, rf"{reads}: concat, accuracy {score} on 8 validation rows>"),
        (bare, rf"{reads}: a Fused>"),
        (model.report, rf"<Report of binary: 32 rows to train on, 8 to validate on; concat, accuracy {score} on .*; \d+ s>"),
        (bare.report, "<Report of no task: 0 rows to train on, .*; 0 s>"),
        (model.report.comparison, rf"<Comparison by accuracy on 8 validation rows: concat {score}, majority \(baseline\) {score}>"),
        (model.preprocessor.schema, r"<Schema id \(id\), photo \(image\), note \(text\), .*, kind \(target\)>"),
        (polymodal.Table.read(table), r"<Table shop\.csv: 40 rows of id, photo, note, price, seller, kind>"),
        (model.evaluate(table), rf"<Evaluation of binary on 40 rows: accuracy {score}, .* and 4 more>"),
        (polymodal.inspect(table, "kind"), r"<Inspection of shop\.csv: 40 rows, 0 warnings, 0 unreadable cells; .*>"),
        (rows.batch([0, 1]).inputs["photo"], r"<Masked \(2, 3, 12, 16\) uint8, 2 of 2 real>"),
        (explain(model, table, 2, parts=False), r"<Reasons for row 2 of shop\.csv: (good|poor), by photo, note, table>"),
        (overall(model, table, limit=8), r"<Overall: 8 of 40 rows of shop\.csv, by photo, note, table>"),
        (robustness(model, table, noise=False, limit=8), rf"<Robustness: accuracy {score} on 8 rows\. .*>"),
    ):  # fmt: skip
        assert re.fullmatch(text, repr(thing)), repr(thing)
        assert len(repr(thing)) < 700


def test_a_wide_table_with_hostile_names_stays_short():
    table = polymodal.Table.read({f"column {i}\n\u202e" + "x" * 100: [1] for i in range(2000)})
    text = repr(table)
    assert len(text) < 700 and "\n" not in text and "\u202e" not in text and text.endswith("and 1,990 more>")
