"""Fusion layers, forward and backward on one thread, against the naive way of writing each, and what each keeps."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import bilinear

from polymodal import ops
from polymodal.batch import Masked
from polymodal.fusion import MulT

Layer = Callable[[list[Tensor]], Tensor]
PAIRS = [(0, 1), (0, 2), (1, 2)]
BATCH = 32  # of the larger layers
EACH: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}


def run(seconds: float = 1.5) -> dict[str, float]:
    """Milliseconds of each, in turn for `seconds`, their ratio, and the ratio of the MB that are kept for backward."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    out: dict[str, float] = {}
    try:
        for name, (xs, ours, naive) in cases().items():
            same(name, ours(xs), naive(xs))
            a, b = clocked([ours, naive], xs, seconds)
            kept = [megabytes(f, xs) for f in (ours, naive)]
            out |= {f"{name}: ms": a, f"{name}, naive: ms": b, f"{name} / naive": a / b}
            out |= {f"{name}: MB kept": kept[0], f"{name}, naive: MB kept": kept[1]}
    finally:
        torch.set_num_threads(threads)
    return out


def cases() -> dict[str, tuple[list[Tensor], Layer, Layer]]:
    """By name: inputs, the library's layer, and the naive one with the same weights."""
    out = {}
    for name, width, outputs in (("tensor", 32, 64), ("tensor", 64, 64), ("multiplicative", 32, 32)):
        weight = parameter(*[1 + width] * 3, outputs)
        out[f"{name} 3 x {width} -> {outputs}, batch 256"] = vectors(256, width), tensor(weight), cube(weight)
    out["low-rank 3 x 512, rank 32 -> 128, batch 32"] = vectors(BATCH, 512), *low_rank(512, 32, 128)
    out["bilinear 3 x 32 -> 64, batch 256"] = vectors(256, 32), *pairs(32, 64)
    out["MulT E40 H8 L4, 3 x 50 tokens, batch 32"] = vectors(BATCH, 50, 40), *crossmodal(40, 8, 4, 50)
    return out


def tensor(weight: Tensor) -> Layer:
    return lambda xs: ops.tensor_linear(xs, weight)


def cube(weight: Tensor) -> Layer:
    """As it is written down: the outer product of all (1, x), flattened, then a linear map."""

    def naive(xs: list[Tensor]) -> Tensor:
        a, b, c = (ops.extend(x) for x in xs)
        return (a[:, :, None, None] * b[:, None, :, None] * c[:, None, None, :]).flatten(1) @ weight.flatten(0, 2)

    return naive


def low_rank(width: int, rank: int, outputs: int) -> tuple[Layer, Layer]:
    """Naive: an appended 1, and a product for each rank."""
    factors, constants = ([parameter(rank, outputs, *d) for _ in range(3)] for d in ((width,), ()))

    def naive(xs: list[Tensor]) -> Tensor:
        zs, terms = [ops.extend(x) for x in xs], []
        weights = [torch.cat([c[..., None], f], 2) for f, c in zip(factors, constants, strict=True)]
        for r in range(rank):
            a, b, c = (z @ w[r].T for z, w in zip(zs, weights, strict=True))
            terms.append(a * b * c)
        return torch.stack(terms, 1)

    return lambda xs: ops.low_rank(xs, factors, constants), naive


def pairs(width: int, outputs: int) -> tuple[Layer, Layer]:
    """Naive: `nn.Bilinear` for each pair."""
    forms = [parameter(outputs, width, width) for _ in PAIRS]
    by_first = [[f for f, (a, _) in zip(forms, PAIRS, strict=True) if a == m] for m in range(2)]
    weights = [torch.cat([f.detach().permute(1, 2, 0) for f in of], 1).contiguous() for of in by_first]
    for w in weights:
        w.requires_grad_()

    def naive(xs: list[Tensor]) -> Tensor:
        return sum(bilinear(xs[a], xs[b], f) for f, (a, b) in zip(forms, PAIRS, strict=True))

    return lambda xs: ops.pairwise(xs, weights), naive


def crossmodal(dim: int, heads: int, layers: int, tokens: int) -> tuple[Layer, Layer]:
    """Naive: PyTorch's own attention and encoder layers, which know no absence."""
    fusion = MulT(dict.fromkeys("abc", dim), dim, heads=heads, layers=layers, dropout=0.0)
    plain = Crossmodal(dim, heads, layers)
    mask = torch.ones(BATCH, tokens, dtype=torch.bool)
    return lambda xs: fusion({m: Masked(x, mask) for m, x in zip("abc", xs, strict=True)}).values.sum(1), plain


class Crossmodal(nn.Module):
    """MulT of PyTorch's own layers: a stack of decoder-like layers a pair, encoder layers a target; no masks."""

    def __init__(self, dim: int, heads: int, layers: int) -> None:
        super().__init__()
        self.heads = heads
        pairs = [f"{m}{n}" for m in range(3) for n in range(3) if n != m]
        self.pairs = nn.ModuleDict({p: nn.ModuleList(CrossLayer(dim, heads) for _ in range(layers)) for p in pairs})
        wide = 2 * dim
        self.together = nn.ModuleList(
            nn.Sequential(*(nn.TransformerEncoderLayer(wide, heads, 4 * wide, **EACH) for _ in range(layers)))
            for _ in range(3)
        )
        self.out = nn.ModuleList(nn.Linear(wide, dim) for _ in range(3))

    def forward(self, xs: list[Tensor]) -> Tensor:
        out = 0
        for m in range(3):
            heard = []
            for n in range(3):
                y = xs[m]
                if n != m:
                    for layer in self.pairs[f"{m}{n}"]:
                        y = layer(y, xs[n])
                    heard.append(y)
            out = out + self.out[m](self.together[m](torch.cat(heard, 2)).mean(1))
        return out


class CrossLayer(nn.Module):
    """One cross-attention layer, pre-norm, with an MLP of four times the width."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.a, self.b, self.c = (nn.LayerNorm(dim) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        context = self.b(context)
        x = x + self.attention(self.a(x), context, context, need_weights=False)[0]
        return x + self.mlp(self.c(x))


def parameter(*shape: int) -> Tensor:
    return (torch.randn(shape) * shape[-1] ** -0.5).requires_grad_()


def vectors(*shape: int) -> list[Tensor]:
    return [torch.randn(shape, requires_grad=True) for _ in range(3)]


def same(name: str, a: Tensor, b: Tensor) -> None:
    """A ratio of two things that compute something else would say nothing; MulT has random weights of its own."""
    near = 1e-2 * b.detach().std().item()
    if a.shape != b.shape or not (name.startswith("MulT") or torch.allclose(a, b, rtol=1e-3, atol=near)):
        raise AssertionError(f"{name}: the two are not the same function")


def clocked(layers: list[Layer], xs: list[Tensor], seconds: float) -> list[float]:
    """Median milliseconds of a forward and backward pass of each, in turn."""
    times: list[list[float]] = [[] for _ in layers]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 4:
        for layer, found in zip(layers, times, strict=True):
            began = time.perf_counter()
            layer(xs).square().mean().backward()
            found.append(1000 * (time.perf_counter() - began))
            for x in xs:
                x.grad = None
    return [statistics.median(t[1:]) for t in times]


def megabytes(layer: Layer, xs: list[Tensor]) -> float:
    """What autograd keeps between forward and backward, each storage once, inputs and weights left out."""
    kept: dict[int, int] = {}

    def note(t: Tensor) -> Tensor:
        base = t if t._base is None else t._base
        if not base.requires_grad or base.grad_fn is not None:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        y = layer(xs)
        del y
    return sum(kept.values()) / 2**20
