"""The page of all results: a table, what fits lose, and how far what is printed lies from what is held out."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.real.sets import SETS, known

Line = Mapping[str, Any]
HEAD = """# Results on real data

The default of `polymodal fit` beside simple models, on rows that neither has seen: a fold of the benchmark (babies,
bikewale), the set's validation rows, a stratified quarter (basic_motions), or the last rows of what the benchmark
makes (weather, shop). The interval is a 95 % bootstrap of the held-out rows, by whole groups where the set has any.
`printed` is what `fit` says of its model. The simple model is the best there of those that the set has: TF-IDF and a
linear model (text), boosted trees on raw columns and components of character n-grams (trees), a linear model on
classical features (features), on raw windows (windows), the last reading, the most frequent label (majority). Known
figures of babies and bikewale are of the same folds: the best published model with a frozen text encoder, and the
best with one that was tuned on the fold (ft). Those of other sets are of their test rows, unless they say otherwise.
Of several seeds or folds, the last row of a set is the mean.
"""
COLUMNS = (
    "set", "seed", "metric", "`fit`, held out", "95 % interval", "printed", "seconds", "limit", "best simple",
    "seconds", "known",
)  # fmt: skip


class Row(NamedTuple):
    """One metric of one line, or its mean over several."""

    lines: Sequence[Line]
    metric: str
    held: float
    interval: Sequence[float] | None
    printed: float | None
    simple: tuple[str, float, float]  # name, score and seconds of the best
    known: Mapping[str, float]

    @classmethod
    def of(cls, lines: Sequence[Line], metric: str) -> "Row":
        """What the lines say by this metric."""
        own = metric == lines[0]["metric"]
        scores = [x if own else x["also"][metric] for x in lines]
        simple = {m: mean(s["simple"][m][0] for s in scores) for m in scores[0]["simple"]}
        best = max(simple, key=simple.__getitem__)
        return cls(
            lines, metric, mean(s["held out"] for s in scores),
            scores[0].get("interval") if len(lines) == 1 else None,
            mean(x["printed"] for x in lines) if own else None,
            (best, simple[best], mean(x["simple"][best][1] for x in lines)),
            known(lines[0]["set"], [x["seed"] for x in lines], metric),
        )  # fmt: skip

    def __str__(self) -> str:
        first, several = self.lines[0], len(self.lines) > 1
        name, score, seconds = self.simple
        cells = [
            first["set"],
            f"mean of {len(self.lines)}" if several else str(first["seed"]),
            self.metric,
            f"{self.held:.3f}",
            "" if self.interval is None else "{:.3f} to {:.3f}".format(*self.interval),
            "" if self.printed is None else f"{self.printed:.3f}",
            f"{mean(x['seconds'] for x in self.lines):.0f}",
            "" if several else _limit(first),
            f"{name} {score:.3f}",
            f"{seconds:.0f}",
            "; ".join(f"{name} {score:.3f}" for name, score in self.known.items()),
        ]
        return f"| {' | '.join(cells)} |"

    @property
    def losses(self) -> list[str]:
        """By how much it is below what."""
        others = {f"the simple model ({self.simple[0]})": self.simple[1]}
        if self.known:
            best = max(self.known, key=self.known.__getitem__)
            others[best] = self.known[best]
        return [f"{x - self.held:.3f} below {name}" for name, x in others.items() if x > self.held]


def page(found: Sequence[Line]) -> str:
    """The page, of one line a set and seed."""
    table = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    texts = []
    for name in SETS:
        lines = sorted((x for x in found if x["set"] == name), key=lambda x: x["seed"])
        if lines:
            table += [str(Row.of([x], m)) for x in lines for m in _metrics(x)]
            every = [Row.of(lines, m) for m in _metrics(lines[0]) if all(m in _metrics(x) for x in lines)]
            table += map(str, every if len(lines) > 1 else ())
            texts.append(_text(name, lines, every))
    return "\n".join(
        [HEAD, *table, "", "## The sets, and where fits lose", "", *texts, "", _gaps(found), "", _made(found), ""]
    )


def _metrics(line: Line) -> list[str]:
    return [line["metric"], *line.get("also", ())]


def _text(name: str, lines: Sequence[Line], rows: Sequence[Row]) -> str:
    learn, held = lines[0]["rows"]
    chosen = ", ".join(dict.fromkeys(x["model"] for x in lines))
    losses = [f"{', '.join(row.losses)} ({row.metric})" for row in rows if row.losses]
    found = f" {'; '.join(losses)}." if losses else ""
    why = f" {SETS[name].why}" if SETS[name].why else ""
    return f"- **{name}**: {learn:,} rows to learn from, {held:,} held out; the model is {chosen}.{found}{why}"


def _limit(line: Line) -> str:
    limit, fusion = line.get("limit"), line.get("fusion", "auto")
    return ", ".join(([] if limit is None else [f"{limit:g}"]) + ([] if fusion == "auto" else [fusion]))


def _gaps(found: Sequence[Line]) -> str:
    gaps = [x["printed"] - x["held out"] for x in found]
    worst = max(range(len(gaps)), key=lambda i: abs(gaps[i]))
    where = f"{gaps[worst]:+.3f} ({found[worst]['set']}, seed {found[worst]['seed']})"
    size = mean(map(abs, gaps))
    return f"Printed less held out, of {len(gaps)} pairs: mean {mean(gaps):+.3f}, mean size {size:.3f}, worst {where}."


def _made(found: Sequence[Line]) -> str:
    machines = "; ".join(dict.fromkeys(x["machine"] for x in found if "machine" in x))
    return (
        "Made by `python -m benchmarks.real SET --seeds N --time-limit S` on one thread. The table has S as the limit, "
        "and the fusion where it was not `auto`; without a limit, `fit` had its own."
        + (f" Machine: {machines}." if machines else "")
    )
