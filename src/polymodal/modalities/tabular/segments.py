"""The parts of a row that explanations hide: its columns."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal.batch import Masked
from polymodal.modalities.base import Codec, missing
from polymodal.modalities.places import CELL, Columns
from polymodal.modalities.segments import Codecs, Cut, Inputs, Open, Segments, views
from polymodal.modalities.tabular.codec import Cells


def parts(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    """Each column is a part."""
    names = list(cell)

    def open_view(view: str, codec: Codec, x: Masked) -> Open | None:
        if not isinstance(codec, Cells):
            return None
        return Open(x, torch.tensor([names.index(c) for c in codec.field_columns], device=x.mask.device))

    def without(away: NDArray[np.bool_]) -> dict[str, Any]:
        return {c: None if hide else cell[c] for c, hide in zip(names, away, strict=True)}

    labels = tuple("" if missing(cell[c]) else str(cell[c])[:CELL] for c in names)
    return Cut(Columns(tuple(names), labels), len(names), views(codecs, xs, open_view, without))


SEGMENTS = Segments(10_000, parts)
