"""Answers of a learner to many rows, batch by batch."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Losses
from polymodal.data.preprocess import Rows
from polymodal.learners.base import Infer, Learner, Trainable, evaluating
from polymodal.output import Output, cat
from polymodal.training.memory import keep_freed


@torch.inference_mode()
def predict(
    learner: Learner, rows: Rows, batch_size: int, accelerator: Any = None, infer: Infer | None = None
) -> Output:
    """The learner's answers to all rows, in order, on the CPU. infer: how it is asked, where not by its own `infer`.

    Several processes share the work.
    """
    keep_freed()
    device = next((p.device for p in learner.parameters()), torch.device("cpu"))
    world, rank = (accelerator.num_processes, accelerator.process_index) if accelerator else (1, 0)
    parts, place = batches(rows, batch_size)
    ask, out = infer or learner.infer, {}
    with evaluating(learner):
        for i in range(rank, len(parts), world):
            out[i] = ask(rows.batch(parts[i]).to(device).inputs).cpu()
    if world > 1:
        from accelerate.utils import gather_object

        out = dict(gather_object(list(out.items())))
    return cat([out[i] for i in range(len(parts))]).take(place)


def batches(rows: Rows, size: int) -> tuple[list[list[int]], Tensor]:
    """Batches of all rows, in which those that share a heavy cell are together and count as one; and (N,) the place of
    each row among the rows of all batches."""
    parts = rows.parts(np.arange(len(rows)))
    out = [[r for part in parts[i : i + size] for r in part] for i in range(0, len(parts), size)]
    return out, torch.tensor([r for part in out for r in part], dtype=torch.int64).argsort()


class Answers:
    """What a learner in training says of validation rows; each thing is computed when it is asked for."""

    def __init__(self, learner: Trainable, rows: Rows, batch_size: int, accelerator: Any) -> None:
        self.learner, self.rows, self.batch_size, self.accelerator = learner, rows, batch_size, accelerator
        self._parts, self._place = batches(rows, batch_size)

    def output(self) -> Output:
        """Its answers to all rows."""
        # an objective that asks for answers trains what gives them
        return predict(cast(Learner, self.learner), self.rows, self.batch_size, self.accelerator)

    @torch.inference_mode()
    def losses(self) -> list[tuple[Losses, int]]:
        """Its loss on each batch, as it answers and not as it learns, and how many rows that is of."""
        with evaluating(self.learner):
            return [(self.learner.loss(self.rows.batch(part).to(self._device)), len(part)) for part in self._parts]

    @torch.inference_mode()
    def unimodal(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By modality, the logits of the head that answers from it alone, and which rows (N,) have it."""
        if not self.learner.unimodal_names():
            return {}
        parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
        with evaluating(self.learner):
            for part in self._parts:
                inputs = self.rows.batch(part).to(self._device).inputs
                for m, logits in self.learner.unimodal(inputs).items():
                    parts.setdefault(m, []).append((logits.float().cpu(), inputs[m].present().cpu()))
        at = self._place
        return {m: (torch.cat([x for x, _ in p])[at], torch.cat([h for _, h in p])[at]) for m, p in parts.items()}

    @property
    def _device(self) -> torch.device:
        return next((p.device for p in self.learner.parameters()), torch.device("cpu"))
