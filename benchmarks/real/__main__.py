"""`python -m benchmarks.real [SET ...]`: the default of `fit` on rows that it has not seen.

Each set and seed is appended to --out as one JSON line, so that an interrupted run goes on where it stopped; the page
is of all lines that are there.
"""

import argparse
import json
import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import metrics

import polymodal
from benchmarks.real.page import page
from benchmarks.real.sets import DATA, SETS
from benchmarks.real.simple import MODELS
from polymodal.experiment.config import Columns, Search
from polymodal.hardware import limited


def run(name: str, seed: int, limit: float | None, fusion: str) -> dict[str, Any]:
    """Scores of a fit and of simple models by the metric of the task, and by those of known figures; and seconds."""
    split = SETS[name].split(seed)
    truth = split.held[split.target]
    answers, seconds = {}, {}
    for model in split.models:
        begun = time.monotonic()
        answers[model] = MODELS[model](split)
        seconds[model] = round(time.monotonic() - begun, 1)
    begun = time.monotonic()
    made = polymodal.fit(
        split.learn, split.target, group=split.group, ignore=split.ignore, time_limit=limit, seed=seed,
        config=[Search(fusion=fusion), Columns(encoders=split.encoders)],
    )  # fmt: skip
    took = round(time.monotonic() - begun, 1)
    evaluation = made.evaluate(split.held)
    best = made.report.comparison.candidates[0]

    def scores(metric: str) -> dict[str, Any]:
        own = evaluation.metrics[metric]
        simple = {model: [_score(metric, truth, x), seconds[model]] for model, x in answers.items()}
        return {"held out": own.value, "interval": [own.low, own.high], "simple": simple}

    metric = evaluation.metric
    return {
        "set": name, "seed": seed, "metric": metric, **scores(metric), "printed": best.score.value, "model": best.name,
        "also": {m: scores(m) for m in SETS[name].known if m != metric}, "seconds": took, "limit": limit,
        "fusion": fusion, "rows": [len(split.learn), len(split.held)], "machine": machine(),
    }  # fmt: skip


def _score(metric: str, truth: Any, answers: Any) -> float:
    if metric == "r2":
        return float(metrics.r2_score(np.asarray(truth, dtype=float), np.asarray(answers, dtype=float)))
    truth, answers = [str(x) for x in truth], [str(x) for x in answers]
    if metric == "macro_f1":
        return float(metrics.f1_score(truth, answers, average="macro"))
    return float(getattr(metrics, f"{metric}_score")(truth, answers))


def machine() -> str:
    """Processor, cores, and a GPU where there is one."""
    facts = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", facts.read_text()) if facts.exists() else None
    parts = [found[1] if found else platform.processor(), f"{os.cpu_count()} cores"]
    return ", ".join(parts + ([torch.cuda.get_device_name()] if torch.cuda.is_available() else []))


def read(path: Path) -> dict[tuple[str, int], Mapping[str, Any]]:
    """The lines that are there, by set and seed."""
    lines = [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
    return {(x["set"], x["seed"]): x for x in lines}


def main() -> None:
    """Run what is asked for and not yet in --out, and write the page of all that is there."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of: {'; '.join(SETS)} [default: all]")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=int, default=1, metavar="N", help="0 to N - 1, or so many folds [default: 1]")
    seeds.add_argument("--seed", type=int, metavar="K", help="this one, or this fold")
    parser.add_argument("--time-limit", type=float, metavar="S", help="seconds of a fit [default: fit's own]")
    parser.add_argument("--fusion", default="auto", help="as for fit [default: auto]")
    parser.add_argument("--out", type=Path, default=Path("results/real.jsonl"), help="lines [default: %(default)s]")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page, such as docs/results.md")
    asked = parser.parse_args()
    if unknown := set(asked.sets) - set(SETS):
        parser.error(f"no set {', '.join(map(repr, unknown))}; there are: {'; '.join(SETS)}")
    if asked.seeds < 1:
        parser.error(f"--seeds can't be {asked.seeds}; it must be a whole number from 1")
    if not DATA.is_dir():
        parser.error(f"no data in {DATA}; set POLYMODAL_DATA to the folder of the real data sets")
    found = read(asked.out)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(asked.seeds) if asked.seed is None else [asked.seed]:
        for name in asked.sets or SETS:
            if before := found.get((name, seed)):
                print(f"{name}, seed {seed}: in {asked.out} already, with --time-limit {before.get('limit')}")
            else:
                with limited(1):
                    found[name, seed] = line = run(name, seed, asked.time_limit, asked.fusion)
                with asked.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"{name}, seed {seed}: {line['metric']} {line['held out']:.3f}, printed {line['printed']:.3f}")
    if asked.page is not None:
        asked.page.write_text(page(list(found.values())), encoding="utf-8")


if __name__ == "__main__":
    main()
