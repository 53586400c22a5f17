"""One explicit training loop.

    for each epoch: for each batch: loss -> gradients -> clip -> AdamW -> schedule; then validate, keep the best weights

Devices, precision and several processes are accelerate's. A checkpoint holds all that the next step depends on, so
that a run resumed after an interruption ends in the same weights as one that was not interrupted.
"""

import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from polymodal.colearn import modality_dropout
from polymodal.data.preprocess import Rows, order
from polymodal.errors import InputError
from polymodal.learners.base import Trainable
from polymodal.objectives.base import Objective, Validation
from polymodal.output import Output
from polymodal.progress import bar
from polymodal.tasks.base import Metric
from polymodal.training import memory
from polymodal.training.checkpoint import Keeper, State, load
from polymodal.training.inference import Answers
from polymodal.training.settings import Settings

PRETRAINED = {"network", "model"}  # attributes under which parts keep a pretrained network


class Trained(NamedTuple):
    """What training has to tell: one dict an epoch, the best epoch, and whether a time limit ended it.

    history: beside the scores, "loss" in training and its "parts"; of a learner that has heads for single modalities
    also "unimodal": by modality its "loss" in training, and its scores on validation rows that have the modality.
    answers: those to the validation rows after each epoch, by which an epoch can be chosen on some of the rows and
    judged on the others.
    """

    history: list[dict[str, Any]]
    best_epoch: int
    seconds: float
    out_of_time: bool
    answers: list[Output]


def train(
    learner: Trainable,
    objective: Objective,
    rows: Rows,
    valid: Rows,
    settings: Settings,
    *,
    title: str = "training",
    checkpoint: Path | None = None,
    time_limit: float | None = None,
    quiet: bool = False,
) -> Trained:
    """Train in place, and leave the learner with the weights of its best epoch on `valid`.

    checkpoint: a file that is written as training goes on, and on Ctrl-C; where it exists, training goes on from it.
    time_limit: seconds; the learning rate then comes down with the clock. Rows that are of no use to the objective,
    such as those without a label, are not trained on.
    Raises InputError when the loss is not finite, naming the batch's rows.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    memory.keep_freed()
    torch.manual_seed(settings.seed)
    if AcceleratorState._shared_state.get("_mixed_precision", settings.precision) != settings.precision:
        AcceleratorState._reset_state()  # of an earlier fit in this process, whose precision was another
    accelerator = Accelerator(mixed_precision=settings.precision)
    rank, world = accelerator.process_index, accelerator.num_processes
    model, optimizer = accelerator.prepare(learner, _optimizer(learner, settings))
    state, best, answers = load(checkpoint, learner, optimizer) if checkpoint else (State(), {}, [])
    usable = np.flatnonzero(objective.usable(rows))
    total = settings.epochs * len(order(rows, usable, settings.batch_size, 0, 0))
    start = time.monotonic() - state.seconds
    keep = Keeper(checkpoint if accelerator.is_main_process else None)
    note, last_trim = "", time.monotonic()
    with bar(title, 1.0, quiet or not accelerator.is_main_process) as tick, _interrupts() as stop:
        while not state.done:
            learner.train()
            batches = order(rows, usable, settings.batch_size, settings.seed, state.epoch)
            while state.step < len(batches) and not state.out_of_time:
                places = batches[state.step]
                part = places[rank::world] or places[:1]  # each process needs a row
                learner.progress = share = _share(state.steps / total, time.monotonic() - start, time_limit)
                batch = modality_dropout(rows.batch(part).to(accelerator.device), settings.modality_dropout)
                with accelerator.autocast():
                    losses = model(batch)
                loss = losses.total
                value = loss.item()
                if not math.isfinite(value):
                    raise InputError(_not_finite(value, [rows.numbers[r] for r in part], settings))
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(learner.parameters(), settings.clip)
                _set_rate(optimizer, settings, share, _mean(accelerator, learner.lr_scales()))
                optimizer.step()
                optimizer.zero_grad()
                late = time_limit is not None and time.monotonic() - start > time_limit
                state = state._replace(
                    step=state.step + 1,
                    steps=state.steps + 1,
                    loss_sum=state.loss_sum + value,
                    parts=_add(state.parts, losses.parts),
                    unimodal=_add(state.unimodal, losses.unimodal),
                    seconds=time.monotonic() - start,
                    out_of_time=_any(accelerator, late) if time_limit is not None else False,
                )
                if time.monotonic() - last_trim > memory.INTERVAL:
                    memory.trim()
                    last_trim = time.monotonic()
                tick(_share(state.steps / total, state.seconds, time_limit), f"loss {value:.3f}{note}")
                keep(state, learner, optimizer, best, answers, now=bool(stop))
                if stop:
                    raise KeyboardInterrupt
            if state.step:
                validation = objective.validate(Answers(learner, valid, settings.batch_size, accelerator), valid)
                answers += [] if validation.output is None else [validation.output]
                state, is_best = _end_epoch(state, validation, objective.metric, settings)
                learner.epoch_ended(state.history)
                if is_best:
                    best = {k: v.detach().clone() for k, v in learner.state_dict().items()}
                note = f"  {objective.metric.name} {state.history[-1][objective.metric.name]:.3f}"
            keep(state, learner, optimizer, best, answers, now=state.done)
    learner.load_state_dict(best)
    learner.eval()
    return Trained(list(state.history), state.best_epoch, state.seconds, state.out_of_time, answers)


def _add(sums: Mapping[str, float], parts: Mapping[str, Tensor]) -> dict[str, float]:
    return {k: sums.get(k, 0.0) + v.item() for k, v in parts.items()}


def _end_epoch(state: State, validation: Validation, metric: Metric, settings: Settings) -> tuple[State, bool]:
    """The best epoch is that of the best metric, and among equals that of the lowest loss."""
    scores = validation.scores
    value = scores[metric.name] if metric.higher else -scores[metric.name]
    now = (-math.inf if math.isnan(value) else value, -scores["valid_loss"])
    is_best = now > state.best or state.best_epoch < 0
    best_epoch = state.epoch if is_best else state.best_epoch
    line: dict[str, Any] = {"epoch": state.epoch, "loss": state.loss_sum / state.step, **scores}
    line["parts"] = {k: v / state.step for k, v in state.parts.items()}
    if state.unimodal:
        of = validation.unimodal
        line["unimodal"] = {m: {"loss": v / state.step, **of.get(m, {})} for m, v in state.unimodal.items()}
    last = state.epoch + 1 == settings.epochs
    return state._replace(
        epoch=state.epoch + 1,
        step=0,
        loss_sum=0.0,
        parts={},
        unimodal={},
        best=now if is_best else state.best,
        best_epoch=best_epoch,
        done=last or state.out_of_time or state.epoch - best_epoch >= settings.patience,
        history=(*state.history, line),
    ), is_best


def _optimizer(learner: Trainable, settings: Settings) -> torch.optim.Optimizer:
    """AdamW. Pretrained networks learn at their own rate; vectors (norms, biases, gates) do not decay."""
    groups: dict[tuple[float, float, str], list[Tensor]] = {}
    parts = [*learner.lr_scales()]
    for name, p in learner.named_parameters():
        if p.requires_grad:
            rate = settings.tuned_lr if PRETRAINED.intersection(name.split(".")) else settings.lr
            part = next((x for x in parts if name.startswith(x)), "")
            groups.setdefault((rate, settings.weight_decay if p.ndim > 1 else 0.0, part), []).append(p)
    names = ("base", "weight_decay", "part")
    form = [{"params": ps, "lr": key[0], **dict(zip(names, key, strict=True))} for key, ps in groups.items()]
    return torch.optim.AdamW(form, fused=True)


def _share(steps: float, seconds: float, limit: float | None) -> float:
    return min(1.0, steps if limit is None else max(steps, seconds / limit))


def _set_rate(optimizer: Any, settings: Settings, share: float, scales: Mapping[str, float]) -> None:
    """Linear warm-up, then a cosine down to 0 as `share` goes from 0 to 1; times the scale of a part that has one."""
    up = min(1.0, (share + 1e-3) / settings.warmup) if settings.warmup else 1.0
    down = 0.5 * (1 + math.cos(math.pi * max(0.0, share - settings.warmup) / (1 - settings.warmup)))
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * min(up, down) * scales.get(group["part"], 1.0)


def _mean(accelerator: Any, scales: Mapping[str, float]) -> Mapping[str, float]:
    """Over processes, which must agree on rates."""
    if accelerator.num_processes == 1 or not scales:
        return scales
    values = accelerator.reduce(torch.tensor([*scales.values()], device=accelerator.device), "mean").tolist()
    return dict(zip(scales, values, strict=True))


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that is no longer empty after Ctrl-C, so that it takes effect between two steps; again, and at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = signal.getsignal(signal.SIGINT)

    def catch(number: int, frame: Any) -> None:
        caught.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, catch)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


def _any(accelerator: Any, flag: bool) -> bool:
    """True in every process when it is in one."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device)) > 0)


def _not_finite(value: float, numbers: Sequence[int], settings: Settings) -> str:
    examples = ", ".join(map(str, sorted(numbers)[:32])) + (" ..." if len(numbers) > 32 else "")
    return (
        f"the loss became {value} in a batch of {len(numbers)} rows (row numbers {examples}); look for extreme values "
        f"in those rows, or lower the learning rate (it was {settings.lr:g}): --lr={settings.lr / 10:g}"
    )
