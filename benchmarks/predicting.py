"""`polymodal predict` on 2,500 and on 10,000 rows of images, texts and numbers: rows a second, and peak memory."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import make
from polymodal import fit

FEW, MANY = 2_500, 10_000


def run() -> dict[str, float]:
    """Whole processes. Memory must not grow with rows; the baseline is the smaller table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = {n: make(folder / str(n), n, files=500, seconds=0.3) for n in (FEW, MANY)}
        small = make(folder / "train", 100)
        fit(small, "label", ignore=["sound"], epochs=1, baselines=False, cache=folder / "cache").save(folder / "model")
        seconds, peak = {}, {}
        for n, table in tables.items():
            args = [sys.executable, "-m", "polymodal", "predict", str(folder / "model"), str(table)]
            began = time.perf_counter()
            seconds[n], peak[n] = 0.0, _peak_mb([*args, "--out", str(folder / f"{n}.csv")])
            seconds[n] = time.perf_counter() - began
    rate = (MANY - FEW) / (seconds[MANY] - seconds[FEW])
    return {
        "rows a second, start-up left out": rate,
        f"{FEW:,} rows: peak MB": peak[FEW],
        f"{MANY:,} rows: peak MB": peak[MANY],
        f"peak of {MANY:,} rows / {FEW:,} rows": peak[MANY] / peak[FEW],
    }


def _peak_mb(args: list[str]) -> float:
    """Largest resident memory of a process. A small one starts it, since a child's peak counts what its parent held."""
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    done = subprocess.run([sys.executable, "-c", code, *args], check=True, capture_output=True, text=True)
    return float(done.stdout)
