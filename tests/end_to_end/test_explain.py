"""`polymodal explain` from a table of squares and beeps to words, a picture, a page and numbers."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import flat
from conftest import Run
from polymodal.cli import main
from polymodal.decoders.base import Decoding
from polymodal.errors import InputError
from polymodal.explain import attention, explain
from polymodal.learners.seq2seq import Seq2Seq
from polymodal.modalities.audio.place import Seconds
from polymodal.modalities.image.place import Grid
from polymodal.model import Model

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30)}
ROWS, WIDE, HIGH = 16, 30, 20


def make_squares(folder: Path, rows: int = ROWS) -> Path:
    """squares.csv: a grey picture with a coloured square, a beep, and two captions of each, in a row each."""
    g = np.random.default_rng(0)
    (folder / "p").mkdir(parents=True)
    with (folder / "squares.csv").open("w", newline="", encoding="utf-8") as f:
        write = csv.writer(f)
        write.writerow(["photo", "sound", "caption"])
        for i in range(rows):
            colour, right = list(COLOURS)[i % 2], bool(g.integers(2))
            x = np.full((HIGH, WIDE, 3), 128, dtype=np.uint8)
            x[6:14, 4 + 14 * right : 12 + 14 * right] = COLOURS[colour]
            Image.fromarray(x).save(folder / f"p/正 '{i}'.png")
            wave = 0.3 * np.sin(np.arange(2400) * (0.3 if right else 0.1)) + g.normal(0, 0.01, 2400)
            soundfile.write(folder / f"p/{i}.wav", wave, 8000)
            for text in (f"a {colour} square", f"there is a {colour} one"):
                write.writerow([f"p/正 '{i}'.png", f"p/{i}.wav", text])
    return folder / "squares.csv"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path, Path]:
    folder = tmp_path_factory.mktemp("squares")
    table = make_squares(folder / "data")
    out = folder / "model"
    model = flat.fit(
        table, "caption", task="generate", size="tiny", epochs=1, baselines=False, out=out, cache=folder / "cache"
    )
    return model, table, out


def test_the_words_are_those_that_predict_writes(fitted: tuple[Model, Path, Path]) -> None:
    model, table, _ = fitted
    e = explain(model, table, 3)
    row = model.predict(table).iloc[2]
    assert e.text == row["prediction"] and e.row == 3 and e.table == "squares.csv"
    assert e.logprob.sum() + e.end == pytest.approx(row["log_probability"], abs=1e-3)
    assert e.references == ["a green square", "there is a green one"]  # of both rows with this picture
    assert np.allclose(sum(e.share.values()) + e.nothing, 1, atol=1e-5)
    photo, sound = e.where["photo"], e.where["sound"]
    assert isinstance(photo, Grid) and photo.height * photo.width == e.maps["photo"].shape[1]
    assert abs(photo.width / photo.height / (WIDE / HIGH) - 1) < 0.2 and photo.name == "p/正 '1'.png"
    assert isinstance(sound, Seconds) and sound.duration == pytest.approx(0.3, abs=1e-3)
    assert not e.bad and not e.absent
    greedy = explain(model, table, 3, how=Decoding("greedy", max_length=1))
    assert len(greedy.words) <= 1


def test_what_is_hidden_or_can_not_be_read_is_told_and_left_out(
    fitted: tuple[Model, Path, Path], tmp_path: Path
) -> None:
    model, table, _ = fitted
    e = explain(model, table, 1, without=["sound"])
    assert e.absent == ["sound"] and list(e.maps) == ["photo"] and "sound" not in e.to_json()["maps"]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    rows = [
        {"photo": str(tmp_path / "bad.png"), "sound": str(table.parent / "p/0.wav")},
        {"photo": None, "sound": None},
    ]
    e = explain(model, rows, 1)
    assert e.absent == ["photo"] and list(e.maps) == ["sound"] and e.references == []
    assert len(e.bad) == 1 and "is not an image" in str(e.bad[0])
    blind = explain(model, rows, 2)
    assert not blind.maps and np.allclose(blind.nothing, 1) and not blind.bad


@pytest.mark.parametrize("row", [0, -1, 2 * ROWS + 1])
def test_a_row_that_is_not_there(fitted: tuple[Model, Path, Path], row: int) -> None:
    with pytest.raises(InputError, match=rf"has no row {row}; its rows are 1 to {2 * ROWS}, where 1 is the first"):
        attention.caption(fitted[0], fitted[1], row)


def test_a_model_that_writes_without_our_attention_is_told() -> None:
    with pytest.raises(InputError, match=r"writes by a Seq2Seq, and explain is not there yet for such models"):
        Seq2Seq.attend(Seq2Seq.__new__(Seq2Seq), {})


def called(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["polymodal", "explain", *map(str, words)])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0)


def test_the_command(
    fitted: tuple[Model, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    model, table, folder = fitted
    e = explain(model, table, 2)
    assert called(monkeypatch, folder, table, "--row", 2) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"squares.csv, row 2: {e.text}" and printed[1] == "reference: a red square"
    assert len(printed) == 3 + len(e.words)
    assert all(f"photo {e.share['photo'][i]:.0%}" in line for i, line in enumerate(printed[3:]))
    for suffix, start in ((".png", b"\x89PNG"), (".html", b"<!DOCTYPE html>"), (".JSON", b"{")):
        out = tmp_path / f"見 {suffix}"
        assert called(monkeypatch, folder, table, "--row", 2, "--out", out) == 0
        assert out.read_bytes().startswith(start) and capsys.readouterr().out == f"{out}: {e.text}\n"
    assert json.loads(out.read_text(encoding="utf-8")) == json.loads(json.dumps(e.to_json()))
    assert called(monkeypatch, folder, table, "--row", 2, "--json", "--without", "photo") == 0
    assert json.loads(capsys.readouterr().out)["absent"] == ["photo"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["見 .JSON", "見 .html", "見 .png"]


def test_the_command_tells_what_can_not_be_done(
    fitted: tuple[Model, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, table, folder = fitted
    for words, said in (
        (["--row", 99], "has no row 99"),
        (["--row", 1, "--out", "x.pdf"], "--out x.pdf ends in '.pdf'; explain writes .png, .html, .json"),
        (["--row", 1, "--out", tmp_path / "no" / "x.html"], "there is no folder"),
        (["--row", 1, "--without", "smell"], "the model has no modality 'smell'"),
        (["--row", 1, "--beams", 0], "beams can't be 0"),
        ([], "the model writes text, which is explained row by row; name a row with --row"),
        (["--row", 1, "--class", "red", "--no-parts"], "its words are explained; leave out --class, --no-parts"),
    ):
        assert called(monkeypatch, folder, table, *words) == 2
        told = capsys.readouterr()
        assert said in told.err and told.err.startswith("error: ") and not told.out


def test_the_command_is_there_in_a_process_of_its_own(fitted: tuple[Model, Path, Path], process: Run) -> None:
    model, table, folder = fitted
    done = process("explain", folder, table, "--row", 1)
    assert done.returncode == 0 and done.stdout.startswith(f"squares.csv, row 1: {explain(model, table, 1).text}\n")
