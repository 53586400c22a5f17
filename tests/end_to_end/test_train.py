"""The training loop: it learns, it stops, it goes on where it was, and it names what broke it."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import flat
import polymodal
from conftest import Run, make_shop
from polymodal.data import preprocess
from polymodal.data.encode import encode
from polymodal.data.preprocess import Rows, order
from polymodal.errors import InputError
from polymodal.modalities.image.codec import Pixels
from polymodal.modalities.vector.codec import Vectors
from polymodal.nn import SIZES

FIT = dict(fusion="gated", epochs=4, batch_size=16, size="tiny", baselines=False)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_same_seed_same_weights_other_seed_others(shop, tmp_path):
    folders = [
        flat.fit(shop, "kind", seed=s, **{**FIT, "epochs": 2}).save(tmp_path / str(i)) for i, s in enumerate([0, 0, 1])
    ]
    a, b, c = map(weights, folders)
    assert same(a, b) and not same(a, c)


RUN = ["--fusion", "gated", "--target", "kind", "--epochs", 8, "--batch-size", 8, "--size", "tiny", "--no-baselines"]
CHECKPOINT = Path("training/0-gated.safetensors")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shop(tmp_path_factory.mktemp("train") / "shop", 200)


@pytest.fixture(scope="module")
def whole(table: Path, run: Run) -> dict[str, torch.Tensor]:
    """The weights of a run that nothing interrupted."""
    out = table.parents[1] / "whole"
    assert run("fit", table, "--out", out, *RUN).returncode == 0
    return weights(out)


CUT = """
import os, sys
from itertools import count
from types import SimpleNamespace
from polymodal.cli import main
from polymodal.training import checkpoint

how, save = int(sys.argv.pop(1)), checkpoint._save
checkpoint.time = SimpleNamespace(monotonic=count().__next__)  # a second a reading
def saved(*state):
    save(*state)
    os.kill(os.getpid(), how)
checkpoint._save = saved
main()
"""


def cut(table: Path, out: Path, how: signal.Signals) -> tuple[int, str]:
    """A process that is sent a signal when its first checkpoint lies there: its exit code, and what it said."""
    words = [sys.executable, "-c", CUT, how.value, "fit", table, "--out", out, *RUN]
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def killed(table: Path) -> Path:
    """The folder that a killed run leaves."""
    out = table.parents[1] / "killed"
    assert cut(table, out, signal.SIGKILL)[0] == -9, "the run ended before it could be killed"
    assert (out / CHECKPOINT).exists() and not (out / "manifest.json").exists()
    return out


def test_a_killed_run_resumes_to_the_same_weights(table, whole, killed, run, tmp_path):
    out = shutil.copytree(killed, tmp_path / "m")
    assert run("fit", table, "--out", out, *RUN, "--resume").returncode == 0
    assert same(whole, weights(out)) and not (out / CHECKPOINT).exists()


def test_an_interrupted_run_says_so_and_resumes_to_the_same_weights(table, whole, run, tmp_path):
    out = tmp_path / "m"
    code, said = cut(table, out, signal.SIGINT)
    assert code == 130, "the run ended before it could be interrupted"
    assert "interrupted" in said and "--resume" in said
    assert (out / CHECKPOINT).exists() and not (out / "manifest.json").exists()
    assert run("fit", table, "--out", out, *RUN, "--resume").returncode == 0
    assert same(whole, weights(out)) and not (out / CHECKPOINT).exists()


def test_resume_refuses_another_run(table, killed):
    settings = dict(fusion="gated", epochs=8, batch_size=8, size="tiny", baselines=False, out=killed)
    with pytest.raises(InputError, match=r"can't be resumed: .*seed .it was 0. changed .* --overwrite"):
        flat.fit(table, "kind", seed=7, resume=True, **settings)
    with pytest.raises(InputError, match=r"holds an unfinished run; add --resume"):
        flat.fit(table, "kind", **settings)


def test_nan_loss_names_the_rows(shop):
    with pytest.raises(InputError, match=r"the loss became (nan|inf) in a batch of 16 rows \(row numbers \d+, .*--lr"):
        flat.fit(shop, "kind", lr=1e30, **{**FIT, "epochs": 30})


def test_training_ends_when_the_time_is_up(table, clock):
    model = flat.fit(table, "kind", time_limit=2, **{**FIT, "epochs": 10_000})
    assert clock.now < 2.5, "some readings for what follows the training, without a limit millions"
    assert model.report.to_json()["comparison"]["candidates"][0]["epochs"] >= 1


def test_early_stopping_keeps_the_best_epoch(table):
    model = flat.fit(table, "kind", **{**FIT, "epochs": 60})
    history = model.report.to_json()["history"]
    assert len(history) < 60
    best = max(history, key=lambda h: (h["accuracy"], -h["valid_loss"]))
    assert model.report.to_json()["valid"]["metrics"]["accuracy"]["value"] == pytest.approx(best["accuracy"])


def encoded(**columns: list[Any]) -> Rows:
    """Rows of photos and ready-made vectors."""
    make = {"photo": Pixels}
    codecs = {m: make.get(m, Vectors)().fit(cells, SIZES["tiny"]) for m, cells in columns.items()}
    inputs = {m: encode(cells, codecs[m])[0] for m, cells in columns.items()}
    n = len(next(iter(columns.values())))
    return Rows(inputs, codecs, [None] * n, None, range(1, n + 1), [])


def test_order_is_a_permutation_decided_by_seed_and_epoch():
    rows, usable = encoded(x=[[[float(i), j] for j in range(1 + i % 7)] for i in range(60)]), list(range(5, 55))
    a = order(rows, usable, 8, seed=1, epoch=2)
    assert sorted(sum(a, [])) == usable and a == order(rows, usable, 8, seed=1, epoch=2)
    assert a != order(rows, usable, 8, seed=1, epoch=3) and len(a) == math.ceil(50 / 8)
    spread = [np.ptp(rows.sizes()[batch]) for batch in a]
    assert np.mean(spread) < 5  # 12 in batches of rows at random


@pytest.mark.parametrize("heavy", [True, False])
def test_rows_that_share_a_heavy_cell_are_in_one_batch(heavy, monkeypatch):
    """Of 200 rows with 20 photos of ten questions each, and one with 40: a photo counts as a row, 16 times at most."""
    which = [i % 20 for i in range(200)] + [20] * 40
    photos = [np.full((8, 8, 3), 10 * p, np.uint8) for p in which]
    rows = encoded(photo=photos, question=[[float(i)] * (9 if heavy else 100) for i in range(240)])
    assert {len(b) for b in order(rows, list(range(2, 240)), 4, seed=0, epoch=0)} == {4, 2}, "few photos, few steps"
    monkeypatch.setattr(preprocess, "MANY", 20)
    batches = order(rows, list(range(2, 240)), 4, seed=0, epoch=0)
    assert sorted(sum(batches, [])) == list(range(2, 240))
    together = [{p: [which[r] for r in b].count(p) for p in {which[r] for r in b}} for b in batches]
    if not heavy:
        assert {len(b) for b in batches} == {4, 2}
        return
    assert len(batches) == math.ceil((20 + 3) / 4)
    assert sorted(n for b in together for p, n in b.items() if p < 20) == [9, 9] + [10] * 18
    assert max(n for b in together for p, n in b.items() if p == 20) <= 40 and max(map(len, batches)) <= 4 * 16


def test_two_processes_train_one_model(tmp_path):
    table = make_shop(tmp_path / "shop", 80)
    args = [
        "fit",
        str(table),
        "--fusion",
        "gated",
        "--target",
        "kind",
        "--out",
        str(tmp_path / "m"),
        "--epochs",
        "2",
        "--size",
        "tiny",
        "--no-baselines",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "polymodal", *args],
        capture_output=True, text=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert report["processes"] == 2
    assert report["valid"]["rows"] == 16 and (tmp_path / "m" / "manifest.json").exists()
    assert polymodal.load(tmp_path / "m").evaluate(table).rows == 80
