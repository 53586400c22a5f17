"""One space for several modalities in closed form: canonical correlation analysis of their features.

records --Block of each view--> X_m (N, D_m) --W_m--> points (N, dim)

Hotelling 1936; of more than two modalities the sum of all pairs' correlations is made as large as can be (Kettenring
1971, SUMCOR, relaxed to one eigenvalue problem). Absence is known: a covariance is over the rows that have both.

Axes: n row, m modality, d feature.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.learners import archive
from polymodal.learners.base import Learner, Vectors
from polymodal.learners.matrix import Block, beside, here, records
from polymodal.modalities.extractor import Record, Vectorizer
from polymodal.output import Points

COMPONENTS, TOTAL = 256, 2048  # of a view, at most; of all views together
POWER = 1  # of its correlation, by which a dimension counts in a distance (Gong et al. 2014, who took 4)


class Correlated(Learner):
    """Features of each modality, projected to where they correlate. It predicts nothing, so it has no task.

    views: the modality that each input is a view of. dim: of the space. ridge: added to the variances, as a share of
    their mean.
    """

    predicts = False
    embeds = "points of the shared space"

    def __init__(self, views: dict[str, str], dim: int, ridge: float) -> None:
        super().__init__()
        self.views, self.dim, self.ridge = views, dim, ridge
        self.blocks: dict[str, Block] = {}
        self.centers: dict[str, NDArray[np.float64]] = {}
        self.maps: dict[str, NDArray[np.float64]] = {}

    @property
    def modalities(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys(self.views.values()))

    @property
    def reads(self) -> Sequence[str]:
        """All views."""
        return list(self.views)

    def learn(self, extractors: Mapping[str, Vectorizer], rows: Mapping[str, Sequence[Record | None]]) -> Self:
        """Fit the features and the projections on the records of training rows, by view."""
        from sklearn.base import clone

        components = min(COMPONENTS, TOTAL // len(self.views))
        for v in self.views:
            self.blocks[v] = Block(clone(extractors[v]), components).learn(rows[v])
        self.project(self.features(rows))
        return self

    def project(self, features: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> None:
        """Fit the projections alone, on what `features` gives. Raises InputError for a modality that never differs."""
        names = self.modalities
        for m, (x, _) in features.items():
            if not x.shape[1]:
                raise InputError(
                    f"nothing of {m!r} differs between training rows, so it can't be told which belong to it; align "
                    "other columns (--columns)"
                )
        self.centers = {m: x[has].mean(0) for m, (x, has) in features.items()}
        z = {m: np.where(has[:, None], x - self.centers[m], 0) for m, (x, has) in features.items()}
        ends = np.cumsum([0, *(z[m].shape[1] for m in names)])
        at = {m: slice(a, b) for m, a, b in zip(names, ends, ends[1:], strict=False)}
        across, within = np.zeros((ends[-1], ends[-1])), np.zeros((ends[-1], ends[-1]))
        for m in names:
            c = z[m].T @ z[m] / max(1, features[m][1].sum())
            within[at[m], at[m]] = c + self.ridge * max(np.trace(c) / len(c), 1e-12) * np.eye(len(c))
        for m, n in combinations(names, 2):
            both = features[m][1] & features[n][1]
            across[at[m], at[n]] = z[m][both].T @ z[n][both] / max(1, both.sum())
            across[at[n], at[m]] = across[at[m], at[n]].T
        k = min(self.dim, *(x.shape[1] for x in z.values()))
        values, vectors = eigh(across, within, subset_by_index=[ends[-1] - k, ends[-1] - 1])
        weight = (values.clip(min=0) / (len(names) - 1)) ** POWER  # of two modalities it is their correlation
        self.maps = {m: vectors[at[m], ::-1] * weight[::-1] for m in names}

    def features(
        self, rows: Mapping[str, Sequence[Record | None]]
    ) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
        """By modality (N, D) of its views side by side, and (N,) which rows have it."""
        out = {}
        for m in self.modalities:
            views = [v for v, of in self.views.items() if of == m]
            x = beside([self.blocks[v].matrix(rows[v]) for v in views])
            dense = x.toarray() if hasattr(x, "toarray") else x
            out[m] = dense.astype(np.float64), np.any([here(rows[v]) for v in views], axis=0)
        return out

    def points_of(self, features: Mapping[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> Points:
        """Unit points of the modalities that are there; the others are absent."""
        n = len(next(iter(features.values()))[1])
        values, present = np.zeros((n, len(self.maps), self.dim), np.float32), np.zeros((n, len(self.maps)), bool)
        for i, m in enumerate(self.modalities):
            if m in features:
                x, present[:, i] = features[m]
                z = (x - self.centers[m]) @ self.maps[m]
                unit = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
                values[:, i, : z.shape[1]] = np.where(present[:, i, None], unit, 0)
        return Points(torch.from_numpy(values), torch.from_numpy(present))

    def infer(self, inputs: Mapping[str, Masked]) -> Points:
        """Points, on the device of the inputs."""
        device = next(iter(inputs.values())).mask.device
        points = self.points_of(self.features({v: records(x) for v, x in inputs.items()}))
        return Points(points.values.to(device), points.present.to(device))

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Points]:
        """Features are made once; rows of views are put together, then projected."""
        rows = {v: records(x) for v, x in inputs.items()}

        def answer(at: Mapping[str, Tensor]) -> Points:
            return self.points_of(self.features({v: [rows[v][i] for i in at[v].tolist()] for v in rows}))

        return answer

    def embed(self, inputs: Mapping[str, Masked]) -> dict[str, Vectors]:
        """By modality the points of rows."""
        points = self.infer(inputs).cpu()
        return {
            m: Vectors(points.values[:, i].numpy(), points.present[:, i].numpy()) for i, m in enumerate(self.modalities)
        }

    def describe(self) -> list[str]:
        """Its features and its space."""
        size = len(next(iter(self.maps.values())).T) if self.maps else 0
        names = ", ".join(self.modalities)
        return [f"features of {names}; canonical correlations, {size} dimensions, ridge {self.ridge:g}"]

    def save_fitted(self, path: Path) -> None:
        """Write what is fitted, never by pickle."""
        archive.write(path, {"blocks": self.blocks, "centers": self.centers, "maps": self.maps})

    def load_fitted(self, path: Path, classes: Sequence[type]) -> None:
        """Read it. Raises InputError for a file that holds other code."""
        state = archive.read(path, classes)
        self.blocks, self.centers, self.maps = state["blocks"], state["centers"], state["maps"]
