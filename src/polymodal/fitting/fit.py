"""From a table to a model: schema, codecs, training, and the comparison that says what fusion brought."""

import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from polymodal import fusion as fusions
from polymodal import uncertainty
from polymodal.colearn.transfer import Start
from polymodal.data.cache import default_folder
from polymodal.data.preprocess import Rows, target_cells
from polymodal.data.references import refuse_shared
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.evaluate.compare import Comparison, compare
from polymodal.evaluate.starved import starved
from polymodal.fitting import auto, pretraining, problem, runs
from polymodal.fitting.auto import PRESETS, Judge, Preset, Search
from polymodal.fitting.candidates import Build, FeaturePath, Networks, Trial, logits_of, peak_memory_mb
from polymodal.fitting.colearning import CYCLIC, Colearning
from polymodal.fitting.origin import Origin
from polymodal.fitting.problem import Problem, Reading
from polymodal.fitting.writing import Writing, fits, reward
from polymodal.learners.transcriber import Transcriber
from polymodal.learners.translator import Translator
from polymodal.model import BATCH, Model
from polymodal.tasks.base import Task
from polymodal.tasks.generate import Generation, references
from polymodal.tasks.labels import number
from polymodal.train import Settings

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
    colearning: Colearning | None = None,
    modality_dropout: float | None = None,
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
    command: str = "",
) -> Model:
    """Train a model that predicts `target` from every other usable column of the table.

    table: a path (CSV, TSV, JSONL, Parquet), a DataFrame, or a list of dicts. valid: rows to choose the best epoch by;
    without them a fifth is held out, stratified, or by whole groups with `group`. test: scored once, at the end.
    fusion: "auto" tries networks with several fusions and estimators on features, and chooses by validation, as hard as
    `preset` says ("fast", "balanced" or "best"); "features" tries the estimators alone; else the name of a fusion.
    encoders: by column, the name of an encoder ("transformer", "bytes+gru"), or a Hugging Face name or folder of a
    pretrained network, which stays frozen unless the column is in `tune`. kinds: by column, what to read it as.
    colearning: how modalities help each other, and what is learned before. modality_dropout: the chance that a modality
    of a row is hidden in training.
    time_limit: seconds, for everything; with "auto" and "features", by the number of rows unless given. baselines: also
    train each modality alone, and concat, and compare. out: folder for checkpoints and the model; with `resume`, go on
    from what is there. command: what was typed, for who has to repeat it.

    Raises InputError for input that can't be used, saying what was seen and the way out.
    """
    began = time.monotonic()
    if fusion not in (AUTO, FEATURES):
        known(fusion)  # a wrong name is told before any work is done
    how = _preset(preset)
    chosen = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision, "seed": seed}
    runs.check({**chosen, "modality_dropout": modality_dropout})
    helped = colearning or Colearning()
    helped.check(fusion, modality_dropout)
    origin = Origin(helped.origin) if helped.origin is not None else None
    state = partial(
        problem.state, table, target, group=group, kinds=kinds, ignore=ignore, task=task, size=size, encoders=encoders,
        tune=tune,
    )  # fmt: skip
    goal = state(writing=writing)
    if origin is not None and (other := origin.writing(writing, goal)) is not writing:
        goal = state(writing=other)
    writes = isinstance(goal.task, Generation)
    if writes:
        helped.check_writing()
    helped.check_modalities(list(goal.schema.modalities()))
    if writes and fusion != AUTO:
        raise InputError(
            f"--fusion {fusion} joins modalities for a label; a model that writes text joins them by the attention of "
            "its decoder: leave --fusion out, and choose a --decoder"
        )
    searched = fusion in (AUTO, FEATURES) and not writes and helped.cyclic is None
    given = valid is not None
    folder = Path(out) if out is not None else None
    if folder is not None:
        runs.prepare(folder, resume, overwrite)
    train_at, valid_at = (list(range(goal.table.rows)), []) if given else goal.split(seed)
    learn = goal.table.take(train_at)
    goal.task.fit(target_cells(learn, goal.schema))
    held_table = goal.gathered(Table.read(valid)) if given else goal.table.take(valid_at)
    taken = None if origin is None else origin.begin(goal, learn, held_table)
    where = Path(cache) if cache is not None else default_folder()
    reading = goal.read(
        train_at, features=searched, networks=fusion != FEATURES, taken=taken and taken.parts, cache=where, quiet=quiet
    )
    rows = reading.rows.take(train_at)
    if writes and not allow_overlap:
        for other, what in ((valid, "validation"), (test, "test")):
            if other is not None:
                refuse_shared(learn, Table.read(other), goal.schema, what)
    held = reading.encode(held_table) if given else reading.rows.take(valid_at)
    if not held.labelled().any():
        names = ", ".join(goal.schema.target)
        raise InputError(f"no validation row has a label in {names!r}; give other rows with --valid")
    settings = Settings.for_rows(int(rows.labelled().sum()), modality_dropout=modality_dropout, **chosen)
    if searched and epochs is None:
        settings = settings._replace(epochs=how.longer * settings.epochs, patience=how.longer * settings.patience)
    plan = runs.plan(goal, held_table, reading, settings, fusion, preset, helped)
    if folder is not None and (done := runs.remember(folder, plan, resume)):
        return done

    judge = Judge(goal.task, held.target(range(len(held))), goal.groups(held_table))
    place = folder and folder / "training"
    paths = _Paths(goal, reading, learn, rows, held, settings, how, judge.groups, place, quiet)
    limit = how.limit(len(rows) * len(reading.encoders)) if searched and time_limit is None else time_limit
    left = None if limit is None else max(1.0, limit - (time.monotonic() - began))
    networks = None if fusion == FEATURES else paths.networks(_builder(goal, helped), taken and taken.start)
    first = None
    if helped.pretrain is not None:
        assert networks is not None
        prep = reading.preprocessor.only(list(reading.encoders))
        more = None if helped.unlabelled is None else pretraining.read(prep, helped.unlabelled, where, quiet)
        first = pretraining.pretrain(helped.pretrain, networks, fusion, more, chosen, left and left * PRETRAINING)
        networks.start = first.start
        left = None if limit is None else max(1.0, limit - (time.monotonic() - began))
    if searched:
        assert left is not None
        found = auto.search(how, judge, paths.features(), networks, left, given=given, baselines=baselines)
    else:
        assert networks is not None
        found = (
            _written(paths, networks, left, baselines) if writes else _one(networks, fusion, helped, left, baselines)
        )
    begun = networks.begun.get(found.chosen.result.name, []) if networks is not None else []
    told = [taken.said(str(helped.origin), begun)] if taken else []
    told += [first.said()] if first else []

    # of a search, logits that were chosen by other rows; of one fusion all candidates had the same choice of epochs
    results = [t.result._replace(logits=t.judged) if searched else t.result for t in found.trials]
    comparison = compare(goal.task, results, judge.target, judge.groups)
    apart = {
        c.name.removesuffix(" alone"): c.score.value for c in comparison.candidates[1:] if c.name.endswith(" alone")
    }
    hungry = starved(found.chosen.history, goal.task.metric, apart)
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
        "story": [*told, *found.story, *([hungry] if hungry else [])],
        "refit": refit,
        "comparison": comparison.to_json(),
        "calibration": calibration and calibration.to_json(),
        "history": found.chosen.history,
        "writing": runs.plain(goal.writing) if writes else None,
        "colearning": {
            **helped._asdict(),
            "modality_dropout": settings.modality_dropout,
            "from": {"taken": list(taken.start.encoders), "more": begun, "left": taken.left} if taken else None,
            "pretraining": first and first.report,
        },
        "command": command,
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


PRETRAINING = 1 / 3  # of the time


def _builder(goal: Problem, helped: Colearning) -> Build:
    """What makes a fresh learner for this problem."""
    if not isinstance(goal.task, Generation):
        return partial(helped.build, task=goal.task, size=goal.size)
    kinds = {m: kind for m, (kind, _) in goal.schema.modalities().items()}
    return partial(goal.writing.build, kinds=kinds, task=goal.task, size=goal.size)


class _Paths:
    """Both ways to a candidate, from the same rows."""

    def __init__(
        self, goal: Problem, reading: Reading, learn: Table, rows: Rows, held: Rows, settings: Settings,
        preset: Preset, groups: Sequence[Any] | None, folder: Path | None, quiet: bool,
    ) -> None:  # fmt: skip
        self.groups = groups
        self.goal, self.reading, self.learn, self.rows, self.held = goal, reading, learn, rows, held
        self.settings, self.preset, self.folder, self.quiet = settings, preset, folder, quiet

    def networks(self, build: Build, start: Start | None) -> Networks:
        goal = self.goal
        return Networks(
            self.reading.encoders, goal.task, goal.size, self.settings, self.rows, self.held,
            groups=self.groups, folder=self.folder, quiet=self.quiet, build=build, start=start,
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


def _written(paths: _Paths, networks: Networks, seconds: float | None, baselines: bool) -> Search:
    """A learner that writes text, and the same from each modality alone; each gets an equal share of the time."""
    goal, end = paths.goal, None if seconds is None else time.monotonic() + seconds
    how, task = goal.writing, goal.task
    assert isinstance(task, Generation)
    kinds = {m: kind for m, (kind, _) in goal.schema.modalities().items()}
    name = str(how.decoder)
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


def _one(networks: Networks, fusion: str, helped: Colearning, seconds: float | None, baselines: bool) -> Search:
    """One fusion, and what it is compared with; each gets an equal share of the time, or it would not be fair."""
    end = None if seconds is None else time.monotonic() + seconds
    every = list(networks.encoders)
    several = len(every) > 1
    todo = [(fusion if several else f"{every[0]} alone", fusion, every)]
    if helped.cyclic is not None:
        todo = [(f"cyclic from {helped.cyclic}", CYCLIC, every)]
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


def _is_main() -> bool:
    from accelerate import PartialState

    return bool(PartialState().is_main_process)
