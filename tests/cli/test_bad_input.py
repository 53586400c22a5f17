"""Bad input: one clear line naming what was seen and the way out, exit code 2, no traceback."""

import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import flat
from conftest import Run, make_shop
from polymodal import InputError

FAST = ["--fusion", "gated", "--epochs", 2, "--size", "tiny", "--no-baselines"]


def refused(done, *said: str) -> None:
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    error = done.stderr[done.stderr.index("error: ") :]
    assert "Traceback" not in done.stderr
    for pattern in said:
        assert re.search(pattern, error), (pattern, error)


def write(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text, said",
    [
        ("", ["empty"]),
        ("a,b\n", ["no rows|0 rows"]),
        ("a,b\nx y z,1\n", ["1 row; training needs at least 4"]),
        ("a,a,b\nx,y,1\n" * 1, ["column", "'a'", "2 columns named"]),
        ("a,b\n" + "\n".join(f"word{i} more text,1" for i in range(9)), ["'b'", "constant|only one|one value|same"]),
        ("a,b\n" + "\n".join(f"word{i} more text," for i in range(9)), ["'b'|label"]),
        (b"a,b\n\xff\xfe\x81,1\nzz,2\n", ["UTF-8"]),
    ],
    ids=["empty", "header", "one row", "twice", "constant", "no label", "encoding"],
)  # fmt: skip
def test_tables_that_cannot_be_learned_from(tmp_path, run: Run, text, said):
    refused(run("fit", write(tmp_path, text), "--target", "b", "--out", tmp_path / "m", *FAST), *said)


def test_no_such_things(tmp_path, run: Run, process: Run):
    table = make_shop(tmp_path / "shop", 20)
    fit = ["fit", table, "--out", tmp_path / "m", *FAST]
    refused(process("fit", tmp_path / "shop" / "shap.csv", "-t", "kind"), r"shap\.csv", "shop.csv")
    refused(run(*fit), "--target", "photo")
    refused(run(*fit, "-t", "kind", "--encoder", "note"), "COLUMN=VALUE")
    refused(run(*fit, "-t", "kind", "--finetune", "note"), "--encoder=note=")
    refused(run(*fit, "-t", "kind", "--time-limit", "soon"), "soon", "10m")
    refused(run(*fit, "-t", "kind", "--metric", "f2"), "binary has no metric 'f2'", "one of accuracy, .*roc_auc")
    for option, value in (("--dropout", "0.2"), ("--max-words", "9")):
        refused(run(*fit, "-t", "kind", option, value), "the task is binary", option.strip("-"), "leave them out")
    for more, said in (
        ({"target": "kynd"}, r"'kynd'.*kind"),
        ({"fusion": "gatde"}, r"gatde.*gated"),
        ({"size": "huge"}, r"huge.*tiny, small"),
        ({"encoders": {"note": "transfromer"}}, r"transfromer.*transformer"),
        ({"encoders": {"noet": "gru"}}, r"no modality 'noet'.*note"),
        ({"kinds": {"note": "smell"}}, r"smell.*text"),
        ({"ignore": ["nothing"]}, r"nothing"),
        ({"group": "sellar"}, r"sellar.*seller"),
        ({"task": "guessing"}, r"guessing.*binary"),
    ):
        with pytest.raises(InputError, match=said):
            flat.fit(table, **{"target": "kind", "fusion": "gated", "epochs": 1, **more})
    refused(run("evaluate", tmp_path, table), "is not a polymodal model")
    refused(run("predict", tmp_path / "none", table), "is not a polymodal model", "does not exist")


def png_bomb() -> bytes:
    """A PNG header of 60,000 x 60,000 pixels, and no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_unreadable_cells_among_many_are_absent_and_listed(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 60)
    photos, frame = table.parent / "photos", pd.read_csv(table, dtype=str)
    frame.loc[0, "photo"] = "photos/nowhere.png"
    frame.loc[1, "photo"] = "photos"
    write(photos, b"", "2.png")
    whole = (photos / "3.png").read_bytes()
    write(photos, whole[: len(whole) // 2], "3.png")
    write(photos, "I am text", "4.png")
    write(photos, png_bomb(), "5.png")
    frame.loc[6, "price"], frame.loc[7, "price"], frame.loc[8, "price"] = "inf", "NaN", "a lot"
    frame.loc[9, "note"] = "word " * 2_000_000
    frame.to_csv(table, index=False)
    done = run("fit", table, "-t", "kind", "--out", tmp_path / "m", *FAST)
    assert done.returncode == 0, done.stderr
    assert "8 unreadable cells were treated as absent" in done.stdout
    for n, reason in [(1, "does not exist|no such file"), (2, "director|folder"), (3, "empty|zero"), (4, "truncated"),
                      (5, "not an image|image"), (6, "bomb|pixels"), (7, "inf"), (9, "'a lot'")]:  # fmt: skip
        (line,) = [x for x in done.stdout.splitlines() if re.search(rf"^\s+row {n}, column", x)]
        assert re.search(reason, line), line
    assert "row 8," not in done.stdout
    predicted = run("predict", tmp_path / "m", table, "--out", tmp_path / "p.csv")
    assert predicted.returncode == 0 and "8 unreadable" in predicted.stderr
    assert len(pd.read_csv(tmp_path / "p.csv")) == 60


def test_column_in_which_nothing_opens(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 20)
    for photo in (table.parent / "photos").iterdir():
        photo.write_text("no image")
    fit = ["fit", table, "-t", "kind", "--out", tmp_path / "m", *FAST]
    refused(
        run(*fit, "--modality", "photo=image"),
        "none of the 20 cells of column 'photo' can be read as image",
        "--ignore=photo",
    )


def test_column_that_is_empty_throughout(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 20)
    pd.read_csv(table).assign(photo=None).to_csv(table, index=False)
    fit = ["fit", table, "-t", "kind", "--out", tmp_path / "m", *FAST]
    assert run(*fit).returncode == 0
    refused(run(*fit, "--overwrite", "--modality", "photo=image"), "photo", "--ignore=photo")


def test_out_folder_is_never_written_over_unasked(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 20)
    fit = ["fit", table, "-t", "kind", "--out", tmp_path / "m", *FAST]
    assert run(*fit).returncode == 0
    refused(run(*fit), "holds a model", "--overwrite")
    assert run(*fit, "--overwrite").returncode == 0
    refused(run("fit", table, "-t", "kind", "--out", table, *FAST), "is a file")


def test_prediction_with_another_table(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 20)
    model = tmp_path / "m"
    assert run("fit", table, "-t", "kind", "--out", model, *FAST).returncode == 0
    frame = pd.read_csv(table)
    bad = table.parent / "bad.csv"
    frame.drop(columns="note").to_csv(bad, index=False)
    refused(run("predict", model, bad), "no column 'note'", "--without")
    frame.assign(price="dear").to_csv(bad, index=False)
    refused(run("predict", model, bad), "none of the 20 cells of column 'price' can be read as number")
    frame.drop(columns="kind").to_csv(bad, index=False)
    refused(run("evaluate", model, bad), "no column 'kind'")
    refused(run("predict", model, table, "--out", tmp_path / "no" / "such" / "p.csv"), "no folder .*make it")
    for column in ("photo", "note", "price", "seller"):
        frame[column] = np.nan
    frame.to_csv(bad, index=False)
    assert len(run("predict", model, bad).stdout.splitlines()) == 21


def test_group_of_one(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 20)
    pd.read_csv(table).assign(seller="only").to_csv(table, index=False)
    refused(run("fit", table, "-t", "kind", "--group", "seller", "--out", tmp_path / "m", *FAST), "seller|group")


def test_picture_modes_all_read(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 24)
    for i, mode in enumerate(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]):
        Image.new(mode, (20 + i, 9), 0).save(table.parent / "photos" / f"{i}.png")
    done = run("fit", table, "-t", "kind", "--out", tmp_path / "m", *FAST)
    assert done.returncode == 0 and "unreadable" not in done.stdout, done.stdout + done.stderr


def test_settings_that_no_training_can_have(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 20)
    fit = ["fit", table, "-t", "kind", "--out", tmp_path / "m", *FAST]
    refused(run(*fit, "--precision", "fp8"), "precision can't be 'fp8'", "bf16")
    refused(run(*fit, "--seed", "-1"), "seed can't be -1")
    refused(run(*fit, "--lr", "nan"), "lr can't be nan")
    refused(run(*fit, "--lr", "-1"), "lr can't be -1")


def test_resume_of_a_finished_run(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 20)
    fit = ["fit", table, "-t", "kind", "--out", tmp_path / "m", *FAST]
    assert run(*fit).returncode == 0
    assert run(*fit, "--resume").returncode == 0
    refused(run(*fit, "--resume", "--seed", 3), "can't be resumed: .*seed .it was 0. changed")


def test_one_unreadable_cell_alone_is_absent_in_prediction(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 20)
    assert run("fit", table, "-t", "kind", "--out", tmp_path / "m", *FAST).returncode == 0
    one = table.parent / "one.csv"
    pd.read_csv(table).head(1).assign(photo="nowhere.png").to_csv(one, index=False)
    done = run("predict", tmp_path / "m", one)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2 and "1 unreadable" in done.stderr


def test_names_and_labels_with_markup(tmp_path, run: Run):
    table = make_shop(tmp_path / "shop", 30)
    frame = pd.read_csv(table).rename(columns={"kind": "[/red]", "note": "[/img]"})
    frame["[/red]"] = frame["[/red]"].map({"good": "[bold]good[/bold]", "poor": "[poor]"})
    frame.to_csv(table, index=False)
    done = run("fit", table, "-t", "[/red]", "--out", tmp_path / "m", *FAST)
    assert done.returncode == 0 and "[/red]: binary" in done.stdout, done.stderr
    for command in (
        ["schema", tmp_path / "m"],
        ["evaluate", tmp_path / "m", table],
        ["inspect", table, "-t", "[/red]"],
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr


def test_reading_half_of_a_prediction_is_no_error(tmp_path, run: Run):
    import subprocess
    import sys

    table = make_shop(tmp_path / "shop", 20)
    assert run("fit", table, "-t", "kind", "--out", tmp_path / "m", *FAST).returncode == 0
    script = f"{sys.executable} -m polymodal predict {tmp_path / 'm'} {table} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
