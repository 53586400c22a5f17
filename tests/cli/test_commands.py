"""The command line as a user runs it: what it prints, its exit codes, JSON that a program can parse."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from conftest import Run, make_shop
from polymodal import cli, fusion

FAST = ["--fusion", "gated", "--epochs", 6, "--size", "tiny"]


@pytest.fixture(scope="module")
def fitted(
    tmp_path_factory: pytest.TempPathFactory, process: Run
) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("cli")
    table = make_shop(folder / "shop", 160)
    done = process("fit", table, "--target", "kind", "--out", folder / "model", "--group", "seller", *FAST)
    assert done.returncode == 0, done.stderr
    return table, folder / "model", done


def test_fit_says_what_a_person_wants_to_know(fitted):
    out = fitted[2].stdout
    for said in ("kind: binary", "photo (image)", "note (text)", "by seller", "photo alone", "note alone", "table alone",
                 "concat", "(this model)", "95% interval", "accuracy", "polymodal predict"):  # fmt: skip
        assert said in out, said
    assert "beats" in out or "No difference" in out or "worse than" in out


def test_fit_json_is_one_object(tmp_path, run):
    table = make_shop(tmp_path / "shop", 60)
    done = run("fit", table, "-t", "kind", "--out", tmp_path / "m", "--no-baselines", "--json", *FAST)
    report = json.loads(done.stdout)
    assert report["rows"] == {"train": 48, "valid": 12, "unlabelled": 0}
    assert report["comparison"]["candidates"][0]["name"] == report["settings"]["fusion"]


def test_fit_with_given_valid_and_test(tmp_path, run):
    a, b, c = (make_shop(tmp_path / str(i), 60, seed=i) for i in range(3))
    done = run("fit", a, "-t", "kind", "--valid", b, "--test", c, "--out", tmp_path / "m", "--json", *FAST)
    report = json.loads(done.stdout)
    assert report["rows"]["valid"] == 60 and report["test"]["rows"] == 60
    assert {x["name"] for x in report["test"]["comparison"]["candidates"]} >= {"photo alone", "note alone", "concat"}
    again = json.loads(run("evaluate", tmp_path / "m", c, "--json").stdout)
    assert again["metrics"] == report["test"]["metrics"]


def test_evaluate(fitted, run):
    table, model, _ = fitted
    done = run("evaluate", model, table)
    assert done.returncode == 0 and "accuracy" in done.stdout and "intervals over seller" in done.stdout
    form = json.loads(run("evaluate", model, table, "--json", "--without", "photo").stdout)
    assert form["task"] == "binary" and form["rows"] == 160 and form["without"] == ["photo"]
    assert {"accuracy", "macro_f1", "weighted_f1", "roc_auc"} <= form["metrics"].keys()
    assert set(form["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert form["absent"]["photo"] == 160 and form["confusion"]["labels"] == ["good", "poor"]


def test_predict(fitted, run, process, tmp_path):
    table, model, _ = fitted
    frame = pd.read_csv(table).drop(columns="kind")
    frame.loc[[0, 7], "photo"] = None
    new = table.parent / "new.csv"
    frame.to_csv(new, index=False)
    done = run("predict", model, new, "--out", tmp_path / "p.csv")
    assert done.returncode == 0 and done.stdout == "" and "160 predictions" in done.stderr
    got = pd.read_csv(tmp_path / "p.csv")
    assert len(got) == 160 and list(got.columns) == [
        "prediction",
        "probability",
        "probability[good]",
        "probability[poor]",
    ]
    to_stdout = process("predict", model, new)
    assert to_stdout.stdout == (tmp_path / "p.csv").read_text()
    kept = run("predict", model, new, "--keep", "id", "--keep", "seller").stdout.splitlines()
    assert kept[0].startswith("id,seller,prediction,") and kept[8].startswith(f"item-7,s7,{got['prediction'][7]},")
    form = json.loads(run("predict", model, new, "--json").stdout)
    assert form["rows"] == 160 and form["predictions"][7]["prediction"] == got["prediction"][7]


def test_schema_and_inspect(fitted, run):
    table, model, _ = fitted
    shown = run("schema", model).stdout
    assert "photo" in shown and "ConvNet" in shown and "fusion" in shown
    assert json.loads(run("schema", model, "--json").stdout)["columns"]
    done = run("inspect", table, "--target", "kind")
    assert done.returncode == 0 and "photo" in done.stdout and "image" in done.stdout
    assert json.loads(run("inspect", table, "--target", "kind", "--json").stdout)


def test_cache_is_shown_and_cleared(tmp_path, run):
    table = make_shop(tmp_path / "shop", 40)
    store = tmp_path / "store"
    run("fit", table, "-t", "kind", "--out", tmp_path / "m", "--cache", store, "--no-baselines", *FAST)
    (entry,) = json.loads(run("cache", "--cache", store, "--json").stdout)["entries"]
    assert entry["name"].startswith("image-") and entry["records"] == 40 and entry["bytes"] > 0
    assert "freed" in run("cache", "--cache", store, "--clear").stdout
    assert json.loads(run("cache", "--cache", store, "--json").stdout)["entries"] == []


def test_help_is_light_and_says_where_every_fusion_is_listed(run):
    code = "import sys; from polymodal.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "print(*[m for m in ('torch', 'pandas', 'transformers', 'PIL', 'sklearn', 'numpy') if m in sys.modules])"
    for args in (["--help"], ["fit", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "", done.stdout[-300:]
    assert "`polymodal fusions` lists all" in run("fit", "--help", COLUMNS="400").stdout
    listed = run("fusions").stdout
    assert all(name in listed for name in fusion.FUSIONS)


def test_the_flags_of_fit_are_these():
    """A new flag is a decision: first ask which rule or part it could not be."""
    import typer

    (fit,) = (c for c in typer.main.get_command(cli.app).commands.values() if c.name == "fit")
    assert sorted(p.name for p in fit.params) == sorted(
        "table target valid test out fusion size encoder finetune modality ignore group split order gap task time_limit epochs batch_size lr "
        "precision preset seed baselines prefer folds n_jobs device resume overwrite cache as_json "
        "decoder vocabulary min_count max_words metric weight class_weight optimize_threshold smoothing dropout scheduled_sampling self_critical finetune_decoder language beams "
        "allow_overlap imputation modality_dropout balance cyclic init_from pretrain unlabelled".split()
    )
