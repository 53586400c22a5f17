"""Blocks with parameters that modalities, fusions and learners share. Each keeps the law of `Masked`.

Axes: b batch, t token, q query, k key, h head, d width.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import quote

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from polymodal.batch import Masked
from polymodal.ops import attend, masked_softmax, shares, zeroed


class Size(NamedTuple):
    """Widths and depths of one step of the dial `size`."""

    dim: int
    layers: int
    heads: int
    side: int  # an image's area is at most side * side pixels
    tokens: int  # a text's length is at most this many tokens


SIZES = {
    "tiny": Size(dim=32, layers=1, heads=2, side=32, tokens=64),
    "small": Size(dim=64, layers=2, heads=4, side=64, tokens=128),
    "base": Size(dim=192, layers=4, heads=6, side=128, tokens=256),
    "large": Size(dim=384, layers=8, heads=8, side=224, tokens=512),
}


class Named(nn.Module):
    """Modules by name, for any name: ``nn.ModuleDict`` refuses "photo.jpg", "values" and "".

    >>> Named({"a.b": nn.Identity()})["a.b"]
    Identity()
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = tuple(modules)
        self._at = {name: at(name) for name in modules}
        for name, module in modules.items():
            self.add_module(self._at[name], module)

    def __getitem__(self, name: str) -> nn.Module:
        module: nn.Module = getattr(self, self._at[name])
        return module

    def items(self) -> Iterator[tuple[str, nn.Module]]:
        """Names with their modules, in the order in which they were given."""
        return ((name, self[name]) for name in self.names)


def at(name: str) -> str:
    """The attribute under which `Named` keeps a module."""
    return "at_" + quote(name, safe="").replace(".", "%2E")


class MLP(nn.Module):
    """LayerNorm, then linear maps with GELU and dropout between them: widths[0] -> ... -> widths[-1]."""

    def __init__(self, widths: list[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.widths, self.dropout = widths, dropout
        layers: list[nn.Module] = [nn.LayerNorm(widths[0])]
        for i, (a, b) in enumerate(pairwise(widths)):
            layers += ([nn.GELU(), nn.Dropout(dropout)] if i else []) + [nn.Linear(a, b)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(..., widths[0]) -> (..., widths[-1])."""
        out: Tensor = self.layers(x)
        return out


class Attention(nn.Module):
    """Multi-head attention of queries over the real tokens of a context; `dim` is a multiple of `heads`."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim, self.heads, self.dropout = dim, heads, dropout
        self.q, self.kv, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, query_bqd: Tensor, context: Masked) -> Tensor:
        """(B, Q, dim) queries and (B, K, dim) context -> (B, Q, dim); 0 before `out` where no key is real."""
        q = self._split(self.q(query_bqd))
        k, v = (self._split(x) for x in self.kv(zeroed(context)).chunk(2, dim=-1))
        y = attend(q, k, v, context.mask, self.dropout if self.training else 0.0)
        out: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return out

    def weights(self, query_bqd: Tensor, context: Masked) -> Tensor:
        """(B, Q, K) the shares of each query, the mean over heads."""
        k = self.kv(zeroed(context)).chunk(2, dim=-1)[0]
        a_bhqk: Tensor = shares(self._split(self.q(query_bqd)), [self._split(k)], [context.mask[:, None, None]])[0]
        return a_bhqk.mean(1)

    def _split(self, x_btd: Tensor) -> Tensor:
        x_bhtd: Tensor = x_btd.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return x_bhtd


class Block(nn.Module):
    """Pre-norm transformer block. Given a `context` it is cross-attention, else self-attention.

    x + attention(norm(x)), then x + mlp(norm(x)); Xiong et al. 2020.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim, self.heads, self.dropout = dim, heads, dropout
        self.norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads, dropout)
        self.mlp, self.drop = MLP([dim, 4 * dim, dim], dropout), nn.Dropout(dropout)

    def forward(self, x: Masked, context: Masked | None = None) -> Masked:
        """(B, T, dim) tokens -> the same tokens, each having looked at the real ones of itself or `context`."""
        y = zeroed(x)
        q = self.norm(y)
        y = y + self.drop(self.attention(q, Masked(q, x.mask) if context is None else context))
        return Masked(y + self.drop(self.mlp(y)), x.mask)


class Pool(nn.Module):
    """Attention pooling: a learned score a token, a softmax over the real ones, their weighted sum.

    out[b] = sum_t softmax_t(w . x[b, t]) x[b, t]; 0 for a row without a token. Ilse et al. 2018, eq. 7.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.score = nn.Linear(dim, 1, bias=False)
        nn.init.zeros_(self.score.weight)  # begins as the mean

    def forward(self, x: Masked) -> Tensor:
        """(B, T, dim) tokens -> (B, dim)."""
        x_btd = zeroed(x)
        w_bt = masked_softmax(self.score(x_btd)[..., 0], x.mask, dim=1)
        return (w_bt[..., None] * x_btd).sum(1)

    def weights(self, x: Masked) -> Tensor:
        """(B, T) the share of each token."""
        return masked_softmax(self.score(zeroed(x))[..., 0], x.mask, dim=1)


@contextmanager
def record(module: nn.Module) -> Iterator[list[Tensor]]:
    """The weights of each attention (B, Q, K) and of each pool (B, T) in a module, in the order of use."""
    calls: list[Tensor] = []
    parts = [m for m in module.modules() if isinstance(m, Attention | Pool)]
    hooks = [m.register_forward_pre_hook(lambda part, args: calls.append(part.weights(*args))) for m in parts]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def positions(length: int, dim: int, like: Tensor) -> Tensor:
    """(length, dim) sinusoids on the device and in the dtype of `like`: row p is the code of position p.

    Even columns sin(p / 10000^(2i/dim)), odd ones cos of the same. Vaswani et al. 2017, sec. 3.5.
    """
    p = torch.arange(length, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, device=like.device, dtype=torch.float32) * (-math.log(10_000.0) / dim))
    table = torch.stack([(p * rate).sin(), (p * rate).cos()], dim=-1).flatten(1)[:, :dim]
    return table.to(like.dtype)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each position of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x_bchw: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape, channels last in memory."""
        y = layer_norm(x_bchw.permute(0, 2, 3, 1), (self.channels,), self.weight, self.bias)
        return y.permute(0, 3, 1, 2)


def channels_last(net: nn.Module) -> nn.Module:
    """The weights laid out with channels last: 3 x 3 convolutions and ChannelNorm are faster so."""
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def doubling(last: int, count: int) -> list[int]:
    """Channels of each stage, twice as many from one to the next, as the grid gets coarser.

    >>> doubling(64, 3), doubling(32, 4)
    ([16, 32, 64], [16, 16, 16, 32])
    """
    return [max(min(16, last), last >> (count - 1 - i)) for i in range(count)]
