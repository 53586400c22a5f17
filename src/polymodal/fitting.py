"""From a table to a model: schema, codecs, training, and the comparison that says what fusion brought."""

import hashlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from polymodal import fusion as fusions
from polymodal import tasks
from polymodal.data.cache import default_folder
from polymodal.data.preprocess import Preprocessor, Rows, target_cells
from polymodal.data.schema import Schema
from polymodal.data.splits import holdout
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.evaluate.compare import Comparison, Result, compare
from polymodal.learners.predictor import Predictor
from polymodal.modalities import choose
from polymodal.modalities.base import Codec, Encoder
from polymodal.model import BATCH, Model, load
from polymodal.nn import SIZES, Size
from polymodal.tasks.base import Task
from polymodal.train import Settings, Trained, predict, train

DEFAULT_FUSION = "gated"


def fit(
    table: Any,
    target: str | Sequence[str],
    *,
    valid: Any = None,
    test: Any = None,
    out: Path | str | None = None,
    fusion: str = DEFAULT_FUSION,
    size: str = "small",
    encoders: Mapping[str, str] | None = None,
    tune: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    group: str | None = None,
    task: str | Task | None = None,
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
    encoders: by column, the name of an encoder ("transformer", "bytes+gru"), or a Hugging Face name or folder of a
    pretrained network, which stays frozen unless the column is in `tune`. kinds: by column, what to read it as.
    time_limit: seconds, for everything. baselines: also train each modality alone, and concat, and compare.
    out: folder for checkpoints and the model; with `resume`, go on from what is there.

    Raises InputError for input that can't be used, saying what was seen and the way out.
    """
    began = time.monotonic()
    dial = _size(size)
    fusions.find(fusion)  # a wrong name is told before any work is done
    chosen = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "precision": precision, "seed": seed}
    _check_settings(chosen)
    table = Table.read(table)
    schema = Schema.infer(table, target, group, kinds, ignore)
    schema.check(table.name)
    _check_rows(table)
    goal, why = _task(task, table, schema)
    given = valid is not None
    folder = Path(out) if out is not None else None
    if folder is not None:
        _prepare(folder, resume, overwrite)
    train_at, valid_at = (list(range(table.rows)), []) if given else _split(table, schema, goal, seed)
    if not given:
        train_at, valid_at = _keep_rare_labels(table, schema, goal, train_at, valid_at)
    learn = table.take(train_at)
    goal.fit(target_cells(learn, schema))
    parts = _parts(schema, encoders or {}, tune)
    prep = Preprocessor(schema, {m: codec for m, (codec, _) in parts.items()}).fit(learn, dial, quiet)
    where = Path(cache) if cache is not None else default_folder()
    encode = partial(prep.encode, task=goal, cache=where, need_target=True, quiet=quiet)
    whole = encode(table, fitting=True)
    rows = whole.take(train_at)
    held_table = Table.read(valid) if given else table.take(valid_at)
    held = encode(held_table) if given else whole.take(valid_at)
    if not held.labelled().any():
        raise InputError(f"no validation row has a label in {', '.join(schema.target)!r}; give other rows with --valid")
    settings = Settings.for_rows(int(rows.labelled().sum()), **chosen)
    plan = _plan(table, held_table, schema, parts, goal, settings, fusion, size)
    if folder is not None and (done := _remember(folder, plan, resume)):
        return done

    run = _Run(parts, goal, dial, settings, rows, held, folder, time_limit, began, quiet)
    candidates = run.candidates(fusion, baselines)
    trained = [run.train(i, *c, left=len(candidates) - i) for i, c in enumerate(candidates)]
    results, learner = [r for _, r, _ in trained], trained[0][0]

    groups = held_table.cells(group) if group is not None and group in held_table.columns else None
    comparison = compare(goal, results, held.target(range(len(held))), groups)
    report: dict[str, Any] = {
        "rows": {"train": len(rows), "valid": len(held), "unlabelled": int((~rows.labelled()).sum())},
        "task": {"name": goal.name, "reason": why},
        "settings": {"fusion": fusion, "size": size, **settings._asdict()},
        "valid_given": given,
        "comparison": comparison.to_json(),
        "history": trained[0][2].history,
        "bad": [b._asdict() for b in (*whole.bad, *(held.bad if given else ()))],
        "plan": plan,
    }
    model = Model(prep, learner, report)
    report["valid"] = model.score(held, groups).to_json()
    if test is not None:
        report["test"] = _test(model, run, trained, Table.read(test), encode, group)
    report["seconds"] = time.monotonic() - began
    report["peak_memory_mb"] = _peak_memory_mb()
    model.report = report
    if folder is not None and _is_main():
        model.save(folder)
        shutil.rmtree(folder / "training", ignore_errors=True)
    return model


class _Run(NamedTuple):
    """Candidates trained one after the other on the same encoded rows."""

    parts: Mapping[str, tuple[Codec, type[Encoder]]]
    task: Task
    size: Size
    settings: Settings
    rows: Rows
    valid: Rows
    folder: Path | None
    time_limit: float | None
    began: float
    quiet: bool

    def candidates(self, fusion: str, baselines: bool) -> list[tuple[str, str, list[str]]]:
        """(name, fusion, modalities) of the model, of each modality alone, and of concat."""
        every = list(self.parts)
        several = len(every) > 1
        main = [(fusion if several else f"{every[0]} alone", fusion, every)]
        if not (baselines and several):
            return main
        concat = [] if fusion == "concat" else [("concat", "concat", every)]
        return main + [(f"{m} alone", "concat", [m]) for m in every] + concat

    def learner(self, fusion: str, modalities: Sequence[str]) -> Predictor:
        """A fresh predictor; its parameters are decided by the seed alone."""
        torch.manual_seed(self.settings.seed)
        encoders = {m: self.parts[m][1].for_codec(self.parts[m][0], self.size) for m in modalities}
        dims = {m: e.dim for m, e in encoders.items()}
        return Predictor(encoders, fusions.make(fusion, dims, self.size, self.task), self.task)

    def train(
        self, number: int, name: str, fusion: str, modalities: Sequence[str], left: int
    ) -> tuple[Predictor, Result, Trained]:
        """Train one candidate; it gets an equal share of the time that is left, or the comparison would be unfair."""
        learner = self.learner(fusion, modalities)
        limit = None
        if self.time_limit is not None:
            remaining = max(1.0, self.time_limit - (time.monotonic() - self.began))
            limit = remaining / left
        checkpoint = self.folder / "training" / f"{number}.safetensors" if self.folder else None
        rows, valid = self.rows.only(modalities), self.valid.only(modalities)
        told = train(
            learner,
            self.task,
            rows,
            valid,
            self.settings,
            title=name,
            checkpoint=checkpoint,
            time_limit=limit,
            quiet=self.quiet,
        )
        count = sum(p.numel() for p in learner.parameters())
        logits = predict(learner, valid, BATCH)
        fused = len(modalities) > 1
        return learner, Result(name, fused, logits, count, len(told.history), told.seconds), told


def _test(
    model: Model,
    run: _Run,
    trained: Sequence[tuple[Predictor, Result, Trained]],
    table: Table,
    encode: Any,
    group: str | None,
) -> dict[str, Any]:
    """The model, and what it is compared with, on rows that nothing was chosen by."""
    rows = encode(table)
    groups = table.cells(group) if group is not None and group in table.columns else None
    results = [r._replace(logits=predict(x, rows.only(x.encoders.names), BATCH)) for x, r, _ in trained]
    comparison = compare(run.task, results, rows.target(range(len(rows))), groups)
    return {**model.score(rows, groups).to_json(), "comparison": comparison.to_json()}


def comparison_of(report: Mapping[str, Any], part: str = "valid") -> Comparison:
    """The comparison in a model's report: on the validation rows, or with part="test" on the test rows."""
    return Comparison.from_json(report["comparison"] if part == "valid" else report["test"]["comparison"])


def _size(name: str) -> Size:
    if name not in SIZES:
        raise InputError(f"unknown size {name!r}; it is one of {', '.join(SIZES)}")
    return SIZES[name]


def _check_rows(table: Table) -> None:
    if table.rows < 4:
        raise InputError(
            f"{table.name} has {table.rows} row{'s' * (table.rows != 1)}; training needs at least 4, and some "
            "hundreds to learn anything"
        )


def _task(task: str | Task | None, table: Table, schema: Schema) -> tuple[Task, str]:
    if isinstance(task, Task):
        return task, "set by you"
    cells = target_cells(table, schema)
    if task is None:
        return tasks.guess(cells, schema.target)
    if task not in tasks.TASKS:
        raise InputError(f"unknown task {task!r}; it is one of {', '.join(tasks.TASKS)}")
    return tasks.TASKS[task](), "set by you"


def _split(table: Table, schema: Schema, task: Task, seed: int) -> tuple[list[int], list[int]]:
    """Training and validation rows; rows without a label stay in training, where they are left out and counted."""
    cells = target_cells(table, schema)
    labelled = [i for i, c in enumerate(cells) if c is not None]
    if len(labelled) < 4:
        raise InputError(
            f"only {len(labelled)} of {table.rows} rows have a label in {', '.join(schema.target)!r}; "
            "training needs at least 4"
        )
    groups = table.cells(schema.group) if schema.group else None
    _, held = holdout(
        len(labelled),
        stratify=task.strata([cells[i] for i in labelled]),
        groups=[groups[i] for i in labelled] if groups else None,
        seed=seed,
    )
    valid = {labelled[i] for i in held}
    return [i for i in range(table.rows) if i not in valid], sorted(valid)


def _keep_rare_labels(
    table: Table, schema: Schema, task: Task, train: list[int], valid: list[int]
) -> tuple[list[int], list[int]]:
    """The same parts, with held-out rows (and their groups) moved to training where a label of theirs is not there."""
    cells = target_cells(table, schema)
    groups = table.cells(schema.group) if schema.group else [None] * table.rows
    task.fit([cells[i] for i in train])
    moved = set()
    for i in valid:
        try:
            task.encode(cells[i])
        except InputError:
            moved |= {i} if groups[i] is None else {j for j in valid if groups[j] == groups[i]}
    if len(moved) == len(valid):
        raise InputError(
            f"no rows can be held out of {table.name}: each candidate has a label that no other row has; give rows to "
            "validate on with --valid"
        )
    return sorted([*train, *moved]), [i for i in valid if i not in moved]


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


def _parts(schema: Schema, encoders: Mapping[str, str], tune: Sequence[str]) -> dict[str, tuple[Codec, type[Encoder]]]:
    """Each modality's codec and encoder class."""
    found = schema.modalities()
    for name in [*encoders, *tune]:
        if name not in found:
            raise InputError(f"no modality {name!r} to choose an encoder for; there are: {', '.join(found)}")
    for name in tune:
        if name not in encoders:
            raise InputError(
                f"--tune {name} fine-tunes a pretrained network, and none is named; add --encoder {name}=NAME"
            )
    parts = {}
    for m, (kind, columns) in found.items():
        settings = {"columns": {c: schema.columns[c].kind for c in columns}} if kind == "tabular" else {}
        parts[m] = choose(kind, encoders.get(m), tune=m in tune, settings=settings)
    return parts


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
    table: Table,
    valid: Table,
    schema: Schema,
    parts: Mapping[str, tuple[Codec, type[Encoder]]],
    task: Task,
    settings: Settings,
    fusion: str,
    size: str,
) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes."""
    return {
        "table": _digest(table),
        "validation rows": _digest(valid),
        "target": schema.target,
        "group": schema.group,
        "columns": {c.name: c.kind for c in schema.columns.values()},
        "encoders": {m: encoder.__name__ for m, (_, encoder) in parts.items()},
        "codecs": {m: codec.fingerprint() for m, (codec, _) in parts.items()},
        "task": task.name,
        "fusion": fusion,
        "size": size,
        **settings._asdict(),
    }


def _digest(table: Table) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for column in table.columns:
        digest.update(column.encode())
        for cell in table.cells(column):
            digest.update(str(cell).encode("utf-8", "surrogatepass") + b"\x00")
    return digest.hexdigest()


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


def _peak_memory_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
