"""The parts of a recording that explanations hide, stretches of time; and where a network's tokens lie in it.

Axes: n sample, c channel.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal.batch import Masked
from polymodal.modalities.audio.codec import HOP, LogMel
from polymodal.modalities.audio.files import samples
from polymodal.modalities.audio.hub import HubAudio, feature_extractor
from polymodal.modalities.audio.place import Seconds
from polymodal.modalities.base import Codec
from polymodal.modalities.places import Place, Sequence
from polymodal.modalities.pretrained.hub import Frozen
from polymodal.modalities.segments import Codecs, Cut, Inputs, Open, Segments, views

SECONDS = 3600.0  # of a cell that are looked at


def parts(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    """Stretches of equal length, none shorter than a frame; silence is what is put in their place."""
    inner = [getattr(c, "inner", c) for c in codecs.values()]
    limit = max(float(getattr(c, "seconds", SECONDS)) for c in inner)
    x_nc, rate = samples(cell, min(limit, SECONDS))
    duration = min(len(x_nc) / rate, limit)
    parts = max(1, min(most, math.ceil(duration / HOP)))
    edges = np.linspace(0, duration, parts + 1)

    def at(seconds: Any) -> NDArray[np.int64]:
        return np.asarray(np.clip(np.searchsorted(edges, seconds, side="right") - 1, 0, parts - 1))

    def open_view(view: str, codec: Codec, x: Masked) -> Open | None:
        if isinstance(codec, HubAudio) and not codec.shape_:
            step = 1 / feature_extractor(codec.source).sampling_rate
        elif isinstance(codec, LogMel):
            step = HOP
        else:
            return None
        return Open(x, torch.from_numpy(at(np.arange(x.mask.shape[1]) * step + 1e-9)).to(x.mask.device))

    def without(away: NDArray[np.bool_]) -> tuple[Any, int]:
        away_n = away[at(np.arange(len(x_nc)) / rate)]
        return np.where(away_n[:, None], x_nc.dtype.type(0), x_nc), rate

    return Cut(Seconds(cell, label, edges.tolist(), duration), parts, views(codecs, xs, open_view, without))


# --- where tokens lie ---------------------------------------------------------------------------------


def place(codec: Codec, cell: Any, name: str, tokens: int) -> Place:
    """Where the tokens lie: each at a stretch of the recording, if they follow one another."""
    inner = codec.inner if isinstance(codec, Frozen) else codec
    limit = float(getattr(inner, "seconds", math.inf))
    x_nc, rate = samples(cell, min(limit, SECONDS))
    duration = min(len(x_nc) / rate, limit)
    step = _step(inner, duration, tokens)
    if step is None:
        return Sequence(tokens)
    return Seconds(cell, name, [i * step for i in range(tokens)] + [step * tokens], duration)


def _step(codec: Codec, duration: float, tokens: int) -> float | None:
    """Seconds from one token to the next; None where a network's tokens are no sequence in time."""
    if isinstance(codec, HubAudio) and codec.shape_:  # a spectrogram of fixed length, silence after the clip's end
        length = getattr(feature_extractor(codec.source), "chunk_length", None)
        return None if length is None else float(length) / tokens
    if isinstance(codec, LogMel):
        frames = math.ceil(round(duration / HOP, 6))
        for halvings in range(12):
            stride = 1 << halvings
            if -(-frames // stride) == tokens:
                return HOP * stride
    return duration / tokens


SEGMENTS = Segments(24, parts, place)
