"""`polymodal compare`: every candidate on the same folds and seeds.

for each repeat, for each fold: codecs, networks and estimators are fitted on the other folds' rows alone
    -> logits on the fold's rows, kept on disk -> scores a fold, tests, plots (`evaluate.board`, `evaluate.page`)
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polymodal import fusion as fusions
from polymodal import problem
from polymodal.auto import PRESETS
from polymodal.batch import Masked
from polymodal.candidates import FeaturePath, Networks, Trial, logits_of, plain
from polymodal.data.cache import default_folder
from polymodal.data.preprocess import Rows, target_cells
from polymodal.data.splits import folds as parted
from polymodal.data.splits import holdout
from polymodal.errors import InputError
from polymodal.evaluate.board import Board, Entry, board
from polymodal.evaluate.emap import Projection, emap, needed
from polymodal.evaluate.information import information
from polymodal.evaluate.significance import Paired, paired_bootstrap
from polymodal.fitting import FEATURES, digest, known
from polymodal.learners.base import Learner
from polymodal.problem import Problem
from polymodal.progress import progress
from polymodal.tasks.base import Task
from polymodal.train import Settings

ALL = "all"
SAMPLE = 64  # rows that the additive projection of a candidate is made of
BATCH = 256


class Part(NamedTuple):
    """A candidate on one fold: its logits on the fold's rows, and what it cost. projection: of the first fold."""

    name: str
    family: str
    modalities: list[str]
    logits: Tensor
    parameters: int
    seconds: float
    memory_mb: float | None
    finished: bool
    projection: Projection | None


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
    """All parts of a comparison, by candidate and fold, and what they are scored against."""

    problem: Problem
    folds: list[Fold]
    parts: dict[str, dict[int, Part]]
    settings: dict[str, Any]
    seconds: float


def run(
    table: Any,
    target: str | Sequence[str],
    *,
    fusion: Sequence[str] = (),
    folds: int = 5,
    repeats: int = 1,
    preset: str = "balanced",
    size: str = "small",
    encoders: Mapping[str, str] | None = None,
    tune: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    group: str | None = None,
    task: str | Task | None = None,
    time_limit: float | None = None,
    epochs: int | None = None,
    seed: int = 0,
    cache: Path | str | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
) -> Run:
    """Train every candidate on every fold: each modality alone, concat, the fusions named, and features.

    fusion: names; "all" for every fusion, "features" for the small-data path; none for those that `preset` tries.
    time_limit: seconds, shared alike by all candidates of all folds. out: folder that keeps what is finished, a file a
    candidate and fold; with `resume`, what is there is not done again, and further fusions may be added.
    The rest is as in `polymodal.fit`. Raises InputError for input that can't be used.
    """
    began = time.monotonic()
    names = _names(fusion, preset)
    if folds < 2 or repeats < 1:
        raise InputError(f"--folds {folds} and --repeats {repeats} can't be; there are at least 2 folds and 1 repeat")
    goal = problem.state(
        table, target, group=group, kinds=kinds, ignore=ignore, task=task, size=size, encoders=encoders, tune=tune
    )
    cells = target_cells(goal.table, goal.schema)
    goal.task.fit(cells)  # one meaning of the logits in all folds: the labels, and the scale of numbers
    chosen = {"epochs": epochs, "seed": seed}
    plan = {
        "table": digest(goal.table), "target": goal.schema.target, "group": group, "folds": folds, "repeats": repeats,
        "size": size, "preset": preset, "task": goal.task.name, "encoders": dict(encoders or {}), "tune": list(tune),
        "columns": {c.name: c.kind for c in goal.schema.columns.values()}, **chosen,
    }  # fmt: skip
    folder = _folder(out, plan, resume, overwrite)
    todo = list(_folds(goal, cells, folds, repeats, seed))
    where = Path(cache) if cache is not None else default_folder()
    maker = _Maker(goal, names, preset, chosen, where, folder, quiet)
    parts: dict[str, dict[int, Part]] = {}
    clock = _Clock(began, time_limit, len(todo) * maker.count)
    with progress("comparing", float(len(todo)), quiet) as tick:
        for i, fold in enumerate(todo):
            tick(float(i), fold.name)
            for j, part in enumerate(maker.fold(fold, clock, first=i == 0)):
                parts.setdefault(part.name, {})[i] = part
                tick(i + min(0.99, (j + 1) / maker.count), f"{fold.name}: {part.name}")
    settings = {**plan, "fusion": names, "time_limit": time_limit}
    return Run(goal, todo, parts, settings, time.monotonic() - began)


def standing(run: Run) -> Board:
    """Scores a fold, tests against the best single modality and concat, and what the modalities have to do together.

    Differences are tested by the corrected resampled t-test over folds, or, where rows come in groups, by the bootstrap
    over groups of the out-of-fold answers. Candidates that a time limit left without some folds are not ranked.
    """
    task, n = run.problem.task, len(run.folds)
    cells = target_cells(run.problem.table, run.problem.schema)
    rows = sorted({i for f in run.folds for i in f.test})
    place = {row: i for i, row in enumerate(rows)}
    target = task.collate([task.encode(cells[i]) for i in rows])
    whole = {name: parts for name, parts in run.parts.items() if len(parts) == n}
    answers = {name: _answers(run.folds, parts, place, task.outputs) for name, parts in whole.items()}
    entries = [_entry(run, name, parts, target, place) for name, parts in whole.items()]
    groups = run.problem.groups(run.problem.table)
    of = None if groups is None else [groups[i] for i in rows]
    metric = task.metric

    def paired(a: str, b: str) -> Paired:
        return paired_bootstrap(task, answers[a], answers[b], target, metric.name, of)

    share = sum(len(f.test) for f in run.folds) / sum(len(f.test) + len(f.train) for f in run.folds)
    grouped: dict[str, Any] = {} if of is None else {
        "paired": paired, "method": "bootstrap over groups", "groups": len(set(map(str, of)))
    }  # fmt: skip
    first = board(metric.name, metric.higher, entries, share, len(rows), **grouped)
    fused = next((e for e in first.entries if e.fused), None)
    if fused is None:
        return first
    alone = {e.modalities[0]: torch.stack(answers[e.name]).mean(0) for e in reversed(first.entries) if not e.fused}
    shares = information(task, target, alone, torch.stack(answers[fused.name]).mean(0), of)
    projection = whole[fused.name][0].projection
    if projection is not None:
        at = torch.tensor([place[run.folds[0].test[r]] for r in projection.rows])
        found = needed(
            fused.name, task, projection, target.take(at), None if of is None else [of[i] for i in at.tolist()]
        )
    return first._replace(information=shares, emap=found if projection is not None else None)


def _answers(folds: Sequence[Fold], parts: Mapping[int, Part], place: Mapping[int, int], outputs: int) -> list[Tensor]:
    """(N, outputs) out-of-fold logits of each repeat."""
    out = [torch.zeros(len(place), outputs) for _ in range(folds[-1].repeat + 1)]
    for i, fold in enumerate(folds):
        out[fold.repeat][torch.tensor([place[row] for row in fold.test])] = parts[i].logits
    return out


def _entry(run: Run, name: str, parts: Mapping[int, Part], target: Masked, place: Mapping[int, int]) -> Entry:
    task, any_part = run.problem.task, parts[0]
    scores: list[list[float]] = [[] for _ in range(run.folds[-1].repeat + 1)]
    for i, fold in enumerate(run.folds):
        truth = target.take(torch.tensor([place[row] for row in fold.test]))
        value = task.scores(parts[i].logits, truth, np.ones((1, len(fold.test))))[task.metric.name][0]
        scores[fold.repeat].append(float(value))
    cut = sum(not p.finished for p in parts.values())
    peaks = [p.memory_mb for p in parts.values() if p.memory_mb is not None]
    return Entry(
        name,
        any_part.family,
        len(any_part.modalities) > 1,
        any_part.modalities,
        scores,
        any_part.parameters or None,
        sum(p.seconds for p in parts.values()) / len(parts),
        max(peaks) if peaks else None,
        f"the time limit ended its training in {cut} of {len(parts)} folds" if cut else "",
    )


class _Clock:
    """Equal shares of a time limit for all that is still to be done."""

    def __init__(self, began: float, limit: float | None, jobs: int) -> None:
        self.began, self.limit, self.jobs = began, limit, jobs

    def share(self) -> float | None:
        """Seconds for the next job."""
        left = None if self.limit is None else self.limit - (time.monotonic() - self.began)
        out = None if left is None else max(1.0, left / max(1, self.jobs))
        self.jobs -= 1
        return out


class _Maker:
    """Makes the parts of a fold, or finds them on disk."""

    def __init__(
        self, goal: Problem, names: Sequence[str], preset: str, chosen: Mapping[str, Any], cache: Path,
        folder: Path | None, quiet: bool,
    ) -> None:  # fmt: skip
        self.goal, self.preset, self.chosen, self.cache = goal, PRESETS[preset], dict(chosen), cache
        self.folder, self.quiet = folder, quiet
        every = list(goal.schema.modalities())
        several = len(every) > 1
        self.features = FEATURES in names
        self.networks: list[tuple[str, str, list[str]]] = []
        if others := [n for n in names if n != FEATURES]:
            self.networks += [(f"{m} alone", "concat", [m]) for m in every]
            self.networks += [("concat", "concat", every)] if several else []
            self.networks += [(f, f, every) for f in others if f != "concat"] if several else []

    @property
    def count(self) -> int:
        """Jobs a fold."""
        return len(self.networks) + 2 * self.features

    def fold(self, fold: Fold, clock: _Clock, first: bool) -> Iterator[Part]:
        """Each candidate's part of a fold."""
        kept = {name: self._kept(fold, name) for name, _, _ in self.networks}
        done = self._kept_features(fold)
        if all(kept.values()) and (done or not self.features):
            clock.jobs -= self.count
            yield from [*(p for p in kept.values() if p), *done]
            return
        try:
            reading = self.goal.read(
                fold.train, features=self.features, networks=bool(self.networks), cache=self.cache, quiet=True
            )
        except InputError as e:
            raise InputError(f"{fold.name}: {e}; or give fewer folds, or another --seed") from None
        rows, test = reading.rows.take(fold.train), reading.rows.take(fold.test)
        views = reading.preprocessor.views
        if self.networks:
            fit_at, valid_at = self._inner(fold)
            settings = Settings.for_rows(len(fit_at), **self.chosen)
            networks = Networks(
                reading.encoders, self.goal.task, self.goal.size, settings, rows.take(fit_at), rows.take(valid_at),
                folder=self._place(fold), quiet=True,
            )  # fmt: skip
        for name, of, modalities in self.networks:
            share = clock.share()
            if (part := kept[name]) is None:
                trial = networks.train(name, of, modalities, share)
                learner = trial.learner(False)
                trial = trial._replace(result=trial.result._replace(logits=logits_of(learner, test)))
                part = self._part(trial, learner, test, views, first)
                self._keep(fold, part)
            yield part
        if self.features and not done:
            shares = [clock.share(), clock.share()]
            until = None if shares[0] is None else time.monotonic() + sum(s for s in shares if s)
            done = list(self._by_features(fold, reading.extractors(), views, rows, test, until, first))
        elif self.features:
            clock.jobs -= 2
        yield from done

    def _by_features(
        self, fold: Fold, extractors: Mapping[str, Any], views: Mapping[str, str], rows: Rows, test: Rows,
        until: float | None, first: bool,
    ) -> Iterator[Part]:  # fmt: skip
        task, learn = self.goal.task, self.goal.table.take(fold.train)
        path = FeaturePath(
            extractors, views, task, rows, test, groups=self.goal.groups(learn),
            strata=task.strata(target_cells(learn, self.goal.schema)), seed=self.chosen["seed"],
            folder=self._place(fold), quiet=True, parts=self.preset.folds,
        )  # fmt: skip
        whole = path.grow(self.preset.kinds, until, None, given=False)
        parts = []
        for trial in (t._replace(finished=whole) for t in path.trials()):
            learner = trial.learner(False) if first and len(trial.modalities) > 1 else None
            parts.append(self._part(trial, learner, test, views, first))
        for part in parts:
            self._keep(fold, part)
        if self.folder is not None:
            shown = json.dumps([p.name for p in parts])
            (self._place(fold) / "features.json").write_text(shown, encoding="utf-8")  # type: ignore[operator]
        yield from parts

    def _part(self, trial: Trial, learner: Learner | None, test: Rows, views: Mapping[str, str], first: bool) -> Part:
        projection = None
        if first and learner is not None and len(trial.modalities) > 1:
            projection = emap(mixed(learner, test, views), len(test), trial.modalities, SAMPLE)
        r = trial.result
        return Part(
            r.name, r.family, trial.modalities, r.logits, r.parameters, r.seconds, r.memory_mb, trial.finished,
            projection,
        )  # fmt: skip

    def _inner(self, fold: Fold) -> tuple[list[int], list[int]]:
        """Places among the fold's training rows to fit a network on, and to choose its epoch by."""
        cells = [target_cells(self.goal.table, self.goal.schema)[i] for i in fold.train]
        groups = self.goal.groups(self.goal.table)
        of = None if groups is None else [groups[i] for i in fold.train]
        return holdout(len(fold.train), 0.2, self.goal.task.strata(cells), of, self.chosen["seed"])

    def _place(self, fold: Fold) -> Path | None:
        if self.folder is None:
            return None
        place = self.folder / "parts" / f"{fold.repeat + 1}-{fold.number + 1}"
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _keep(self, fold: Fold, part: Part) -> None:
        if (place := self._place(fold)) is None:
            return
        tensors = {"logits": part.logits.contiguous()}
        if part.projection is not None:
            tensors |= {"own": part.projection.own, "additive": part.projection.additive}
            tensors["rows"] = torch.tensor(part.projection.rows)
        form = {k: v for k, v in part._asdict().items() if k not in ("logits", "projection")}
        path = place / f"{plain(part.name)}.part"
        save_file(tensors, path.with_suffix(".tmp"), metadata={"part": json.dumps(form)})
        path.with_suffix(".tmp").replace(path)
        for old in place.glob(f"[0-9]-{plain(part.name)}.safetensors"):
            old.unlink()  # the checkpoint of a candidate that is done

    def _kept(self, fold: Fold, name: str) -> Part | None:
        place = self._place(fold)
        if place is None or not (path := place / f"{plain(name)}.part").exists():
            return None
        try:
            with safe_open(path, "pt") as f:
                form, found = json.loads(f.metadata()["part"]), {k: f.get_tensor(k) for k in f.keys()}
        except (SafetensorError, OSError, ValueError, KeyError):
            return None
        projection = Projection(found["rows"].tolist(), found["own"], found["additive"]) if "own" in found else None
        return Part(**form, logits=found["logits"], projection=projection)

    def _kept_features(self, fold: Fold) -> list[Part]:
        place = self._place(fold)
        if place is None or not (place / "features.json").exists():
            return []
        names = json.loads((place / "features.json").read_text(encoding="utf-8"))
        return [p for p in (self._kept(fold, n) for n in names) if p is not None]


def mixed(learner: Learner, rows: Rows, views: Mapping[str, str]) -> Callable[[Mapping[str, Sequence[int]]], Tensor]:
    """A function from rows chosen for each modality apart to the learner's logits on these combinations."""

    @torch.no_grad()
    def logits(at: Mapping[str, Sequence[int]]) -> Tensor:
        n = len(next(iter(at.values())))
        out = []
        for start in range(0, n, BATCH):
            inputs = {}
            for v in learner.reads:
                chosen = at[views[v]][start : start + BATCH]
                inputs[v] = rows.codecs[v].collate([rows.inputs[v][r] for r in chosen])
            out.append(learner.predict(inputs).float())
        return torch.cat(out)

    return logits


def _names(fusion: Sequence[str], preset: str) -> list[str]:
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; it is one of {', '.join(PRESETS)}")
    names: list[str] = []
    for name in fusion or [*PRESETS[preset].fusions, FEATURES]:
        if name == ALL:
            names += [*fusions.FUSIONS, FEATURES]
        else:
            if name != FEATURES:
                known(name)
            names.append(name)
    return list(dict.fromkeys(names))


def _folds(goal: Problem, cells: Sequence[Any], k: int, repeats: int, seed: int) -> Iterator[Fold]:
    """The same for every candidate. Rows without a label are in no fold."""
    labelled = [i for i, c in enumerate(cells) if goal.task.encode(c) is not None]
    if len(labelled) < 2 * k:
        raise InputError(f"only {len(labelled)} rows have a label, too few for {k} folds; give fewer with --folds")
    strata = goal.task.strata([cells[i] for i in labelled])
    groups = goal.groups(goal.table)
    of = None if groups is None else [groups[i] for i in labelled]
    if of is not None and (n := len(set(map(str, of)))) < k:
        raise InputError(f"{k} folds need as many groups, but {goal.schema.group!r} has {n}; give --folds {max(2, n)}")
    for repeat in range(repeats):
        for number, (train, test) in enumerate(parted(len(labelled), k, strata, of, seed + repeat)):
            yield Fold(repeat, number, [labelled[i] for i in train], [labelled[i] for i in test])


def _folder(out: Path | str | None, plan: Mapping[str, Any], resume: bool, overwrite: bool) -> Path | None:
    """Make room for a comparison. Raises InputError rather than write over anything unasked, or mix two."""
    if out is None:
        return None
    folder = Path(out)
    path = folder / "plan.json"
    if path.exists() and not resume:
        if not overwrite:
            raise InputError(
                f"{folder} holds a comparison; add --resume to go on with it (fusions may be added), "
                "--overwrite to begin anew, or name another folder with --out"
            )
        shutil.rmtree(folder / "parts", ignore_errors=True)
    if path.exists() and resume:
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError(f"{path} can't be read; begin anew with --overwrite") from None
        changed = [k for k in plan if before.get(k) != json.loads(json.dumps(plan[k]))]
        if changed:
            raise InputError(
                f"the comparison in {folder} can't be resumed: {', '.join(changed)} changed since it began; give "
                "the same input and options, or begin anew with --overwrite"
            )
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plan, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as e:
        raise InputError(f"--out {folder} can't be written to: {e.strerror or e}; name another folder") from None
    return folder
