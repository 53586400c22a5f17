"""`polymodal compare`: every candidate on the same folds and seeds.

for each repeat, for each fold: codecs, networks and estimators are fitted on the other folds' rows alone
    -> logits on the fold's rows, kept on disk -> scores a fold, tests, plots (`evaluate.leaderboard`, `evaluate.page`)
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from polymodal import fusion as fusions
from polymodal.data.preprocess import Rows
from polymodal.data.splits import own
from polymodal.data.table import digest
from polymodal.errors import InputError
from polymodal.experiment import runs
from polymodal.experiment.budget import Budget, in_seconds
from polymodal.experiment.candidates import FeaturePath, Networks, Trial, outputs_of, plain
from polymodal.experiment.config import Columns, Config, Record, Search, Training, with_hardware
from polymodal.experiment.config import Run as RunConfig
from polymodal.experiment.fit import FEATURES, check_fusion
from polymodal.experiment.problem import Problem, Reading, state
from polymodal.experiment.search import PRESETS
from polymodal.learners.base import Learner
from polymodal.objectives.base import Candidate
from polymodal.objectives.target import Target
from polymodal.output import logits_of
from polymodal.progress import bar
from polymodal.saving import put_tensors
from polymodal.tasks.base import Task
from polymodal.training.settings import Settings

ALL = "all"
INNER = 0.2  # of the training rows of a fold: they choose a network's epoch


class Part(NamedTuple):
    """A candidate on one fold: its logits on the fold's rows, and what it cost."""

    name: str
    family: str
    modalities: list[str]
    logits: Tensor
    parameters: int
    seconds: float
    memory_mb: float | None
    finished: bool


class Fold(NamedTuple):
    """Which rows are trained on and tested, in which repeat."""

    repeat: int
    number: int
    train: list[int]
    test: list[int]

    @property
    def name(self) -> str:
        """For a person, and for a file."""
        return f"repeat {self.repeat + 1}, fold {self.number + 1}"


class Run(NamedTuple):
    """All parts of a comparison, by candidate and fold, and what they are scored against.

    again: trains a candidate on the first fold anew, and gives it with that fold's rows and the modality of each view.
    """

    problem: Problem
    folds: list[Fold]
    parts: dict[str, dict[int, Part]]
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
    time_limit: shared alike by all candidates of all folds. out: folder that keeps what is finished, a file a
    candidate and fold; with `Run(resume=True)`, what is there is not done again, and further fusions may be added.
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
        if value < least:
            raise InputError(f"--{option} {value} can't be; it is at least {least}")
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
    maker = _Maker(problem, names, preset, request, seed, folder)
    parts: dict[str, dict[int, Part]] = {}
    shares = _Shares(budget, len(todo) * maker.count)
    with bar("comparing", float(len(todo)), request.run.quiet) as tick:
        for i, fold in enumerate(todo):
            tick(float(i), fold.name)
            for j, part in enumerate(maker.fold(fold, shares)):
                parts.setdefault(part.name, {})[i] = part
                tick(i + min(0.99, (j + 1) / maker.count), f"{fold.name}: {part.name}")
    settings = {**plan, "fusion": names, "time_limit": in_seconds(time_limit)}
    return Run(problem, todo, parts, settings, budget.elapsed, partial(maker.again, todo[0]))


class _Shares:
    """Equal shares of a budget for all jobs that are still to be done."""

    def __init__(self, budget: Budget, jobs: int) -> None:
        self.budget, self.jobs = budget, jobs

    def peek(self) -> float:
        """Seconds for the next job; infinite ones where there is no limit."""
        seconds = self.budget.seconds(1 / max(1, self.jobs))
        return math.inf if seconds is None else seconds

    def take(self, jobs: int = 1) -> Budget:
        """What the next jobs may spend, which are then no more to come."""
        out = self.budget.part(min(1.0, jobs / max(1, self.jobs)))
        self.jobs -= jobs
        return out


class _Maker:
    """Makes the parts of a fold, or finds them on disk."""

    def __init__(
        self, problem: Problem, names: Sequence[str], preset: str, request: Config, seed: int, folder: Path | None
    ) -> None:
        self.problem, self.preset, self.request = problem, PRESETS[preset], request
        self.seed, self.folder = seed, folder
        every = list(problem.kinds)
        several = len(every) > 1
        self.features = FEATURES in names
        self.networks: list[Candidate] = []
        if others := [n for n in names if n != FEATURES]:
            self.networks += [Candidate(f"{m} alone", "concat", [m]) for m in every]
            self.networks += [Candidate("concat", "concat", every)] if several else []
            self.networks += [Candidate(f, f, every) for f in others if f != "concat"] if several else []

    @property
    def count(self) -> int:
        """Jobs a fold."""
        return len(self.networks) + 2 * self.features

    def fold(self, fold: Fold, shares: _Shares) -> Iterator[Part]:
        """Each candidate's part of a fold. One that a time limit ended is trained anew where there is more time now."""
        parts = {c.name: self._kept(fold, c.name, shares.peek()) for c in self.networks}
        complete = self._kept_features(fold)
        if all(parts.values()) and (complete or not self.features):
            shares.jobs -= self.count
            yield from [*(p for p in parts.values() if p), *complete]
            return
        reading = self._reading(fold)
        networks = self._networks(fold, reading, self._place(fold)) if self.networks else None
        test = reading.rows.take(fold.test)
        for candidate in self.networks:
            budget = shares.take()
            if (part := parts[candidate.name]) is None:
                assert networks is not None
                trial = networks.train(candidate, budget.seconds())
                part = _part(trial, logits_of(outputs_of(trial.learner(False), test)))
                networks.learners.clear()
                self._keep(fold, part)
            yield part
        if self.features:
            budget = shares.take(2)
            complete = complete or self._by_features(fold, reading, budget)
        yield from complete

    def again(self, fold: Fold, part: Part) -> tuple[Learner, Rows, Mapping[str, str]]:
        """The learner of a candidate, trained as it was on a fold, and the fold's rows."""
        reading = self._reading(fold)
        test, views = reading.rows.take(fold.test), reading.preprocessor.views
        seconds = None if part.finished else part.seconds
        if networks := [c for c in self.networks if c.name == part.name]:
            trial = self._networks(fold, reading, None).train(networks[0], seconds)
        else:
            path = self._path(fold, reading)
            path.grow(self.preset.kinds, Budget.of(seconds))
            trial = next(t for t in path.trials() if t.result.name == part.name)
        return trial.learner(False), test, views

    def _reading(self, fold: Fold) -> Reading:
        try:
            return self.problem.read(
                fold.train, features=self.features, networks=bool(self.networks), cache=self.request.run.cache_folder
            )
        except InputError as e:
            raise InputError(f"{fold.name}: {e}; or give fewer folds, or another --seed") from None

    def _networks(self, fold: Fold, reading: Reading, folder: Path | None) -> Networks:
        fit_at, valid_at = self._inner(fold)
        rows = reading.rows.take(fold.train)
        settings = Settings.for_rows(len(fit_at), epochs=self.request.training.epochs, seed=self.seed)
        return Networks(
            self.problem, reading.encoders, settings, rows.take(fit_at), rows.take(valid_at), groups=None,
            folder=folder, quiet=True,
        )  # fmt: skip

    def _path(self, fold: Fold, reading: Reading) -> FeaturePath:
        return FeaturePath(
            self.problem, reading, self.problem.table.take(fold.train), reading.rows.take(fold.train),
            reading.rows.take(fold.test), seed=self.seed, folder=self._place(fold), quiet=True, given=True,
            most=self.preset.folds,
        )  # fmt: skip

    def _by_features(self, fold: Fold, reading: Reading, budget: Budget) -> list[Part]:
        path = self._path(fold, reading)
        whole = path.grow(self.preset.kinds, budget)
        parts = [_part(t._replace(finished=whole), logits_of(t.result.output)) for t in path.trials()]
        for part in parts:
            self._keep(fold, part)
        if (place := self._place(fold)) is not None and whole:
            (place / "features.json").write_text(json.dumps([p.name for p in parts]), encoding="utf-8")
        return parts

    def _inner(self, fold: Fold) -> tuple[list[int], list[int]]:
        """Places among the fold's training rows to fit a network on, and to choose its epoch by."""
        groups = self.problem.groups(self.problem.table)
        of = None if groups is None else [groups[i] for i in fold.train]
        return self.problem.hold_out(self.problem.table.take(fold.train), of, INNER, self.seed)

    def _place(self, fold: Fold) -> Path | None:
        if self.folder is None:
            return None
        place = self.folder / "parts" / f"{fold.repeat + 1}-{fold.number + 1}"
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _keep(self, fold: Fold, part: Part) -> None:
        if (place := self._place(fold)) is None:
            return
        form = {k: v for k, v in part._asdict().items() if k != "logits"}
        path = place / f"{plain(part.name)}.part"
        put_tensors(path, {"logits": part.logits}, {"part": json.dumps(form)})
        for old in place.glob(f"[0-9]-{plain(part.name)}.safetensors"):
            old.unlink()  # the checkpoint of a candidate that is done

    def _kept(self, fold: Fold, name: str, seconds: float | None = None) -> Part | None:
        """The part on disk; none where a time limit ended it, and there are more than `seconds` for it now."""
        place = self._place(fold)
        if place is None or not (path := place / f"{plain(name)}.part").exists():
            return None
        try:
            with safe_open(path, "pt") as f:
                part = Part(**json.loads(f.metadata()["part"]), logits=f.get_tensor("logits"))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            return None
        longer = seconds is not None and seconds > 1.2 * part.seconds
        return None if longer and not part.finished else part

    def _kept_features(self, fold: Fold) -> list[Part]:
        place = self._place(fold)
        if place is None or not (place / "features.json").exists():
            return []
        names = json.loads((place / "features.json").read_text(encoding="utf-8"))
        parts = [self._kept(fold, n) for n in names]
        return [p for p in parts if p is not None] if all(parts) else []


def _part(trial: Trial, logits: Tensor) -> Part:
    r = trial.result
    return Part(r.name, r.family, trial.modalities, logits, r.parameters, r.seconds, r.memory_mb, trial.finished)


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
