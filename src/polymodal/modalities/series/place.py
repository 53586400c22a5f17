"""Where a part lies in a series, and how it is shown with a score on each part.

Axes: w word, s part.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.modalities.places import Floats, Place, top
from polymodal.view.blocks import Block, Strip


@dataclass(frozen=True)
class Steps(Place):
    """Parts that follow one another along a series: readings edges[t] to edges[t + 1], counted from 0.

    channels: names of the channels, where each has parts of its own; part s is then segment s // C of channel s % C.
    Empty where a part is all channels together. length: readings of the series.
    """

    edges: tuple[int, ...]
    length: int
    channels: tuple[str, ...] = ()

    def grid(self, attention_ws: Floats) -> Floats:
        """(W, S) -> (W, channels, segments), one channel where parts are all of them together."""
        rows = attention_ws.reshape(len(attention_ws), len(self.edges) - 1, -1)
        return np.asarray(rows.transpose(0, 2, 1))

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the part that gets most."""
        many = max(1, len(self.channels))
        names = []
        for at in attention_ws.argmax(1).tolist():
            start, stop = self.edges[at // many] + 1, self.edges[at // many + 1]
            name = f"readings {start}-{stop}" if stop > start else f"reading {start}"
            names.append(f"{name} of {self.channels[at % many]}" if self.channels else name)
        return names

    def to_json(self) -> dict[str, Any]:
        """Edges, length and channels."""
        return {"kind": "steps", "edges": list(self.edges), "length": self.length, "channels": list(self.channels)}

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """A strip a channel."""
        edges = [x / max(1, self.length) for x in self.edges]
        marks = ["reading 1", f"reading {self.length}"]
        names = [f"{modality}, {c}" for c in self.channels or ("all channels",)]
        each = zip(names, self.grid(scores[None])[0], strict=True)
        return [Strip(name, None, edges, x, top(scores), marks) for name, x in each]
