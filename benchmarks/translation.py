"""`python -m benchmarks.translation [NAME ...] [--pictures]`: text out of real data, written to docs/captioning.md.

Each run is `polymodal fit`, then `polymodal evaluate`, on training and validation rows; no test row is read. What is
finished is kept in --work. With --pictures the attention of ten captions is drawn to docs/pictures, which is not kept
in the repository.
"""

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

DATA = Path(os.environ.get("POLYMODAL_DATA", "../shared/data"))
VISION = "--encoder image={d}/backbones/mobilenet_v2_1.0_224"
FLICKR = "{d}/flickr8k/train.csv --target caption --task generate --valid {d}/flickr8k/val.csv"
SPOKEN = "{w}/speech/train.csv --task generate --valid {w}/speech/val.csv"
CAPTIONS = " ".join(f"--target caption_{i}" for i in range(5))
SAID = "--target said --task generate --time-limit {t} "
METRICS = "cider_d bleu_1 bleu_2 bleu_3 bleu_4 meteor_exact_stem rouge_l chrf".split()
ERRORS = "wer cer exact_match".split()
# what is fitted, on what it is scored, and by which metrics
RUNS: dict[str, dict[str, Any]] = {
    "flickr8k, frozen MobileNetV2": {
        "fit": f"{FLICKR} {VISION} --decoder transformer --precision bf16 --epochs 24 --time-limit 50m",
        "valid": "{d}/flickr8k/val.csv", "metrics": METRICS,
    },
    "flickr8k, frozen MobileNetV2, self-critical": {  # goes on with the model of the run above
        "fit": f"{FLICKR} {VISION} --precision bf16 --init-from {{w}}/flickr8k--frozen-MobileNetV2/model --epochs 1 "
        "--self-critical 8 --time-limit 60m",
        "valid": "{d}/flickr8k/val.csv", "metrics": METRICS, "precisions": ["bf16", "int8"], "more": ["--no-repeat 2"],
    },
    "flickr8k, from scratch": {
        "fit": f"{FLICKR} --decoder transformer --precision bf16 --epochs 12 --time-limit {{t}}",
        "valid": "{d}/flickr8k/val.csv", "metrics": METRICS,
    },
    "spoken digits": {
        "fit": "{w}/digits/train.csv --valid {w}/digits/val.csv " + SAID + "--epochs 30 --size tiny",
        "valid": "{w}/digits/val.csv", "metrics": ERRORS,
    },
    "strings of spoken digits": {
        "fit": "{w}/strings/train.csv --valid {w}/strings/val.csv " + SAID + "--epochs 40 --size tiny --lr 0.003",
        "valid": "{w}/strings/val.csv", "metrics": ERRORS,
    },
    "flickr8k_speech, transcripts": {
        "fit": f"{SPOKEN} --target spoken_caption --ignore image {{ignored}} --epochs 120 --size tiny --lr 0.003 "
        "--time-limit {t}",
        "ignored": [f"caption_{i}" for i in range(5)], "valid": "{w}/speech/val.csv", "metrics": ERRORS,
    },
    "flickr8k_speech, image and speech to caption": {
        "fit": f"{SPOKEN} {CAPTIONS} {VISION} --ignore spoken_caption --epochs 30 --size tiny --lr 0.002 "
        "--no-baselines --time-limit {t}",
        "valid": "{w}/speech/val.csv", "metrics": METRICS, "without": ["image", "audio"],
    },
}  # fmt: skip
DRAWN = "flickr8k, frozen MobileNetV2, self-critical"
DIGITS = "zero one two three four five six seven eight nine".split()


def digits(work: Path) -> None:
    """Each recording of av_digits once, with the word that is said in it."""
    for part in ("train", "val"):
        frame = pd.read_csv(DATA / "av_digits" / f"{part}.csv").drop_duplicates("audio")
        out = pd.DataFrame({"audio": (DATA.resolve() / "av_digits" / frame["audio"]).astype(str)})
        out["said"] = [DIGITS[int(d)] for d in frame["digit"]]
        (work / "digits").mkdir(parents=True, exist_ok=True)
        out.to_csv(work / "digits" / f"{part}.csv", index=False)


def strings(work: Path, count: tuple[int, int] = (2_000, 300), seed: int = 0) -> None:
    """Recordings of one speaker joined, three to seven, 0.05 to 0.25 s apart; speakers as in av_digits."""
    draw = random.Random(seed)
    for part, n in zip(("train", "val"), count, strict=True):
        folder = work / "strings" / part
        folder.mkdir(parents=True, exist_ok=True)
        frame = pd.read_csv(DATA / "av_digits" / f"{part}.csv").drop_duplicates("audio")
        voices = {s: list(zip(f["audio"], f["digit"], strict=True)) for s, f in frame.groupby("speaker")}
        rows = []
        for i in range(n):
            speaker = draw.choice(sorted(voices))
            chosen = [draw.choice(voices[speaker]) for _ in range(draw.randint(3, 7))]
            waves = []
            for path, _ in chosen:
                wave, rate = soundfile.read(DATA / "av_digits" / path, dtype="float32")
                waves += [wave, np.zeros(int(rate * draw.uniform(0.05, 0.25)), dtype=np.float32)]
            soundfile.write(folder / f"{i}.wav", np.concatenate(waves), rate)
            said = " ".join(DIGITS[int(d)] for _, d in chosen)
            rows.append({"audio": f"{part}/{i}.wav", "said": said})
        pd.DataFrame(rows).to_csv(work / "strings" / f"{part}.csv", index=False)


def speech(work: Path) -> None:
    """flickr8k_speech without its ids, with whole paths."""
    for part in ("train", "val"):
        frame = pd.read_csv(DATA / "flickr8k_speech" / f"{part}.csv").drop(columns="id")
        for column in ("image", "audio"):
            frame[column] = [str((DATA.resolve() / "flickr8k_speech" / p).resolve()) for p in frame[column]]
        (work / "speech").mkdir(parents=True, exist_ok=True)
        frame.to_csv(work / "speech" / f"{part}.csv", index=False)


def home(name: str, work: Path) -> Path:
    """The folder of a run."""
    return work / "".join(c if c.isalnum() else "-" for c in name)


def run(name: str, how: dict[str, Any], work: Path, limit: str) -> dict[str, Any]:
    """Fit and evaluate; what is there already is read."""
    place = home(name, work)
    if (place / "result.json").exists():
        return json.loads((place / "result.json").read_text(encoding="utf-8"))
    ignored = " ".join(f"--ignore {c}" for c in how.get("ignored", ()))
    fit = how["fit"].format(d=DATA, w=work, t=limit, ignored=ignored)
    model, cache = place / "model", work / "cache"
    if not (model / "manifest.json").exists():
        command(f"fit {fit} --out {model} --cache {cache} --resume --json", place / "fit.json")
    report = json.loads((place / "fit.json").read_text(encoding="utf-8"))
    valid = how["valid"].format(d=DATA, w=work)
    scored = {}
    ways = {"all": "", **{f"without {m}": f"--without {m}" for m in how.get("without", ())}}
    ways |= {p: f"--precision {p}" for p in how.get("precisions", ())}
    ways |= {options: options for options in how.get("more", ())}
    for way, options in ways.items():
        command(f"evaluate {model} {valid} --cache {cache} {options} --json", place / "scores.json")
        scored[way] = json.loads((place / "scores.json").read_text(encoding="utf-8"))["metrics"]
    command(f"predict {model} {valid} --cache {cache} --out {place / 'predictions.csv'}", place / "predict.txt")
    result = {
        "fit": f"polymodal fit {fit}".replace(str(work), "WORK").replace(str(DATA), "DATA"),
        "seconds": report["seconds"], "memory": report["peak_memory_mb"], "epochs": len(report["history"]),
        "rows": report["rows"], "story": report["notes"], "scores": scored,
        "alone": {c["name"]: c["score"] for c in report["comparison"]["candidates"][1:]},
        "metric": report["comparison"]["metric"],
    }  # fmt: skip
    (place / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def command(line: str, out: Path) -> None:
    """One command of polymodal, its standard output in a file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as file:
        subprocess.run([sys.executable, "-m", "polymodal", *shlex.split(line)], stdout=file, check=True)


def page(results: dict[str, dict[str, Any]], work: Path) -> str:
    """The whole of docs/captioning.md."""
    lines = [HEAD]
    for name, found in results.items():
        metrics = RUNS[name]["metrics"]
        lines += [f"## {name}\n", f"```\n{found['fit']}\n```\n"]
        rows = f"{found['rows']['train']:,} rows to train on, {found['rows']['valid']:,} to validate on"
        lines += [f"{rows}; {found['seconds']:,.0f} s, {found['epochs']} epochs, at most {found['memory']:,.0f} MB.\n"]
        lines += ["| | " + " | ".join(metrics) + " |", "|---|" + "---|" * len(metrics)]
        for how, scores in found["scores"].items():
            lines.append(f"| {how} | " + " | ".join(interval(scores[m]) for m in metrics) + " |")
        if "flickr8k," in name:
            lines += [HUMAN, PUBLISHED]
        lines.append("")
        for other, score in found["alone"].items():
            lines.append(f"{other}, trained so: {found['metric']} {interval(score)}.")
        lines += [*(f"\n{line}".replace(str(work), "WORK") for line in found["story"]), "", *examples(name, work), ""]
    if (work / "speed.json").exists():
        lines += [SPEED, *speed(json.loads((work / "speed.json").read_text(encoding="utf-8"))["captioning"])]
    return "\n".join(lines).rstrip() + "\n"


def speed(found: dict[str, float]) -> list[str]:
    """What `python -m benchmarks captioning --json` measured, a line each."""
    return ["| | |", "|---|---|", *(f"| {what} | {value:,.2f} |" for what, value in found.items())]


def interval(score: dict[str, float]) -> str:
    """0.523 [0.500, 0.546]."""
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def examples(name: str, work: Path) -> list[str]:
    """The first ten validation rows, as the model writes them, beside what was asked for."""
    place = home(name, work)
    valid = pd.read_csv(RUNS[name]["valid"].format(d=DATA, w=work))
    said = pd.read_csv(place / "predictions.csv", keep_default_na=False)["prediction"]
    target = next(c for c in ("caption", "said", "spoken_caption", "caption_0") if c in valid)
    inputs = "image" if "image" in valid else "audio"
    first = valid.drop_duplicates(inputs).index[:10]
    out = ["| row | written | a reference |", "|---|---|---|"]
    drawn = name == DRAWN
    for i in first:
        row = f"[{i + 1}](pictures/{i + 1}.png)" if drawn else f"{i + 1}"
        out.append(f"| {row} | {said[i]} | {valid[target][i]} |")
    if drawn:
        out.append("\nThe pictures show what each word attended to; `--pictures` draws them.")
    return out


def pictures(work: Path, out: Path) -> None:
    """The attention of the first ten validation photographs."""
    model = home(DRAWN, work) / "model"
    valid = DATA / "flickr8k" / "val.csv"
    out.mkdir(parents=True, exist_ok=True)
    for i in pd.read_csv(valid).drop_duplicates("image").index[:10]:
        command(
            f"explain {model} {valid} --row {i + 1} --out {out / f'{i + 1}.png'} --cache {work / 'cache'}", work / "x"
        )


HUMAN = "| one human caption against four others | 0.788 | 0.625 | 0.429 | 0.290 | 0.196 | | 0.459 | |"
PUBLISHED = (
    "| Show, Attend and Tell, on the 1,000 test photos | | 0.67 | 0.457 | 0.314 | 0.213 | 0.203 (1.x, Java) | | |"
)
SPEED = """## Speed

The recipe of tutorials (`benchmarks/naive.py`; and its TensorFlow form, where that was installed) and polymodal with
the same widths, processes that took turns on the same two cores; milliseconds, and how many times faster.
`python -m benchmarks captioning --json > WORK/speed.json`

What misses its target. A caption at batch 1 reads 13.4 million weights a word. On one thread a product of one row with
20,000 x 512 weights takes 1.8 ms here in float32 and in bf16 and 0.55 ms in int8 (22 and 19 GB of float32 and int8
weights a second); at that rate 20 words take 48 ms in float32 and 14 ms in int8, where 30 and 70 times the speed of
TensorFlow would be 27 and 12 ms. So these aims are out of reach there for a search that reads the whole vocabulary with
these products; on two threads that was not measured. Two runs of this table on the same shared machine differed by up
to 1.8 times in what they took alone, and by as much in some ratios (an earlier one: 41.9 for the step with the image
network on one thread, 26.3 on two).

Losses and the attentive GRU are those of autograd and `F.cross_entropy`; this table was made when both had gradients of
their own, which had made a step 1.03 (float32) to 1.15 times (bf16) as fast with the transformer, and 1.1 to 1.3 times
with the GRU, on one thread: too little for their code.

Why int8 has maps of its own (`polymodal.quantize`). `python -m benchmarks quantized`, one thread, calls in turns, the
same maps replaced: float32 takes 2.0 times as long for one caption and 2.1 for 32. torchao 0.18 takes 1.9 times as long
for one caption and 1.5 for 32. torch's own dynamic quantisation takes 0.7 of the time for one caption and 1.0 for 32,
but it has one scale for all rows of a batch: beside a row that is a thousand times as large the others lose all that
they say, beside a NaN they end in an error; and it is deprecated. A row's answer must depend on that row alone, so ours
stays.
"""
HEAD = """# Text out of real data

What `polymodal fit` gives where the target is a text. Made by `python -m benchmarks.translation`; every sentence below
was written by the model above it. Metrics are on the sets' validation rows, with 95% bootstrap intervals over rows; no
test row was read. The epoch was chosen on the same rows, so the figures are a little high. BLEU, ROUGE-L and CIDEr-D
are those of the COCO caption evaluation; meteor_exact_stem is METEOR 1.5 with two of its four stages, equal words and
equal stems (on human captions 0.010 below the Java original). DATA is the folder of the real sets, WORK that of the
tables which the script makes.

What limits these models: 6,000 photographs, and a small network (MobileNetV2, 224 px) that stays frozen (the published
figures are with VGG features). On photographs the validation loss is lowest after seven epochs and CIDEr-D best after
ten; dropout of 0.3 in the place of 0.1 changes neither by more than noise (0.450). Self-critical epochs bring CIDEr-D
from 0.45 to 0.51 and BLEU-4 from 0.19 to 0.21, and half the words: 262 different ones, where there were 462.
An epoch in which the network learns too (`--init-from MODEL --finetune image --epochs 1 --lr 0.0003`, 14 minutes,
11 GB) ends at a CIDEr-D of 0.460 [0.430, 0.492], within noise of 0.452: it does not pay here. All else had
minutes of one core, shared with other work, and was still getting better. Speech has
three voices to learn digits from, and another to be judged on; 753 sentences of one synthetic voice teach how letters
sound, and not how words are spelled.
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.translation", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {'; '.join(RUNS)} (default: all)")
    parser.add_argument("--time-limit", default="30m", help="for each run (default: 30m)")
    parser.add_argument("--work", type=Path, default=Path("build/translation"))
    parser.add_argument("--pictures", action="store_true", help="draw the attention of ten captions")
    parser.add_argument("--page", type=Path, default=Path("docs/captioning.md"))
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(RUNS):
        parser.error(f"no run {', '.join(unknown)}; there are: {'; '.join(RUNS)}")
    chosen.work.mkdir(parents=True, exist_ok=True)
    for make in (digits, strings, speech):
        if not (chosen.work / make.__name__).exists():
            make(chosen.work)
    for name in chosen.names or RUNS:
        run(name, RUNS[name], chosen.work, chosen.time_limit)
    done = {n: run(n, RUNS[n], chosen.work, "") for n in RUNS if (home(n, chosen.work) / "result.json").exists()}
    chosen.page.write_text(page(done, chosen.work), encoding="utf-8")
    if chosen.pictures:
        pictures(chosen.work, chosen.page.parent / "pictures")
