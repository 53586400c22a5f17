"""From a problem to rows: split, fitted codecs, encoded training and validation rows.

Problem --prepare--> Prepared --networks, features--> the two paths to candidates
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from polymodal.colearn.transfer import Start
from polymodal.data.encode import Bad
from polymodal.data.preprocess import Rows
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.evaluate.compare import Result
from polymodal.experiment.candidates import FeaturePath, Networks, ValidationSet
from polymodal.experiment.config import Run
from polymodal.experiment.problem import Problem, Reading
from polymodal.experiment.warm_start import Origin, WarmStart
from polymodal.learners.base import Learner, TrainableLearner
from polymodal.model import Model
from polymodal.output import cat
from polymodal.training.settings import Settings

MEASURED = 32  # rows that are predicted to see how long it takes


class Prepared(NamedTuple):
    """A problem as candidates are trained on it. table, held_table: of the training and the validation rows, which are
    encoded as rows and valid. given: whether the validation rows came as a table of their own. warm_start: what
    networks begin with, if another model is named.
    """

    problem: Problem
    table: Table
    held_table: Table
    reading: Reading
    rows: Rows
    valid: Rows
    given: bool
    warm_start: WarmStart | None

    @property
    def validation(self) -> ValidationSet:
        """The labels and groups of the validation rows."""
        target = self.valid.target(range(len(self.valid)))
        _, baselines = self._baselines()
        return ValidationSet(self.problem.task, target, self.problem.groups(self.held_table), baselines)

    @property
    def counts(self) -> dict[str, int]:
        """Rows to train and to validate on, and those of the first without a label."""
        return {
            "train": len(self.rows), "valid": len(self.valid), "unlabelled": int((~self.rows.labelled()).sum())
        }  # fmt: skip

    @property
    def bad(self) -> list[Bad]:
        """Cells that could not be read."""
        return [*self.reading.rows.bad, *(self.valid.bad if self.given else ())]

    def seconds_a_row(self, learner: Learner) -> float:
        """How long a prediction takes, from a table's cells on: the mean of some validation rows, read anew."""
        some = self.held_table.take(range(min(MEASURED, self.held_table.rows)))
        model = Model(self.reading.preprocessor.only(learner.reads), learner)
        model.predict(some.take([0]))  # so that what is loaded once does not count
        start = time.monotonic()
        model.predict(some)
        return (time.monotonic() - start) / some.rows

    def networks(
        self, settings: Settings, folder: Path | None, quiet: bool,
        wrap: Callable[[TrainableLearner], TrainableLearner] = lambda learner: learner,
    ) -> Networks:  # fmt: skip
        """The path of networks. folder: of checkpoints."""
        start = Start({}) if self.warm_start is None else self.warm_start.start
        return Networks(
            self.problem, self.reading.encoders, settings, self.rows, self.valid, groups=self.validation.groups,
            folder=folder, quiet=quiet, start=start, wrap=wrap,
        )  # fmt: skip

    def features(
        self, folds: int, seed: int, folder: Path | None, quiet: bool, *, asked: int | None = None
    ) -> FeaturePath:
        """The path of estimators on features. folds: at most; or, where any are asked for, exactly so many."""
        both = [a._replace(output=cat([a.output, b.output])) for a, b in zip(*self._baselines(), strict=False)]
        return FeaturePath(
            self.problem, self.reading, self.table, self.rows, self.valid, seed=seed, folder=folder, quiet=quiet,
            given=self.given, held_groups=self.validation.groups, most=folds, asked=asked,
            baselines=both,
        )  # fmt: skip

    def _baselines(self) -> tuple[list[Result], list[Result]]:
        """Those of the training rows, as they answer these and the validation rows."""
        train, valid = (rows.target(range(len(rows))) for rows in (self.rows, self.valid))
        of = self.problem.baselines
        return of(train, self.table, train), of(train, self.held_table, valid)


def prepare(
    problem: Problem, valid: Any, run: Run, *, seed: int, features: bool = False, networks: bool = True,
    origin: Origin | None = None, test: Any = None, refit: bool = True,
) -> Prepared:  # fmt: skip
    """Split, fit the target and the codecs on training rows, and encode.

    valid: a table to validate on; without one rows are held out. features: read also as classical features. networks:
    read also as networks do. origin: a model whose parts are begun with. test: a table that must share no file with
    training where the objective minds. refit: learn the target's classes anew.

    Raises InputError where no validation row has a label.
    """
    held_out = valid is not None
    train_at, valid_at = (list(range(problem.table.rows)), []) if held_out else problem.split(seed)
    table = problem.table.take(train_at)
    problem = problem.fitted(table) if refit else problem
    held_table = problem.rows(Table.read(valid)) if held_out else problem.table.take(valid_at)
    weight = problem.schema.weight
    if weight is not None and weight not in held_table.columns:
        raise InputError(
            f"{held_table.name} has no column {weight!r}, which weighs rows: add it, or leave --weight out"
        )
    warm_start = None
    if origin is not None:
        problem, warm_start = origin.begin(problem, table, held_table)
    reading = problem.read(
        train_at, features=features, networks=networks, warm_parts=warm_start and warm_start.parts,
        cache=run.cache_folder, quiet=run.quiet,
    )  # fmt: skip
    if not run.allow_overlap:
        others = {"validation": valid, "test": test}
        tables = {k: Table.read(v) for k, v in others.items() if v is not None}
        problem.objective.check_tables(table, tables, problem.schema)
    held_rows = reading.encode(held_table) if held_out else reading.rows.take(valid_at)
    if not held_rows.labelled().any():
        names = ", ".join(problem.schema.target)
        raise InputError(f"no validation row has a label in {names!r}; give other rows with --valid")
    return Prepared(problem, table, held_table, reading, reading.rows.take(train_at), held_rows, held_out, warm_start)
