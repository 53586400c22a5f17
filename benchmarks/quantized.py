"""Int8 linear maps of polymodal, of torch and, where it is installed, of torchao: how many times as long as ours.

The same maps are replaced in each: those of at least `LEAST` weights. Processor time of one thread, medians of calls
that took turns. What follows is how far other rows of a batch are changed by one row that is a thousand times as
large, and by one that is NaN, relative to what they were: a row's answer must depend on that row alone.
"""

import copy
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.captioning import Ours
from benchmarks.naive import BATCH, DIM, WORDS
from polymodal.quantize import LEAST, int8

TIMES = 15
Quantize = Callable[[nn.Module], nn.Module]


def run() -> dict[str, float]:
    """Each library against ours, and ours against float32."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out: dict[str, float] = {}
    layer = nn.Sequential(nn.Linear(DIM, WORDS)).eval()
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own is deprecated
        layers = {name: quantize(layer) for name, quantize in quantizers().items()}
        captioner = Ours(Path(folder))
        captioners = {name: quantize(captioner.learner.eval()) for name, quantize in quantizers().items()}
        for rows in (1, BATCH):
            x = torch.randn(rows, DIM)
            calls = {name: lambda f=f, x=x: f(x) for name, f in layers.items()}
            out |= compared(f"{rows} x {DIM} by {DIM} x {WORDS:,}", calls)
            calls = {name: lambda f=f, n=rows: captioner.caption(f, n) for name, f in captioners.items()}
            out |= compared(f"{rows} caption{'s' * (rows > 1)}", calls)
        for name, f in layers.items():
            out |= {f"{name}: other rows, {what}": changed for what, changed in leaks(f).items()}
    return out


def quantizers() -> dict[str, Quantize]:
    """By name, what makes a copy of a module for prediction."""
    out: dict[str, Quantize] = {"float32": lambda m: m, "ours": int8}
    if hasattr(torch.ao.quantization, "quantize_dynamic"):
        out["torch.ao"] = _eager
    try:
        import torchao  # noqa: F401
    except ImportError:
        return out
    return {**out, "torchao": _torchao}


def _large(module: nn.Module, _name: str = "") -> bool:
    return isinstance(module, nn.Linear) and module.weight.numel() >= LEAST


def _eager(module: nn.Module) -> nn.Module:
    how = torch.ao.quantization.default_dynamic_qconfig
    return torch.ao.quantization.quantize_dynamic(module, {n: how for n, m in module.named_modules() if _large(m)})


def _torchao(module: nn.Module) -> nn.Module:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    module = copy.deepcopy(module)
    quantize_(module, Int8DynamicActivationInt8WeightConfig(), _large)
    return module


def compared(what: str, calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds of ours, and how many times as long the others take."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(1 + TIMES):
        for name in random.sample(list(calls), len(calls)):
            began = time.process_time()
            calls[name]()
            if turn:
                times[name].append(1000 * (time.process_time() - began))
    ms = {name: statistics.median(t) for name, t in times.items()}
    ratios = {f"{what}: {name} / ours": t / ms["ours"] for name, t in ms.items() if name != "ours"}
    return {f"{what}: ours, ms": ms["ours"], **ratios}


def leaks(f: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """How far the rows beside a large one, and beside one that is NaN, are moved; infinity where nothing comes back."""
    x = torch.randn(4, DIM)
    before, out = f(x)[1:], {}
    for what, factor in (("beside a large one", 1000.0), ("beside a NaN", torch.nan)):
        other = torch.cat([factor * x[:1], x[1:]])
        try:
            moved = ((f(other)[1:] - before).float().std() / before.float().std()).item()
        except RuntimeError:
            moved = torch.inf
        out[what] = torch.inf if moved != moved else moved
    return out
