"""Where a training stands, and its file: all that the next step depends on."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from polymodal.errors import InputError
from polymodal.output import Output, output_of
from polymodal.saving import put_tensors


class State(NamedTuple):
    """Where training stands: everything but tensors that the next step depends on."""

    epoch: int = 0
    step: int = 0  # within the epoch
    steps: int = 0  # in all
    loss_sum: float = 0.0
    seconds: float = 0.0
    best: tuple[float, float] = (-math.inf, -math.inf)
    best_epoch: int = -1
    done: bool = False
    out_of_time: bool = False
    history: tuple[dict[str, Any], ...] = ()
    parts: Mapping[str, float] = {}  # the sum over steps of each part of the loss
    unimodal: Mapping[str, float] = {}  # the same of the loss of each modality's own head


class Keeper:
    """Writes checkpoints as often as costs at most a twentieth of the time, but not more than once a second."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.last, self.pause = path, time.monotonic(), 1.0

    def __call__(
        self,
        state: State,
        learner: nn.Module,
        optimizer: Any,
        best: Mapping[str, Tensor],
        answers: Sequence[Output],
        now: bool,
    ) -> None:
        """Write if it is time to, or at once."""
        began = time.monotonic()
        if self.path is None or not (now or began - self.last > self.pause):
            return
        _save(self.path, state, learner, optimizer, best, answers)
        self.last = time.monotonic()
        self.pause = max(1.0, 20 * (self.last - began))


def _save(
    path: Path,
    state: State,
    learner: nn.Module,
    optimizer: Any,
    best: Mapping[str, Tensor],
    answers: Sequence[Output],
) -> None:
    """One file, replaced in one step: an interruption leaves the old checkpoint or the new one."""
    tensors = {f"now/{k}": v for k, v in learner.state_dict().items()}
    tensors |= {f"best/{k}": v for k, v in best.items()}
    tensors |= {f"answers/{i}/{k}": v for i, a in enumerate(answers) for k, v in a.tensors().items()}
    for i, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{i}/{k}": torch.as_tensor(v) for k, v in slots.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    path.parent.mkdir(parents=True, exist_ok=True)
    put_tensors(path, tensors, {"state": json.dumps(state._asdict())})


def load(path: Path, learner: nn.Module, optimizer: Any) -> tuple[State, dict[str, Tensor], list[Output]]:
    """Continue from a checkpoint where there is one: position, best weights, and the answers of each epoch."""
    if not path.exists():
        return State(), {}, []
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as f:
            form = json.loads(f.metadata()["state"])
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # not a dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as e:
        raise InputError(f"the checkpoint {path} can't be read ({e}); remove it to begin anew") from None
    device = next(learner.parameters()).device

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    learner.load_state_dict(part("now/"))
    slots: dict[int, dict[str, Tensor]] = {}
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for k, v in part("optimizer/").items():
        i, slot = k.split("/")
        # moments in their parameter's memory format: the fused kernel walks both by raw address
        like = params[int(i)].detach()
        slots.setdefault(int(i), {})[slot] = torch.empty_like(like).copy_(v) if v.shape == like.shape else v
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    form |= {"best": tuple(form["best"]), "history": tuple(form["history"])}
    outputs = (part(f"answers/{i}/") for i in range(form["epoch"]))  # an objective may ask for none
    answers = [output_of(x) for x in outputs if x]
    return State(**form), {k: v.to(device) for k, v in part("best/").items()}, answers
