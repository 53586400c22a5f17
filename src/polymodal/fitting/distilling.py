"""`polymodal distill`: a model that has all modalities teaches one that has some of them, and is it worth it?

teacher, on all modalities --logits of the training rows--> student, on those kept   } compared on the same
the same student, from the same labels, rows, epochs and seed, without the teacher   } held-out rows
"""

import copy
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal import uncertainty
from polymodal.batch import Batch, Masked
from polymodal.colearn import distill as lessons
from polymodal.colearn.distill import TEACHER, Distilled
from polymodal.data.cache import default_folder
from polymodal.data.preprocess import Rows
from polymodal.data.table import Table, digest, unknown
from polymodal.errors import InputError
from polymodal.evaluate.compare import Result, compare
from polymodal.fitting import problem, runs
from polymodal.fitting.candidates import Networks, logits_of, peak_memory_mb
from polymodal.fitting.colearning import Colearning
from polymodal.fitting.fit import AUTO, FEATURES, known
from polymodal.fitting.problem import Problem, Reading
from polymodal.model import Model, load
from polymodal.tasks.generate import Generation
from polymodal.train import Settings

DISTILLED, ALONE, ALL = "distilled", "without a teacher", "the teacher, on all"


class Taught(Rows):
    """Rows whose batches hold a teacher's logits too, as the target `TEACHER`; each row counts, labelled or not."""

    def __init__(self, rows: Rows, logits: Tensor) -> None:
        super().__init__(rows.inputs, rows.codecs, rows.labels, rows.task, rows.numbers, rows.bad)
        self.logits = logits

    def batch(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows, with what the teacher says of them."""
        inputs, targets = super().batch(rows)
        said = self.logits[torch.as_tensor(rows)]
        return Batch(inputs, {**targets, TEACHER: Masked(said, torch.ones(len(said), dtype=torch.bool))})

    def only(self, modalities: Sequence[str]) -> "Taught":
        """The same rows, with these modalities alone."""
        return Taught(super().only(modalities), self.logits)

    def labelled(self) -> np.ndarray:
        """(N,) True: the teacher has an answer to each."""
        return np.ones(len(self), dtype=bool)


class Lesson(NamedTuple):
    """What is taught. problem: the student's, whose task is the teacher's. left: modalities that are not kept."""

    teacher: Model
    problem: Problem
    left: list[str]


def distill(
    model: Model | Path | str,
    table: Any,
    keep: Sequence[str],
    *,
    valid: Any = None,
    test: Any = None,
    out: Path | str | None = None,
    fusion: str = "gated",
    size: str = "small",
    weight: float = 0.5,
    temperature: float = 2.0,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    time_limit: float | None = None,
    parts: Sequence[type] = (),
    cache: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
    command: str = "",
) -> Model:
    """A student that reads the columns `keep` alone, taught by labels and by the model's answers on all its columns.

    valid, test, out, size, epochs, time_limit ...: as for `fit`. weight: the teacher's share of the loss. temperature:
    see `colearn.distill.divergence`. seed: by default the teacher's, so that of the teacher's own table the same rows
    are held out. The report's "distillation" has the student, the same student without a teacher, and the teacher, with
    the paired difference of the first two. Hinton, Vinyals & Dean 2015.

    Raises InputError for a model that writes text, columns that it does not read, and where nothing is left out.
    """
    began = time.monotonic()
    lessons.check(weight, temperature)
    if fusion in (AUTO, FEATURES):
        raise InputError(f"a student is one network: --fusion {fusion} chooses among several; name one, gated")
    known(fusion)
    runs.check({"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed})
    teacher = model if isinstance(model, Model) else load(model, parts)
    seed = int(teacher.report.get("settings", {}).get("seed", 0)) if seed is None else seed
    lesson = _lesson(teacher, Table.read(table), keep, size)
    goal, folder = lesson.problem, None if out is None else Path(out)
    if folder is not None:
        runs.prepare(folder, resume, overwrite)
    given = valid is not None
    train_at, valid_at = (list(range(goal.table.rows)), []) if given else _split(goal, seed)
    held_table = Table.read(valid) if given else goal.table.take(valid_at)
    where = Path(cache) if cache is not None else default_folder()
    reading = goal.read(train_at, features=False, cache=where, quiet=quiet)
    rows = reading.rows.take(train_at)
    held = reading.encode(held_table) if given else reading.rows.take(valid_at)
    if not held.labelled().any():
        raise InputError(f"no validation row has a label in {goal.schema.target[0]!r}; give other rows with --valid")
    chosen = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    settings = Settings.for_rows(len(rows), **chosen)
    plan = runs.plan(goal, held_table, reading, settings, fusion, "", Colearning())
    plan |= {"teacher": digest_of(teacher), "weight": weight, "temperature": temperature}
    if folder is not None and (done := runs.remember(folder, plan, resume)):
        return done
    said = _answers(teacher, goal.table.take(train_at), where, quiet)
    groups = goal.groups(held_table)
    make = partial(
        _train, goal, reading, settings, fusion, held, groups, folder and folder / "training", quiet=quiet
    )  # fmt: skip
    half = None if time_limit is None else max(1.0, (time_limit - (time.monotonic() - began)) / 2)
    student, result, history = make(Taught(rows, said), DISTILLED, half, (weight, temperature))
    alone, other, _ = make(rows, ALONE, half, None)
    comparison = compare(
        goal.task, [result, other, _beside(teacher, held_table, where, quiet)], held.target(range(len(held))), groups
    )
    unlabelled = int((~rows.labelled()).sum())
    report: dict[str, Any] = {
        "rows": {"train": len(rows), "valid": len(held), "unlabelled": unlabelled},
        "task": {"name": goal.task.name, "reason": "the teacher's"},
        "settings": {"fusion": fusion, "preset": "", "size": size, **settings._asdict()},
        "processes": 1,
        "valid_given": given,
        "story": _story(lesson, list(reading.encoders), held_table, unlabelled),
        "refit": False,
        "comparison": comparison.to_json(),
        "history": history,
        "writing": None,
        "command": command,
        "bad": [b._asdict() for b in (*reading.rows.bad, *(held.bad if given else ()))],
        "plan": plan,
        "distillation": {
            "keep": list(reading.encoders),
            "left": lesson.left,
            "weight": weight,
            "temperature": temperature,
            "taught_alone": unlabelled,
            "gain": comparison.to_json()["gains"][ALONE],
        },
    }
    calibration = uncertainty.calibrate(student, held, reading.preprocessor.views, groups)
    report["calibration"] = calibration and calibration.to_json()
    out_model = Model(reading.preprocessor.only(student.reads), student, report)
    report["valid"] = out_model.score(held, groups).to_json()
    if test is not None:
        report["test"] = _test(out_model, alone, lesson, (result, other), reading, Table.read(test), where, quiet)
    report |= {"seconds": time.monotonic() - began, "peak_memory_mb": peak_memory_mb()}
    out_model.report = report
    if folder is not None:
        out_model.save(folder)
        shutil.rmtree(folder / "training", ignore_errors=True)
    return out_model


def _lesson(teacher: Model, table: Table, keep: Sequence[str], size: str) -> Lesson:
    """The student's problem: the teacher's task, and of its columns those that are kept."""
    if isinstance(teacher.task, Generation):
        raise InputError(
            "a model that writes text can't teach another by its answers; distil one that predicts a label"
        )
    schema = teacher.preprocessor.schema
    read = {m: c for m, (_, c) in schema.modalities().items() if m in teacher.modalities}
    columns: list[str] = []
    for name in keep:
        if name not in read and not any(name in c for c in read.values()):
            known = list(dict.fromkeys([*read, *(c for cs in read.values() for c in cs)]))
            raise InputError(f"--keep: the model {unknown('column', name, known)}")
        columns += read.get(name, [name])
    if not columns:
        raise InputError(f"what should the student read? Name columns with --keep, of {', '.join(read)}")
    if all(c in columns for cs in read.values() for c in cs):
        raise InputError(
            f"--keep {','.join(keep)} is all that the model reads, so there is nothing that it knows better; leave "
            f"some of {', '.join(read)} out"
        )
    target, group = schema.target, schema.group if schema.group in table.columns else None
    ignore = [c for c in table.columns if c not in (*columns, *target, group)]
    kinds = {c: schema.columns[c].kind for c in columns}
    goal = problem.state(
        table, target, group=group, kinds=kinds, ignore=ignore, task=copy.deepcopy(teacher.task), size=size
    )
    left = [m for m, cs in read.items() if not any(c in columns for c in cs)]
    return Lesson(teacher, goal, left or [c for cs in read.values() for c in cs if c not in columns])


def _split(goal: Problem, seed: int) -> tuple[list[int], list[int]]:
    """Training and validation rows; the task, which the split would fit anew, stays the teacher's."""
    return goal._replace(task=copy.deepcopy(goal.task)).split(seed)


def _train(
    goal: Problem, reading: Reading, settings: Settings, fusion: str, held: Rows, groups: Sequence[Any] | None,
    folder: Path | None, rows: Rows, name: str, limit: float | None, how: tuple[float, float] | None, *, quiet: bool,
) -> tuple[Any, Result, list[dict[str, float]]]:  # fmt: skip
    """One student, with a teacher where `how` has its weight and temperature: the learner, its answers, its epochs."""
    build = partial(Colearning().build, task=goal.task, size=goal.size)

    def taught(fusion: str, modalities: Sequence[str], encoders: Any) -> Distilled:
        assert how is not None
        return Distilled(build(fusion, modalities, encoders), weight=how[0], temperature=how[1])

    networks = Networks(
        reading.encoders, goal.task, goal.size, settings, rows, held, groups=groups, folder=folder, quiet=quiet,
        build=build if how is None else taught,
    )  # fmt: skip
    trial = networks.train(name, fusion if len(reading.encoders) > 1 else "concat", limit=limit)
    learner = trial.learner(False)
    result = trial.result._replace(family="fusion" if how else "single")  # the rival of `compare`
    return (learner.learner if isinstance(learner, Distilled) else learner), result, trial.history


def _answers(teacher: Model, table: Table, cache: Path, quiet: bool) -> Tensor:
    """(N, outputs) what the teacher says of all rows, with all modalities."""
    return teacher.logits(teacher.preprocessor.encode(table, None, cache=cache, quiet=quiet)).float()


def _beside(teacher: Model, table: Table, cache: Path, quiet: bool) -> Result:
    """The teacher as a candidate, for comparison."""
    size = sum(p.numel() for p in teacher.learner.parameters())
    return Result(ALL, "ensemble", _answers(teacher, table, cache, quiet), size, 0, 0.0)


def _test(
    model: Model, alone: Any, lesson: Lesson, results: Sequence[Result], reading: Reading, table: Table, cache: Path,
    quiet: bool,
) -> dict[str, Any]:  # fmt: skip
    """All three on rows that nothing was chosen by."""
    rows, groups = reading.encode(table), lesson.problem.groups(table)
    said = [logits_of(model.learner, rows), logits_of(alone, rows)]
    found = [r._replace(logits=x) for r, x in zip(results, said, strict=True)]
    found.append(_beside(lesson.teacher, table, cache, quiet))
    comparison = compare(model.task, found, rows.target(range(len(rows))), groups)
    return {**model.score(rows, groups).to_json(), "comparison": comparison.to_json()}


def _story(lesson: Lesson, kept: Sequence[str], held: Table, unlabelled: int) -> list[str]:
    """What a reader has to know; above all whether the teacher has seen labels of `held`, the validation rows."""
    story = [f"the teacher reads {', '.join(lesson.teacher.modalities)}, and the student {', '.join(kept)}"]
    if unlabelled:
        story.append(f"{unlabelled:,} rows without a label were taught by the teacher alone")
    report = lesson.teacher.report
    plan: Mapping[str, Any] = report.get("plan", {})
    if plan.get("table") not in (None, digest(lesson.problem.table)):
        story.append("the teacher was trained on another table: if that shares rows with these, its own score flatters")
    elif "table" in plan and (report.get("refit") or plan.get("validation rows") != digest(held)):
        story.append("the teacher has learned from labels of the validation rows, so its own score on them flatters")
    return story


def digest_of(model: Model) -> str:
    """A key of a model's weights and of what it was trained with."""
    total = [f"{k} {v.double().sum().item():.12g}" for k, v in model.learner.state_dict().items()]
    return runs.key([*total, str(model.report.get("plan"))])
