"""From a table to a model: schema, codecs, training, and the comparison that says what fusion brought."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from polymodal import auto, problem, uncertainty
from polymodal import fusion as fusions
from polymodal.auto import PRESETS, Judge, Preset, Search
from polymodal.candidates import Build, FeaturePath, Networks, Trial, logits_of, peak_memory_mb
from polymodal.data.cache import default_folder
from polymodal.data.preprocess import Rows, target_cells
from polymodal.data.references import refuse_shared
from polymodal.data.table import Table, digest
from polymodal.errors import InputError
from polymodal.evaluate.compare import Comparison, compare
from polymodal.learners.transcriber import Transcriber
from polymodal.learners.translator import Translator
from polymodal.model import BATCH, Model, load
from polymodal.problem import Problem, Reading
from polymodal.tasks.base import Task
from polymodal.tasks.generate import Generation, references
from polymodal.tasks.labels import number
from polymodal.train import Settings
from polymodal.writing import Writing, fits, reward

AUTO, FEATURES = "auto", "features"  # beside the names of fusions: both paths, and the small-data path alone
DEFAULT_FUSION = AUTO


def fit(
    table: Any,
    target: str | Sequence[str],
    *,
    valid: Any = None,
    test: Any = None,
    out: Path | str | None = None,
    fusion: str = DEFAULT_FUSION,
    preset: str = "balanced",
    size: str = "small",
    encoders: Mapping[str, str] | None = None,
    tune: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    group: str | None = None,
    task: str | Task | None = None,
    writing: Writing | None = None,
    allow_overlap: bool = False,
    time_limit: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    precision: str | None = None,
    seed: int = 0,
    baselines: bool = True,
    cache: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = True,
) -> Model:
    """Train a model that predicts `target` from every other usable column of the table.

    table: a path (CSV, TSV, JSONL, Parquet), a DataFrame, or a list of dicts. valid: rows to choose the best epoch by;
    without them a fifth is held out, stratified, or by whole groups with `group`. test: scored once, at the end.
    fusion: "auto" tries networks with several fusions and estimators on features, and chooses by validation, as hard as
    `preset` says ("fast", "balanced" or "best"); "features" tries the estimators alone; else the name of a fusion.
    encoders: by column, the name of an encoder ("transformer", "bytes+gru"), or a Hugging Face name or folder of a
    pretrained network, which stays frozen unless the column is in `tune`. kinds: by column, what to read it as.
    time_limit: seconds, for everything; with "auto" and "features", by the number of rows unless given. baselines: also
    train each modality alone, and concat, and compare. out: folder for checkpoints and the model; with `resume`, go on
    from what is there.

    Raises InputError for input that can't be used, saying what was seen and the way out.
    """
    began = time.monotonic()
    if fusion not in (AUTO, FEATURES):
        known(fusion)  # a wrong name is told before any work is done
    how = _preset(preset)
    chosen = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision, "seed": seed}
    _check_settings(chosen)
    goal = problem.state(
        table, target, group=group, kinds=kinds, ignore=ignore, task=task, size=size, encoders=encoders, tune=tune,
        writing=writing,
    )  # fmt: skip
    writes = isinstance(goal.task, Generation)
    if writes and fusion != AUTO:
        raise InputError(
            f"--fusion {fusion} joins modalities for a label; a model that writes text joins them by the attention of "
            "its decoder: leave --fusion out, and choose a --decoder"
        )
    searched = fusion in (AUTO, FEATURES) and not writes
    given = valid is not None
    folder = Path(out) if out is not None else None
    if folder is not None:
        _prepare(folder, resume, overwrite)
    train_at, valid_at = (list(range(goal.table.rows)), []) if given else goal.split(seed)
    learn = goal.table.take(train_at)
    goal.task.fit(target_cells(learn, goal.schema))
    where = Path(cache) if cache is not None else default_folder()
    reading = goal.read(train_at, features=searched, networks=fusion != FEATURES, cache=where, quiet=quiet)
    rows = reading.rows.take(train_at)
    held_table = goal.gathered(Table.read(valid)) if given else goal.table.take(valid_at)
    if writes and not allow_overlap:
        for other, what in ((valid, "validation"), (test, "test")):
            if other is not None:
                refuse_shared(learn, Table.read(other), goal.schema, what)
    held = reading.encode(held_table) if given else reading.rows.take(valid_at)
    if not held.labelled().any():
        names = ", ".join(goal.schema.target)
        raise InputError(f"no validation row has a label in {names!r}; give other rows with --valid")
    settings = Settings.for_rows(int(rows.labelled().sum()), **chosen)
    if searched and epochs is None:
        settings = settings._replace(epochs=how.longer * settings.epochs, patience=how.longer * settings.patience)
    plan = _plan(goal, held_table, reading, settings, fusion, preset)
    if folder is not None and (done := _remember(folder, plan, resume)):
        return done

    judge = Judge(goal.task, held.target(range(len(held))), goal.groups(held_table))
    place = folder and folder / "training"
    paths = _Paths(goal, reading, learn, rows, held, settings, how, judge.groups, place, quiet)
    limit = how.limit(len(rows) * len(reading.encoders)) if searched and time_limit is None else time_limit
    left = None if limit is None else max(1.0, limit - (time.monotonic() - began))
    if searched:
        assert left is not None
        networks = None if fusion == FEATURES else paths.networks()
        found = auto.search(how, judge, paths.features(), networks, left, given=given, baselines=baselines)
    elif writes:
        found = _written(paths, left, baselines)
    else:
        found = _one(paths.networks(), fusion, left, baselines)

    # of a search, logits that were chosen by other rows; of one fusion all candidates had the same choice of epochs
    results = [t.result._replace(logits=t.judged) if searched else t.result for t in found.trials]
    comparison = compare(goal.task, results, judge.target, judge.groups)
    refit = searched and how.refit
    # before the validation rows are learned from, which would make it look surer than it is
    views, before = reading.preprocessor.views, found.chosen.learner(False)
    calibration = uncertainty.calibrate(before, held, views, judge.groups)
    learner = found.chosen.learner(refit)
    report: dict[str, Any] = {
        "rows": {"train": len(rows), "valid": len(held), "unlabelled": int((~rows.labelled()).sum())},
        "task": {"name": goal.task.name, "reason": goal.reason},
        "settings": {"fusion": fusion, "preset": preset, "size": size, **settings._asdict()},
        "processes": _processes(),
        "valid_given": given,
        "story": found.story,
        "refit": refit,
        "comparison": comparison.to_json(),
        "calibration": calibration and calibration.to_json(),
        "history": found.chosen.history,
        "writing": _plain(goal.writing) if writes else None,
        "bad": [b._asdict() for b in (*reading.rows.bad, *(held.bad if given else ()))],
        "plan": plan,
    }
    model = Model(reading.preprocessor.only(learner.reads), learner, report)
    report["valid"] = model.score(held, judge.groups, logits=model.calibrated(results[0].logits)).to_json()
    if test is not None:
        report["test"] = _test(model, found.trials, goal.gathered(Table.read(test)), reading, goal)
    report["seconds"] = time.monotonic() - began
    report["peak_memory_mb"] = peak_memory_mb()
    model.report = report
    if folder is not None and _is_main():
        model.save(folder)
        shutil.rmtree(folder / "training", ignore_errors=True)
    return model


def known(fusion: str) -> None:
    """Raises InputError for a name that is no fusion."""
    try:
        fusions.find(fusion)
    except InputError as e:
        raise InputError(f"{e}; or {AUTO}, which tries both paths, or {FEATURES}, estimators on features") from None


class _Paths:
    """Both ways to a candidate, from the same rows."""

    def __init__(
        self, goal: Problem, reading: Reading, learn: Table, rows: Rows, held: Rows, settings: Settings,
        preset: Preset, groups: Sequence[Any] | None, folder: Path | None, quiet: bool,
    ) -> None:  # fmt: skip
        self.groups = groups
        self.goal, self.reading, self.learn, self.rows, self.held = goal, reading, learn, rows, held
        self.settings, self.preset, self.folder, self.quiet = settings, preset, folder, quiet

    def networks(self, build: Build | None = None) -> Networks:
        goal = self.goal
        return Networks(
            self.reading.encoders, goal.task, goal.size, self.settings, self.rows, self.held,
            groups=self.groups, folder=self.folder, quiet=self.quiet, build=build,
        )  # fmt: skip

    def features(self) -> FeaturePath:
        if _processes() > 1:
            raise InputError(
                "estimators on features are fitted in one process; name a fusion with --fusion to train in several"
            )
        task, learn = self.goal.task, self.learn
        return FeaturePath(
            self.reading.extractors(), self.reading.preprocessor.views, task, self.rows, self.held,
            groups=self.goal.groups(learn), strata=task.strata(target_cells(learn, self.goal.schema)),
            seed=self.settings.seed, folder=self.folder, quiet=self.quiet, parts=self.preset.folds,
        )  # fmt: skip


def _written(paths: _Paths, seconds: float | None, baselines: bool) -> Search:
    """A learner that writes text, and the same from each modality alone; each gets an equal share of the time."""
    goal, end = paths.goal, None if seconds is None else time.monotonic() + seconds
    how, task = goal.writing, goal.task
    assert isinstance(task, Generation)
    kinds = {m: kind for m, (kind, _) in goal.schema.modalities().items()}
    name = str(how.decoder)
    networks = paths.networks(partial(how.build, kinds=kinds, task=task, size=goal.size))
    every = list(networks.encoders)
    todo = [(name, every)] + [
        (f"{m} alone", [m]) for m in every if baselines and len(every) > 1 and fits(name, kinds[m])
    ]
    trials, story = [], []
    for i, (title, modalities) in enumerate(todo):
        limit = None if end is None else max(1.0, (end - time.monotonic()) / (len(todo) - i))
        trials.append(_stages(networks, title, name, modalities, limit, how.self_critical))
    if task.cut_:
        story.append(f"{task.cut_:,} texts are longer than {task.limit:,} words; they were learned up to there.")
    texts = [t for cell in target_cells(goal.table, goal.schema) for t in references(cell)]
    if sum(number(t) is not None for t in texts) > len(texts) / 2:
        story.append(
            "The target holds numbers, which are written as words; --task regression or multiclass predicts them."
        )
    if isinstance(learner := trials[0].learner(False), Transcriber):
        rows, device = paths.rows.only(learner.reads), next(learner.parameters()).device
        parts = [range(s, min(s + BATCH, len(rows))) for s in range(0, len(rows), BATCH)]
        if short := sum(learner.short(rows.batch(p).to(device)) for p in parts):
            story.append(
                f"{short:,} texts have more symbols than their recording has frames: nothing was learned of them."
            )
    return Search(trials[0], trials, story)


SELF_CRITICAL_RATE = 0.03  # of the learning rate: words are known by then, and only their choice is refined


def _stages(
    networks: Networks, title: str, name: str, modalities: list[str], limit: float | None, epochs: int
) -> Trial:
    """Cross-entropy, and then, where asked for, self-critical epochs; the better of the two on validation rows."""
    share = None if limit is None else limit * (0.6 if epochs else 1.0)
    first = networks.train(title, name, modalities, share)
    learner = first.learner(False)
    if not epochs:
        return first
    assert isinstance(learner, Translator)  # `Writing.check` has seen to it
    learner.reward = reward(learner.task, networks.rows)
    settings = networks.settings
    later = settings._replace(epochs=epochs, lr=settings.lr * SELF_CRITICAL_RATE, warmup=0.0)
    second = networks.train(title, name, modalities, None if limit is None else limit - (share or 0), 1, later)
    learner.reward = None
    metric, sign = networks.task.metric.name, 1 if networks.task.metric.higher else -1
    one, two = (max(sign * line[metric] for line in t.history) for t in (first, second))
    kept = second if two >= one else first
    both = [*first.history, *({**line, "epoch": line["epoch"] + len(first.history)} for line in second.history)]
    result = kept.result._replace(epochs=len(both), seconds=first.result.seconds + second.result.seconds)
    return kept._replace(result=result, history=both)


def _one(networks: Networks, fusion: str, seconds: float | None, baselines: bool) -> Search:
    """One fusion, and what it is compared with; each gets an equal share of the time, or it would not be fair."""
    end = None if seconds is None else time.monotonic() + seconds
    every = list(networks.encoders)
    several = len(every) > 1
    todo = [(fusion if several else f"{every[0]} alone", fusion, every)]
    if baselines and several:
        todo += [(f"{m} alone", "concat", [m]) for m in every]
        todo += [] if fusion == "concat" else [("concat", "concat", every)]
    trials: list[Trial] = []
    for i, (name, of, modalities) in enumerate(todo):
        limit = None if end is None else max(1.0, (end - time.monotonic()) / (len(todo) - i))
        trials.append(networks.train(name, of, modalities, limit))
    return Search(trials[0], trials, [])


def _test(model: Model, trials: Sequence[Trial], table: Table, reading: Reading, goal: Problem) -> dict[str, Any]:
    """The model, and what it is compared with, on rows that nothing was chosen by."""
    rows = reading.encode(table)
    groups, refit = goal.groups(table), model.report["refit"]
    first, *others = trials
    results = [first.result._replace(logits=model.logits(rows))]
    results += [t.result._replace(logits=logits_of(t.learner(refit), rows)) for t in others]
    comparison = compare(goal.task, results, rows.target(range(len(rows))), groups)
    return {**model.score(rows, groups, logits=results[0].logits).to_json(), "comparison": comparison.to_json()}


def comparison_of(report: Mapping[str, Any], part: str = "valid") -> Comparison:
    """The comparison in a model's report: on the validation rows, or with part="test" on the test rows."""
    return Comparison.from_json(report["comparison"] if part == "valid" else report["test"]["comparison"])


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; it is one of {', '.join(PRESETS)}")
    return PRESETS[name]


def _processes() -> int:
    from accelerate import Accelerator  # PartialState alone does not heed `accelerate launch --cpu`

    return int(Accelerator().num_processes)


def _check_settings(chosen: Mapping[str, Any]) -> None:
    """Raises InputError for a setting that no training can have."""
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "epochs": (lambda x: x >= 1, "a whole number from 1"),
        "batch_size": (lambda x: x >= 1, "a whole number from 1"),
        "lr": (lambda x: 0 < x < float("inf"), "a finite number above 0, such as 0.001"),
        "precision": (lambda x: x in ("no", "bf16", "fp16"), "no, bf16 or fp16"),
        "seed": (lambda x: 0 <= x < 2**32, "a whole number from 0 to 4294967295"),
    }
    for name, (good, expected) in rules.items():
        if chosen[name] is not None and not good(chosen[name]):
            raise InputError(f"{name.replace('_', '-')} can't be {chosen[name]!r}; it must be {expected}")


def _prepare(folder: Path, resume: bool, overwrite: bool) -> None:
    """Make room for a run. Raises InputError rather than write over anything unasked."""
    finished, begun = (folder / "manifest.json").exists(), any(folder.glob("training/*.safetensors"))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; name a folder")
    if (finished or begun) and not resume:
        if not overwrite:
            what = "a model" if finished else "an unfinished run"
            raise InputError(
                f"{folder} holds {what}; add --resume to go on with it, --overwrite to begin anew, or name another "
                "folder with --out"
            )
        shutil.rmtree(folder / "training", ignore_errors=True)


def _plan(
    goal: Problem, valid: Table, reading: Reading, settings: Settings, fusion: str, preset: str
) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes."""
    return {
        "table": digest(goal.table),
        "validation rows": digest(valid),
        "target": goal.schema.target,
        "group": goal.schema.group,
        "columns": {c.name: c.kind for c in goal.schema.columns.values()},
        "encoders": {m: encoder.__name__ for m, encoder in reading.encoders.items()},
        "codecs": {m: codec.fingerprint() for m, codec in reading.preprocessor.codecs.items()},
        "task": goal.task.name,
        "writing": _plain(goal.writing) if isinstance(goal.task, Generation) else None,
        "fusion": fusion,
        "preset": preset,
        "size": goal.size._asdict(),
        **settings._asdict(),
    }


def _plain(how: Writing) -> dict[str, Any]:
    return {**how._asdict(), "decoding": asdict(how.decoding)}


def _remember(folder: Path, plan: Mapping[str, Any], resume: bool) -> Model | None:
    """Write the plan beside the checkpoints; to resume, see that it is the same; return what is finished already."""
    path = folder / "training" / "plan.json"
    if resume and (path.exists() or (folder / "manifest.json").exists()):
        done = None if path.exists() else load(folder)
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if done is None else done.report["plan"]
        except (ValueError, KeyError):
            raise InputError(f"{path} can't be read; begin anew with --overwrite") from None
        changed = [k for k in plan if before.get(k) != json.loads(json.dumps(plan[k]))]
        if changed:
            raise InputError(
                f"the run in {folder} can't be resumed: {', '.join(changed)} changed since it began; give the same "
                "input and options, or begin anew with --overwrite"
            )
        return done
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plan, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as e:
        raise InputError(f"--out {folder} can't be written to: {e.strerror or e}; name another folder") from None
    return None


def _is_main() -> bool:
    from accelerate import PartialState

    return bool(PartialState().is_main_process)
