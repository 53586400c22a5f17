"""Ready-made embeddings: a cell that already holds a vector, or a sequence of vectors.

Axes: b batch, t token, d width.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.arrays import SAMPLE, Array, Moments, array, readable, reduce, shapes
from polymodal.modalities.base import Codec, Guess, pad
from polymodal.modalities.extractor import Tokens, Vectorizer
from polymodal.nn import Size

BOUND = 10.0  # standard deviations: past them lies a broken feature, and float32 squares must stay finite


class Vectors(Codec):
    """A vector (D,) or a sequence of them (T, D), each dimension standardised -> (T, D).

    A cell is an array, a list, a string that holds a JSON list, or a .npy file. fit learns `width_`, the
    commonest width, `center_` and `scale_` of each dimension, and `length_`, the longest sequence, at most
    `size.tokens`; longer ones are reduced by means over neighbours. A number that is not finite stands at its
    dimension's mean.
    """

    kind: ClassVar[str] = "vector"
    takes_files: ClassVar[bool] = True
    for_estimators: ClassVar[bool] = True
    width_: int
    length_: int
    center_: list[float]
    scale_: list[float]

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Lists of numbers, all of one length."""
        dims, reason = shapes(cells)
        if not dims or len(dims) < 0.9 * len(cells[:SAMPLE]):
            return Guess(0.0, reason)
        if any(len(s) != 1 for s in dims):
            return Guess(0.2, reason) if len({s[1:] for s in dims}) == 1 else Guess(0.0, reason)
        return Guess(0.9, reason) if len(set(dims)) == 1 and dims[0][0] > 1 else Guess(0.0, reason)

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Learn the width, the length, and each dimension's mean and standard deviation."""
        by_width: dict[int, Moments] = {}
        for x_td in readable(cells, self._array):
            by_width.setdefault(x_td.shape[1], Moments(x_td.shape[1])).add(x_td)
        # the commonest width; of two as common, the one met first
        moments = max(by_width.values(), key=lambda m: m.cells, default=Moments(1))
        self.width_, self.length_ = len(moments.mean), min(size.tokens, max(1, moments.longest))
        center, scale = moments.center_and_scale()
        self.center_, self.scale_ = center.tolist(), scale.tolist()
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """(T, D) float32, T <= length_. Raises Unreadable for what is no vector, or one of another width."""
        x_td = self._array(cell)
        if x_td is None:
            return None
        if x_td.shape[1] != self.width_:
            raise Unreadable(f"a vector of {x_td.shape[1]} numbers; expected {self.width_}, as in training")
        x_td = (reduce(x_td, self.length_) - self.center_) / self.scale_
        return torch.from_numpy(np.nan_to_num(x_td).clip(-BOUND, BOUND).astype(np.float32))

    def vectorizer(self) -> Vectorizer:
        """The mean of its tokens."""
        return Tokens()

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, T, D) and the mask (B, T)."""
        return pad(cells, torch.zeros(0, self.width_))

    def _array(self, cell: Any) -> Array | None:
        x = array(cell)
        if x is None or not np.isfinite(x).any():
            return None
        if x.ndim not in (1, 2):
            raise Unreadable(f"numbers of shape {x.shape}; expected a vector (D,) or a sequence of them (T, D)")
        return np.where(np.isfinite(x), x, np.nan).reshape(-1, x.shape[-1])
