"""A trained shared space: schema, codecs and learner, from a table to points, and how well these find each other."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal import folder as folder_format
from polymodal.data.encode import Bad
from polymodal.data.preprocess import Preprocessor, Rows
from polymodal.data.table import Table, chunks
from polymodal.errors import InputError
from polymodal.evaluate.retrieval import Retrieval
from polymodal.learners.base import Learner
from polymodal.output import Points, points_of
from polymodal.progress import silent
from polymodal.retrieval import searches
from polymodal.summary import Report
from polymodal.training.inference import predict
from polymodal.view.text import some

BATCH = 128
CHUNK = 1024  # rows that are in memory at a time


class AlignedModel:
    """What `align` returns, and `load` reads of its folder. report: what training had to tell."""

    predicts: ClassVar[bool] = False

    def __init__(self, preprocessor: Preprocessor, learner: Learner, report: Report | None = None) -> None:
        self.preprocessor, self.learner, self.report = preprocessor, learner, report or Report()

    def __repr__(self) -> str:
        kinds = {m: kind for m, (kind, _) in self.preprocessor.schema.modalities().items()}
        reads = some(m if m == kinds[m] else f"{m} ({kinds[m]})" for m in self.modalities)
        return f"<AlignedModel of {reads}: {self.learner.describe()[0].rpartition('; ')[2]}>"

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities that share the space."""
        return self.preprocessor.modalities

    def to(self, device: torch.device | str) -> "AlignedModel":
        """Move the learner."""
        self.learner.to(device)
        return self

    def points(self, rows: Rows) -> Points:
        """Of encoded rows, on the CPU."""
        return points_of(predict(self.learner, rows, BATCH))

    def embed(
        self, table: Any, column: str = "", *, cache: Path | str | None = None, bad: list[Bad] | None = None
    ) -> NDArray[np.float32]:
        """(N, D) points of unit length of a modality's cells, or, by default, the mean of all that a row has; NaN in a
        row that has none.

        table: a path, a DataFrame or a list of dicts; columns of other modalities need not be there. Unreadable cells
        are added to `bad`. Raises InputError for a column that the model does not read, or that is not there.
        """
        self._check(column)
        parts = []
        for part in chunks(table, CHUNK):
            rows = self._encode(part, cache, quiet=True, only=column)
            if bad is not None:
                bad += rows.bad
            values, present = self.points(rows)
            at = self.modalities.index(column) if column else slice(None)
            here = present[:, at].reshape(len(present), -1)
            mean = values[:, at].reshape(*here.shape, -1).sum(1) / here.sum(1, keepdim=True)
            parts.append(mean.numpy().astype(np.float32))
        return np.concatenate(parts)

    def evaluate(self, table: Any, *, cache: Path | str | None = None, progress: bool | None = None) -> Retrieval:
        """How well each modality finds each other over all rows of the table: recall@1, 5 and 10, mean reciprocal
        rank, mean average precision and median rank, with 95% bootstrap intervals over queries.

        Equal cells are one query and one item. Raises InputError where no row has two of the modalities.
        """
        table = Table.read(table)
        rows = self._encode(table, cache, quiet=silent(progress))
        directions = searches(self.modalities, self.points(rows), self.preprocessor.identities(rows))
        if not directions:
            raise InputError(
                f"no row of {table.name} has two of {', '.join(self.modalities)}, so none of them can be looked for by "
                "another; give a table of pairs"
            )
        return Retrieval.of(len(rows), directions, rows.bad)

    def save(self, folder: Path | str) -> Path:
        """Write the model folder (JSON and safetensors). Raises InputError where the folder can't be written."""
        return folder_format.write(Path(folder), self.preprocessor, self.learner, self.report.to_json())

    def _check(self, column: str) -> None:
        if column and column not in self.modalities:
            raise InputError(f"the model has no modality {column!r}; it has: {', '.join(self.modalities)}")

    def _encode(self, table: Table, cache: Path | str | None, quiet: bool, only: str = "") -> Rows:
        """Rows of the modalities whose columns are there, the others absent; of one alone, where it is named."""
        columns = {m: names for m, (_, names) in self.preprocessor.schema.modalities().items()}
        lacking = [m for m in self.modalities if only not in ("", m) or not set(columns[m]) <= set(table.columns)]
        if only in lacking or len(lacking) == len(self.modalities):
            wanted = columns[only] if only else [c for m in self.modalities for c in columns[m]]
            raise InputError(
                f"{table.name} has no column {' or '.join(map(repr, wanted))}, which the model reads; it has: "
                f"{', '.join(table.columns)}"
            )
        folder = None if cache is None else Path(cache)
        return self.preprocessor.encode(table, None, cache=folder, without=lacking, quiet=quiet)
