"""Where a part lies in a text, and how the text is shown with a score on each part."""

from dataclasses import dataclass
from typing import Any

from polymodal.modalities.places import NAME, Floats, Place, top
from polymodal.view.blocks import Block, Marked
from polymodal.view.text import SMALL, short


@dataclass(frozen=True)
class Words(Place):
    """Parts that are the words and marks of a text: part s is text[spans[s][0] : spans[s][1]].

    In a long text a part is several neighbouring words.
    """

    text: str
    spans: tuple[tuple[int, int], ...]

    in_place = True

    @property
    def parts(self) -> list[str]:
        """What is written at each."""
        return [self.text[i:j] for i, j in self.spans]

    def names(self, parts: int) -> list[str]:
        """What is written."""
        return self.parts

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the part of the text that gets most."""
        return [self.parts[int(a_s.argmax())] for a_s in attention_ws]

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """The text in pieces: each part with how strong it is, and what stands between."""
        most, at = top(scores) or 1.0, 0
        out: list[tuple[str, float]] = []
        for (i, j), x in zip(self.spans, scores.tolist(), strict=True):
            if j > characters:
                break
            weak = abs(x) <= max(SMALL, 0.02 * most)
            out += [(self.text[at:i], 0.0), (self.text[i:j], 0.0 if weak else x / most)]
            at = j
        out.append((self.text[at : max(at, characters)], 0.0))
        more = len(self.text) - max(at, characters)
        tail = [(f" … and {more:,} more characters", 0.0)] if more > 0 else []
        return [Marked(short(modality, NAME), [p for p in out if p[0]] + tail)]

    def to_json(self) -> dict[str, Any]:
        """The text, and where its parts begin and end, in characters."""
        return {"kind": "words", "text": self.text, "spans": [list(s) for s in self.spans]}
