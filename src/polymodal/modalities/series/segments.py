"""The parts of a series that explanations hide: segments, of each channel where there are few.

Axes: t reading, c channel.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal.batch import Masked
from polymodal.modalities.base import Codec
from polymodal.modalities.segments import Codecs, Cut, Inputs, Open, Segments, views
from polymodal.modalities.series.codec import Readings, numbers
from polymodal.modalities.series.place import Steps
from polymodal.modalities.vector.codec import Vectors

CHANNELS = 6  # a series with more has parts that are all of them together


def parts(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    """Segments of equal length, of each channel where there are few; gaps are put in their place."""
    raw = numbers(cell)
    assert raw is not None, "the modality is present"
    x_tc = raw.reshape(len(raw), -1)
    length, channels = x_tc.shape
    each = channels if 1 < channels <= CHANNELS else 1
    parts = max(1, min(length, most // each))
    edges = np.linspace(0, length, parts + 1).round().astype(int)
    segment = np.repeat(np.arange(parts), np.diff(edges))
    owner_tc = segment[:, None] * each + (np.arange(channels) if each > 1 else np.zeros(channels, dtype=int))

    def open_view(view: str, codec: Codec, x: Masked) -> Open | None:
        if not isinstance(codec, Readings | Vectors):
            return None
        block = -(-length // codec.length_)  # neighbours that are averaged where the series is too long
        owner = torch.from_numpy(owner_tc[::block]).to(x.mask.device)
        return Open(x, owner if x.mask.ndim == 3 else owner[:, 0])

    def without(away: NDArray[np.bool_]) -> Any:
        return np.where(away[owner_tc], np.nan, x_tc).reshape(raw.shape)

    names = tuple(f"channel {c + 1}" for c in range(channels)) if each > 1 else ()
    place = Steps(tuple(edges.tolist()), length, names)
    return Cut(place, parts * each, views(codecs, xs, open_view, without))


SEGMENTS = Segments(24, parts)
