"""Classical features on the one path from a table to a model: an extractor's reading of a cell, as a codec.

cell --Features(Hog())--> record, cached --learners.matrix--> a row of numbers
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.modalities.base import Codec, Guess
from polymodal.modalities.extractor import Extractor, Vectorizer
from polymodal.nn import Size


class Features(Codec):
    """What an extractor reads of each cell; what it learns is the learner's, since it sees training rows only."""

    kind: str  # type: ignore[misc]  # of the extractor
    takes_files: bool  # type: ignore[misc]
    costly: bool  # type: ignore[misc]
    for_estimators: ClassVar[bool] = True

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        self.kind, self.takes_files, self.costly = extractor.kind, extractor.takes_files, extractor.costly

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Never by itself: the kind of a column is decided by the codecs of its modality."""
        return Guess(0.0, "features are a second view of a column")

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Nothing is learned from the cells here."""
        return self

    @property
    def title(self) -> str:
        """With the extractor's name."""
        return f"{type(self).__name__}({type(self.extractor).__name__})"

    def vectorizer(self) -> Vectorizer:
        """The extractor."""
        return self.extractor

    def encode(self, cell: Any) -> Tensor | None:
        """The record of a cell."""
        record = None if cell is None else self.extractor.read(cell)
        return None if record is None else torch.from_numpy(np.require(record, requirements=["C", "W"]))

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, N, ...) records with padding after the end of each, and the mask: (B, N), or (B, N, ...) up to the last
        axis in which the records differ, so that each is found again (`learners.matrix.records`)."""
        there = [c for c in cells if c is not None] or [torch.zeros(1)]
        lengths = list(zip(*(c.shape for c in there), strict=True))
        axes = max([0, *(i for i, n in enumerate(lengths) if min(n) < max(n))]) + 1
        shape = [max(n) for n in lengths]
        values = there[0].new_zeros((len(cells), *shape))
        mask = torch.zeros((len(cells), *shape[:axes]), dtype=torch.bool)
        for i, c in enumerate(cells):
            if c is not None:
                box = tuple(slice(n) for n in c.shape)
                values[i][box] = c
                mask[i][box[:axes]] = True
        return Masked(values, mask)
