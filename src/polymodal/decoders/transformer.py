"""Decoders of attention alone: words that look at each other and at the memory.

Keys and values of the memory are made once, in `start`; those of a word once, when it is read. A step is then the run
of one word over what is there, and teacher forcing the run of all words at once.

Axes: b row, h head, t word, k word that is looked at, s memory token, d width of a head, w width.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.decoders.base import Decoder, Forced, State
from polymodal.decoders.words import Separate
from polymodal.errors import InputError
from polymodal.nn import MLP, positions
from polymodal.ops import shares, zeroed


class Keys(NamedTuple):
    """What may be looked at. k, v: (B, H, K, D), finite. open: True where it may be, broadcast to (B, H, T, K)."""

    k: Tensor
    v: Tensor
    open: Tensor


class Run(NamedTuple):
    """hidden: (B, T, w). moving: keys and values of all words so far. share: (B, T, S) mean of layers and heads."""

    hidden: Tensor
    moving: dict[str, Tensor]
    share: Tensor


class Transformer(Decoder):
    """What decoders of attention share: words with their places, `layers` times x <- looks(x); x <- x + mlp(norm(x)),
    and hidden = norm(x), where x_t = sqrt(width) E[word] + the sinusoids of place t.

    Which looks a layer takes, and what is made of the memory before the first word, is the decoder's own.
    """

    own: nn.ModuleList

    def __init__(
        self,
        dim: int,
        words: Separate,
        heads: int,
        layers: int,
        dropout: float,
        memory: nn.Module,
        looks: dict[str, int],
    ) -> None:
        """looks: by the name of its `Heads`, the width of what is looked at; memory: what is run over it first."""
        super().__init__()
        self.dim, self.words, self.heads, self.layers, self.dropout = dim, words, heads, layers, dropout
        self.size, width = words.size, words.width
        self.memory = memory
        for name, of in looks.items():
            setattr(self, name, nn.ModuleList(Heads(width, of, heads, dropout) for _ in range(layers)))
        self.mlps = nn.ModuleList(MLP([width, 4 * width, width], dropout) for _ in range(layers))
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)

    def forced(self, state: State, ids: Masked) -> Forced:
        """(B, T) words -> (B, T, w) hidden; it asks no penalty."""
        hidden = self._run(state, zeroed(ids)).hidden
        return Forced(hidden, hidden.new_zeros(()))

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., w) -> (..., size)."""
        return self.words.logits(hidden)

    def step(self, state: State, ids_b: Tensor) -> tuple[Tensor, State]:
        """(B,) ids -> (B, w) hidden, and the state after it."""
        run = self._run(state, ids_b[:, None])
        return run.hidden[:, 0], State(state.fixed, run.moving)

    def attention(self, state: State, ids: Masked) -> Tensor:
        """(B, T, S) shares of the memory tokens at each word: of what goes to the memory, their mean over layers and
        heads.
        """
        share = self._run(state, zeroed(ids)).share
        return share / share.sum(-1, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)

    def _run(self, state: State, ids_bt: Tensor) -> Run:
        x, before = _placed(self.words, ids_bt, state)
        x, causal, real = self.drop(x), _causal(before, x), state.fixed["real"][:, None, None]
        moving, seen = [], []
        for i, (own, mlp) in enumerate(zip(_every(self.own), self.mlps, strict=True)):
            y = own.norm(x)
            k, v = _longer(state.moving, i, own.keys(y))
            moving.append((k, v))
            x, share = self._looked(i, x, y, Keys(k, v, causal), Keys(state.fixed[f"k{i}"], state.fixed[f"v{i}"], real))
            x = x + self.drop(mlp(x))
            seen.append(share.mean(1))
        return Run(self.norm(x), _named(moving), torch.stack(seen).mean(0))

    @abstractmethod
    def _looked(self, layer: int, x: Tensor, y: Tensor, words: Keys, memory: Keys) -> tuple[Tensor, Tensor]:
        """x (B, T, w) after the looks of this layer, and the memory's shares (B, H, T, S). y = norm(x)."""


class CrossTransformer(Transformer):
    """Pre-norm transformer: in each layer words look at themselves and at those before, then at the memory.

    `layers` times, x <- x + causal attention(norm(x)); x <- x + attention(norm(x), norm(memory));
    x <- x + mlp(norm(x)). Vaswani et al. 2017; pre-norm as Xiong et al. 2020.

    dim: width of the memory's tokens. words: their width is the width of the layers.
    """

    cross: nn.ModuleList

    def __init__(self, dim: int, words: Separate, *, heads: int = 4, layers: int = 2, dropout: float = 0.1) -> None:
        looks = {"own": words.width, "cross": dim}
        super().__init__(dim, words, heads, layers, dropout, nn.LayerNorm(dim), looks)

    def start(self, memory: Masked) -> State:
        """fixed: keys and values of the memory (B, H, S, D) in each layer, real (B, S). moving: none of words yet."""
        m = Masked(self.memory(zeroed(memory)), memory.mask)
        return _begun([_closed(*heads.keys(m.values), m.mask) for heads in _every(self.cross)], m.mask)

    def _looked(self, layer: int, x: Tensor, y: Tensor, words: Keys, memory: Keys) -> tuple[Tensor, Tensor]:
        own, cross = _every(self.own)[layer], _every(self.cross)[layer]
        x = x + self.drop(own(y, [words])[0])
        look, (share,) = cross(cross.norm(x), [memory])
        return x + self.drop(look), share


class PrefixLM(Transformer):
    """One transformer over the memory and then the words: memory tokens look at all memory tokens, words at the memory
    and at the words up to themselves.

    Memory tokens are mapped to the width of the words and told from them by a learned vector. Then, `layers` times,
    x <- x + attention(norm(x)); x <- x + mlp(norm(x)). Wang et al. 2022 (SimVLM).

    dim: width of the memory's tokens. words: their width is the width of the layers.
    """

    def __init__(self, dim: int, words: Separate, *, heads: int = 4, layers: int = 2, dropout: float = 0.1) -> None:
        memory = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, words.width))
        kind = torch.randn(words.width) * 0.02
        super().__init__(dim, words, heads, layers, dropout, memory, {"own": words.width})
        self.kind = nn.Parameter(kind)

    def start(self, memory: Masked) -> State:
        """fixed: keys and values of the memory (B, H, S, D) in each layer, real (B, S). moving: none of words yet."""
        x, real = self.drop(self.memory(zeroed(memory)) + self.kind), memory.mask
        made = []
        for i, (own, mlp) in enumerate(zip(_every(self.own), self.mlps, strict=True)):
            y = own.norm(x)
            made.append(_closed(*own.keys(y), real))
            if i + 1 < self.layers:  # of the last layer only keys and values are read
                x = x + self.drop(own(y, [Keys(*made[-1], real[:, None, None])])[0])
                x = x + self.drop(mlp(x))
        return _begun(made, real)

    def _looked(self, layer: int, x: Tensor, y: Tensor, words: Keys, memory: Keys) -> tuple[Tensor, Tensor]:
        look, (share, _) = _every(self.own)[layer](y, [memory, words])
        return x + self.drop(look), share


class Heads(nn.Module):
    """Multi-head attention whose keys are made apart from the look. dim: of what is looked at."""

    def __init__(self, width: int, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"a width of {width} can't be cut into {heads} heads; give a number that divides it")
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(dim, 2 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, dim) -> keys and values (B, H, K, D)."""
        k, v = (self._split(y) for y in self.kv(x).chunk(2, dim=-1))
        return k, v

    def forward(self, x: Tensor, context: Sequence[Keys]) -> tuple[Tensor, list[Tensor]]:
        """(B, T, w) -> what is seen in all contexts together (B, T, w), and the shares (B, H, T, K) of each."""
        weights = shares(self._split(self.q(x)), [c.k for c in context], [c.open for c in context])
        looks = [self.drop(weight) @ c.v for weight, c in zip(weights, context, strict=True)]
        out: Tensor = self.out(sum(looks[1:], looks[0]).transpose(1, 2).flatten(2))
        return out, weights

    def _split(self, x_btw: Tensor) -> Tensor:
        x_bhtd: Tensor = x_btw.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return x_bhtd


def _every(heads: nn.ModuleList) -> list[Heads]:
    return cast("list[Heads]", list(heads))


def _placed(words: Separate, ids_bt: Tensor, state: State) -> tuple[Tensor, int]:
    """Words with their places (B, T, w), and how many came before."""
    before = state.moving["k0"].shape[2]
    x = words(ids_bt) * words.width**0.5
    return x + positions(before + ids_bt.shape[1], words.width, x)[before:], before


def _causal(before: int, x_btw: Tensor) -> Tensor:
    """(T, before + T) whether a word may look at another."""
    t = x_btw.shape[1]
    return torch.ones(t, before + t, dtype=torch.bool, device=x_btw.device).tril(before)


def _longer(moving: dict[str, Tensor], layer: int, new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    k, v = (torch.cat([moving[f"{name}{layer}"], x], dim=2) for name, x in zip("kv", new, strict=True))
    return k, v


def _closed(k: Tensor, v: Tensor, real_bs: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of what is real, 0 elsewhere."""
    real = real_bs[:, None, :, None]
    return torch.where(real, k, 0.0), torch.where(real, v, 0.0)


def _begun(made: Sequence[tuple[Tensor, Tensor]], real_bs: Tensor) -> State:
    """The memory's keys and values of each layer, and no words yet."""
    return State(_named(made) | {"real": real_bs}, _named([(k[:, :, :0], v[:, :, :0]) for k, v in made]))


def _named(pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}{i}": x for i, pair in enumerate(pairs) for name, x in zip("kv", pair, strict=True)}
