"""Where a part lies in a recording, and how the recording is shown with a score or a share of attention on each part.

Axes: w word, s token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.modalities.audio.preview import recording
from polymodal.modalities.places import ACROSS, TITLE, Floats, Place, title, top
from polymodal.view.blocks import Block, Layer, Strip
from polymodal.view.cell import Recording, to_unit
from polymodal.view.text import short

SPREAD = 0.45  # of the clip: half of an even attention takes half of it
SHORT = 3.0  # seconds: of shorter recordings hundredths are said


@dataclass(frozen=True)
class Seconds(Place):
    """Tokens that follow one another along a recording: token s is edges[s] to edges[s + 1], in seconds.

    cell: the recording. name: the cell as the table has it. duration: of what was read of it, in seconds.
    """

    cell: Any
    name: str
    edges: list[float]
    duration: float

    extent = True

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the shortest stretch that gets half of its attention; "throughout" where that is long, "after
        the end" in what a network of fixed length has padded."""
        out, digits = [], 1 if self.duration >= SHORT else 2
        for a_s in attention_ws:
            start, stop = half(a_s)
            begin, end = self.edges[start], min(self.edges[stop], self.duration)
            long = end - begin > SPREAD * self.duration
            late = begin >= self.duration
            out.append("after the end" if late else "throughout" if long else f"{begin:.{digits}f}-{end:.{digits}f} s")
        return out

    def to_json(self) -> dict[str, Any]:
        """Without the samples."""
        edges = [round(x, 4) for x in self.edges]
        return {"kind": "seconds", "source": self.name, "edges": edges, "duration": round(self.duration, 4)}

    def shares(self, share_t: Floats, place: Callable[[Any, str], Place]) -> Floats | None:
        """Of tokens along the recording too."""
        tokens = place(self.cell, self.name)
        return np.asarray(share_t @ overlap(tokens.edges, self.edges)) if isinstance(tokens, Seconds) else None

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """A strip under the recording."""
        edges = [min(x, self.duration) / self.duration for x in self.edges]
        return [Strip(self.name or modality, self._heard(), edges, scores, top(scores), self._marks())]

    def attended(self, attention_ws: Floats, modality: str, notes: Sequence[str]) -> Layer:
        """The recording under maps from left to right."""
        at = (np.arange(ACROSS) + 0.5) / ACROSS * self.duration
        token = np.clip(np.searchsorted(self.edges, at, side="right") - 1, 0, attention_ws.shape[1] - 1)
        name = short(modality, TITLE)
        alt = f"spectrogram of {name}, {self.duration:.1f} seconds"
        return Layer(title(name, self.name), alt, self._heard(), to_unit(attention_ws[:, token]), notes, self._marks())

    def _heard(self) -> Recording:
        return recording(self.cell).first(self.duration)

    def _marks(self) -> list[str]:
        return [f"{self.duration * i / 4:.1f} s" for i in range(5)]


def half(a_s: Floats) -> tuple[int, int]:
    """First and last (excluded) token of the shortest run that has half of the sum; of several, the heaviest.

    >>> half(np.array([0.1, 0.1, 0.5, 0.2, 0.1]))
    (2, 3)
    """
    total = np.concatenate([[0.0], np.cumsum(a_s)])
    for length in range(1, len(a_s) + 1):
        mass = total[length:] - total[:-length]
        if mass.max() >= total[-1] / 2 - 1e-12:
            start = int(mass.argmax())
            return start, start + length
    return 0, len(a_s)


def overlap(edges: Sequence[float], parts: Sequence[float]) -> Floats:
    """(T, S): what share of each stretch lies in each part; a stretch beyond all parts belongs to the last.

    >>> overlap([0, 2, 4, 6], [0, 3, 4]).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    a, b = np.asarray(edges, dtype=np.float64)[:, None], np.asarray(parts, dtype=np.float64)
    common = (np.minimum(a[1:], b[1:]) - np.maximum(a[:-1], b[:-1])).clip(min=0)
    common[common.sum(1) == 0, -1] = 1
    return np.asarray(common / common.sum(1, keepdims=True))
