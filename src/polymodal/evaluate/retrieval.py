"""How sure it is how well modalities find each other, as a person and a program read it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from polymodal.data.encode import Bad
from polymodal.evaluate.intervals import Interval, weights
from polymodal.retrieval import Direction


class DirectionScores(NamedTuple):
    """One modality finds another. queries, gallery: how many there are. metrics: with intervals. chance: recall of a
    random order."""

    source: str
    target: str
    queries: int
    gallery: int
    metrics: dict[str, Interval]
    chance: dict[str, float]


class Retrieval(NamedTuple):
    """What `evaluate` says of an aligned model. rows: of the table. directions: the first finds the second. bad: cells
    that could not be read."""

    rows: int
    directions: Sequence[DirectionScores]
    bad: Sequence[Bad] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        directions = [
            {**f._asdict(), "metrics": {k: x._asdict() for k, x in f.metrics.items()}} for f in self.directions
        ]
        return {"rows": self.rows, "directions": directions, "bad": [b._asdict() for b in self.bad]}

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Retrieval":
        """What `to_json` wrote."""
        directions = [
            DirectionScores(**{**d, "metrics": {k: Interval(**x) for k, x in d["metrics"].items()}})
            for d in form["directions"]
        ]
        return cls(form["rows"], directions, [Bad(**b) for b in form["bad"]])

    @classmethod
    def of(cls, rows: int, directions: Sequence[Direction], bad: Sequence[Bad] = ()) -> "Retrieval":
        """With 95% bootstrap intervals over queries."""
        return cls(
            rows,
            [
                DirectionScores(d.source, d.target, len(d.ranks), d.gallery, intervals(d), d.chance())
                for d in directions
            ],
            bad,
        )


def intervals(of: Direction) -> dict[str, Interval]:
    """Each metric with its 95% percentile bootstrap interval over queries; those of one item are drawn together."""
    parts: list[Mapping[str, Any]] = [of.scores_by(w) for w in weights(len(of.ranks), groups=of.groups.tolist())]
    out = {}
    for name, value in of.scores().items():
        low, high = np.quantile(np.concatenate([p[name] for p in parts]), [0.025, 0.975])
        out[name] = Interval(value, float(low), float(high))
    return out
