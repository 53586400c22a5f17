"""`polymodal distill`: a model that has all modalities teaches one that has some of them, and is it worth it?

teacher, on all modalities --logits of the training rows--> student, on those kept   } compared on the same
the same student, from the same labels, rows, epochs and seed, without the teacher   } held-out rows
"""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal import objectives, uncertainty
from polymodal.batch import Batch, Masked
from polymodal.colearn import distill as lessons
from polymodal.colearn.distill import TEACHER, Distilled
from polymodal.data.preprocess import Rows
from polymodal.data.table import Table, digest, unknown
from polymodal.errors import InputError
from polymodal.evaluate.compare import TEST, Result, compare
from polymodal.experiment import runs
from polymodal.experiment.budget import Budget
from polymodal.experiment.candidates import Trial, outputs_of
from polymodal.experiment.config import Columns, Config, Record, Run, Search, Training, with_hardware
from polymodal.experiment.fit import SEARCHES, check_fusion
from polymodal.experiment.peak import peak_memory_mb
from polymodal.experiment.prepare import Prepared, prepare
from polymodal.experiment.problem import Problem, state
from polymodal.learners.base import Learner
from polymodal.model import Model, load
from polymodal.objectives.base import Candidate
from polymodal.objectives.colearning import Colearning
from polymodal.objectives.target import Target
from polymodal.output import Scores
from polymodal.scoring import Scorer
from polymodal.summary import Report, TestScores
from polymodal.training.settings import Settings
from polymodal.uncertainty import Calibration

STUDENT, ALONE, ALL = "distilled", "without a teacher", "the teacher, on all"


class TeacherRows(Rows):
    """Rows whose batches hold a teacher's logits too, as the target `TEACHER`; each row counts, labelled or not."""

    def __init__(self, rows: Rows, logits: Tensor) -> None:
        super().__init__(rows.inputs, rows.codecs, rows.labels, rows.task, rows.numbers, rows.bad, rows.weights)
        self.logits = logits

    def batch(self, rows: Sequence[int]) -> Batch:
        """The batch of these rows, with what the teacher says of them."""
        inputs, targets = super().batch(rows)
        logits = self.logits[torch.as_tensor(rows)]
        return Batch(inputs, {**targets, TEACHER: Masked(logits, torch.ones(len(logits), dtype=torch.bool))})

    def only(self, modalities: Sequence[str]) -> "TeacherRows":
        """The same rows, with these modalities alone."""
        return TeacherRows(super().only(modalities), self.logits)

    def labelled(self) -> np.ndarray:
        """(N,) True: the teacher has an answer to each."""
        return np.ones(len(self), dtype=bool)


class Lesson(NamedTuple):
    """What is taught. problem: the student's, whose task is the teacher's. left: modalities that are not kept."""

    teacher: Model
    problem: Problem
    left: list[str]


@with_hardware
def distill(
    model: Model | Path | str,
    table: Any,
    keep: Sequence[str],
    *,
    valid: Any = None,
    test: Any = None,
    out: Path | str | None = None,
    weight: float = 0.5,
    temperature: float = 2.0,
    time_limit: float | str | None = None,
    seed: int | None = None,
    custom: Sequence[type] = (),
    config: Record | Sequence[Record] = (),
) -> Model:
    """A student that reads the columns `keep` alone, taught by labels and by the model's answers on all its columns.

    valid, test, out, time_limit: as for `fit`. weight: the teacher's fraction of the loss. temperature: see
    `colearn.distill.divergence`. seed: by default the teacher's, so that of the teacher's own table the same rows are
    held out. custom: your own classes, where the teacher was built with any. config: records of `Search` (the student's
    fusion, by default "gated", and size), `Training` and `Run`. The report's "distillation" has the student, the same
    student without a teacher, and the teacher, with the paired difference of the first two. Hinton, Vinyals & Dean
    2015.

    Raises InputError for a model that writes text, columns that it does not read, and where nothing is left out.
    """
    budget = Budget.asked(time_limit)
    request = _check(Config.of(config, "distill", (Search, Training, Run)), weight, temperature, seed)
    teacher = model if isinstance(model, Model) else load(model, custom)
    seed = int(teacher.report.settings.get("seed", 0)) if seed is None else seed
    lesson = _lesson(teacher, Table.read(table), keep, request.search.size)
    folder = None if out is None else Path(out)
    if folder is not None:
        runs.prepare(folder, request.run)
    prepared = prepare(lesson.problem, valid, request.run, seed=seed, refit=False)
    settings = Settings.of(prepared.rows, **request.training._asdict(), seed=seed)
    plan = runs.plan(prepared, settings, request.search, "", Colearning(), Target())
    plan |= {"teacher": digest_of(teacher), "weight": weight, "temperature": temperature}
    if folder is not None and (model_before := runs.remember(folder, plan, request.run.resume)):
        return model_before
    students = _students(prepared, teacher, request, settings, budget, folder, (weight, temperature))
    report, learner = _report(prepared, lesson, students, request.run)
    if test is not None:
        report = report._replace(test=_test(prepared, lesson, students, report, Table.read(test), request.run))
    report = report._replace(
        settings={"fusion": request.fusion, "preset": "", "size": request.search.size, **settings._asdict()},
        distillation={**(report.distillation or {}), "weight": weight, "temperature": temperature},
        command=request.run.command, plan=plan, seconds=budget.elapsed, peak_memory_mb=peak_memory_mb(),
    )  # fmt: skip
    out_model = Model(prepared.reading.preprocessor.only(learner.reads), learner, report)
    if folder is not None:
        out_model.save(folder)
        shutil.rmtree(folder / "training", ignore_errors=True)
    return out_model


def _check(request: Config, weight: float, temperature: float, seed: int | None) -> Config:
    """The config with a fusion. Raises InputError for what can't be asked for."""
    lessons.check(weight, temperature)
    request = request._replace(search=request.search._replace(fusion=request.fusion or "gated"))
    if request.fusion in SEARCHES:
        raise InputError(f"a student is one network: --fusion={request.fusion} chooses among several; name one, gated")
    check_fusion(request.fusion)
    request.training.check(seed)
    return request


def _lesson(teacher: Model, table: Table, keep: Sequence[str], size: str) -> Lesson:
    """The student's problem: the teacher's task, and of its columns those that are kept."""
    objectives.of(teacher.task).require(
        "distill",
        "a model that writes text can't teach another by its answers; distil one that predicts a label",
    )
    schema = teacher.preprocessor.schema
    columns_of = {m: c for m, (_, c) in schema.modalities().items() if m in teacher.modalities}
    columns: list[str] = []
    for name in keep:
        if name not in columns_of and not any(name in c for c in columns_of.values()):
            there = list(dict.fromkeys([*columns_of, *(c for cs in columns_of.values() for c in cs)]))
            raise InputError(f"--keep: the model {unknown('column', name, there)}")
        columns += columns_of.get(name, [name])
    if not columns:
        raise InputError(f"what should the student read? Name columns with --keep, of {', '.join(columns_of)}")
    if all(c in columns for cs in columns_of.values() for c in cs):
        raise InputError(
            f"--keep={','.join(keep)} is all that the model reads, so there is nothing that it knows better; leave "
            f"some of {', '.join(columns_of)} out"
        )
    target, group = schema.target, schema.group if schema.group in table.columns else None
    ignore = [c for c in table.columns if c not in (*columns, *target, group)]
    kinds = {c: schema.columns[c].kind for c in columns}
    problem = state(
        table, target, group=group, ignore=ignore, task=copy.deepcopy(teacher.task), size=size,
        columns=Columns(kinds=kinds),
    )  # fmt: skip
    problem = problem._replace(reason="the teacher's")
    absent = [m for m, cs in columns_of.items() if not any(c in columns for c in cs)]
    return Lesson(teacher, problem, absent or [c for cs in columns_of.values() for c in cs if c not in columns])


class Students(NamedTuple):
    """The student with a teacher, and the same without: the trial of each."""

    taught: Trial
    alone: Trial

    def results(self) -> list[Result]:
        """Both as candidates; the second is the rival of `compare`."""
        return [self.taught.result._replace(family="fusion"), self.alone.result._replace(family="single")]


def _students(
    prepared: Prepared, teacher: Model, request: Config, settings: Settings, budget: Budget, folder: Path | None,
    how: tuple[float, float],
) -> Students:  # fmt: skip
    """Train both in equal shares of the time, on the same rows, epochs and seed."""
    place, modalities = folder and folder / "training", list(prepared.reading.encoders)
    logits = _answers(teacher, prepared.table, request.run)
    join = request.fusion if len(modalities) > 1 else "concat"
    half = budget.seconds(1 / 2)
    weight, temperature = how
    taught = prepared._replace(rows=TeacherRows(prepared.rows, logits)).networks(
        settings, place, request.run.quiet, lambda x: Distilled(x, weight=weight, temperature=temperature)
    )
    alone = prepared.networks(settings, place, request.run.quiet)
    return Students(
        taught.train(Candidate(STUDENT, join, modalities), half),
        alone.train(Candidate(ALONE, join, modalities), half),
    )


def _report(prepared: Prepared, lesson: Lesson, students: Students, run: Run) -> tuple[Report, Learner]:
    """The student, beside the same without a teacher, and the teacher, on the validation rows."""
    learner, problem, valid = student_of(students.taught), prepared.problem, prepared.validation
    results = [*students.results(), _beside(lesson.teacher, prepared.held_table, run)]
    comparison = compare(problem.task, results, valid.target, valid.groups)
    calibration = uncertainty.calibrate(learner, prepared.valid, prepared.reading.preprocessor.views, valid.groups)
    unlabelled = prepared.counts["unlabelled"]
    distillation = {
        "keep": list(prepared.reading.encoders),
        "left": lesson.left,
        "taught_alone": unlabelled,
        "gain": comparison.gains[ALONE]._asdict(),
    }
    return Report(
        rows=prepared.counts,
        task=problem.task.name,
        reason=problem.reason,
        valid_given=prepared.given,
        notes=_notes(lesson, list(prepared.reading.encoders), prepared.held_table, unlabelled),
        comparison=comparison,
        calibration=calibration,
        history=students.taught.history,
        distillation=distillation,
        bad=prepared.bad,
        valid=_scores(prepared, learner, calibration, prepared.valid, valid.groups),
    ), learner


def _scores(
    prepared: Prepared, learner: Learner, calibration: Calibration | None, rows: Rows, groups: Sequence[Any] | None
) -> dict[str, Any]:
    scorer = Scorer(prepared.reading.preprocessor.only(learner.reads), prepared.problem.task, calibration)
    return scorer.score(rows, scorer.calibrated(outputs_of(learner, rows)), groups).to_json()


def student_of(trial: Trial) -> Learner:
    """The learner without its teacher's loss."""
    return trial.learner(False).deployed()


def _answers(teacher: Model, table: Table, run: Run) -> Tensor:
    """(N, outputs) what the teacher says of all rows, with all modalities."""
    rows = teacher.preprocessor.encode(table, None, cache=run.cache_folder, quiet=run.quiet)
    return teacher.logits(rows).float()


def _beside(teacher: Model, table: Table, run: Run) -> Result:
    """The teacher as a candidate, for comparison."""
    size = sum(p.numel() for p in teacher.learner.parameters())
    return Result(ALL, "ensemble", Scores(_answers(teacher, table, run)), size, 0, 0.0)


def _test(prepared: Prepared, lesson: Lesson, students: Students, report: Report, table: Table, run: Run) -> TestScores:
    """All three on rows that nothing was chosen by."""
    rows, groups = prepared.reading.encode(table), lesson.problem.groups(table)
    outputs = [outputs_of(student_of(t), rows) for t in students]
    results = [r._replace(output=x) for r, x in zip(students.results(), outputs, strict=True)]
    results.append(_beside(lesson.teacher, table, run))
    comparison = compare(prepared.problem.task, results, rows.target(range(len(rows))), groups, TEST)
    return TestScores(_scores(prepared, student_of(students.taught), report.calibration, rows, groups), comparison)


def _notes(lesson: Lesson, reads: Sequence[str], held_table: Table, unlabelled: int) -> list[str]:
    """What a reader has to know; above all whether the teacher has seen labels of `held`, the validation rows."""
    notes = [f"the teacher reads {', '.join(lesson.teacher.modalities)}, and the student {', '.join(reads)}"]
    if unlabelled:
        notes.append(f"{unlabelled:,} rows without a label were taught by the teacher alone")
    report = lesson.teacher.report
    plan = report.plan
    if plan.get("table") not in (None, digest(lesson.problem.table)):
        notes.append("the teacher was trained on another table: if that shares rows with these, its own score flatters")
    elif "table" in plan and (report.refit or plan.get("validation rows") != digest(held_table)):
        notes.append("the teacher has learned from labels of the validation rows, so its own score on them flatters")
    return notes


def digest_of(model: Model) -> str:
    """A key of a model's weights and of what it was trained with."""
    total = [f"{k} {v.double().sum().item():.12g}" for k, v in model.learner.state_dict().items()]
    return runs.key([*total, str(dict(model.report.plan))])
