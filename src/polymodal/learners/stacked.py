"""The small-data path: features of each modality, ordinary estimators on them, combined early, late or both.

    records --Block of each view--> one matrix a set of modalities --estimators--> logits --weights--> the answer

A **member** is one kind of estimator on one set of modalities: each alone, or all joined (early fusion). Members answer
for rows that they did not see, fold by fold, and from these out-of-fold answers it is decided how they are combined.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Masked
from polymodal.learners import archive, estimators
from polymodal.learners.base import Learner, Vectors
from polymodal.learners.ensemble import blend
from polymodal.learners.estimators import KINDS, Fitted
from polymodal.learners.matrix import Block, Join, Matrix, Raw, Sight, beside, here, records, unit
from polymodal.output import Scores
from polymodal.tasks.base import Task


class Stacked(Learner):
    """Members, and how their answers are combined (Recipe). Answers renormalise over members that see something.

    views: the modality that each input is a view of. members: [{"modalities", "kind", "layer", "view", "weight"}].
    below: the places of members of layer 1 whose answers those of layer 2 see. stacked: whether a linear estimator
    combines them (Wolpert 1992), else their weights do. What is fitted is kept beside the specification, by
    `save_fitted`.
    """

    embeds = "standardised features, and the answer"

    def __init__(
        self, task: Task, views: dict[str, str], members: list[dict[str, Any]], stacked: bool = False,
        below: Sequence[int] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.task, self.views, self.members, self.stacked, self.below = task, views, members, stacked, list(below)
        self.joins: dict[str, Join] = {}
        self.fitted: list[Fitted] = []
        self.top: Fitted | None = None

    @property
    def reads(self) -> Sequence[str]:
        """The views that a member reads: one, or all of its modalities."""
        alone = {m["view"] for m in self.members if m["view"]}
        used = {x for m in self.members if not m["view"] for x in m["modalities"]}
        return [v for v, m in self.views.items() if v in alone or m in used]

    @torch.no_grad()
    def infer(self, inputs: Mapping[str, Masked]) -> Scores:
        """On the device of the inputs."""
        device = next(iter(inputs.values())).mask.device
        everything = torch.arange(len(next(iter(inputs.values())).mask))
        return Scores(self.recombine(inputs)(dict.fromkeys(inputs, everything)).values.to(device))

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Scores]:
        """The blocks of each view are made once; their rows are put together, then the estimators answer."""
        rows = {v: records(x) for v, x in inputs.items()}
        blocks = {k: [b.matrix(rows[v]) for v, b in join.blocks.items()] for k, join in self.joins.items()}

        def answer(at: Mapping[str, Tensor]) -> Scores:
            places = {v: i.cpu().numpy() for v, i in at.items()}
            matrices, present = {}, {}
            for k, join in self.joins.items():
                rows_of = {v: [rows[v][i] for i in places[v]] for v in join.blocks}
                parts = [x[places[v]] for v, x in zip(join.blocks, blocks[k], strict=True)]
                matrices[k], present[k] = join.joined(parts, rows_of), torch.from_numpy(join.present(rows_of).any(1))
            return Scores(self._answer(matrices, present))

        return answer

    def embed(self, inputs: Mapping[str, Masked]) -> dict[str, Vectors]:
        """By modality the standardised features, and as "" the answer's probabilities; of numbers, which have no
        direction, all features side by side."""
        blocks: dict[str, Block | Raw] = {}
        for join in self.joins.values():
            blocks = {**join.blocks, **blocks}
        parts: dict[str, list[Vectors]] = {}
        for v, block in blocks.items():
            rows = records(inputs[v])
            parts.setdefault(self.views[v], []).append(Vectors(block.matrix(rows), here(rows)))
        out = {
            m: Vectors(beside([x.values for x in xs]), np.any([x.present for x in xs], axis=0))
            for m, xs in parts.items()
        }
        everywhere = np.ones(len(next(iter(out.values())).present), dtype=bool)
        if self.task.link == "identity":
            return {"": Vectors(beside([unit(x.values) for x in out.values()]), everywhere), **out}
        logits = self.infer(inputs).values.double()
        answer = logits.softmax(1) if self.task.link == "softmax" else logits.sigmoid()
        return {"": Vectors(answer.cpu().numpy(), everywhere), **out}

    def describe(self) -> list[str]:
        """Each estimator with its weight."""
        parts = [
            f"  {m['weight']:.2f} {describe(*(m[k] for k in ('modalities', 'kind', 'layer', 'view')))}"
            for m in self.members
            if m["weight"]
        ]
        return [f"{len(parts)} estimators, {'stacked' if self.stacked else 'averaged'}", *parts]

    def _answer(self, matrices: Mapping[str, Matrix], here: Mapping[str, Tensor]) -> Tensor:
        keys = [key(m["modalities"], KINDS[m["kind"]].sight, m["view"]) for m in self.members]
        here_bk = torch.stack([here[k] for k in keys], dim=1)
        answers: dict[int, Tensor] = {}
        for i in sorted(range(len(keys)), key=lambda i: int(self.members[i]["layer"])):
            x = matrices[keys[i]]
            if self.members[i]["layer"] == 2:
                x = beside([x, meta([answers[j] for j in self.below], here_bk[:, self.below], self.task.link)])
            answers[i] = torch.from_numpy(estimators.logits(self.fitted[i], x))
        at = [i for i, m in enumerate(self.members) if m["weight"]]
        if self.top is not None:
            x = meta([answers[i] for i in at], here_bk[:, at], self.task.link)
            return torch.from_numpy(estimators.logits(self.top, x))
        weights = torch.tensor([float(self.members[i]["weight"]) for i in at])
        return blend(torch.stack([answers[i] for i in at], dim=1), weights, here_bk[:, at], self.task.link)

    def save_fitted(self, path: Path) -> None:
        """Write what is fitted: JSON and arrays in one archive (skops), never pickle."""
        state = {"joins": self.joins, "fitted": [tuple(f) for f in self.fitted]}
        archive.write(path, {**state, "top": None if self.top is None else tuple(self.top)})

    def load_fitted(self, path: Path, classes: Sequence[type]) -> None:
        """Read it. classes: the extractors that it may hold. Raises InputError for a file that holds other code."""
        state = archive.read(path, classes)
        self.joins = state["joins"]
        self.fitted = [Fitted(*f) for f in state["fitted"]]
        self.top = None if state["top"] is None else Fitted(*state["top"])


def key(modalities: Sequence[str], sight: Sight, view: str = "") -> str:
    """The name of the matrix that members of these modalities, or of one view, share."""
    return f"{' '.join(map(str, sight))} of {_what(modalities, view)}"


def describe(modalities: Sequence[str], kind: str, layer: int = 1, view: str = "") -> str:
    """A member in words: "boosted on photo + note, stacked", "linear on view photo/color"."""
    return f"{kind} on {_what(modalities, view)}{', stacked' * (layer == 2)}"


def _what(modalities: Sequence[str], view: str) -> str:
    return f"view {view}" if view else " + ".join(modalities)  # a view may be called as its modality


def meta(answers: Sequence[Tensor], here_bk: Tensor, link: str) -> NDArray[np.float32]:
    """(N, K * C + K): the logits of each member, 0 where it sees nothing, and whether it sees anything."""
    most = np.inf if link == "identity" else 8.0
    parts = [torch.where(h[:, None], a.clamp(-most, most), 0) for a, h in zip(answers, here_bk.T, strict=True)]
    return torch.cat([*parts, here_bk.float()], dim=1).numpy()
