"""What is to be learned: a table's schema, its objective, and the ways in which each modality is read.

table, target --state--> Problem --fitted, read(training rows)--> Reading: encoded rows, for both paths
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from polymodal import objectives
from polymodal.batch import Masked
from polymodal.data import chronology, splits
from polymodal.data.chronology import Chronology
from polymodal.data.preprocess import Preprocessor, Rows, target_cells
from polymodal.data.schema import Schema
from polymodal.data.table import Table, digest
from polymodal.errors import InputError
from polymodal.evaluate.baselines import baselines
from polymodal.evaluate.compare import Result
from polymodal.experiment.config import Columns
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.extractor import Vectorizer
from polymodal.modalities.features import Features
from polymodal.modalities.pretrained.own import is_model
from polymodal.modalities.pretrained.own import split_name as model_parted
from polymodal.nn import SIZES, Size
from polymodal.objectives import Supervised
from polymodal.objectives.base import Parts
from polymodal.objectives.colearning import Colearning
from polymodal.objectives.target import Target
from polymodal.objectives.writing import Writing
from polymodal.tasks.base import Task

Parted = tuple[list[int], list[int]]
HELD_OUT = 0.2  # of the rows with a label


class Problem(NamedTuple):
    """A table with an objective. reason: why it is this objective's task."""

    table: Table
    schema: Schema
    objective: Supervised
    reason: str
    size: Size
    columns: Columns
    chronology: Chronology | None = None  # where rows are parted by time

    @property
    def task(self) -> Task:
        """What the target means."""
        return self.objective.task

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each modality."""
        return {m: kind for m, (kind, _) in self.schema.modalities().items()}

    def cells(self, table: Table) -> list[Any]:
        """The target's cells in a table."""
        return target_cells(table, self.schema)

    def fitted(self, learn: Table) -> "Problem":
        """The same, whose objective has learned its classes, scale or vocabulary from these training rows."""
        return self._replace(objective=self.objective.fitted(self.cells(learn)))

    def split(self, seed: int) -> tuple[list[int], list[int]]:
        """Training and validation rows; rows without a label stay in training, where they are left out and counted.

        Held-out rows (and their groups) move to training where no training row has a label of theirs.
        """
        train, valid = _split(self, seed)
        return _keep_rare_labels(self, train, valid)

    def groups(self, table: Table) -> list[Any] | None:
        """Each row's group, where there is a group column and the table has it; stretches of time, where that parts."""
        time = self._time(table)
        if time is not None:
            return list(time.blocks(table))
        group = self.schema.group
        return table.cells(group) if group is not None and group in table.columns else None

    def baselines(self, train: Masked, table: Table, target: Masked) -> list[Result]:
        """The answers of baselines to the rows of a table, whose labels are `target`; none where the target is text.

        train: labels of the training rows. Persistence is there where time parts the rows, and the table has it.
        """
        if "compare" not in self.objective.capabilities:
            return []
        time = self._time(table)
        return baselines(self.task, train, target, None if time is None else time.times(table))

    def _time(self, table: Table) -> Chronology | None:
        """What parts the rows by time, where the table has it."""
        time = self.chronology
        return time if time is not None and (time.column is None or time.column in table.columns) else None

    def folds(self, table: Table, groups: Sequence[Any] | None, k: int, seed: int) -> list[Parted]:
        """k times places to train on and others to test on, of labelled rows: each is among the others once."""
        if self.chronology is not None:
            return self.chronology.folds(self.chronology.times(table), k)
        return splits.folds(table.rows, k, self.task.strata(self.cells(table)), groups, seed)

    def hold_out(self, table: Table, groups: Sequence[Any] | None, fraction: float, seed: int) -> Parted:
        """Places of labelled rows to train on, and of about `fraction` of them, the latest where time parts them."""
        if self.chronology is None:
            return splits.holdout(table.rows, fraction, self.task.strata(self.cells(table)), groups, seed)
        return self.chronology.holdout(self.chronology.times(table), fraction)

    def parts(self) -> Parts:
        """Each modality's codec and encoder class, for networks."""
        encoders = self.columns.encoders
        for m, name in encoders.items():
            if is_model(name):
                self._check_unseen(m, name)
        return self.objective.readings(self.schema, encoders, self.columns.finetune)

    def rows(self, table: Table) -> Table:
        """The table with one row an example."""
        return self.objective.rows(table, self.schema)

    def _check_unseen(self, modality: str, name: str) -> None:
        """Raises InputError for an encoder that has seen the labels of this table's rows."""
        report = json.loads((Path(model_parted(name)[0]) / "model.json").read_text(encoding="utf-8"))["report"]
        plan = report.get("plan", {})
        digests = (plan.get("table"), plan.get("validation rows"))
        if digest(self.table) in digests and plan.get("target") == self.schema.target:
            raise InputError(
                f"--encoder={modality}={name}: that model was trained on {self.table.name} for the same target, so its "
                "encoder has seen all labels, and no score on these rows would mean anything; train it on other rows"
            )

    def read(
        self,
        train: Sequence[int],
        *,
        features: bool,
        networks: bool = True,
        warm_parts: Parts | None = None,
        cache: Path | None = None,
        quiet: bool = True,
    ) -> "Reading":
        """Encode the table, by codecs that are fitted on its training rows. features: also as classical features.

        warm_parts: by modality, a codec that is fitted already, and its encoder's class, in place of the usual ones.
        """
        parts = self.parts() | (warm_parts or {})
        codecs: dict[str, Codec] = {m: codec for m, (codec, _) in parts.items()}
        codecs, views = with_features(codecs, self.kinds, networks) if features else (codecs, {m: m for m in codecs})
        fresh = {v: c for v, c in codecs.items() if v not in (warm_parts or {})}
        Preprocessor(self.schema, fresh, views).fit(self.table.take(train), self.size, quiet)
        prep = Preprocessor(self.schema, codecs, views)
        encode = partial(prep.encode, task=self.task, cache=cache, need_target=True, quiet=quiet)
        rows = encode(self.table, fitting=True)
        unit = 1.0 if rows.weights is None else float(rows.weights[list(train)].double().mean())
        if unit == 0:
            raise InputError(f"all {len(train):,} training rows have the weight 0 in {self.schema.weight!r}")
        encoders = {m: e for m, (_, e) in parts.items()}
        return Reading(prep, encoders, rows.in_units(unit), lambda t: encode(t).in_units(unit))


class Reading(NamedTuple):
    """An encoded table. encoders: the class of each modality's encoder. encode: reads other tables the same way.

    Weights have mean 1 over the training rows.
    """

    preprocessor: Preprocessor
    encoders: dict[str, type[Encoder]]
    rows: Rows
    encode: Callable[[Table], Rows]

    def extractors(self) -> dict[str, Vectorizer]:
        """How the small-data path reads each view that it can read."""
        return {v: codec.vectorizer() for v, codec in self.preprocessor.codecs.items() if codec.for_estimators}


def state(
    table: Any,
    target: str | Sequence[str],
    *,
    group: str | None = None,
    ignore: Sequence[str] = (),
    task: str | Task | None = None,
    size: str = "small",
    columns: Columns | None = None,
    writing: Writing | None = None,
    colearning: Colearning | None = None,
    how: Target | None = None,
) -> Problem:
    """Infer the schema and the objective. how: the target is learned and judged.

    Raises InputError for what can't be learned from or is not there.
    """
    columns = columns or Columns()
    if size not in SIZES:
        raise InputError(f"unknown size {size!r}; it is one of {', '.join(SIZES)}")
    table = Table.read(table)
    how = how or Target()
    schema = Schema.infer(table, target, group, columns.kinds, ignore, how.weight)
    schema.check(table.name)
    _check_rows(table)
    choice = objectives.resolve(table, schema, task, writing, colearning or Colearning(), how)
    if how.weight is not None:
        choice.objective.require("weigh", "--weight weighs rows of a label or a number; this target is text")
    _check_encoders(choice.schema, columns.encoders, columns.finetune)
    found = None
    if "search" in choice.objective.capabilities:
        found = chronology.find(choice.table, choice.schema, columns.split, columns.order, columns.gap)
    elif (columns.split, columns.order, columns.gap) != (None, None, None):
        raise InputError("--split, --order and --gap part rows of a label or a number by time; this target is text")
    size_ = choice.objective.size(size)
    return Problem(choice.table, choice.schema, choice.objective, choice.reason, size_, columns, found)


def with_features(
    codecs: Mapping[str, Codec], kinds: Mapping[str, str], networks: bool
) -> tuple[dict[str, Codec], dict[str, str]]:
    """The codecs of modalities with further views of classical features, and the modality of each view. networks:
    keep the codecs that only these can read."""
    out, views = dict(codecs), {m: m for m in codecs}
    for m, kind in kinds.items():
        for name in MODALITIES[kind].default_extractors:
            view = _unique(f"{m}/{name}", out)
            out[view], views[view] = Features(MODALITIES[kind].extractors[name]()), m
        if not networks and not out[m].for_estimators:
            del out[m]
    return out, {v: m for v, m in views.items() if v in out}


def _unique(name: str, names: Mapping[str, Any]) -> str:
    while name in names:
        name += "_"
    return name


def _check_encoders(schema: Schema, encoders: Mapping[str, str], finetune: Sequence[str]) -> None:
    modalities = schema.modalities()
    for name in [*encoders, *finetune]:
        if name not in modalities:
            raise InputError(f"no modality {name!r} to choose an encoder for; there are: {', '.join(modalities)}")
    for name in finetune:
        if name not in encoders:
            raise InputError(
                f"--finetune={name} trains a pretrained network, and none is named; add --encoder={name}=NAME"
            )


def _check_rows(table: Table) -> None:
    if table.rows < 4:
        raise InputError(
            f"{table.name} has {table.rows} row{'s' * (table.rows != 1)}; training needs at least 4, and some "
            "hundreds to learn anything"
        )


def _split(problem: Problem, seed: int) -> tuple[list[int], list[int]]:
    """Training and validation rows; rows without a label stay in training, where they are left out and counted; those
    in a gap of time are in neither."""
    table, schema = problem.table, problem.schema
    cells = problem.cells(table)
    labelled = [i for i, c in enumerate(cells) if c is not None]
    if len(labelled) < 4:
        raise InputError(
            f"only {len(labelled)} of {table.rows} rows have a label in {', '.join(schema.target)!r}; "
            "training needs at least 4"
        )
    groups = problem.objective.groups(table, schema)
    of = [groups[i] for i in labelled] if groups else None
    learn, held_out = problem.hold_out(table.take(labelled), of, HELD_OUT, seed)
    valid = {labelled[i] for i in held_out}
    between = {*labelled} - valid - {labelled[i] for i in learn}
    return [i for i in range(table.rows) if i not in valid | between], sorted(valid)


def _keep_rare_labels(problem: Problem, train: list[int], valid: list[int]) -> tuple[list[int], list[int]]:
    """The same parts, with held-out rows (and their groups) moved to training where a label of theirs is not there."""
    table = problem.table
    cells = problem.cells(table)
    groups = (None if problem.chronology else problem.groups(table)) or [None] * table.rows
    task = problem.fitted(table.take(train)).task
    rare = set()
    for i in valid:
        try:
            task.encode(cells[i])
        except InputError:
            rare |= {i} if groups[i] is None else {j for j in valid if groups[j] == groups[i]}
    if len(rare) == len(valid):
        raise InputError(
            f"no rows can be held out of {table.name}: each candidate has a label that no other row has; give rows to "
            "validate on with --valid"
        )
    return sorted([*train, *rare]), [i for i in valid if i not in rare]
