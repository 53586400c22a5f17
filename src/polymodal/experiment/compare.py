"""`polymodal compare`: every candidate on the same folds and seeds.

folds, candidates --`race`: what is next, within the time--> `parts`: logits on the rows of a fold, kept on disk
    -> `ranking`: scores a fold, tests -> plots (`evaluate.leaderboard`, `evaluate.page`)
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from polymodal import fusion as fusions
from polymodal.data.preprocess import Rows
from polymodal.data.splits import own
from polymodal.data.table import digest
from polymodal.errors import InputError, is_whole
from polymodal.experiment import runs
from polymodal.experiment.budget import Budget, in_seconds
from polymodal.experiment.config import Columns, Config, Record, Search, Training, with_hardware
from polymodal.experiment.config import Run as RunConfig
from polymodal.experiment.fit import FEATURES, check_fusion
from polymodal.experiment.parts import Fold, Maker, Part
from polymodal.experiment.problem import Problem, state
from polymodal.experiment.race import Behind, Race
from polymodal.experiment.search import PRESETS
from polymodal.learners.base import Learner
from polymodal.objectives.target import Target
from polymodal.output import logits_of
from polymodal.progress import bar
from polymodal.tasks.base import Task

ALL = "all"


class Run(NamedTuple):
    """All parts of a comparison, by candidate and fold, and what they are scored against.

    dropped: candidates that were far behind, and have not been run on all folds. left_out: why others have not.
    again: trains a candidate on the first fold anew, and gives it with that fold's rows and the modality of each view.
    """

    problem: Problem
    folds: Sequence[Fold]
    parts: dict[str, dict[int, Part]]
    dropped: dict[str, Behind]
    left_out: dict[str, str]
    settings: dict[str, Any]
    seconds: float
    again: Callable[[Part], tuple[Learner, Rows, Mapping[str, str]]]


@with_hardware
def run(
    table: Any,
    target: str | Sequence[str],
    *,
    fusion: Sequence[str] = (),
    folds: int = 5,
    repeats: int = 1,
    preset: str = "balanced",
    group: str | None = None,
    ignore: Sequence[str] = (),
    task: str | Task | None = None,
    time_limit: float | str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    config: Record | Sequence[Record] = (),
) -> Run:
    """Train every candidate on every fold: each modality alone, concat, the fusions named, and features.

    fusion: names; "all" for every fusion, "features" for the small-data path; none for those that `preset` tries.
    After each fold candidates that are far behind are dropped (see `race`); one is finished on a fold or not run there.
    time_limit: candidates that can't be finished on all folds are left out. out: folder that keeps what is
    finished, a file a candidate and fold; with `Run(resume=True)`, what is there is not done again, and further fusions
    may be added.
    config: records of `Columns`, `Target`, `Search` (its size), `Training` (its epochs) and `Run`; the rest is as in
    `polymodal.fit`. Raises InputError for input that can't be used.
    """
    budget = Budget.asked(time_limit)
    request = Config.of(config, "compare", (Columns, Target, Search, Training, RunConfig))
    if request.target.optimize_threshold:
        raise InputError("compare decides at one half, for all candidates alike; leave optimize_threshold out")
    names = _names(fusion, preset)
    request.training.check(seed)
    for option, value, least in (("folds", folds, 2), ("repeats", repeats, 1)):
        if not is_whole(value, least):
            raise InputError(f"--{option} can't be {value!r}; it must be a whole number from {least}")
    problem = state(
        table, target, group=group, ignore=ignore, task=task, size=request.search.size, columns=request.columns,
        how=request.target,
    )  # fmt: skip
    problem.objective.require(
        "compare",
        f"compare tries fusions, which join modalities for a label, but {', '.join(problem.schema.target)} is text; "
        "fit a model with each --decoder and look at what `polymodal evaluate` says of them",
    )
    # one meaning of the logits in all folds: the labels, and the scale of numbers
    problem = problem.fitted(problem.table)
    columns = request.columns
    plan = {
        "table": digest(problem.table), "target": problem.schema.target, "group": group, "folds": folds,
        "repeats": repeats, "size": request.search.size, "preset": preset, "task": problem.task.name,
        **request.target._asdict(),
        "encoders": dict(columns.encoders), "finetune": list(columns.finetune),
        "columns": {c.name: c.kind for c in problem.schema.columns.values()},
        "epochs": request.training.epochs, "seed": seed,
    }  # fmt: skip
    folder = _folder(out, plan, request.run)
    todo = list(_folds(problem, folds, repeats, seed))
    maker = Maker(problem, names, preset, request, seed, folder)
    race = Race(problem, todo, maker.jobs, _baselines(problem, todo), budget)
    for i, fold in enumerate(todo):
        for job, parts in maker.kept(fold).items():
            race.add(i, job, parts, parts[0].seconds)
    count = 0
    with bar("comparing", float(len(todo) * len(maker.jobs)), request.run.quiet) as tick:
        while (turn := race.next()) is not None:
            tick(float(count), f"{todo[turn.fold].name}: {turn.job}")
            began, count = budget.elapsed, count + 1
            parts = maker.make(todo[turn.fold], turn.job, turn.seconds)
            race.add(turn.fold, turn.job, parts, budget.elapsed - began if parts else turn.seconds or 0.0)
    settings = {**plan, "fusion": names, "time_limit": in_seconds(time_limit)}
    left_out = race.end()
    dropped = {name: behind for name in race.parts if (behind := race.behind(name)) is not None}
    again = partial(maker.again, todo[0])
    return Run(problem, race.folds, race.parts, dropped, left_out, settings, budget.elapsed, again)


def _baselines(problem: Problem, folds: Sequence[Fold]) -> dict[str, dict[int, Part]]:
    """Those of the training rows of each fold, by name and fold."""
    cells = problem.cells(problem.table)
    target = problem.task.collate([problem.task.encode(c) for c in cells])
    out: dict[str, dict[int, Part]] = {}
    for i, fold in enumerate(folds):
        for r in problem.baselines(target.take(torch.tensor(fold.train)), problem.table, target):
            logits = logits_of(r.output)[fold.test]
            out.setdefault(r.name, {})[i] = Part(r.name, r.family, [], logits, 0, 0.0, None)
    return out


def _names(fusion: Sequence[str], preset: str) -> list[str]:
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; it is one of {', '.join(PRESETS)}")
    names: list[str] = []
    for name in fusion or [*PRESETS[preset].fusions, FEATURES]:
        if name == ALL:
            names += [*fusions.FUSIONS, FEATURES]
        else:
            if name != FEATURES:
                check_fusion(name)
            names.append(name)
    return list(dict.fromkeys(names))


def _folds(problem: Problem, k: int, repeats: int, seed: int) -> Iterator[Fold]:
    """The same for every candidate. Rows without a label are in no fold."""
    cells = problem.cells(problem.table)
    labelled = [i for i, c in enumerate(cells) if problem.task.encode(c) is not None]
    if len(labelled) < 2 * k:
        raise InputError(f"only {len(labelled)} rows have a label, too few for {k} folds; give fewer with --folds")
    if problem.chronology is not None and repeats > 1:
        raise InputError(
            "--repeats can't be above 1 where rows are parted by time, since all would be the same; leave it out, or "
            "add --split=random"
        )
    strata = problem.task.strata([cells[i] for i in labelled])
    groups = problem.groups(problem.table)
    of = None if groups is None else [groups[i] for i in labelled]
    if of is not None and (n := len(set(own(of)))) < max(3, k):
        need = f"{k} folds need as many groups" if n > 2 else "3 groups are needed, to train, to choose and to test"
        way = f"give --folds={n}" if n > 2 else "leave --group out"
        raise InputError(f"{need}, but {problem.schema.group!r} has {n}; {way}")
    table = problem.table.take(labelled)
    for repeat in range(repeats):
        for number, (train, test) in enumerate(problem.folds(table, of, k, seed + repeat)):
            if strata is not None and not {strata[i] for i in test} & {strata[i] for i in train}:
                raise InputError(
                    f"repeat {repeat + 1}, fold {number + 1}: no label of the rows to test is among those to train on; "
                    "give more rows of each label, or leave --group out, if each label lies in one group"
                )
            yield Fold(repeat, number, [labelled[i] for i in train], [labelled[i] for i in test])


def _folder(out: Path | str | None, plan: Mapping[str, Any], run: RunConfig) -> Path | None:
    """Make room for a comparison. Raises InputError rather than write over anything unasked, or mix two."""
    if out is None:
        return None
    folder = Path(out)
    runs.check_place(folder)
    path = folder / "plan.json"
    if path.exists() and not run.resume:
        if not run.overwrite:
            raise InputError(
                f"{folder} holds a comparison; add --resume to go on with it (fusions may be added), "
                "--overwrite to begin anew, or name another folder with --out"
            )
        shutil.rmtree(folder / "parts", ignore_errors=True)
    if path.exists() and run.resume:
        runs.refuse_changes(f"the comparison in {folder}", runs.read_plan(path), plan)
        return folder
    runs.write_plan(path, plan, folder)
    return folder
