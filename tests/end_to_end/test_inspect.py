"""What `inspect` finds in tables in which the trouble was planted."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

import flat
from polymodal.data import suspects
from polymodal.data.inspect import Inspection, inspect
from polymodal.data.portray import portray
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.tasks.infer import guess
from polymodal.view.console import show

WORDS = "lamp river stone cloud paper grass metal candle window garden".split()


def look(cells: dict[str, Any], *args: Any, **kwargs: Any) -> Inspection:
    return inspect(cells, *args, progress=False, **kwargs)


def rendered(found: Inspection, width: int = 80) -> str:
    out = StringIO()
    show(portray(found), file=out, width=width)
    return out.getvalue()


def kinds(found: Inspection) -> list[tuple[str, str | None]]:
    return [(w.kind, w.column) for w in found.warnings]


def sentences(n: int, seed: int = 0) -> list[str]:
    g = np.random.default_rng(seed)
    return [f"{' '.join(g.choice(WORDS, 6))} {i}" for i in range(n)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """media.csv: 12 photos and recordings; of the photos one is cut off, one is text and one isn't there."""
    g = np.random.default_rng(0)
    lines = ["photo,sound,label"]
    for i in range(12):
        pixels = g.integers(0, 255, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        soundfile.write(tmp_path / f"{i}.wav", g.normal(0, 0.1, (4000 + 400 * i, 2)), 8000)
        lines.append(f"{i}.png,{i}.wav,{'ab'[i % 2]}")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:400])
    (tmp_path / "5.png").write_text("no picture")
    (tmp_path / "7.png").unlink()
    (tmp_path / "8.wav").write_bytes(b"")
    lines[3] = f",{lines[3].split(',')[1]},a"  # row 3 has no photo
    (tmp_path / "media.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_unreadable_files_are_named_with_row_and_reason(folder: Path) -> None:
    found = inspect(folder / "media.csv", "label", progress=False)
    assert [(b.row, b.column, b.cell) for b in found.unreadable] == [
        (4, "photo", "3.png"),
        (6, "photo", "5.png"),
        (8, "photo", "7.png"),
        (9, "sound", "8.wav"),
    ]
    damaged, text, gone, empty = (b.reason for b in found.unreadable)
    assert "damaged" in damaged
    assert "image" in text
    assert "does not exist" in gone and "is not a path" not in gone
    assert "0 bytes" in empty


def test_sizes_are_of_the_cells_that_open(folder: Path) -> None:
    sizes = inspect(folder / "media.csv", "label", progress=False).sizes
    assert sizes["photo"]["width"] == {"min": 30, "median": 30, "max": 30}
    assert sizes["photo"]["height"] == {"min": 20, "median": 27, "max": 31}  # 20 + 0 1 4 6 8 9 10 11
    assert sizes["sound"]["rates"] == {"8000": 11}
    assert sizes["sound"]["channels"] == {"min": 2, "median": 2, "max": 2}
    assert sizes["sound"]["seconds"] == {"min": 0.5, "median": 0.75, "max": 1.05}


def test_patterns_count_missing_and_unreadable_alike(folder: Path) -> None:
    found = inspect(folder / "media.csv", "label", progress=False)
    assert found.missing == {"photo": 1, "sound": 0, "label": 0}
    assert found.patterns == [([], 7), (["photo"], 4), (["sound"], 1)]


def test_json_is_plain_and_its_keys_are_the_documented_ones(folder: Path) -> None:
    form = json.loads(json.dumps(inspect(folder / "media.csv", "label", progress=False).to_json()))
    keys = "table rows schema sizes missing unreadable duplicates target groups warnings"
    assert list(form) == keys.split()
    assert form["rows"] == 12
    assert form["missing"]["patterns"][1] == {"absent": ["photo"], "rows": 4}
    assert set(form["unreadable"][0]) == {"row", "column", "cell", "reason"}
    goal = form["target"][0]
    assert (goal["column"], goal["task"], goal["distinct"]) == ("label", "binary", 2)
    assert goal["classes"] == [{"label": "a", "rows": 6}, {"label": "b", "rows": 6}]


@pytest.mark.parametrize("width", [80, 100])
def test_it_is_tidy_at_usual_widths(folder: Path, width: int) -> None:
    text = rendered(inspect(folder / "media.csv", "label", progress=False), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    for part in ("12 rows, 3 columns", "Target label: binary", "4 cells that can't be read", "row 4, column"):
        assert part in text


def test_names_that_look_like_markup_are_printed_as_they_are() -> None:
    text = rendered(look({"[red]x[/]": sentences(30), "[/y]": [1.5 * i for i in range(30)]}))
    assert "[red]x[/]" in text
    assert "[/y]" in text


def test_a_list_of_many_unreadable_cells_is_cut_and_counted() -> None:
    found = look({"n": [*map(str, range(100, 285)), *["what"] * 15], "t": sentences(200)})
    assert len(found.unreadable) == 15
    assert "and 5 more cells (--json lists all)" in rendered(found)


def test_duplicates_leave_ids_out_and_name_row_pairs() -> None:
    texts = sentences(30)
    texts[20], texts[25] = texts[4], texts[4]
    cells = {"id": [f"k{i}" for i in range(30)], "text": texts, "y": [i % 2 for i in range(30)]}
    cells["y"][25] = 1  # so row 26 differs from row 5 in its label
    found = look(cells, "y")
    assert found.duplicates == (1, [(5, 21)])
    assert ("conflict", "y") in kinds(found)
    (conflict,) = (w.message for w in found.warnings if w.kind == "conflict")
    assert conflict.startswith("3 rows equal another in every feature")
    assert "row 21 like 5" in rendered(found)


def test_two_files_of_the_same_bytes_are_duplicates(tmp_path: Path) -> None:
    for name, value in (("a", 10), ("b", 200), ("c", 10)):
        Image.new("L", (9, 9), value).save(tmp_path / f"{name}.png")
    found = look({"photo": [str(tmp_path / f"{n}.png") for n in "abc"]})
    assert found.duplicates == (1, [(1, 3)])


def leaky(n: int = 200) -> dict[str, Any]:
    g = np.random.default_rng(1)
    label = [str(v) for v in g.choice(["cat", "dog", "fish"], n)]
    return {
        "code": [{"cat": "K1", "dog": "K2", "fish": "K3"}[v] for v in label],
        "colour": [str(v) for v in g.choice(["red", "green", "blue"], n)],
        "weight": [float({"cat": 4, "dog": 20, "fish": 1}[v] + g.uniform(-0.3, 0.3)) for v in label],
        "length": g.normal(0, 1, n).tolist(),
        "text": [f"{s} the {v} came" for s, v in zip(sentences(n), label, strict=True)],
        "other": sentences(n, 5),
        "label": label,
    }


def test_columns_that_give_the_target_away_are_found_and_no_others() -> None:
    found = look(leaky(), "label")
    assert [c for k, c in kinds(found) if k == "leak"] == ["code", "weight", "text"]
    assert "'code' gives 'label' away" in rendered(found, 300)
    assert "--ignore code" in found.warnings[0].message


def test_a_number_that_repeats_a_numeric_target_is_a_leak() -> None:
    g = np.random.default_rng(0)
    y = g.normal(0, 1, 400)
    cells = {"twice": (2 * y + 1).tolist(), "noisy": (y + g.normal(0, 1, 400)).tolist(), "y": y.tolist()}
    assert [c for k, c in kinds(look(cells, "y")) if k == "leak"] == ["twice"]


def test_a_text_that_names_every_label_gives_nothing_away() -> None:
    cells = leaky()
    cells["text"] = [f"{s}: cat, dog or fish?" for s in sentences(200)]
    assert [c for k, c in kinds(look(cells, "label")) if k == "leak"] == ["code", "weight"]


def test_a_rare_class_does_not_make_every_column_a_leak() -> None:
    g = np.random.default_rng(0)
    cells = {
        "colour": [str(v) for v in g.choice(["red", "green"], 1000)],
        "x": g.normal(0, 1, 1000).tolist(),
        "y": ["rare" if i % 200 == 0 else "usual" for i in range(1000)],
    }
    assert [k for k, _ in kinds(look(cells, "y")) if k == "leak"] == []


def test_groups_are_owners_and_repeated_files(tmp_path: Path) -> None:
    g = np.random.default_rng(0)
    for i in range(20):
        Image.fromarray(g.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    cells = {
        "photo": [str(tmp_path / f"{i // 3}.png") for i in range(60)],
        "speaker": [f"voice {'abcd'[i % 4]}" for i in range(60)],
        "colour": ["red" if v else "blue" for v in g.integers(0, 2, 60)],
    }
    found = look(cells)
    assert [(x.column, x.groups, x.largest) for x in found.groups] == [("speaker", 4, 15), ("photo", 20, 3)]
    assert "rows of one speaker resemble each other: --group speaker" in rendered(found, 200)
    # with the speakers kept apart, a photo that several of them share still crosses
    assert [x.column for x in look(cells, group="speaker").groups] == ["photo"]
    assert [x.column for x in look(cells, group="photo").groups] == ["speaker"]


def test_ids_that_come_back_are_groups_and_those_that_do_not_are_none() -> None:
    cells = {"user_id": [f"u{i // 4}" for i in range(60)], "patient": [f"p{i}" for i in range(60)]}
    cells |= {"speaker": ["only"] * 60, "text": sentences(60)}
    assert [g.column for g in look(cells, kinds={"speaker": "category", "patient": "category"}).groups] == ["user_id"]


def test_a_group_within_the_chosen_one_is_not_proposed() -> None:
    cells = {
        "session": [f"s{i // 5}" for i in range(60)],
        "patient": [f"p{i // 20}" for i in range(60)],
        "x": np.random.default_rng(0).normal(0, 1, 60).tolist(),
    }
    assert [g.column for g in look(cells).groups] == ["session", "patient"]
    assert look(cells, group="patient").groups == []


def test_an_id_that_is_made_a_feature_is_named() -> None:
    cells = {"id": [f"x{i:04d}" for i in range(50)], "text": sentences(50), "y": [i % 2 for i in range(50)]}
    assert kinds(look(cells, "y")) == []
    found = look(cells, "y", kinds={"id": "category"})
    assert kinds(found) == [("id", "id")]
    assert "'id' is used as a category, but 50 of 50 values are distinct; --ignore id" in found.warnings[0].message


@pytest.mark.parametrize(
    ("name", "cells", "names"),
    [
        ("measure", [str(i / 7) for i in range(40)], False),  # numbers with a fraction measure
        ("x", [float(i) for i in range(40)], False),
        ("x", list(range(40)), True),  # they count the rows
        ("x", [3 * i for i in range(40)], False),
        ("orderId", [3 * i for i in range(40)], True),
        ("name", [f"Anna Bo {i}" for i in range(40)], False),  # several words
        ("x", [f"a{i}" for i in range(40)], True),
        ("x", [f"a{i % 20}" for i in range(40)], False),
        ("x", [True, False] * 20, False),
        ("x", [None] * 40, False),
    ],
)
def test_what_names_rows(name: str, cells: list[Any], names: bool) -> None:
    assert bool(suspects.names_rows(name, cells)) is names


def test_series_and_vectors_of_an_odd_width_are_unreadable() -> None:
    g = np.random.default_rng(0)
    series = [g.normal(0, 1, (10 + i, 3)) for i in range(12)]
    series[4] = g.normal(0, 1, (10, 2))
    vectors: list[Any] = [g.normal(0, 1, 8).tolist() for _ in range(12)]
    vectors[6] = [float("nan")] * 8
    found = look({"series": series, "vector": vectors})
    assert found.sizes["series"]["length"]["max"] == 21
    assert found.sizes["vector"]["width"] == {"min": 8, "median": 8, "max": 8}
    (bad,) = found.unreadable
    assert (bad.row, bad.column) == (5, "series")
    assert bad.reason == "a series of 2 channels, but most have 3"
    assert found.missing["vector"] == 1  # all NaN is nothing


def test_a_target_that_cannot_be_learned_is_a_warning_and_no_end() -> None:
    found = look({"text": sentences(30), "y": ["same"] * 30}, "y")
    assert found.target[0]["task"] is None
    assert ("target", "y") in kinds(found)
    assert "constant" in found.warnings[0].message
    assert "constant" in rendered(found)


def test_missing_labels_and_a_numeric_target_are_summed_up() -> None:
    y = [None if i < 3 else i / 4 for i in range(43)]
    goal = look({"text": sentences(43), "y": y}, "y").target[0]
    assert (goal["task"], goal["missing"], goal["classes"]) == ("regression", 3, None)
    assert goal["numbers"] == {"min": 0.75, "median": 5.625, "mean": 5.625, "max": 10.5}


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_few_rows_are_enough_to_look_at(rows: int) -> None:
    cells = {"text": sentences(rows), "x": [1.5 * i for i in range(rows)], "y": [i % 2 for i in range(rows)]}
    found = look(cells, "y")
    assert found.rows == rows
    assert rendered(found)


def test_odd_cells_are_no_end() -> None:
    cells = {
        "text": sentences(20),
        "objects": [{"a": i} for i in range(20)],
        "mixed": [1, "two", None, [3], b"4"] * 4,
        "none": [None] * 20,
        "nul": ["a\0b.png"] * 10 + ["c.png"] * 10,
    }
    found = look(cells, kinds={"nul": "image"})
    assert found.missing["none"] == 20
    assert {b.column for b in found.unreadable} >= {"nul"}
    json.dumps(found.to_json())
    assert rendered(found)


def test_a_file_that_stands_in_many_rows_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from polymodal.modalities import MODALITIES

    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "b.png")
    opened: list[Any] = []
    image = MODALITIES["image"]
    counted = image.measure._replace(of=lambda c: opened.append(c) or image.measure.of(c))
    monkeypatch.setitem(MODALITIES, "image", image._replace(measure=counted))
    look({"photo": [str(tmp_path / f"{'ab'[i % 2]}.png") for i in range(50)]})
    assert len(opened) == 2


def test_numbers_kinds_and_answers_are_no_groups_and_numbers_called_an_id_are() -> None:
    """ "page" is a part of PageCount, a dog's breed is no dog, and an index of pain is no name."""
    cells = {
        "PageCount": [10 + i % 30 for i in range(120)],
        "dog": ["poodle", "collie", "beagle"] * 40,
        "speaker": ["yes it was", "no"] * 60,
        "pain_index": [1 + i % 5 for i in range(120)],
        "userId": [100 + 7 * (i // 30) + i // 15 for i in range(120)],
        "speaker_no": [f"s{i // 20}" for i in range(120)],
        "y": ["a", "b"] * 60,
    }
    assert [g.column for g in look(cells, "y").groups] == ["userId", "speaker_no"]


def test_fit_names_the_same_leaks_as_inspect() -> None:
    cells = leaky(80)
    expected = [w.message for w in look(cells, "label").warnings if w.kind == "leak"]
    model = flat.fit(cells, "label", fusion="concat", size="tiny", epochs=1, baselines=False, cache=None)
    assert len(expected) == 3 and [n for n in model.report.notes if "away" in n] == expected


def test_leaks_of_each_of_several_targets_are_named() -> None:
    y = np.random.default_rng(0).normal(0, 1, (400, 2))
    table = Table.read({"a": y[:, 0].tolist(), "b": y[:, 1].tolist(), "twice b": (2 * y[:, 1]).tolist()})
    schema = Schema.infer(table, ["a", "b"])
    task, _ = guess([{"a": a, "b": b} for a, b in y.tolist()], ["a", "b"])
    task.fit([{"a": a, "b": b} for a, b in y.tolist()])
    assert [[s.column for s in suspects.leaks(table, schema, task, t)] for t in "ab"] == [[], ["twice b"]]
