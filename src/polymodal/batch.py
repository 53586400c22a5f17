"""Values and where they are real: the one type that everything speaks.

The law: a value under a False mask never matters - not to an output, not to a gradient, not when it is NaN.
Padding, an absent modality, an empty cell, a missing label and a hidden modality are all this one mechanism.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class Masked(NamedTuple):
    """Values and where they are real: ``mask.shape == values.shape[:mask.ndim]``, ``mask.ndim >= 1``.

    values: (B, ...) ids, pixels, samples, cells, or tokens (B, T, D).
    mask: bool, (B,) row, (B, T) token, (B, F) cell, (B, T, C) reading or (B, H, W) patch.
    """

    values: Tensor
    mask: Tensor

    def __repr__(self) -> str:
        real = f"{int(self.mask.sum()):,} of {self.mask.numel():,} real"
        return f"<Masked {tuple(self.values.shape)} {str(self.values.dtype).removeprefix('torch.')}, {real}>"

    def to(self, device: torch.device | str) -> "Masked":
        """Both tensors on `device`."""
        return Masked(self.values.to(device), self.mask.to(device))

    def take(self, rows: Tensor) -> "Masked":
        """The rows with these positions, in this order."""
        return Masked(self.values[rows], self.mask[rows])

    def hidden(self) -> "Masked":
        """The same values, none of them real: the modality as if it were absent from every row."""
        return self.under(torch.zeros_like(self.mask))

    def under(self, mask: Tensor) -> "Masked":
        """The same values under another mask."""
        return Masked(self.values, mask)

    def present(self) -> Tensor:
        """(B,) True where a row holds at least one real value."""
        return self.mask.flatten(1).any(1) if self.mask.ndim > 1 else self.mask

    @property
    def weight(self) -> Tensor | None:
        """(B,) how much each row counts in a loss and in scores; None for all alike."""
        return None


class Weighted(Masked):
    """Labels of rows that count as much as `weight` (B,) says, numbers from 0."""

    _weight: Tensor

    def __new__(cls, values: Tensor, mask: Tensor, weight: Tensor) -> "Weighted":
        """As Masked, with the weights; unpacked, it is values and mask alone."""
        out = super().__new__(cls, values, mask)
        out._weight = weight
        return out

    @property
    def weight(self) -> Tensor:
        """(B,) how much each row counts."""
        return self._weight

    def to(self, device: torch.device | str) -> "Weighted":
        """All tensors on `device`."""
        return Weighted(self.values.to(device), self.mask.to(device), self.weight.to(device))

    def take(self, rows: Tensor) -> "Weighted":
        """The rows with these positions, in this order."""
        return Weighted(self.values[rows], self.mask[rows], self.weight[rows])

    def under(self, mask: Tensor) -> "Weighted":
        """The same values and weights under another mask."""
        return Weighted(self.values, mask, self.weight)


class Batch(NamedTuple):
    """Rows of a table, ready for a learner; a missing label is a False in its mask."""

    inputs: dict[str, Masked]
    targets: dict[str, Masked]

    def to(self, device: torch.device | str) -> "Batch":
        """Every tensor on `device`."""
        return Batch(*({k: x.to(device) for k, x in part.items()} for part in self))

    def take(self, rows: Tensor) -> "Batch":
        """The rows with these positions, in this order."""
        return Batch(*({k: x.take(rows) for k, x in part.items()} for part in self))

    @property
    def rows(self) -> int:
        """How many rows the batch holds."""
        return next(x.mask.shape[0] for part in self for x in part.values())


class Losses(NamedTuple):
    """What a learner returns: the scalar to minimise, its named parts, and by modality the loss of its own head."""

    total: Tensor
    parts: dict[str, Tensor]
    unimodal: Mapping[str, Tensor] = {}
