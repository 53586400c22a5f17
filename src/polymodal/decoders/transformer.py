"""Transformer decoders.

Keys and values of the memory are computed once, in `start`; those of a token once, when it is read. A step is then a
forward pass of one token with these, and teacher forcing a forward pass of all tokens at once.

Axes: b row, h head, t token (query), k key, s memory token, d width of a head, w width.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.decoders.base import Decoder, HiddenStates, State
from polymodal.decoders.embedding import WordEmbedding
from polymodal.errors import InputError
from polymodal.nn import MLP, positions
from polymodal.ops import shares, zeroed


class KeyValues(NamedTuple):
    """Keys and values. k, v: (B, H, K, D), finite. mask: True where a query may attend, broadcast to (B, H, T, K)."""

    k: Tensor
    v: Tensor
    mask: Tensor


class Pass(NamedTuple):
    """hidden: (B, T, w). past: keys and values of all tokens so far. weights: (B, T, S), mean of layers and heads."""

    hidden: Tensor
    past: dict[str, Tensor]
    weights: Tensor


class Transformer(Decoder):
    """What the decoders share: `layers` times x <- attend(x); x <- x + mlp(norm(x)), and hidden = norm(x), where
    x_t = sqrt(width) E[token] + sinusoidal positional encoding of t.

    Which attentions a layer has, and how the memory is encoded, is the subclass's own.
    """

    self_attention: nn.ModuleList

    def __init__(
        self,
        dim: int,
        embedding: WordEmbedding,
        heads: int,
        layers: int,
        dropout: float,
        memory: nn.Module,
        attentions: dict[str, int],
    ) -> None:
        """attentions: by attribute, the width of its keys' input. memory: applied to the memory first."""
        super().__init__()
        self.dim, self.embedding, self.heads, self.layers, self.dropout = dim, embedding, heads, layers, dropout
        self.size, width = embedding.size, embedding.width
        self.memory = memory
        for name, of in attentions.items():
            setattr(self, name, nn.ModuleList(MultiHeadAttention(width, of, heads, dropout) for _ in range(layers)))
        self.mlps = nn.ModuleList(MLP([width, 4 * width, width], dropout) for _ in range(layers))
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)

    def teacher_forcing(self, state: State, ids: Masked) -> HiddenStates:
        """(B, T) ids -> (B, T, w) hidden, without a penalty."""
        hidden = self._run(state, zeroed(ids)).hidden
        return HiddenStates(hidden, hidden.new_zeros(()))

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., w) -> (..., size)."""
        return self.embedding.logits(hidden)

    def step(self, state: State, ids_b: Tensor) -> tuple[Tensor, State]:
        """(B,) ids -> (B, w) hidden, and the next state."""
        run = self._run(state, ids_b[:, None])
        return run.hidden[:, 0], State(state.memory, run.past)

    def attention(self, state: State, ids: Masked) -> Tensor:
        """(B, T, S) attention weights over the memory: the mean over layers and heads, divided by its sum."""
        weights = self._run(state, zeroed(ids)).weights
        return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)

    def _run(self, state: State, ids_bt: Tensor) -> Pass:
        x, before = _embed(self.embedding, ids_bt, state)
        x, causal, real = self.drop(x), _causal_mask(before, x), state.memory["mask"][:, None, None]
        past, layer_weights = [], []
        for i, (attention, mlp) in enumerate(zip(_attentions(self.self_attention), self.mlps, strict=True)):
            y = attention.norm(x)
            k, v = _append(state.past, i, attention.keys(y))
            past.append((k, v))
            x, weights = self._attend(
                i, x, y, KeyValues(k, v, causal), KeyValues(state.memory[f"k{i}"], state.memory[f"v{i}"], real)
            )
            x = x + self.drop(mlp(x))
            layer_weights.append(weights.mean(1))
        return Pass(self.norm(x), _by_layer(past), torch.stack(layer_weights).mean(0))

    @abstractmethod
    def _attend(self, layer: int, x: Tensor, y: Tensor, text: KeyValues, memory: KeyValues) -> tuple[Tensor, Tensor]:
        """x (B, T, w) after the attentions of this layer, and the weights over the memory (B, H, T, S). y = norm(x)."""


class CrossTransformer(Transformer):
    """Pre-norm transformer decoder: in each layer causal self-attention, then cross-attention to the memory.

    `layers` times, x <- x + causal attention(norm(x)); x <- x + attention(norm(x), norm(memory));
    x <- x + mlp(norm(x)). Vaswani et al. 2017; pre-norm as Xiong et al. 2020.

    dim: width of the memory's tokens. embedding: its width is the width of the layers.
    """

    cross_attention: nn.ModuleList

    def __init__(
        self, dim: int, embedding: WordEmbedding, *, heads: int = 4, layers: int = 2, dropout: float = 0.1
    ) -> None:
        attentions = {"self_attention": embedding.width, "cross_attention": dim}
        super().__init__(dim, embedding, heads, layers, dropout, nn.LayerNorm(dim), attentions)

    def start(self, memory: Masked) -> State:
        """memory: its keys and values (B, H, S, D) in each layer, and mask (B, S). past: empty."""
        m = Masked(self.memory(zeroed(memory)), memory.mask)
        cross = _attentions(self.cross_attention)
        return _initial_state([_zero_padding(*a.keys(m.values), m.mask) for a in cross], m.mask)

    def _attend(self, layer: int, x: Tensor, y: Tensor, text: KeyValues, memory: KeyValues) -> tuple[Tensor, Tensor]:
        x = x + self.drop(_attentions(self.self_attention)[layer](y, [text])[0])
        cross = _attentions(self.cross_attention)[layer]
        y_memory, (weights,) = cross(cross.norm(x), [memory])
        return x + self.drop(y_memory), weights


class PrefixLM(Transformer):
    """Prefix language model: one transformer over the memory and then the text; attention is bidirectional within the
    memory and causal in the text.

    Memory tokens are mapped to the width of the embedding and marked by a learned vector. Then, `layers` times,
    x <- x + attention(norm(x)); x <- x + mlp(norm(x)). Wang et al. 2022 (SimVLM).

    dim: width of the memory's tokens. embedding: its width is the width of the layers.
    """

    def __init__(
        self, dim: int, embedding: WordEmbedding, *, heads: int = 4, layers: int = 2, dropout: float = 0.1
    ) -> None:
        memory = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, embedding.width))
        kind = torch.randn(embedding.width) * 0.02
        super().__init__(dim, embedding, heads, layers, dropout, memory, {"self_attention": embedding.width})
        self.kind = nn.Parameter(kind)

    def start(self, memory: Masked) -> State:
        """memory: its keys and values (B, H, S, D) in each layer, and mask (B, S). past: empty."""
        x, real = self.drop(self.memory(zeroed(memory)) + self.kind), memory.mask
        pairs = []
        for i, (attention, mlp) in enumerate(zip(_attentions(self.self_attention), self.mlps, strict=True)):
            y = attention.norm(x)
            pairs.append(_zero_padding(*attention.keys(y), real))
            if i + 1 < self.layers:  # of the last layer only keys and values are used
                x = x + self.drop(attention(y, [KeyValues(*pairs[-1], real[:, None, None])])[0])
                x = x + self.drop(mlp(x))
        return _initial_state(pairs, real)

    def _attend(self, layer: int, x: Tensor, y: Tensor, text: KeyValues, memory: KeyValues) -> tuple[Tensor, Tensor]:
        y_memory, (weights, _) = _attentions(self.self_attention)[layer](y, [memory, text])
        return x + self.drop(y_memory), weights


class MultiHeadAttention(nn.Module):
    """Multi-head attention with keys computed apart from the queries. dim: width of the keys' input."""

    def __init__(self, width: int, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"a width of {width} can't be divided among {heads} heads; give a number that divides it")
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(dim, 2 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def keys(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, dim) -> keys and values (B, H, K, D)."""
        k, v = (self._split(y) for y in self.kv(x).chunk(2, dim=-1))
        return k, v

    def forward(self, x: Tensor, context: Sequence[KeyValues]) -> tuple[Tensor, list[Tensor]]:
        """(B, T, w) -> attention over all contexts together (B, T, w), and the weights (B, H, T, K) of each."""
        weights = shares(self._split(self.q(x)), [c.k for c in context], [c.mask for c in context])
        values = [self.drop(weight) @ c.v for weight, c in zip(weights, context, strict=True)]
        out: Tensor = self.out(sum(values[1:], values[0]).transpose(1, 2).flatten(2))
        return out, weights

    def _split(self, x_btw: Tensor) -> Tensor:
        x_bhtd: Tensor = x_btw.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return x_bhtd


def _attentions(heads: nn.ModuleList) -> list[MultiHeadAttention]:
    return cast("list[MultiHeadAttention]", list(heads))


def _embed(embedding: WordEmbedding, ids_bt: Tensor, state: State) -> tuple[Tensor, int]:
    """(B, T, w) embeddings with positional encoding, and the number of tokens before."""
    before = state.past["k0"].shape[2]
    x = embedding(ids_bt) * embedding.width**0.5
    return x + positions(before + ids_bt.shape[1], embedding.width, x)[before:], before


def _causal_mask(before: int, x_btw: Tensor) -> Tensor:
    """(T, before + T) True where a token may attend to another."""
    t = x_btw.shape[1]
    return torch.ones(t, before + t, dtype=torch.bool, device=x_btw.device).tril(before)


def _append(past: dict[str, Tensor], layer: int, new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    k, v = (torch.cat([past[f"{name}{layer}"], x], dim=2) for name, x in zip("kv", new, strict=True))
    return k, v


def _zero_padding(k: Tensor, v: Tensor, real_bs: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values, 0 where the mask is False."""
    real = real_bs[:, None, :, None]
    return torch.where(real, k, 0.0), torch.where(real, v, 0.0)


def _initial_state(pairs: Sequence[tuple[Tensor, Tensor]], real_bs: Tensor) -> State:
    """The memory's keys and values of each layer, and no tokens yet."""
    return State(_by_layer(pairs) | {"mask": real_bs}, _by_layer([(k[:, :, :0], v[:, :, :0]) for k, v in pairs]))


def _by_layer(pairs: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {f"{name}{i}": x for i, pair in enumerate(pairs) for name, x in zip("kv", pair, strict=True)}
