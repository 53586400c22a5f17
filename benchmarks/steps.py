"""A training step of `fit` against a bare PyTorch loop on the same tensors and model, from the second epoch on."""

import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.table import make
from polymodal import Batch, Table, objectives
from polymodal.data.preprocess import Preprocessor, Rows, order, target_cells
from polymodal.data.schema import Schema
from polymodal.fusion import FUSIONS
from polymodal.heads.fused import Fused
from polymodal.learners.encoders import Encoders
from polymodal.learners.network import Network
from polymodal.modalities import choose
from polymodal.nn import SIZES
from polymodal.tasks import TASKS
from polymodal.training.loop import train
from polymodal.training.settings import Settings

ROWS, EPOCHS, BATCH = 512, 3, 64


class Clocked(Network):
    """A network that notes when each step begins."""

    def loss(self, batch):
        self.times.append(time.perf_counter())
        return super().loss(batch)


def run(repeats: int = 3) -> dict[str, float]:
    """Median milliseconds a step of each, in turn, and their ratio (the target is at most 1.10)."""
    size = SIZES["small"]
    with tempfile.TemporaryDirectory() as folder:
        table = Table.read(make(Path(folder), ROWS, side=64, seconds=0.5))
        schema = Schema.infer(table, "label")
        task = TASKS["multiclass"]().fit(target_cells(table, schema))
        parts = {}
        for m, (kind, columns) in schema.modalities().items():
            settings = {"columns": {c: schema.columns[c].kind for c in columns}} if kind == "tabular" else {}
            parts[m] = choose(kind, settings=settings)
        prep = Preprocessor(schema, {m: c for m, (c, _) in parts.items()}).fit(table, size, quiet=True)
        rows = prep.encode(table, task, cache=Path(folder) / "cache", quiet=True)

        def learner() -> Clocked:
            torch.manual_seed(0)
            encoders = Encoders({m: encoder.for_codec(codec, size) for m, (codec, encoder) in parts.items()})
            made = Clocked(encoders, Fused(FUSIONS["concat"](encoders.dims, size.dim), task))
            made.times = []
            return made

        ours, bare = [], []
        for _ in range(repeats):
            model = learner()
            train(
                model,
                objectives.of(task),
                rows,
                rows.take(range(8)),
                Settings(epochs=EPOCHS, batch_size=BATCH),
                quiet=True,
            )
            ours += _steps(model.times)
            model = learner()
            _bare(model, rows)
            bare += _steps(model.times)
    a, b = statistics.median(ours), statistics.median(bare)
    return {"fit: ms a step": a, "bare loop: ms a step": b, "fit / bare loop": a / b}


def _bare(model: Clocked, rows: Rows) -> None:
    """The shortest right loop: whole columns in memory as tensors, indexed; AdamW; clipping."""
    whole: Batch = rows.batch(range(len(rows)))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    model.train()
    for epoch in range(EPOCHS):
        for chosen in order(range(len(rows)), rows.sizes(), BATCH, 0, epoch):
            loss = model.loss(whole.take(torch.tensor(chosen))).total
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()


def _steps(times: list[float]) -> list[float]:
    """Milliseconds of each step after the first epoch, without those that hold the end of an epoch."""
    an_epoch = len(times) // EPOCHS
    return [1000 * (b - a) for i, (a, b) in enumerate(pairwise(times)) if i >= an_epoch and (i + 1) % an_epoch]
