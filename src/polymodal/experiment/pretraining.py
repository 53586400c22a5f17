"""`--pretrain KIND`: encoders, and the fusion, learn from rows without labels before they learn from those with one.

training rows, labelled or not + rows of --unlabelled --Pretraining--> what fresh learners begin with
"""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from polymodal import fusion as fusions
from polymodal.colearn.pretrain import Pretraining
from polymodal.colearn.transfer import Start
from polymodal.data.encode import Encoded
from polymodal.data.preprocess import Preprocessor, Rows
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.experiment.candidates import Networks
from polymodal.experiment.config import Run, Training
from polymodal.heads.pretraining import questions
from polymodal.learners.encoders import Encoders
from polymodal.modalities.base import Encoder
from polymodal.objectives import Pretrain
from polymodal.training.loop import train
from polymodal.training.settings import Settings

FEWEST = 4  # rows with two modalities, to learn from; and two to validate on
OTHERWISE = "concat"  # joins modalities for pretraining, where what follows joins decisions, or tries several


class Pretrained(NamedTuple):
    """What learners begin with, and what pretraining had to say, as JSON values."""

    start: Start
    report: dict[str, Any]

    def describe(self) -> str:
        """One sentence for a person."""
        r = self.report
        best = r["history"][r["best_epoch"]]
        return (
            f"pretrained ({r['kind']}) on {r['rows']:,} rows, of which {r['unlabelled']:,} have no label, in "
            f"{len(r['history'])} epochs: {best['right']:.0%} of its questions are answered rightly on "
            f"{r['valid']:,} validation rows"
        )


def pretrain(
    kind: str, networks: Networks, fusion: str, more: Rows | None, training: Training, seed: int, limit: float | None
) -> Pretrained:
    """Train on all rows that have two modalities, with the best epoch by those of the validation rows.

    fusion: what joins the modalities afterwards, if it is the name of one. more: rows of another table. limit: seconds.
    Raises InputError where too few rows have two modalities.
    """
    objective, modalities = Pretrain(), list(networks.encoders)
    rows, valid = unlabelled(networks.rows, modalities, more), unlabelled(networks.valid, modalities)
    usable = objective.usable(rows)
    n, n_valid = int(usable.sum()), int(objective.usable(valid).sum())
    if n < FEWEST or n_valid < 2:
        raise InputError(
            f"--pretrain={kind} learns from rows with at least two modalities, and there are {n} to learn from and "
            f"{n_valid} to validate on; at least {FEWEST} and 2 are needed: leave --pretrain out, or add rows with "
            "--unlabelled or --valid"
        )
    torch.manual_seed(networks.settings.seed)
    encoders: dict[str, Encoder] = {m: networks.encoder(m) for m in networks.encoders}
    own = fusion in fusions.FUSIONS or ":" in fusion
    name = fusion if own and not fusions.find(fusion).is_late else OTHERWISE
    size = networks.problem.size
    joins = fusions.make(name, {m: e.dim for m, e in encoders.items()}, size, networks.problem.task)
    learner = Pretraining(Encoders(encoders), questions(kind, joins, size.dim))
    path = networks.folder / "pretraining.safetensors" if networks.folder else None
    # it hides what it has to
    settings = Settings.for_rows(n, **{**training._asdict(), "modality_dropout": 0.0}, seed=seed)
    result = train(
        learner, objective, rows, valid, settings, title="pretraining", checkpoint=path, time_limit=limit,
        quiet=networks.quiet,
    )  # fmt: skip
    labelled = int((usable[: len(networks.rows)] & networks.rows.labelled()).sum())
    start = networks.start._replace(encoders=encoders, shared={**networks.start.shared, **learner.shared()})
    return Pretrained(
        start,
        {
            "kind": kind,
            "rows": n,
            "unlabelled": n - labelled,
            "valid": n_valid,
            "best_epoch": result.best_epoch,
            "seconds": result.seconds,
            "history": result.history,
        },
    )


def read(preprocessor: Preprocessor, source: Any, run: Run) -> Rows:
    """Rows of a table without labels; a column that it lacks is absent from all of them.

    Raises InputError where it has fewer than two of the modalities.
    """
    table = Table.read(source)
    columns = {m: preprocessor.schema.modalities()[m][1] for m in preprocessor.modalities}
    there = [m for m, names in columns.items() if any(c in table.columns for c in names)]
    if len(there) < 2:
        raise InputError(
            f"--unlabelled={table.name} has {len(there)} of the modalities {', '.join(columns)}, and pretraining needs "
            f"two in a row; its columns are {', '.join(table.columns)}"
        )
    lacking = [c for names in columns.values() for c in names if c not in table.columns]
    return preprocessor.encode(
        table.replaced({c: [None] * table.rows for c in lacking}), None, cache=run.cache_folder, quiet=run.quiet
    )


def unlabelled(rows: Rows, modalities: list[str], more: Rows | None = None) -> Rows:
    """The rows, and those of another table behind them, without their labels."""
    inputs, numbers = {m: rows.inputs[m] for m in modalities}, list(rows.numbers)
    if more is not None:
        inputs = {m: cast(Encoded, _Chain(x, more.inputs[m])) for m, x in inputs.items()}
        numbers += more.numbers
    return Rows(inputs, rows.codecs, [None] * len(numbers), None, numbers, [])


class _Chain:
    """Two encoded columns as one, for the trainer."""

    def __init__(self, first: Encoded, second: Encoded) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, row: int) -> Tensor | None:
        n = len(self.first)
        return self.first[row] if row < n else self.second[row - n]

    def sizes(self) -> np.ndarray:
        return np.concatenate([self.first.sizes(), self.second.sizes()])

    def identities(self) -> np.ndarray:
        a, b = self.first.identities(), self.second.identities()
        return np.concatenate([a, np.where(b < 0, b - len(a), b + len(a))])

    def present(self) -> np.ndarray:
        return np.concatenate([self.first.present(), self.second.present()])
