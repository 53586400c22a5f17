"""The parts of a text that explanations hide: its words and marks, several together in a long one."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal.batch import Masked
from polymodal.modalities.base import Codec
from polymodal.modalities.segments import Codecs, Cut, Inputs, Open, Segments, views
from polymodal.modalities.text.codec import WORD, Text, truncate
from polymodal.modalities.text.hub import HubText
from polymodal.modalities.text.place import Words

TEXT = 20_000  # characters of a cell that are looked at


def parts(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    """Words and marks as far as any view reads; in a text of more than `most`, several neighbours are one."""
    text = truncate(cell, TEXT)
    read = {v: _offsets(c, cell, text, xs[v].mask.shape[1]) for v, c in codecs.items()}
    ends = [max((j for _, j in spans), default=0) if spans is not None else len(text) for spans in read.values()]
    words = [m.span() for m in WORD.finditer(text) if m.start() < max(ends)] or [(0, len(text))]
    size = -(-len(words) // most)
    spans = tuple((words[i][0], words[min(i + size, len(words)) - 1][1]) for i in range(0, len(words), size))
    part = np.full(len(text) + 1, -1)
    for s, (i, j) in enumerate(spans):
        part[i:j] = s

    # a piece may begin with the space before its word, so it belongs to the word that its last character is in
    def open_view(view: str, codec: Codec, x: Masked) -> Open | None:
        if (tokens := read[view]) is None:
            return None
        owner = [int(part[j - 1]) if j > i else -1 for i, j in tokens]
        return Open(x, torch.tensor(owner, device=x.mask.device))

    def without(away: NDArray[np.bool_]) -> str:
        keep = np.append(away, False)[part[:-1]]
        return "".join(" " if hide else c for c, hide in zip(text, keep, strict=True)).strip()

    return Cut(Words(text, spans), len(spans), views(codecs, xs, open_view, without))


def _offsets(codec: Codec, cell: Any, text: str, tokens: int) -> list[tuple[int, int]] | None:
    """Where in the text each token lies; an empty span for one that is nowhere. None where that can't be told."""
    spans = codec.offsets(cell, text) if isinstance(codec, Text | HubText) else None
    return spans if spans is not None and len(spans) == tokens else None


SEGMENTS = Segments(128, parts)
