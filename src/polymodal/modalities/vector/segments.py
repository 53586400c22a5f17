"""The parts of a vector that explanations hide: groups of its dimensions.

Axes: d dimension.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal.batch import Masked
from polymodal.modalities.arrays import array
from polymodal.modalities.base import Codec
from polymodal.modalities.places import Columns
from polymodal.modalities.segments import Codecs, Cut, Inputs, Open, Segments, views
from polymodal.modalities.series.segments import parts as sequence
from polymodal.modalities.vector.codec import Vectors


def parts(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    """Groups of neighbouring dimensions; a sequence of vectors is cut as a series."""
    raw = array(cell)
    assert raw is not None, "the modality is present"
    if raw.ndim > 1 and len(raw) > 1:
        return sequence(codecs, xs, raw, label, most)
    x_d = raw.reshape(-1)
    size = -(-len(x_d) // most)
    part_d = np.arange(len(x_d)) // size
    groups = [x_d[i : i + size] for i in range(0, len(x_d), size)]

    def open_view(view: str, codec: Codec, x: Masked) -> Open | None:
        if not isinstance(codec, Vectors):
            return None
        return Open(x, torch.from_numpy(part_d)[None].to(x.mask.device), torch.zeros((), device=x.mask.device))

    def without(away: NDArray[np.bool_]) -> Any:
        return np.where(away[part_d], np.nan, x_d)

    starts = range(1, len(x_d) + 1, size)
    names = [
        f"dimensions {i}-{i + len(g) - 1}" if len(g) > 1 else f"dimension {i}"
        for i, g in zip(starts, groups, strict=True)
    ]
    place = Columns(tuple(names), tuple(f"{g.mean():.4g}" for g in groups))
    return Cut(place, len(groups), views(codecs, xs, open_view, without))


SEGMENTS = Segments(32, parts)
