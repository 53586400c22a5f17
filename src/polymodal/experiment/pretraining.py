"""`--pretrain KIND`: encoders, and the fusion, learn from rows without labels before they learn from those with one.

training rows, labelled or not + rows of --unlabelled --Pretraining--> what fresh learners begin with
"""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from polymodal import fusion as fusions
from polymodal.colearn.pretrain import Pretext, pretraining
from polymodal.colearn.transfer import Start
from polymodal.data.encode import Encoded
from polymodal.data.preprocess import Preprocessor, Rows
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.experiment.candidates import Networks
from polymodal.experiment.config import Run, Training
from polymodal.fusion.base import Late
from polymodal.modalities.base import Encoder
from polymodal.train import Settings, train

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
    rows = counted(joined(networks.rows, more, list(networks.encoders)))
    valid = counted(networks.valid.only(list(networks.encoders)))
    n, held = int(rows.labelled().sum()), int(valid.labelled().sum())
    if n < FEWEST or held < 2:
        raise InputError(
            f"--pretrain {kind} learns from rows with at least two modalities, and there are {n} to learn from and "
            f"{held} to validate on; at least {FEWEST} and 2 are needed: leave --pretrain out, or add rows with "
            "--unlabelled or --valid"
        )
    torch.manual_seed(networks.settings.seed)
    encoders: dict[str, Encoder] = {m: networks.encoder(m) for m in networks.encoders}
    own = fusion in fusions.FUSIONS or ":" in fusion
    name = fusion if own and not issubclass(fusions.find(fusion), Late) else OTHERWISE
    size = networks.problem.size
    joins = fusions.make(name, {m: e.dim for m, e in encoders.items()}, size, networks.problem.task)
    learner = pretraining(kind, encoders, joins, size.dim)
    path = networks.folder / "pretraining.safetensors" if networks.folder else None
    settings = Settings.for_rows(
        n, **{**training._asdict(), "modality_dropout": 0.0}, seed=seed
    )  # it hides what it has to
    trained = train(
        learner, learner.task, rows, valid, settings, title="pretraining", checkpoint=path, time_limit=limit,
        quiet=networks.quiet,
    )  # fmt: skip
    unlabelled = n - int((rows.labelled()[: len(networks.rows)] & networks.rows.labelled()).sum())
    start = networks.start._replace(encoders=encoders, fusion=learner.fusion or networks.start.fusion)
    return Pretrained(
        start,
        {
            "kind": kind,
            "rows": n,
            "unlabelled": unlabelled,
            "valid": held,
            "best_epoch": trained.best_epoch,
            "seconds": trained.seconds,
            "history": trained.history,
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
            f"--unlabelled {table.name} has {len(there)} of the modalities {', '.join(columns)}, and pretraining needs "
            f"two in a row; its columns are {', '.join(table.columns)}"
        )
    lacking = [c for names in columns.values() for c in names if c not in table.columns]
    return preprocessor.encode(
        table.replaced({c: [None] * table.rows for c in lacking}), None, cache=run.cache_folder, quiet=run.quiet
    )


def counted(rows: Rows) -> Rows:
    """The same rows, "labelled" where they have at least two modalities."""
    several = np.sum([x.present() for x in rows.inputs.values()], axis=0) > 1
    task = Pretext()
    labels = [task.encode(bool(s)) for s in several]
    return Rows(rows.inputs, rows.codecs, labels, task, rows.numbers, rows.bad)


def joined(rows: Rows, more: Rows | None, modalities: list[str]) -> Rows:
    """The rows of both, one after another."""
    rows = rows.only(modalities)
    if more is None:
        return rows
    inputs = {m: cast(Encoded, _Chain(x, more.inputs[m])) for m, x in rows.inputs.items()}
    labels = [*rows.labels, *[None] * len(more)]
    return Rows(inputs, rows.codecs, labels, rows.task, [*rows.numbers, *more.numbers], [])


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

    def present(self) -> np.ndarray:
        return np.concatenate([self.first.present(), self.second.present()])
