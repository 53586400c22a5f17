"""`polymodal learning-curve`: how much a model gains with labels, and how many a head start saves.

labelled training rows --nested fractions--> fit, plain and with a head start --> scores on the same validation rows

A head start is pretraining on all rows (`--pretrain`), or another model's encoders (`--init-from`). Rows whose label
is not in a fraction stay in the table, without it: what the head start may learn from them is what it is measured for.
"""

import bisect
import copy
import csv
import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.data.splits import own
from polymodal.data.table import Table, digest
from polymodal.errors import InputError
from polymodal.evaluate.intervals import Interval, difference, score_interval
from polymodal.experiment import runs
from polymodal.experiment.budget import Budget
from polymodal.experiment.config import Columns, Config, Record, Run, Search, Training, with_hardware
from polymodal.experiment.fit import SEARCHES, check_fusion, fit
from polymodal.experiment.problem import Problem, state
from polymodal.model import load
from polymodal.objectives.colearning import Colearning
from polymodal.output import Scores
from polymodal.saving import json_text, put
from polymodal.tasks.base import Task
from polymodal.view import blocks, plot
from polymodal.view.plot import Line, Plot
from polymodal.view.text import interval, not_shown

FRACTIONS, FEWEST = (0.05, 0.1, 0.25, 0.5, 1.0), 4  # of the labels; labels that a training needs
PLAIN, HELP = "plain", "helped"


class Point(NamedTuple):
    """A fraction of the labels, and how many that is. plain, helped: scores on the validation rows; gain: helped minus
    plain, paired, positive where the head start is better. helped and gain are None without one.
    """

    fraction: float
    labels: int
    plain: Interval
    helped: Interval | None
    gain: Interval | None


class Curve(NamedTuple):
    """Scores by labels. start: the head start in words, or None. saved: the fraction of the labels with which it
    reaches what all give without it; None where it does not.
    """

    metric: str
    higher: bool
    labels: int
    valid: int
    start: str | None
    points: list[Point]
    saved: float | None
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        points = [
            {k: v._asdict() if isinstance(v, Interval) else v for k, v in p._asdict().items()} for p in self.points
        ]
        return {**self._asdict(), "points": points}

    def write(self, folder: Path) -> list[Path]:
        """curve.json, curve.csv and, where matplotlib is there, curve.png."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "curve.json", folder / "curve.csv"]
        text = json_text(_finite(self.to_json()))
        paths[0].write_text(text, encoding="utf-8")
        with paths[1].open("w", newline="", encoding="utf-8") as file:
            write = csv.writer(file)
            parts = ("value", "low", "high")
            write.writerow(["fraction", "labels", *(f"{a}_{b}" for a in (PLAIN, HELP, "gain") for b in parts)])
            for p in self.points:
                spans = [x or (None,) * 3 for x in (p.plain, p.helped, p.gain)]
                write.writerow([p.fraction, p.labels, *(v for span in spans for v in span)])
        if plot.available():
            paths.append(folder / "curve.png")
            put(paths[-1], plot.png(curve_plot(self)))
        return paths


@with_hardware
def learning_curve(
    table: Any,
    target: str | Sequence[str],
    *,
    fractions: Sequence[float] = FRACTIONS,
    valid: Any = None,
    group: str | None = None,
    ignore: Sequence[str] = (),
    task: str | None = None,
    time_limit: float | str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    config: Record | Sequence[Record] = (),
) -> Curve:
    """Fit with several fractions of the labelled training rows, with and without a head start (`pretrain` or
    `init_from` of `Colearning`), and score on the same validation rows.

    fractions: each from above 0 to 1; the rows of one are among those of the next, strata in proportion, groups whole.
    A fraction is raised to where each class of the validation rows is in it, and at least `FEWEST` labels. out: where
    finished fits are kept, so that `Run(resume=True)` goes on. The rest is as for `polymodal.fit`, the time limit in
    equal shares, the fusion "gated" by default. Raises InputError for what can't be learned from, and for texts.
    """
    request = Config.of(config, "learning_curve", (Columns, Search, Training, Run, Colearning))
    request = request._replace(search=request.search._replace(fusion=request.fusion or "gated", baselines=False))
    colearning = request.colearning
    fractions = _check(fractions, request)
    request.training.check(seed)
    size, columns = request.search.size, request.columns
    problem = state(table, target, group=group, ignore=ignore, task=task, size=size, columns=columns)
    problem.objective.require(
        "compare", "a learning curve is of labels, and the target is texts; name another target column"
    )
    train_at, valid_at = (list(range(problem.table.rows)), []) if valid is not None else problem.split(seed)
    held_table = Table.read(valid) if valid is not None else problem.table.take(valid_at)
    learn = problem.table.take(train_at)
    problem = problem.fitted(learn)
    order = nested_order(problem, learn, seed)
    if colearning.init_from is not None:
        _check_unseen(colearning.init_from, problem)
    least = _least(problem, learn, held_table, order)
    asked = [math.ceil(round(f * len(order), 6)) for f in fractions]
    steps = sorted({max(least, n) for n in asked})
    arms = [PLAIN, HELP] if colearning != Colearning() else [PLAIN]
    store = _Store(
        None if out is None else Path(out), request.run,
        [
            digest(learn), digest(held_table), *problem.schema.target, problem.schema.group, problem.task.name,
            {c.name: c.kind for c in problem.schema.columns.values()}, request.search, request.columns,
            request.training, colearning.key(), seed,
        ],
    )  # fmt: skip
    limit = Budget.asked(time_limit).seconds(1 / (len(steps) * len(arms)))
    points: list[Point] = []
    for labels in steps:
        part = _only(problem, learn, order[:labels])
        outputs = {}
        for arm in arms:
            config_of_arm = request._replace(colearning=colearning if arm == HELP else Colearning())
            train = partial(_fit, problem, held_table, part, config_of_arm, seed, limit)
            outputs[arm] = store.of(f"{arm}-{labels}", train)
        points.append(_point(problem, part, held_table, labels / len(order), labels, outputs))
    curve = _curve(problem, held_table, colearning, points, len(order))
    raised = f"; fractions of fewer than {least:,} labels were raised to as many" * (min(asked) < least)
    return curve._replace(sentence=curve.sentence + raised)


def nested_order(problem: Problem, learn: Table, seed: int) -> list[int]:
    """Labelled rows in an order whose every beginning has classes in proportion, each as early as can be.

    With groups, whole groups one after another, first those that bring classes which are not there yet.
    """
    cells = problem.cells(learn)
    rows = [i for i, c in enumerate(cells) if c is not None]
    strata = problem.task.strata([cells[i] for i in rows]) or [""] * len(rows)
    names = [str(s) for s in strata]
    g = np.random.default_rng(seed)
    groups = problem.groups(learn)
    if groups is not None:
        of = own([groups[i] for i in rows])
        members: dict[str, list[int]] = {}
        for k, name in enumerate(of):
            members.setdefault(name, []).append(k)
        remaining = [list(members)[i] for i in g.permutation(len(members))]
        out: list[int] = []
        classes: set[str] = set()
        while remaining:
            best = max(remaining, key=lambda name: len({names[k] for k in members[name]} - classes))
            remaining.remove(best)
            classes |= {names[k] for k in members[best]}
            out += members[best]
        return [rows[k] for k in out]
    place = np.zeros(len(rows))
    for name in dict.fromkeys(names):
        own_rows = np.array([k for k, n in enumerate(names) if n == name])
        at = (np.arange(len(own_rows)) + g.random()) / len(own_rows)
        at[0] = -1  # one of each class first: none is unknown in validation
        place[g.permutation(own_rows)] = at
    return [rows[k] for k in np.argsort(place, kind="stable")]


def _least(problem: Problem, learn: Table, held_table: Table, order: Sequence[int]) -> int:
    """How many labels, in this order, are needed to know each label of the validation rows; at least `FEWEST`."""
    cells, held = problem.cells(learn), problem.cells(held_table)

    def enough(labels: int) -> bool:
        try:
            task = copy.deepcopy(problem.task).fit([cells[i] for i in order[:labels]])
            for cell in held:
                task.encode(cell)
        except InputError:  # too few to learn from, or a label that is unknown
            return False
        return True

    first = min(FEWEST, len(order))
    return first + bisect.bisect_left(range(first, len(order)), True, key=enough)


def labels_for(points: Sequence[tuple[float, float]], problem: float) -> float | None:
    """At which x a curve through these points (x, y), ascending in x, first has y >= goal, by linear interpolation.

    A point whose y is NaN is left out.

    >>> labels_for([(10.0, 0.5), (20.0, 0.7), (40.0, 0.8)], 0.75)
    30.0
    """
    before: tuple[float, float] | None = None
    for x, y in points:
        if math.isnan(y):
            continue
        if y >= problem:
            if before is None or y == problem:
                return x
            return before[0] + (x - before[0]) * (problem - before[1]) / (y - before[1])
        before = x, y
    return None


def curve_plot(curve: Curve) -> Plot:
    """Scores over labels, with and without the head start."""
    points = {"labels alone": [p.plain for p in curve.points]}
    if curve.start is not None:
        points[curve.start] = [p.helped for p in curve.points if p.helped]
    labels = [p.labels for p in curve.points]
    lines = [Line(name, labels, *zip(*scores, strict=True)) for name, scores in points.items()]
    up = f"{curve.metric} ({'higher' if curve.higher else 'lower'} is better)"
    title = f"{curve.metric} by labelled training rows"
    return plot.curves(title, lines, "labelled training rows", up, ticks=[(n, f"{n:,}") for n in labels], log=True)


def _check(fractions: Sequence[float], request: Config) -> list[float]:
    """The fractions, ascending, all of the labels among them."""
    if not fractions or any(not 0 < f <= 1 for f in fractions):
        raise InputError(
            f"--fractions can't be {', '.join(map(str, fractions)) or 'nothing'}; each lies above 0, and at 1 most"
        )
    if request.fusion in SEARCHES:
        raise InputError(
            f"a learning curve is of one network: --fusion={request.fusion} chooses among several; name one, gated"
        )
    check_fusion(request.fusion)
    request.colearning.check(request.fusion, request.training.modality_dropout)
    return sorted({*fractions, 1.0})


def _check_unseen(origin: str, problem: Problem) -> None:
    plan = load(Path(origin)).report.plan
    if plan.get("target") == problem.schema.target and plan.get("table") == digest(problem.table):
        raise InputError(
            f"--init-from={origin}: that model has seen all labels of {problem.table.name}, so it would not show what "
            "few labels give; name a model of another table or another target"
        )


def _only(problem: Problem, learn: Table, rows: Sequence[int]) -> Table:
    """The training rows, all but these without their label."""
    keep = set(rows)
    blank = {t: [c if i in keep else None for i, c in enumerate(learn.cells(t))] for t in problem.schema.target}
    return learn.replaced(blank)


def _fit(problem: Problem, held_table: Table, part: Table, request: Config, seed: int, limit: float | None) -> Tensor:
    """(N, outputs) logits on the validation rows of a model of these training rows."""
    columns = problem.schema.columns.values()
    columns_of = {c for _, names in problem.schema.modalities().values() for c in names}
    kinds = {c.name: c.kind for c in columns if c.name in columns_of}
    model = fit(
        part, problem.schema.target, valid=held_table, group=problem.schema.group, task=copy.deepcopy(problem.task),
        time_limit=limit, ignore=[c.name for c in columns if c.kind in ("ignored", "id")], seed=seed,
        config=[
            request.columns._replace(kinds=kinds), request.search, request.training, request.colearning,
            Run(cache=request.run.cache, progress=request.run.progress),
        ],
    )  # fmt: skip
    return model.logits(model.preprocessor.encode(held_table, None, cache=request.run.cache_folder, quiet=True))


def _point(
    problem: Problem, part: Table, held_table: Table, fraction: float, labels: int, outputs: dict[str, Tensor]
) -> Point:
    """The scores of one fraction, by a task that was fitted as that of its models: the scale of numbers is in it."""
    task, metric = copy.deepcopy(problem.task).fit(problem.cells(part)), problem.task.metric
    target, groups = _target(task, problem, held_table), problem.groups(held_table)
    score = score_interval(task, Scores(outputs[PLAIN]), target, groups)
    if HELP not in outputs:
        return Point(fraction, labels, score, None, None)
    other = score_interval(task, Scores(outputs[HELP]), target, groups)
    gain = difference(task, Scores(outputs[HELP]), Scores(outputs[PLAIN]), target, metric.name, groups)
    gain = gain if metric.higher else Interval(-gain.value, -gain.high, -gain.low)
    return Point(fraction, labels, score, other, gain)


def _target(task: Task, problem: Problem, held_table: Table) -> Masked:
    return task.collate([task.encode(c) for c in problem.cells(held_table)])


def _curve(problem: Problem, held_table: Table, colearning: Colearning, points: list[Point], labels: int) -> Curve:
    metric = problem.task.metric
    sign = 1 if metric.higher else -1
    count = int(_target(problem.task, problem, held_table).present().sum())
    start = " and ".join(
        [f"pretraining ({colearning.pretrain})"] * (colearning.pretrain is not None)
        + [f"beginning with {colearning.init_from}"] * (colearning.init_from is not None)
    )
    whole = points[-1].plain.value
    if not start and colearning != Colearning():
        start = ", ".join(colearning.options())
    if not start:
        sentence = (
            f"{metric.name} is {whole:.3f} with all {labels:,} labels; --pretrain or --init-from show what they save"
        )
        return Curve(metric.name, metric.higher, labels, count, None, points, None, sentence)
    if not any(p.gain is not None and p.gain.low > 0 for p in points):
        sentence = not_shown(f"gain of {start} over training without it", count)
        return Curve(metric.name, metric.higher, labels, count, start, points, None, sentence)
    at = labels_for([(p.labels, sign * p.helped.value) for p in points if p.helped], sign * whole)
    if at is None:
        sentence = (
            f"{start} saves none: with no fraction of the labels does it reach {metric.name} {whole:.3f}, which all"
        )
        return Curve(
            metric.name, metric.higher, labels, count, start, points, None, f"{sentence} {labels:,} give without it"
        )
    saving = 1 - at / labels
    first = " or fewer" if at == points[0].labels else ""
    sentence = (
        f"{start} reaches {metric.name} {whole:.3f}, which all {labels:,} labels give without it, with "
        f"{at:,.0f}{first}: it saves {saving:.0%} of the labels, give or take what the intervals show"
    )
    return Curve(metric.name, metric.higher, labels, count, start, points, saving, sentence)


class _Store:
    """Logits of each fit as a file, so that an interrupted run goes on."""

    def __init__(self, folder: Path | None, run: Run, plan: Sequence[Any]) -> None:
        self.folder = None if folder is None else folder / "fits"
        self.key = runs.key(map(str, plan))
        if self.folder is None or folder is None:
            return
        runs.check_place(folder)
        if folder.exists() and any(folder.iterdir()) and not (run.resume or run.overwrite):
            raise InputError(
                f"{folder} holds something; add --resume to go on with it, --overwrite to begin anew, or name another "
                "folder with --out"
            )
        self.resume = run.resume
        self.folder.mkdir(parents=True, exist_ok=True)

    def of(self, name: str, make: Any) -> Tensor:
        """What is kept under this name by the same plan, or what `make` gives, which is then kept."""
        if self.folder is None:
            return make()  # type: ignore[no-any-return]
        path = self.folder / f"{name}.json"
        if self.resume and path.exists():
            try:
                form = json.loads(path.read_text(encoding="utf-8"))
                if form["plan"] == self.key:
                    return torch.tensor(form["logits"])
            except (ValueError, KeyError, TypeError):
                pass  # half written: it is fitted again
        logits: Tensor = make()
        path.write_text(json.dumps({"plan": self.key, "logits": logits.tolist()}), encoding="utf-8")
        return logits


def _finite(form: Any) -> Any:
    if isinstance(form, dict):
        return {k: _finite(v) for k, v in form.items()}
    if isinstance(form, list):
        return [_finite(v) for v in form]
    return None if isinstance(form, float) and not math.isfinite(form) else form


def brief(curve: Curve) -> list[blocks.Block]:
    """A row a point: fraction, labels, plain, helped, gain; and what follows."""
    rows = [
        [f"{p.fraction:.0%}", f"{p.labels:,}", *(interval(x) if x else "" for x in (p.plain, p.helped, p.gain))]
        for p in curve.points
    ]
    head = ["fraction", "labels", "labels alone", curve.start or "", "gain" if curve.start else ""]
    title = f"{curve.metric} on {curve.valid:,} validation rows"
    return [blocks.Table(title, head, rows), blocks.Words(curve.sentence)]
