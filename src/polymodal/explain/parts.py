"""What in a modality made the answer: words, patches, seconds, segments, columns, dimensions, each with a score."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.explain.faithful import Faithfulness
from polymodal.explain.places import Place

Floats = NDArray[np.float64]


class Attribution(NamedTuple):
    """How much each part of one modality of a row speaks for the explained output.

    where: what the parts are. scores: (S,), signed. method: "integrated-gradients", "occlusion" or "rollout". output:
    which answer is explained.
    """

    modality: str
    view: str
    where: Place
    scores: Floats
    method: str
    output: str
    faithful: Faithfulness

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        kept = {"modality": self.modality, "view": self.view, "method": self.method, "output": self.output}
        places = {"where": self.where.to_json(), "scores": self.scores.round(6).tolist()}
        return {**kept, **places, "faithful": self.faithful.to_json()}
