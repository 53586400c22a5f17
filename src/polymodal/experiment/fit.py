"""From a table to a model: prepare, train candidates, choose, and say what fusion brought."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from polymodal import fusion as fusions
from polymodal import uncertainty
from polymodal.data.table import Table
from polymodal.errors import InputError, is_whole
from polymodal.evaluate.compare import TEST, compare
from polymodal.evaluate.starved import starved
from polymodal.experiment import pretraining, runs
from polymodal.experiment.budget import Budget
from polymodal.experiment.candidates import Judgement, Trial, outputs_of
from polymodal.experiment.config import PREFERENCES, Config, Record, Search, Training, with_hardware
from polymodal.experiment.decide import Decider
from polymodal.experiment.peak import peak_memory_mb
from polymodal.experiment.prepare import Prepared, prepare
from polymodal.experiment.pretraining import Pretrained
from polymodal.experiment.problem import Problem, state
from polymodal.experiment.search import PRESETS, Outcome, Preset
from polymodal.experiment.search import search as find
from polymodal.experiment.warm_start import Origin
from polymodal.learners.base import Learner
from polymodal.model import Model
from polymodal.objectives.base import Candidate
from polymodal.scoring import Scorer
from polymodal.summary import Report, TestScores
from polymodal.tasks.base import Task
from polymodal.training.settings import Settings

AUTO, FEATURES = SEARCHES = "auto", "features"  # beside the names of fusions: both paths, or the small-data path alone
PRETRAINING = 1 / 3  # of the time


@with_hardware
def fit(
    table: Any,
    target: str | Sequence[str],
    *,
    valid: Any = None,
    test: Any = None,
    out: Path | str | None = None,
    group: str | None = None,
    ignore: Sequence[str] = (),
    task: str | Task | None = None,
    time_limit: float | str | None = None,
    preset: str = "balanced",
    seed: int = 0,
    config: Record | Sequence[Record] = (),
) -> Model:
    """Train a model that predicts `target` from every other usable column of the table.

    table: a path (CSV, TSV, JSONL, Parquet), a DataFrame, or a list of dicts. valid: rows to choose the best epoch by;
    without them a fifth is held out, stratified, or by whole groups with `group`. test: scored once, at the end.
    out: folder for checkpoints and the model. ignore: columns that are left out. task: by default what the target's
    cells ask for. time_limit: for everything, "5m", "1h30m" or a number of seconds; of a search, by the number of rows
    unless given. preset: how hard a search tries, "fast", "balanced" or "best". seed: decides splits, weights and the
    order of rows. config: what else is asked, records of `Columns`, `Target`, `Search`, `Training`, `Run`,
    `Writing`, `Colearning`.

    Raises InputError for input that can't be used, saying what was seen and the way out.
    """
    budget = Budget.asked(time_limit)
    request = _check(Config.of(config, "fit"), preset, seed)
    problem, origin = _problem(request, table, target, group, ignore, task)
    candidates = problem.objective.candidates(request.fusion, problem.kinds, request.search.baselines)
    search = PRESETS[preset] if request.fusion in SEARCHES and "search" in problem.objective.capabilities else None
    _check_folds(request.search, search, valid is not None)
    folder = Path(out) if out is not None else None
    if folder is not None:
        runs.prepare(folder, request.run)
    prepared = prepare(
        problem, valid, request.run, seed=seed, features=search is not None, networks=request.fusion != FEATURES,
        origin=origin, test=test,
    )  # fmt: skip
    settings = _settings(prepared, request.training, seed, 1 if search is None else search.longer)
    plan = runs.plan(prepared, settings, request.search, preset, request.colearning, request.target)
    if folder is not None and (earlier := runs.remember(folder, plan, request.run.resume)):
        return earlier
    if search is not None and time_limit is None:
        budget = Budget.of(search.limit(len(prepared.rows) * len(prepared.reading.encoders)), since=budget.start)
    decider = Decider.of(prepared.validation, request.target.optimize_threshold)
    trained = _train(prepared, request, settings, budget, folder, candidates, search, decider)
    report, learner = _report(prepared, trained, search is not None and (search.refit or not prepared.given), decider)
    if test is not None:
        tables = problem.rows(Table.read(test))
        report = report._replace(test=_test(prepared, trained.outcome.trials, report, tables, decider))
    report = report._replace(
        settings={"fusion": request.fusion, "preset": preset, "size": request.search.size, **settings._asdict()},
        command=request.run.command, plan=plan, seconds=budget.elapsed, peak_memory_mb=peak_memory_mb(),
    )  # fmt: skip
    model = Model(prepared.reading.preprocessor.only(learner.reads), learner, report)
    if folder is not None and _is_main():
        model.save(folder)
        shutil.rmtree(folder / "training", ignore_errors=True)
    return model


def check_fusion(fusion: str) -> None:
    """Raises InputError for a name that is no fusion."""
    try:
        fusions.find(fusion)
    except InputError as e:
        raise InputError(f"{e}; or {AUTO}, which tries both paths, or {FEATURES}, estimators on features") from None


def _check(request: Config, preset: str, seed: int) -> Config:
    """The config with a fusion. Raises InputError for what can't be asked for, before any work is done."""
    request = request._replace(search=request.search._replace(fusion=request.search.fusion or AUTO))
    if request.fusion not in SEARCHES:
        check_fusion(request.fusion)
    if request.search.prefer not in PREFERENCES:
        raise InputError(f"can't prefer {request.search.prefer!r}; it is one of {', '.join(PREFERENCES)}")
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; it is one of {', '.join(PRESETS)}")
    request.training.check(seed)
    request.colearning.check(request.fusion, request.training.modality_dropout)
    return request


def _check_folds(asked: Search, search: Preset | None, given: bool) -> None:
    """Raises InputError for folds without a search, and for too few of them. given: validation rows come apart."""
    if asked.folds is None:
        return
    if search is None:
        raise InputError("folds are those of a search, and there is none for this fusion and target; leave --folds out")
    least, why = (2, "") if given else (3, ", of which the held-out rows are the first")
    if not is_whole(asked.folds, least):
        raise InputError(f"--folds can't be {asked.folds!r}; it must be a whole number from {least}{why}")


def _problem(
    request: Config, table: Any, target: str | Sequence[str], group: str | None, ignore: Sequence[str],
    task: str | Task | None,
) -> tuple[Problem, Origin | None]:  # fmt: skip
    """The problem, and the model that its networks begin with."""
    resolve = partial(
        state, Table.read(table), target, group=group, ignore=ignore, task=task, size=request.search.size,
        columns=request.columns, colearning=request.colearning, how=request.target,
    )  # fmt: skip
    origin = Origin(request.colearning.init_from) if request.colearning.init_from is not None else None
    problem = resolve(writing=request.writing)
    if origin is not None and (writing := origin.writing(request.writing, problem)) is not request.writing:
        problem = resolve(writing=writing)
    request.colearning.check_modalities(list(problem.kinds))
    return problem, origin


def _settings(prepared: Prepared, training: Training, seed: int, longer: int) -> Settings:
    """How networks are trained on these rows. longer: times the usual epochs, where none are asked for."""
    settings = Settings.of(prepared.rows, **training._asdict(), seed=seed)
    if training.epochs is None:
        settings = settings._replace(epochs=longer * settings.epochs, patience=longer * settings.patience)
    return settings


class Trained(NamedTuple):
    """What came of the training. pretrained: what came before it, if anything. warm_started: what the chosen learner
    took over beside encoders."""

    outcome: Outcome
    pretrained: Pretrained | None
    warm_started: list[str]
    colearning: dict[str, Any]


def _train(
    prepared: Prepared, request: Config, settings: Settings, budget: Budget, folder: Path | None,
    candidates: Sequence[Candidate], search: Preset | None, decider: Decider,
) -> Trained:  # fmt: skip
    """Pretrain where asked for, then search, or train the candidates in equal shares of the time, or it would not be
    fair."""
    place, run, colearning = folder and folder / "training", request.run, request.colearning
    networks = None if request.fusion == FEATURES else prepared.networks(settings, place, run.quiet)
    first = None
    if colearning.pretrain is not None and networks is not None:
        prep = prepared.reading.preprocessor.only(list(prepared.reading.encoders))
        more = None if colearning.unlabelled is None else pretraining.read(prep, colearning.unlabelled, run)
        first = pretraining.pretrain(
            colearning.pretrain,
            networks,
            request.fusion,
            more,
            request.training,
            settings.seed,
            budget.seconds(PRETRAINING),
        )
        networks.start = first.start
    if search is not None:
        if _processes() > 1:
            raise InputError(
                "estimators on features are fitted in one process; name a fusion with --fusion to train in several"
            )
        features = prepared.features(search.folds, settings.seed, place, run.quiet, asked=request.search.folds)
        outcome = find(
            search, prepared.validation, features, networks, Budget.of(budget.seconds()),
            valid_given=prepared.given, prefer=request.search.prefer,
            seconds_a_row=prepared.seconds_a_row, decider=decider,
        )  # fmt: skip
    else:
        assert networks is not None
        n = len(candidates)
        outcome = Outcome([networks.run(c, budget.part(1 / (n - i))) for i, c in enumerate(candidates)], [])
    more_parts = [] if networks is None else networks.warm_started.get(outcome.chosen.result.name, [])
    options = {**colearning._asdict(), "modality_dropout": settings.modality_dropout}
    return Trained(outcome, first, more_parts, options)


def _report(prepared: Prepared, trained: Trained, refit: bool, decider: Decider) -> tuple[Report, Learner]:
    """The chosen learner, and what there is to tell of it: scores beside those of all candidates on validation rows."""
    problem, outcome, best = prepared.problem, trained.outcome, trained.outcome.chosen
    valid, warm, first = prepared.validation, prepared.warm_start, trained.pretrained
    results = outcome.results()
    alone = {
        t.modalities[0]: Judgement(t.judged, valid).score
        for t in outcome.trials[1:]
        if t.result.family == "single" and t.history
    }
    # before the validation rows are learned from, which would make it look surer than it is
    views, before = prepared.reading.preprocessor.views, best.learner(False)
    calibration = uncertainty.calibrate(before, prepared.valid, views, valid.groups)
    comparison = outcome.compare(valid, decider.compared)
    thresholds, decisions = decider.settle(problem.task, best, 1.0 if calibration is None else calibration.temperature)
    notes = [*([warm.describe(trained.warm_started)] if warm else []), *([first.describe()] if first else [])]
    notes += [problem.chronology.describe()] if problem.chronology else []
    notes += [*outcome.notes, *problem.objective.notes(problem.table, problem.schema, before, prepared.rows)]
    notes += [s] if (s := starved(best.history, problem.task.metric, alone)) else []
    notes += decisions
    learner = best.learner(refit)
    scorer = Scorer(prepared.reading.preprocessor.only(learner.reads), problem.task, calibration)
    origin = {"taken": list(warm.start.encoders), "more": trained.warm_started, "left": warm.left} if warm else None
    return Report(
        rows=prepared.counts,
        task=problem.task.name,
        reason=problem.reason,
        processes=_processes(),
        valid_given=prepared.given,
        notes=notes,
        refit=refit,
        comparison=comparison,
        calibration=calibration,
        thresholds=thresholds,
        history=best.history,
        writing=problem.objective.options(),
        colearning={**trained.colearning, "from": origin, "pretraining": first and first.report},
        bad=prepared.bad,
        valid=scorer.score(prepared.valid, scorer.calibrated(results[0].output), valid.groups).to_json(),
    ), learner


def _test(prepared: Prepared, trials: Sequence[Trial], report: Report, table: Table, decider: Decider) -> TestScores:
    """The model, and what it is compared with, on rows that nothing was chosen by."""
    problem = prepared.problem
    rows, groups = prepared.reading.encode(table), problem.groups(table)
    learners = [t.learner(report.refit) for t in trials]
    results = [t.result._replace(output=outputs_of(x, rows)) for t, x in zip(trials, learners, strict=True)]
    scorer = Scorer(prepared.reading.preprocessor.only(learners[0].reads), problem.task, report.calibration)
    output = scorer.calibrated(results[0].output)
    if decider.is_on:
        results = [r._replace(output=decider.of_others(t, r.output)) for r, t in zip(results, trials, strict=True)]
    else:
        results[0] = results[0]._replace(output=output)
    target = rows.target(range(len(rows)))
    results += problem.baselines(prepared.rows.target(range(len(prepared.rows))), table, target)
    comparison = compare(decider.rows.task, results, target, groups, TEST)
    return TestScores(scorer.score(rows, output, groups).to_json(), comparison)


def _processes() -> int:
    from accelerate import Accelerator  # PartialState alone does not heed `accelerate launch --cpu`

    return int(Accelerator().num_processes)


def _is_main() -> bool:
    from accelerate import PartialState

    return bool(PartialState().is_main_process)
