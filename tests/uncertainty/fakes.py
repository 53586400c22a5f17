"""A learner without training, and rows for it, of which everything is known."""

from types import SimpleNamespace

import numpy as np
import torch

from polymodal.batch import Masked
from polymodal.data.encode import encode
from polymodal.data.preprocess import Rows
from polymodal.learners.base import Learner
from polymodal.model import Model
from polymodal.output import Scores
from polymodal.summary import Report
from polymodal.tasks import Binary, MultiClass, MultiLabel, Ordinal, Regression
from polymodal.uncertainty import calibrate

TASKS = ["binary", "multiclass", "ordinal", "multilabel", "regression", "regression of two"]


class Vectors:
    """A codec of vectors: as they are."""

    kind, costly, batched = "vector", False, False

    def __init__(self, width):
        self.width = width

    def encode_batch(self, cells):
        return [None if c is None else torch.as_tensor(c, dtype=torch.float32) for c in cells]

    def collate(self, cells):
        values = torch.stack([torch.zeros(self.width) if c is None else c for c in cells])
        return Masked(values, torch.tensor([c is not None for c in cells]))


class Mean(Learner):
    """scale times the mean of what is present, an input of these shapes being logits; 0 where nothing is."""

    def __init__(self, task, views, scale=1.0):
        super().__init__()
        self.task, self.views, self.scale = task, list(views), scale

    @property
    def reads(self):
        return self.views

    def describe(self):
        return ["mean"]

    def infer(self, inputs):
        return self.recombine(inputs)({v: torch.arange(len(x.mask)) for v, x in inputs.items()})

    def recombine(self, inputs):
        def mix(at):
            taken = [x.take(at[v]) for v, x in inputs.items()]
            total = sum(torch.where(x.mask[:, None], x.values, 0) for x in taken)
            return Scores(self.scale * total / sum(x.mask for x in taken).clamp(min=1)[:, None])

        return mix


def made(name, n, seed=0, noise=1.0, scale=1.0, modalities=("a", "b"), gaps=0.2):
    """Task, learner, rows: each modality is the truth's logits with noise of its own, and absent in `gaps` of rows."""
    g = np.random.default_rng(seed)
    if name == "binary":
        task, z, truth = Binary().fit(["no", "yes"]), g.normal(0, 1, (n, 2)), None
    elif name == "multiclass":
        task, z, truth = MultiClass().fit(list("wxyz")), g.normal(0, 1.5, (n, 4)), None
    elif name == "ordinal":
        x = g.normal(0, 2, n)
        task, z = Ordinal().fit([1, 2, 3, 4, 5]), x[:, None] - np.array([-2.0, -0.5, 0.5, 2.0])
        truth = [1 + int((x[i] + g.logistic() > [-2, -0.5, 0.5, 2]).sum()) for i in range(n)]
    elif name == "multilabel":
        task, z = MultiLabel().fit([["p", "q"], ["r"], ["p"], []]), g.normal(0, 2, (n, 3))
        truth = [[x for x, there in zip("pqr", row, strict=True) if there] for row in g.logistic(size=(n, 3)) < z]
    elif name == "regression":
        task, z = Regression().fit(g.normal(50, 9, 500).tolist()), g.normal(0, 1, (n, 1))
        truth = (z[:, 0] * task.scale_[0] + task.center_[0]).tolist()
    else:
        cells = [{"u": a, "v": b} for a, b in g.normal([0, 1000], [1, 200], (500, 2)).tolist()]
        task, z = Regression(["u", "v"]).fit(cells), g.normal(0, 1, (n, 2))
        truth = [dict(zip("uv", row, strict=True)) for row in (z * task.scale_ + task.center_).tolist()]
    if truth is None:  # a label drawn from the softmax
        truth = [task.labels_[i] for i in (z + g.gumbel(size=z.shape)).argmax(1)]
    inputs = {}
    for m in modalities:
        cells = list(z + g.normal(0, noise, z.shape))
        inputs[m] = encode([None if g.random() < gaps else c for c in cells], Vectors(z.shape[1]))[0]
    codecs = dict.fromkeys(modalities, Vectors(z.shape[1]))
    rows = Rows(inputs, codecs, [task.encode(t) for t in truth], task, range(n), [])
    return task, Mean(task, modalities, scale), rows


def model(name, n, groups=None, **how):
    """A model of such a learner, calibrated by n rows."""
    _, learner, rows = made(name, n, **how)
    views = {m: m for m in learner.reads}
    schema = SimpleNamespace(target=["y"], group=None)
    found = calibrate(learner, rows, views, groups)
    prep = SimpleNamespace(views=views, modalities=list(views), schema=schema)
    return Model(prep, learner, Report(calibration=found))


def hide(rows, *names):
    return rows.hidden({m: np.ones(len(rows), dtype=bool) for m in names})
