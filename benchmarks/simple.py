"""`python -m benchmarks.simple [SET ...]`: the default of `fit` beside simple models, on rows that neither has seen.

The simple models are what a person writes in fifteen lines: TF-IDF and a linear model, boosted trees on the raw columns
and 30 components of character n-grams, a linear model on classical features, a linear model on raw windows, and the
last reading. `printed` is the score that `fit` says of its model, `held out` that on the rows kept from it: the table
closes with how far they lie apart. Each set and seed is appended to --out as one JSON line, so that an interrupted run
goes on where it stopped.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import polymodal
from polymodal.experiment.config import Search
from polymodal.extract import features as classical
from polymodal.tasks.infer import guess

DATA = Path(os.environ.get("POLYMODAL_DATA", "../shared/data"))
UTD = ("action", "trial", "inertial_samples", "kinect_frames", "id")
CATEGORIES = 100  # that get a code
STRENGTHS = np.logspace(-3, 4, 15)


class Split(NamedTuple):
    """Rows to learn from, and rows kept from whoever learns; paths are relative to `folder`."""

    learn: pd.DataFrame
    held: pd.DataFrame
    target: str
    models: tuple[str, ...]
    group: str | None = None
    ignore: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Is the target a number?"""
        return self.learn[self.target].dtype.kind == "f"

    @property
    def columns(self) -> list[str]:
        """What a model may read."""
        return [c for c in self.learn.columns if c not in (self.target, self.group, *self.ignore)]


def table(path: Path) -> pd.DataFrame:
    """The table, with the paths of its files made whole."""
    frame = pd.read_json(path, lines=True) if path.suffix == ".jsonl" else pd.read_csv(path)
    for name in frame.select_dtypes(include=["object", "string"]):
        first = frame[name].dropna().iloc[0]
        if isinstance(first, str) and len(first) < 200 and (path.parent / first).is_file():
            frame[name] = [None if pd.isna(x) else str(path.parent / x) for x in frame[name]]
    return frame


def parts(name: str, target: str, *models: str, group: str | None = None, ignore: tuple[str, ...] = ()) -> Split:
    """The training rows of a set, and its validation rows."""
    train, valid = (sorted((DATA / name).glob(f"{part}.*"))[-1] for part in ("train", "val"))
    return Split(table(train), table(valid), target, models, group, ignore)


def multabench(name: str, fold: int) -> Split:
    """A fold of the benchmark, parted as it parts it."""
    frame = pd.read_csv(DATA / f"multabench/{name}.csv").astype({"price": float})
    held = frame.index.isin(json.loads((DATA / "multabench/splits.json").read_text())[name][str(fold)])
    return Split(frame[~held], frame[held], "price", ("text", "trees"))


def weather(seed: int, days: int = 1300, window: int = 14) -> Split:
    """Three readings a day for 14 days -> tomorrow's temperature; the last 400 days are held out. Made here."""
    g = np.random.default_rng(seed)
    t = np.arange(days + window + 1)
    front, cold = np.zeros(len(t)), np.zeros(len(t))
    for i in t[1:]:
        front[i] = 0.8 * front[i - 1] + g.normal(0, 4)
        cold[i] = 0.75 * cold[i - 1] + g.normal(0, 2) - 0.15 * front[i - 1]
    warm = 12 - 9 * np.cos(2 * np.pi * t / 365.25) + cold
    x = np.stack([warm, 1013 + front + g.normal(0, 0.5, len(t)), 70 - 1.2 * cold + g.normal(0, 6, len(t))], 1).round(2)
    past = [x[i : i + window].tolist() for i in range(days)]
    frame = pd.DataFrame({"past": past, "tomorrow": x[window : window + days, 0]})
    return Split(frame[:900], frame[900:], "tomorrow", ("last", "windows"))


def shop(seed: int, target: str, rows: int = 800) -> Split:
    """A note, a photo's colours as numbers, a price with gaps: what tells the kind is spread over them. Made here."""
    g = np.random.default_rng(seed)
    red, praise = g.random(rows) < 0.5, g.random(rows) < 0.5
    good = np.where(g.random(rows) < 0.1, g.random(rows) < 0.5, red == praise)
    words = np.array("really very this it was box came today well hm".split())
    note = [" ".join([*g.choice(words, 4), "lovely" if p else "awful", *g.choice(words, 2)]) for p in praise]
    price = (g.lognormal(3, 0.5, rows) * np.where(good, 2.0, 1.0)).round(2)
    frame = pd.DataFrame({"note": note, "red": np.where(red, 200, 40) + g.normal(0, 30, rows), "price": price})
    frame["kind"] = np.where(good, "good", "poor")
    for name in ("note", "red"):
        frame.loc[g.random(rows) < 0.2, name] = None
    return Split(frame[:600], frame[600:], target, ("text", "trees"))


SETS: dict[str, Callable[[int], Split]] = {
    "babies": lambda seed: multabench("babies", seed),
    "bikewale": lambda seed: multabench("bikewale", seed),
    "utd_mhad": lambda seed: parts("utd_mhad", "label", "features", group="subject", ignore=UTD),
    "mosi": lambda seed: parts("mosi", "label", "text", "features", group="video_id"),
    "av_digits": lambda seed: parts("av_digits", "digit", "features", group="speaker", ignore=("id",)),
    "skin": lambda seed: parts("skin", "dx", "trees", "features", ignore=("id",)),
    "stress": lambda seed: parts("stress", "label", "features", group="subject", ignore=("id", "start_s")),
    "weather": weather,
    "shop, kind": lambda seed: shop(seed, "kind"),
    "shop, price": lambda seed: shop(seed, "price"),
}


def linear(numeric: bool) -> Any:
    """A ridge or logistic regression whose strength is cross-validated."""
    if numeric:
        return RidgeCV(STRENGTHS)
    return LogisticRegressionCV(
        Cs=6, cv=3, max_iter=500, l1_ratios=(0,), use_legacy_attributes=False, scoring="neg_log_loss"
    )


def text(split: Split) -> Any:
    """TF-IDF of words and pairs of them, of all columns of text in one, and a linear model."""
    of = [c for c in split.columns if split.learn[c].map(lambda x: isinstance(x, str)).mean() > 0.3]
    joined = [f[of].fillna("").astype(str).agg(" ".join, axis=1) for f in (split.learn, split.held)]
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), linear(split.numeric))
    return model.fit(joined[0], split.learn[split.target]).predict(joined[1])


def trees(split: Split) -> Any:
    """LightGBM on numbers, codes of categories, and 30 components of character n-grams of each column of text."""
    learn, held = {}, {}
    for c in split.columns:
        a, b = split.learn[c], split.held[c]
        if a.dtype.kind in "if":
            learn[c], held[c] = a, b
        elif a.map(lambda x: isinstance(x, str)).mean() > 0.3 and not Path(str(a.dropna().iloc[0])).is_file():
            if a.nunique() <= CATEGORIES:  # of more, codes would be the order of the table
                codes = {v: i for i, v in enumerate(a.dropna().unique())}
                learn[c], held[c] = a.map(codes), b.map(codes)
            grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=20_000)
            counts = grams.fit_transform(a.fillna(""))
            svd = TruncatedSVD(min(30, counts.shape[1] - 1), random_state=0).fit(counts)
            for i, (x, y) in enumerate(zip(svd.transform(counts).T, svd.transform(grams.transform(b.fillna(""))).T,
                                           strict=True)):  # fmt: skip
                learn[f"{c}{i}"], held[f"{c}{i}"] = x, y
    model = (LGBMRegressor if split.numeric else LGBMClassifier)(
        n_estimators=600, learning_rate=0.05, n_jobs=1, random_state=0, verbose=-1
    )
    x, y = (pd.DataFrame(z).reset_index(drop=True).to_numpy(dtype=float) for z in (learn, held))
    return model.fit(x, split.learn[split.target]).predict(y)


def features(split: Split) -> Any:
    """A linear model on classical features of every column that has them, and its numbers."""
    a, b = (f[split.columns].reset_index(drop=True) for f in (split.learn, split.held))
    vectors = [c for c in split.columns if isinstance(a[c].iloc[0], list)]
    x, y = (
        np.concatenate([_numbers(f.drop(columns=vectors), a.drop(columns=vectors)), *(_rows(f[c]) for c in vectors)], 1)
        for f in (a, b)
    )
    model = make_pipeline(StandardScaler(), linear(split.numeric))
    return model.fit(x, split.learn[split.target]).predict(y)


def _numbers(frame: pd.DataFrame, learn: pd.DataFrame) -> Any:
    found = classical(frame, learn=learn).frame.select_dtypes(include="number")
    return found.fillna(found.mean()).fillna(0.0).to_numpy(dtype=float)


def _rows(cells: Any) -> Any:
    return np.array(cells.tolist(), dtype=float).reshape(len(cells), -1)


def windows(split: Split) -> Any:
    """Ridge regression on all readings of a window."""
    (c,) = split.columns
    x, y = (_rows(f[c]) for f in (split.learn, split.held))
    return make_pipeline(StandardScaler(), RidgeCV(STRENGTHS)).fit(x, split.learn[split.target]).predict(y)


def last(split: Split) -> Any:
    """Persistence: the last reading of the first channel."""
    (c,) = split.columns
    return [cell[-1][0] for cell in split.held[c]]


MODELS: dict[str, Callable[[Split], Any]] = {
    "text": text, "trees": trees, "features": features, "windows": windows, "last": last
}  # fmt: skip


def run(name: str, seed: int, limit: float | None, fusion: str) -> dict[str, Any]:
    """Scores by the metric of the task, and seconds."""
    split = SETS[name](seed)
    task, _ = guess(split.learn[split.target].tolist(), [split.target])
    task = task.fit(split.learn[split.target].tolist())
    metric = task.metric.name
    simple = {}
    for model in split.models:
        begun = time.monotonic()
        answers = MODELS[model](split)
        simple[model] = [_score(metric, split.held[split.target], answers), round(time.monotonic() - begun, 1)]
    begun = time.monotonic()
    made = polymodal.fit(
        split.learn, split.target, group=split.group, ignore=split.ignore, time_limit=limit, seed=seed,
        config=Search(fusion=fusion),
    )  # fmt: skip
    seconds = time.monotonic() - begun
    answers = made.predict(split.held)["prediction"].tolist()
    best = made.report.comparison.candidates[0]
    return {
        "set": name, "seed": seed, "metric": metric, "held out": _score(metric, split.held[split.target], answers),
        "printed": best.score.value, "model": best.name, "seconds": round(seconds, 1), "simple": simple,
        "rows": [len(split.learn), len(split.held)],
    }  # fmt: skip


def _score(metric: str, truth: Any, answers: Any) -> float:
    from sklearn import metrics

    if metric == "r2":
        return float(metrics.r2_score(np.asarray(truth, dtype=float), np.asarray(answers, dtype=float)))
    truth, answers = [str(x) for x in truth], [str(x) for x in answers]
    if metric == "macro_f1":
        return float(metrics.f1_score(truth, answers, average="macro"))
    return float(getattr(metrics, f"{metric}_score")(truth, answers))


def page(found: list[dict[str, Any]]) -> str:
    """The table, and how far what is printed lies from what is held out."""
    lines = [
        "| set | seed | metric | `fit` | seconds | printed | best simple | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for x in found:
        best = max(x["simple"], key=lambda k: x["simple"][k][0])
        score, seconds = x["simple"][best]
        lines.append(
            f"| {x['set']} | {x['seed']} | {x['metric']} | {x['held out']:.3f} | {x['seconds']:.0f} | "
            f"{x['printed']:.3f} | {best} {score:.3f} | {seconds:.0f} |"
        )
    gaps = [x["printed"] - x["held out"] for x in found]
    worst = max(range(len(gaps)), key=lambda i: abs(gaps[i]))
    size = f"mean {np.mean(gaps):+.3f}, mean size {np.mean(np.abs(gaps)):.3f}"
    where = f"worst {gaps[worst]:+.3f} ({found[worst]['set']}, seed {found[worst]['seed']})"
    lines += ["", f"Printed less held out, of {len(gaps)}: {size}, {where}."]
    return "\n".join(lines)


def main() -> None:
    """Run the sets that are asked for, and print the table of all that is in --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"of: {', '.join(SETS)} (default: all)")
    parser.add_argument("--seeds", type=int, default=1, help="folds, or seeds, of each set (default: 1)")
    parser.add_argument("--time-limit", type=float, metavar="S", help="seconds of a fit (default: fit's own)")
    parser.add_argument("--fusion", default="auto", help="as for fit (default: auto)")
    parser.add_argument("--out", type=Path, default=Path("simple.jsonl"))
    arguments = parser.parse_args()
    kept = [json.loads(x) for x in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    for seed in range(arguments.seeds):
        for name in arguments.sets or SETS:
            if not any((x["set"], x["seed"]) == (name, seed) for x in kept):
                kept.append(run(name, seed, arguments.time_limit, arguments.fusion))
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(kept[-1]) + "\n")
    print(page(kept))


if __name__ == "__main__":
    main()
