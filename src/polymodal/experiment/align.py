"""`align`: modalities of a row in one space, learned without a label.

table --columns--> schema --split--> features --canonical correlations--> }  the better one, by
                                     encoders --contrastive training----> }  validation rows, is the model
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from polymodal.aligned import AlignedModel
from polymodal.data import splits
from polymodal.data.preprocess import Preprocessor, Rows, records_of
from polymodal.data.schema import Schema
from polymodal.data.table import Table, digest, unknown
from polymodal.errors import InputError
from polymodal.evaluate.retrieval import Retrieval
from polymodal.experiment import runs
from polymodal.experiment.budget import Budget
from polymodal.experiment.config import Columns, Config, Record, Run, Search, Training, with_hardware
from polymodal.experiment.peak import peak_memory_mb
from polymodal.experiment.problem import with_features
from polymodal.heads.space import LOSSES, Space
from polymodal.learners.aligner import Aligner
from polymodal.learners.correlated import Correlated
from polymodal.learners.encoders import Encoders
from polymodal.model import load
from polymodal.nn import SIZES
from polymodal.objectives.align import Align
from polymodal.objectives.base import Parts
from polymodal.retrieval import Direction, mean_score, searches
from polymodal.summary import Report
from polymodal.training.loop import train
from polymodal.training.settings import Settings

AUTO, CCA = "auto", "cca"
METHODS = (AUTO, CCA, *LOSSES)
USUAL = "info-nce"  # loss of the network that auto tries
HELD_OUT = 0.2  # of the rows
DIM = 256
BATCH = 256  # rows a step, at most an eighth of them: each row's rivals are the others of its batch
LIMIT = 120.0, 0.02, 3600.0  # seconds: a constant, so many for each cell, and at most
RIDGES = (0.1, 1.0, 10.0)


class Pairs(NamedTuple):
    """What is aligned. learn, held: rows to train and to validate on."""

    schema: Schema
    learn: Table
    held: Table
    given: bool
    request: Config
    seed: int

    def parts(self) -> Parts:
        """Each modality's codec and encoder class."""
        return Align().readings(self.schema, self.request.columns.encoders, self.request.columns.finetune)

    def read(self, codecs: Any, views: Any = None) -> tuple[Preprocessor, Rows, Rows]:
        """Codecs fitted on the training rows, and both parts encoded."""
        run = self.request.run
        prep = Preprocessor(self.schema, codecs, views).fit(self.learn, SIZES[self.request.search.size], run.quiet)
        rows, valid = (
            prep.encode(t, None, cache=run.cache_folder, fitting=t is self.learn, quiet=run.quiet)
            for t in (self.learn, self.held)
        )
        return prep, rows, valid


@with_hardware
def align(
    table: Any,
    columns: Sequence[str] = (),
    *,
    valid: Any = None,
    group: str | None = None,
    method: str = AUTO,
    dim: int = DIM,
    time_limit: float | str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    config: Record | Sequence[Record] = (),
) -> AlignedModel:
    """Learn one space in which the cells of a row lie together, from rows that have two of the columns or more.

    table: a path, a DataFrame or a list of dicts. columns: which to align; by default all that are modalities. valid: a
    table to choose by; by default a fifth of the rows is held out, equal cells and groups on one side. method: "cca"
    (canonical correlations of features, in closed form), a network with the loss "info-nce", "sigmoid" or "triplet"
    (see `heads.space`), or "auto": cca, then a network in what time is left, and the better one on validation rows.
    dim: of the space. time_limit: "5m", "1h30m" or a number of seconds; by default by the number of cells. out: folder
    to write. config: records of `Columns` (kinds, encoders, fine-tuning), `Search` (size), `Training` and `Run`.

    The report's "valid" says how well each modality finds each other among the validation rows. Raises InputError for
    fewer than two modalities, and where too few rows have two.
    """
    budget = Budget.asked(time_limit)
    request = Config.of(config, "align", (Columns, Search, Training, Run))
    _check(request, method, dim, seed)
    table = Table.read(table)
    schema = _schema(table, columns, group, request.columns)
    if time_limit is None:
        base, each, most = LIMIT
        budget = Budget.of(min(most, base + each * table.rows * len(schema.modalities())), since=budget.start)
    folder = Path(out) if out is not None else None
    learn, held = (table, Table.read(valid)) if valid is not None else _split(table, schema, seed)
    pairs = Pairs(schema, learn, held, valid is not None, request, seed)
    plan = {
        "table": digest(learn), "validation rows": digest(held), "method": method, "dim": dim, "seed": seed,
        "columns": {c.name: c.kind for c in schema.columns.values()}, "encoders": dict(request.columns.encoders),
        "finetune": list(request.columns.finetune), "size": request.search.size, **request.training._asdict(),
    }  # fmt: skip
    if folder is not None and (before := _remember(folder, plan, request.run)):
        return before
    attempts = [_correlated(pairs, dim)] if method in (AUTO, CCA) else []
    if method != CCA and (not attempts or budget.allows(1)):
        attempts.append(_network(pairs, USUAL if method == AUTO else method, dim, budget, folder))
    best = max(attempts, key=lambda t: t.score)
    notes = [f"{t.name}: mrr {t.score:.3f} on validation rows, {t.seconds:.0f} s{t.note}" for t in attempts]
    scores = Retrieval.of(len(best.rows), best.directions, best.rows.bad)
    counts = {"train": learn.rows, "valid": held.rows, "unlabelled": 0}
    best.model.report = Report(
        rows=counts, task=Align.name, reason="modalities of a row belong together",
        settings={"method": best.name, "dim": dim, "size": request.search.size, "seed": seed},
        valid_given=pairs.given, notes=notes, history=best.history, command=request.run.command,
        bad=[*best.training.bad, *best.rows.bad], plan=plan,
        valid=scores.to_json(), seconds=budget.elapsed, peak_memory_mb=peak_memory_mb(),
    )  # fmt: skip
    if folder is not None:
        best.model.save(folder)
        shutil.rmtree(folder / "training", ignore_errors=True)
    return best.model


class Attempt(NamedTuple):
    """A model that was tried, the rows that it learned from and was judged by, and how modalities find each other
    among the latter."""

    name: str
    model: AlignedModel
    training: Rows
    rows: Rows
    directions: list[Direction]
    seconds: float
    history: Sequence[Any] = ()
    note: str = ""

    @property
    def score(self) -> float:
        """Mean reciprocal rank over all directions."""
        return mean_score(self.directions, Align().metric.name)


def _correlated(pairs: Pairs, dim: int) -> Attempt:
    """Canonical correlations of features, with the ridge that validation rows like best."""
    began = time.monotonic()
    kinds = {m: kind for m, (kind, _) in pairs.schema.modalities().items()}
    codecs, views = with_features({m: codec for m, (codec, _) in pairs.parts().items()}, kinds, networks=False)
    prep, rows, valid = pairs.read(codecs, views)
    _check_rows(rows, valid, prep)
    learn, held = ({v: records_of(x, v) for v in views} for x in (rows, valid))
    learner = Correlated(views, dim, RIDGES[0]).learn({v: c.vectorizer() for v, c in codecs.items()}, learn)
    features, judged = learner.features(learn), learner.features(held)

    def judge(ridge: float) -> list[Direction]:
        learner.ridge = ridge
        learner.project(features)
        return searches(prep.modalities, learner.points_of(judged), prep.identities(valid))

    best = max(RIDGES, key=lambda r: mean_score(judge(r), Align().metric.name))
    directions = judge(best)
    return Attempt(CCA, AlignedModel(prep, learner), rows, valid, directions, time.monotonic() - began)


def _network(pairs: Pairs, loss: str, dim: int, budget: Budget, folder: Path | None) -> Attempt:
    """Encoders and a space, trained with this loss in what time is left."""
    began, request, objective = time.monotonic(), pairs.request, Align()
    size = SIZES[request.search.size]
    parts = pairs.parts()
    codecs = {m: codec for m, (codec, _) in parts.items()}
    prep, rows, valid = pairs.read(codecs)
    usable = _check_rows(rows, valid, prep)
    asked = {k: v for k, v in request.training._asdict().items() if v is not None}
    count = len(rows.parts(np.flatnonzero(usable)))
    usual = {"batch_size": min(BATCH, max(8, count // 8)), "modality_dropout": 0.0}
    settings = Settings.for_rows(count, **{**usual, **asked}, seed=pairs.seed)
    torch.manual_seed(pairs.seed)
    encoders = {m: e.for_codec(codecs[m], size) for m, (_, e) in parts.items()}
    learner = Aligner(Encoders(encoders), Space({m: e.dim for m, e in encoders.items()}, dim, loss))
    checkpoint = None if folder is None else folder / "training/aligning.safetensors"
    trained = train(
        learner, objective, rows, valid, settings, title="aligning", checkpoint=checkpoint,
        time_limit=budget.seconds(), quiet=request.run.quiet,
    )  # fmt: skip
    model = AlignedModel(prep, learner.eval())
    directions = searches(model.modalities, model.points(valid), prep.identities(valid))
    note = f", ended by the time limit after {len(trained.history)} epochs" * trained.out_of_time
    return Attempt(loss, model, rows, valid, directions, time.monotonic() - began, trained.history, note)


def _remember(folder: Path, plan: Mapping[str, Any], run: Run) -> AlignedModel | None:
    """Make room for a run and write its plan; to resume, see that it is the same; return what is finished already."""
    runs.prepare(folder, run)
    path = folder / "training/plan.json"
    if run.resume and path.exists():
        runs.refuse_changes(f"the run in {folder}", runs.read_plan(path), plan)
    elif run.resume and (folder / "manifest.json").exists():
        model = cast(AlignedModel, load(folder))
        runs.refuse_changes(f"the run in {folder}", model.report.plan, plan)
        return model
    runs.write_plan(path, plan, folder)
    return None


def _check(request: Config, method: str, dim: int, seed: int) -> None:
    """Raises InputError for what can't be asked for."""
    if method not in METHODS:
        raise InputError(f"unknown method {method!r}; it is one of {', '.join(METHODS)}")
    if request.search.size not in SIZES:
        raise InputError(f"unknown size {request.search.size!r}; it is one of {', '.join(SIZES)}")
    if not isinstance(dim, int) or dim < 2:
        raise InputError(f"--dim can't be {dim!r}; it must be a whole number from 2")
    request.training.check(seed)


def _check_rows(rows: Rows, valid: Rows, prep: Preprocessor) -> np.ndarray:
    """(N,) which rows to train on have two modalities. Raises InputError where few of them, or of the others, do."""
    first = {m: v for v, m in reversed(prep.views.items())}
    usable, judged = (Align().usable(x.only([*first.values()])) for x in (rows, valid))
    if usable.sum() < 4 or judged.sum() < 2:
        raise InputError(
            f"rows with two of {', '.join(first)} are what is learned from, and there are {usable.sum()} to train and "
            f"{judged.sum()} to validate on; at least 4 and 2 are needed"
        )
    return usable


def _schema(table: Table, columns: Sequence[str], group: str | None, asked: Columns) -> Schema:
    """The schema with the columns to align alone. Raises InputError where they are not two modalities."""
    for name in columns:
        if name not in table.columns:
            raise InputError(f"--columns: {table.name} {unknown('column', name, table.columns)}")
    ignore = [c for c in table.columns if columns and c not in (*columns, group)]
    schema = Schema.infer(table, None, group, asked.kinds, ignore)
    modalities = schema.modalities()
    if len(modalities) < 2:
        others = "; ".join(f"{c.name}: {c.kind} ({c.reason})" for c in schema.columns.values())
        raise InputError(
            f"two modalities or more can be aligned, and {table.name} has {len(modalities)}: {others}. Name others "
            "with --columns, or say what a column holds with --modality=COLUMN=KIND"
        )
    return schema


def _split(table: Table, schema: Schema, seed: int) -> tuple[Table, Table]:
    """Rows to train and to validate on: rows that share a cell, or a group, are on one side.

    Of columns that would join most rows, such as a category, cells may be on both.
    """
    columns = [names[0] for _, names in schema.modalities().values() if len(names) == 1]
    together = np.arange(table.rows)
    for name in [schema.group] * (schema.group is not None) + columns:
        merged = _merge(together, [None if c is None else str(c) for c in table.cells(str(name))])
        if name == schema.group or np.bincount(merged).max() <= table.rows * HELD_OUT:
            together = merged
    if len(set(together.tolist())) < 2:
        raise InputError(
            f"no row of {table.name} can be held out: there is but one, or all are of one group; give others to "
            "validate on with --valid"
        )
    train, held = splits.holdout(table.rows, HELD_OUT, None, together.tolist(), seed)
    return table.take(train), table.take(held)


def _merge(parts: np.ndarray, keys: Sequence[str | None]) -> np.ndarray:
    """(N,) numbers of parts in which rows of one part before, and rows with equal keys, are together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first: dict[Any, int] = {}
    edges = [(i, first.setdefault(k, i)) for i, k in enumerate(keys) if k is not None]
    edges += [(i, first.setdefault(int(p), i)) for i, p in enumerate(parts)]
    a, b = np.array(edges).T
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(len(parts), len(parts)))
    out: np.ndarray = connected_components(graph, directed=False)[1]
    return out
