"""Every command on a table of every shape: no traceback, an answer to each row, and what is damaged is told."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import Run
from messy.table import COLUMNS, ROWS, Messy, make
from polymodal.modalities import MODALITIES

VECTOR = ("--modality", "vector=vector")
QUICK = ("--epochs", 1, "--size", "tiny")
NETWORK = (*VECTOR, *QUICK, "--fusion", "gated", "--no-baselines")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("messy")


@pytest.fixture(scope="module")
def messy(folder: Path) -> Messy:
    return make(folder / "table")


@pytest.fixture(scope="module")
def ask(run: Run, folder: Path) -> Any:
    """What a command answers as JSON; cells are decoded once for all commands."""

    def ask(*words: object) -> Any:
        kept = () if words[0] == "inspect" else ("--cache", folder / "cache")
        done = run(*words, *kept, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout, parse_constant=lambda c: pytest.fail(f"{words[0]} writes {c}, which is no JSON"))

    return ask


@pytest.fixture(scope="module")
def network(ask: Any, messy: Messy, folder: Path) -> Path:
    told(ask("fit", messy.path, "--target", "kind", *NETWORK, "--out", folder / "network"), messy)
    return folder / "network"


@pytest.fixture(scope="module")
def estimators(ask: Any, messy: Messy, folder: Path) -> Path:
    how = ("--fusion", "features", "--preset", "fast")
    ask("fit", messy.path, "--target", "kind", *VECTOR, *how, "--out", folder / "estimators")
    return folder / "estimators"


def cells(found: list[dict[str, Any]]) -> set[tuple[int, str]]:
    return {(b["row"], b["column"]) for b in found}


def told(answer: dict[str, Any], messy: Messy) -> None:
    """Each damaged cell is reported once, with a reason, and no other."""
    assert cells(answer["bad"]) == set(messy.bad) and len(answer["bad"]) == len(messy.bad)
    assert all(b["reason"] for b in answer["bad"])


def finite(x: Any, where: str = "") -> None:
    """No number in it is NaN or infinite."""
    if isinstance(x, dict | list):
        for k, v in x.items() if isinstance(x, dict) else enumerate(x):
            finite(v, f"{where}.{k}")
    assert not isinstance(x, float) or math.isfinite(x), where


def test_inspect_tells_each_column_and_each_damaged_cell(ask: Any, messy: Messy) -> None:
    done = ask("inspect", messy.path, "--target", "kind", *VECTOR)
    assert cells(done["unreadable"]) == set(messy.bad)
    kinds = {name: c["kind"] for name, c in done["schema"]["columns"].items()}
    expected = dict(zip(COLUMNS, ["image", "audio", "series", "series", "text", "vector"], strict=False))
    assert kinds == {"id": "id", **expected, "price": "number", "seller": "category", "day": "date",
                     "gift": "boolean", "kind": "target"}  # fmt: skip


def test_features_writes_every_extractor_of_every_row(ask: Any, messy: Messy, folder: Path) -> None:
    (folder / "vectors.txt").write_text("lovely 0.1 0.2\nawful 1 2\n", encoding="utf-8")
    wanted = []
    for column, kind in zip(COLUMNS, ["image", "audio", "series", "series", "text"], strict=False):
        names = [f"{n}:{folder}/vectors.txt" if n == "wordvectors" else n for n in MODALITIES[kind].extractors]
        wanted += ["--select", f"{column}={','.join(names)}"]
    done = ask("features", messy.path, *VECTOR, *wanted, "--out", folder / "features.parquet")
    frame = pd.read_parquet(folder / "features.parquet")
    assert len(frame) == done["rows"] == ROWS
    numbers = frame.select_dtypes("number")
    assert not np.isinf(numbers.to_numpy()).any()
    assert cells(done["bad"]) <= set(messy.bad)
    assert {c for _, c in cells(done["bad"])} >= {"photo", "clip", "pulse", "motion"}


@pytest.mark.parametrize("kind", ["network", "estimators"])
def test_each_row_is_answered_and_scored(kind: str, ask: Any, messy: Messy, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    done = ask("predict", model, messy.path)
    assert done["rows"] == len(done["predictions"]) == ROWS
    for i, row in enumerate(done["predictions"]):
        assert row["prediction"] in ("good", "poor"), i
        assert row["probability[good]"] + row["probability[poor]"] == pytest.approx(1), i
    assert len({row["probability"] for row in done["predictions"]}) > 5, "rows that look alike"
    scores = ask("evaluate", model, messy.path)
    finite(ask("evaluate", model, messy.path, "--without", "clip")["metrics"])
    finite(scores["metrics"])
    if kind == "network":
        told(done, messy)
        told(scores, messy)
    else:
        assert cells(done["bad"]) <= set(messy.bad)


@pytest.mark.parametrize("kind", ["network", "estimators"])
def test_the_largest_the_smallest_and_the_empty_row_are_explained(
    kind: str, ask: Any, messy: Messy, folder: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    for row in (1, 2, ROWS) if kind == "network" else (1,):
        # in each of hundreds of answers a network would hear the three minutes again
        done = ask("explain", model, messy.path, "--row", row, *(["--without", "clip"] if row == 1 else []))
        finite(done)
        assert done["cells"] if row < ROWS else not done["cells"], row


def test_the_table_is_explained_as_a_page(run: Run, network: Path, messy: Messy, folder: Path) -> None:
    out = folder / "overall.html"
    done = run("explain", network, messy.path, "--limit", 10, "--out", out, "--cache", folder / "cache")
    assert done.returncode == 0, done.stderr
    assert "</html>" in out.read_text(encoding="utf-8")


def test_report_is_one_page_with_odd_cells_in_it(run: Run, network: Path, messy: Messy, folder: Path) -> None:
    out = folder / "report.html"
    done = run(
        "report", network, messy.path, "--train", messy.path, "--rows", 4, "--no-robustness", "--out", out, "--cache",
        folder / "cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = out.read_text(encoding="utf-8")
    assert "</html>" in page and "nan%" not in page


def test_robustness_spoils_cells_of_every_shape(ask: Any, network: Path, messy: Messy) -> None:
    done = ask("robustness", network, messy.brief, "--limit", 6, "--levels", 2)
    finite(done["subsets"])
    assert {n["modality"] for n in done["noise"]} == {"photo", "clip", "pulse", "motion", "note", "vector", "table"}


def test_compare_puts_odd_cells_into_every_fold(ask: Any, messy: Messy, folder: Path) -> None:
    done = ask(
        "compare", messy.brief, "--target", "kind", "--ignore", "motion", "--ignore", "vector", *QUICK, "--fusion",
        "gated", "--folds", 2, "--out", folder / "compare",
    )  # fmt: skip
    finite([[e["name"], e["scores"]] for e in done["entries"]])
    assert len(done["entries"]) == 8  # each modality alone, concat, gated, the constant


def test_a_student_and_a_curve_of_a_messy_table(ask: Any, network: Path, messy: Messy, folder: Path) -> None:
    student = ask("distill", network, messy.path, "--keep", "photo,note", *QUICK, "--out", folder / "student")
    finite(student["candidates" if "candidates" in student else "comparison"])
    curve = ask(
        "learning-curve", messy.brief, "--target", "kind", *VECTOR, *QUICK, "--fractions", "0.5,1", "--pretrain", "masked",
        "--out", folder / "curve",
    )  # fmt: skip
    assert len(curve["points"]) == 2
    finite(curve["points"])


def test_texts_of_every_length_and_script_can_be_written(ask: Any, messy: Messy, folder: Path) -> None:
    out = folder / "writer"
    fitted = ask(
        "fit", messy.path, "--target", "note", "--task", "generate", *VECTOR, *QUICK, "--no-baselines", "--out", out
    )
    told(fitted, messy)
    done = ask("predict", out, messy.path, "--max-length", 5)
    assert len(done["predictions"]) == ROWS
    assert all(
        isinstance(row["prediction"], str) and math.isfinite(row["log_probability"]) for row in done["predictions"]
    )
    finite(ask("evaluate", out, messy.path, "--max-length", 5)["metrics"])
