"""The contract of a modality, in prose.

A modality is one folder of this package. It holds a **codec**, which turns one cell into one tensor, and **encoders**,
which turn a batch of those into tokens of one width. Nothing else in the library knows what a photograph is.

    cell --codec.encode--> Tensor or None --codec.collate--> Masked --encoder--> Masked tokens (B, T, dim)
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.nn import Size
from polymodal.ops import widen
from polymodal.spec import spec

if TYPE_CHECKING:
    from polymodal.modalities.extractor import Vectorizer


class Guess(NamedTuple):
    """How sure a codec is that a column is its own (0 to 1), and why, in words for a person."""

    confidence: float
    reason: str


class Codec(ABC):
    """One cell of a table -> one tensor, the same in training and in prediction.

    A cell arrives as the table holds it: None where it is missing, a `pathlib.Path` (already resolved) where the
    codec `takes_files` and the cell was a string, otherwise the object itself. Constructor arguments are settings and
    are kept under their own names; what `fit` learns is kept in attributes whose names end in "_", as JSON values only.
    """

    kind: ClassVar[str]  # the schema's word for such a column: "text", "image" ...
    takes_files: ClassVar[bool] = False  # strings in such a column are paths
    costly: ClassVar[bool] = False  # decoding is worth keeping on disk
    for_estimators: ClassVar[bool] = False  # its records are numbers that say something as they are: see `vectorizer`
    batched: ClassVar[bool] = False  # `encode_batch` is faster than many `encode`, and uses every core itself

    @classmethod
    @abstractmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Is this column of that kind? `cells` is a sample of its non-missing cells; a string that names an existing
        file, or ends like a media file, has become a Path. Confidence 0 means no. Never raises."""

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Learn from training cells (None included) what `encode` needs; `size` bounds lengths. Returns self."""
        return self

    @abstractmethod
    def encode(self, cell: Any) -> Tensor | None:
        """The cell's tensor, without a batch axis; None where the cell holds nothing.

        Raises Unreadable, saying what was seen and what was expected, for a cell that can't be decoded.
        """

    def encode_batch(self, cells: Sequence[Any]) -> list[Tensor | None | Unreadable]:
        """`encode` of each cell, where an Unreadable is returned instead of raised."""
        return [self._try(cell) for cell in cells]

    def _try(self, cell: Any) -> Tensor | None | Unreadable:
        try:
            return None if cell is None else self.encode(cell)
        except Unreadable as e:
            return e

    @property
    def title(self) -> str:
        """What it is called, for a person."""
        return type(self).__name__

    def vectorizer(self) -> "Vectorizer":
        """What makes rows of numbers of its records, of a codec `for_estimators`, once it is fitted."""
        raise TypeError(f"what {type(self).__name__} gives is for networks alone")

    def keep(self, tokens: int) -> None:
        """Give so many tokens a cell, where it can choose: a decoder attends to them."""
        return

    def same(self, other: "Codec") -> bool:
        """Does it read cells as the other one, but for what `fit` has learned?"""
        return type(self) is type(other)

    def thawed(self, encoder: "Encoder", other: "Codec", cls: type["Encoder"]) -> "Encoder | None":
        """The encoder that goes on from `encoder` where `other` and `cls` read the cells now; None where none can."""
        return None

    def unreadable(self, cell: Any) -> dict[str, str]:
        """Of a cell that is several columns, {column: reason} for those that hold something which can't be read."""
        return {}

    def empty(self, cell: Any) -> list[str]:
        """Of a cell that is several columns, those that hold nothing, or a word for that."""
        return []

    @abstractmethod
    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """One batch. None gives an all-False row; a batch of None alone still has a valid shape."""

    def fingerprint(self) -> str:
        """A key of everything that decides what `encode` returns."""
        return hashlib.blake2b(json.dumps(spec(self), sort_keys=True).encode(), digest_size=16).hexdigest()


class Encoder(nn.Module, ABC):
    """Masked raw values -> Masked tokens (B, T, dim). Rows never see each other, so no batch norm.

    Tokens of one row may be fewer than its raw values (strided convolutions); a row without a real value has no real
    token.
    """

    dim: int

    @classmethod
    @abstractmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The encoder that fits a fitted codec, of this size; its `dim` is ``size.dim``."""

    def entrance(self) -> nn.Module | None:
        """The module whose output is the first continuous thing, where the raw values are none, as ids of words."""
        return None

    def owners(self, owner: Tensor, values: Tensor) -> Tensor:
        """The part of each value (1, ...) that the entrance gives, from the part of each raw value of a row."""
        return widen(owner, values.ndim - 1).expand(values.shape[1:])

    @abstractmethod
    def forward(self, x: Masked) -> Masked:
        """(B, ...) raw values -> (B, T, dim) tokens."""


def pad(cells: Sequence[Tensor | None], empty: Tensor) -> Masked:
    """Cells of shape (T, ...) with unequal T -> (B, T_max, ...) and the (B, T_max) mask; T_max >= 1.

    `empty` is a tensor of shape (0, ...) in the right dtype: it gives the shape of a batch without any cell.
    """
    rows = [empty if c is None else c for c in cells]
    length = max(1, *(len(r) for r in rows)) if rows else 1
    values = empty.new_zeros((len(rows), length, *empty.shape[1:]))
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, r in enumerate(rows):
        values[i, : len(r)] = r
        mask[i, : len(r)] = True
    return Masked(values, mask)


def stack(cells: Sequence[Tensor | None], empty: Tensor) -> Masked:
    """Cells of one shape -> (B, ...) and the (B,) mask; a missing cell is a copy of `empty` under a False."""
    mask = torch.tensor([c is not None for c in cells], dtype=torch.bool)
    return Masked(torch.stack([empty if c is None else c for c in cells]), mask)


def missing(x: Any) -> bool:
    """Does the cell hold nothing: None, NaN, NaT, pandas' NA, or blank text.

    >>> [missing(x) for x in (None, float("nan"), "  ", 0, "0", [])]
    [True, True, True, False, False, False]
    """
    if x is None or isinstance(x, str):
        return x is None or not x or x.isspace()
    if isinstance(x, float | np.floating):
        return bool(x != x)
    return type(x).__name__ in ("NaTType", "NAType") or (
        isinstance(x, np.datetime64 | np.timedelta64) and bool(np.isnat(x))
    )
