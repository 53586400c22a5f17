"""What is to be learned: a table's schema, its task, and the ways in which each modality is read.

table, target --state--> Problem --read(training rows)--> Reading: encoded rows, for both paths
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from polymodal import tasks
from polymodal.data.preprocess import Preprocessor, Rows, target_cells
from polymodal.data.references import gathered, sharers, unnumbered
from polymodal.data.schema import Schema
from polymodal.data.splits import holdout
from polymodal.data.table import Table, digest
from polymodal.errors import InputError
from polymodal.fitting.writing import CTC, GRID, Writing
from polymodal.fitting.writing import dial as writer_size
from polymodal.learners.matrix import Fields, Tokens
from polymodal.learners.stacked import Extract
from polymodal.modalities import MODALITIES, choose
from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.features import Features
from polymodal.modalities.pretrained.hub import Frozen
from polymodal.modalities.pretrained.onnx import Onnx
from polymodal.modalities.pretrained.own import Own, is_model
from polymodal.modalities.pretrained.own import parted as model_parted
from polymodal.modalities.tabular.codec import Cells
from polymodal.nn import SIZES, Size
from polymodal.tasks.base import Task
from polymodal.tasks.generate import Generation


class Problem(NamedTuple):
    """A table with a target. encoders: by modality, the one asked for, if any. reason: why it is this task."""

    table: Table
    schema: Schema
    task: Task
    reason: str
    size: Size
    encoders: dict[str, str]
    tune: list[str]
    writing: Writing = Writing()

    def split(self, seed: int) -> tuple[list[int], list[int]]:
        """Training and validation rows; rows without a label stay in training, where they are left out and counted.

        Held-out rows (and their groups) move to training where no training row has a label of theirs.
        """
        train, valid = _split(self.table, self.schema, self.task, seed)
        return _keep_rare_labels(self.table, self.schema, self.task, train, valid)

    def groups(self, table: Table) -> list[Any] | None:
        """Each row's group, where there is a group column and the table has it."""
        group = self.schema.group
        return table.cells(group) if group is not None and group in table.columns else None

    def parts(self) -> dict[str, tuple[Codec, type[Encoder]]]:
        """Each modality's codec and encoder class, for networks."""
        found = self.schema.modalities()
        if isinstance(self.task, Generation):
            kinds = {m: kind for m, (kind, _) in found.items()}
            if own := self.writing.parts(str(self.writing.decoder), kinds):
                if self.encoders:
                    raise InputError("a pretrained encoder-decoder reads with its own encoder; leave --encoder out")
                return own
        out = {}
        # a token each 40 ms, where the convolutions alone give one each 80: too few for the letters of fast speech
        default = {"audio": "transformer"} if isinstance(self.task, Generation) and self.writing.decoder == CTC else {}
        for m, (kind, columns) in found.items():
            if (name := self.encoders.get(m)) and is_model(name):
                self._check_unseen(m, name)
            settings = {"columns": {c: self.schema.columns[c].kind for c in columns}} if kind == "tabular" else {}
            codec, encoder = choose(
                kind, self.encoders.get(m, default.get(kind)), tune=m in self.tune, settings=settings
            )
            if isinstance(self.task, Generation) and kind == "image" and isinstance(codec, Frozen | Onnx | Own):
                codec.tokens = GRID  # words look at parts of a picture
            out[m] = codec, encoder
        return out

    def gathered(self, table: Table) -> Table:
        """The table as the task reads it: of texts, rows that differ in the target alone are one."""
        return gathered(table, self.schema) if isinstance(self.task, Generation) else table

    def _check_unseen(self, modality: str, name: str) -> None:
        """Raises InputError for an encoder that has seen the labels of this table's rows."""
        report = json.loads((Path(model_parted(name)[0]) / "model.json").read_text(encoding="utf-8"))["report"]
        plan = report.get("plan", {})
        seen = (plan.get("table"), plan.get("validation rows"))
        if digest(self.table) in seen and plan.get("target") == self.schema.target:
            raise InputError(
                f"--encoder {modality}={name}: that model was trained on {self.table.name} for the same target, so its "
                "encoder has seen all labels, and no score on these rows would mean anything; train it on other rows"
            )

    def read(
        self,
        train: Sequence[int],
        *,
        features: bool,
        networks: bool = True,
        taken: Mapping[str, tuple[Codec, type[Encoder]]] | None = None,
        cache: Path | None = None,
        quiet: bool = True,
    ) -> "Reading":
        """Encode the table, by codecs that are fitted on its training rows. features: also as classical features.

        taken: by modality, a codec that is fitted already, and its encoder's class, in place of what would be chosen.
        """
        parts = self.parts() | dict(taken or {})
        codecs: dict[str, Codec] = {m: codec for m, (codec, _) in parts.items()}
        views = {m: m for m in codecs}
        if features:
            for m, (kind, _) in self.schema.modalities().items():
                for name in MODALITIES[kind].default_extractors:
                    view = _unique(f"{m}/{name}", codecs)
                    codecs[view], views[view] = Features(MODALITIES[kind].extractors[name]()), m
                if not networks and not _vectors(codecs[m]):
                    del codecs[m]
        fresh = {v: c for v, c in codecs.items() if v not in (taken or {})}
        Preprocessor(self.schema, fresh, views).fit(self.table.take(train), self.size, quiet)
        prep = Preprocessor(self.schema, codecs, views)
        encode = partial(prep.encode, task=self.task, cache=cache, need_target=True, quiet=quiet)
        rows = encode(self.table, fitting=True)
        return Reading(prep, {m: e for m, (_, e) in parts.items()}, rows, encode)


class Reading(NamedTuple):
    """An encoded table. encoders: the class of each modality's encoder. encode: reads other tables the same way."""

    preprocessor: Preprocessor
    encoders: dict[str, type[Encoder]]
    rows: Rows
    encode: Callable[[Table], Rows]

    def extractors(self) -> dict[str, Extract]:
        """How the small-data path reads each view that it can read."""
        out: dict[str, Extract] = {}
        for view, codec in self.preprocessor.codecs.items():
            if isinstance(codec, Features):
                out[view] = codec.extractor
            elif isinstance(codec, Cells):
                out[view] = Fields(codec.fields)
            elif _vectors(codec):
                out[view] = Tokens()
        return out


def state(
    table: Any,
    target: str | Sequence[str],
    *,
    group: str | None = None,
    kinds: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    task: str | Task | None = None,
    size: str = "small",
    encoders: Mapping[str, str] | None = None,
    tune: Sequence[str] = (),
    writing: Writing | None = None,
) -> Problem:
    """Infer the schema and the task. Raises InputError for what can't be learned from or is not there."""
    dial = _size(size)
    table = Table.read(table)
    schema = Schema.infer(table, target, group, kinds, ignore)
    schema.check(table.name)
    _check_rows(table)
    goal, why = (Generation(), "a decoder is asked for") if writing and task is None else _task(task, table, schema)
    how = writing or Writing()
    if isinstance(goal, Generation):
        dial, schema = writer_size(size), unnumbered(table, schema)
        rows, table = table.rows, gathered(table, schema)
        why += f"; {rows:,} rows are {table.rows:,} inputs with several references" if table.rows < rows else ""
        cells = target_cells(table, schema)
        how = how._replace(decoder=how.chosen(cells, schema))
        goal = task if isinstance(task, Generation) else how.task(cells, schema)
    elif writing is not None:
        raise InputError(f"the task is {goal.name}, which writes no text; leave out what is asked of a decoder")
    _check_encoders(schema, encoders or {}, tune)
    return Problem(table, schema, goal, why, dial, dict(encoders or {}), list(tune), how)


def _vectors(codec: Codec) -> bool:
    """Is what the codec gives a vector of features already?"""
    return isinstance(codec, Cells) or codec.kind == "vector" or hasattr(codec, "tokens")


def _unique(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


def _check_encoders(schema: Schema, encoders: Mapping[str, str], tune: Sequence[str]) -> None:
    found = schema.modalities()
    for name in [*encoders, *tune]:
        if name not in found:
            raise InputError(f"no modality {name!r} to choose an encoder for; there are: {', '.join(found)}")
    for name in tune:
        if name not in encoders:
            raise InputError(
                f"--tune {name} fine-tunes a pretrained network, and none is named; add --encoder {name}=NAME"
            )


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
    if len(schema.target) > 1 and task != Generation.name:
        goal, why = tasks.guess(cells, schema.target)
        if goal.name != task:
            raise InputError(
                f"--task {task} has one target column, and there are {len(schema.target)}: {', '.join(schema.target)}; "
                f"name one of them, or leave --task out: together they are {goal.name}"
            )
        return goal, f"set by you; {why}"
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
    groups: Sequence[Any] | None = table.cells(schema.group) if schema.group else None
    if groups is None and isinstance(task, Generation):
        groups = sharers(table, schema)
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
