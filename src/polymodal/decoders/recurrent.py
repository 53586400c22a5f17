"""A recurrent decoder with attention to the memory.

What does not depend on the recurrent state is computed for all tokens at once: the memory's keys in `start`, the input
gates and the output layer. The loop over tokens has the recurrent gates, the attention, and the gates of its context.

Axes: b row, t token, s memory token, d width of the memory, w width of the state.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.decoders.base import Decoder, HiddenStates, State
from polymodal.decoders.embedding import WordEmbedding
from polymodal.errors import InputError
from polymodal.nn import MLP
from polymodal.ops import masked_mean, masked_softmax, zeroed


class AttentionScore(nn.Module, ABC):
    """The attention score of a state and each memory token. dim: of the memory's tokens. width: of the state."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.dim, self.width = dim, width

    @abstractmethod
    def keys(self, memory_bsd: Tensor) -> Tensor:
        """(B, S, dim) -> (B, S, width), computed once for all states."""

    @abstractmethod
    def forward(self, state_bw: Tensor, keys_bsw: Tensor) -> Tensor:
        """(B, width) states -> (B, S) scores, the softmax's input."""


class Additive(AttentionScore):
    """score[s] = v . tanh(K m[s] + Q h). Bahdanau, Cho & Bengio 2015, A.1.2."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, width)
        self.key, self.query = nn.Linear(dim, width), nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def keys(self, memory_bsd: Tensor) -> Tensor:
        """K m + its bias."""
        keys: Tensor = self.key(memory_bsd)
        return keys

    def forward(self, state_bw: Tensor, keys_bsw: Tensor) -> Tensor:
        """(B, width) states -> (B, S) scores."""
        score: Tensor = self.score((keys_bsw + self.query(state_bw)[:, None]).tanh())
        return score[..., 0]


class DotProduct(AttentionScore):
    """score[s] = h . K m[s] / sqrt(width): Luong, Pham & Manning 2015, "general", scaled as Vaswani et al. 2017 do."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, width)
        self.key = nn.Linear(dim, width, bias=False)  # a bias would add the same to every token's score

    def keys(self, memory_bsd: Tensor) -> Tensor:
        """K m / sqrt(width)."""
        keys: Tensor = self.key(memory_bsd) * self.width**-0.5
        return keys

    def forward(self, state_bw: Tensor, keys_bsw: Tensor) -> Tensor:
        """(B, width) states -> (B, S) scores."""
        return (keys_bsw @ state_bw[..., None])[..., 0]


class Step(NamedTuple):
    """A token's state (B, w), context vector (B, d) and attention weights (B, S)."""

    h: Tensor
    context: Tensor
    weights: Tensor


class AttentiveGRU(Decoder):
    """A gated recurrent unit with soft attention to the memory at each token.

    With m[s] the normalised memory, x_t the embedding of token t and h_0 = tanh(mlp(mean of m)):

        a_t = softmax over real s of score(h_t-1, m[s])
        z_t = sigmoid(g . h_t-1 + c) sum_s a_t[s] m[s]
        h_t = GRU([x_t, z_t], h_t-1)
        hidden_t = tanh(O [h_t, z_t, x_t])

    penalty = balance * mean over rows of sum over real s of (1 - sum over real t of a_t[s])^2: every token should
    be attended to about once in a caption. Xu et al. 2015 (Show, Attend and Tell), eq. 4, 5, 7, 13, 14, with a GRU in
    place of their LSTM. They add the penalty, times 1, to the loss of a whole caption; here the loss is a mean over
    tokens, and `balance` is smaller still: at 0.1 it outweighs what a token gains by attending to few places.

    score: `Additive` or `DotProduct`. embedding: of the width of the state.
    """

    def __init__(
        self, score: AttentionScore, embedding: WordEmbedding, *, balance: float = 0.01, dropout: float = 0.1
    ) -> None:
        super().__init__()
        dim, width = score.dim, score.width
        if embedding.width != width:
            raise InputError(
                f"the embedding has width {embedding.width} but the attention score {width}; give both the same"
            )
        self.score, self.embedding, self.balance, self.dropout = score, embedding, balance, dropout
        self.dim, self.size = dim, embedding.size
        self.norm, self.initial = nn.LayerNorm(dim), MLP([dim, width, width], dropout)
        self.gate = nn.Linear(width, 1)
        self.token_gates, self.state_gates = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.context_gates = nn.Linear(dim, 3 * width, bias=False)
        self.out, self.drop = nn.Linear(2 * width + dim, width), nn.Dropout(dropout)

    def start(self, memory: Masked) -> State:
        """memory: values (B, S, d), keys (B, S, w), mask (B, S). past: h (B, w)."""
        clean = Masked(zeroed(memory), memory.mask)
        m = Masked(self.norm(clean.values), memory.mask)
        keys = self.score.keys(m.values)
        # autocast would cast a float32 memory again at every token, and its gradient back
        tensors = {"values": m.values.to(keys.dtype), "keys": keys, "mask": m.mask}
        return State(tensors, {"h": self.initial(masked_mean(m)).tanh()})

    def teacher_forcing(self, state: State, ids: Masked) -> HiddenStates:
        """(B, T) ids -> (B, T, w) hidden, and the penalty for memory that is attended to too little or too much."""
        x_btw, steps = self._read(state, ids)
        h_btw, context_btd = (torch.stack(z, dim=1) for z in zip(*((s.h, s.context) for s in steps), strict=True))
        weights_bts = torch.stack([s.weights for s in steps], dim=1)
        attention_bs = torch.where(ids.mask[..., None], weights_bts, 0.0).sum(1)
        deficit_bs = torch.where(state.memory["mask"], 1 - attention_bs, 0.0)
        penalty = self.balance * deficit_bs.square().sum(1).mean()
        return HiddenStates(self._hidden(h_btw, context_btd, x_btw), penalty)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., w) -> (..., size)."""
        return self.embedding.logits(hidden)

    def step(self, state: State, ids_b: Tensor) -> tuple[Tensor, State]:
        """(B,) ids -> (B, w) hidden, and the next state."""
        x = self.drop(self.embedding(ids_b))
        new = self._advance(state.memory, state.past["h"], self.token_gates(x))
        return self._hidden(new.h, new.context, x), State(state.memory, {"h": new.h})

    def attention(self, state: State, ids: Masked) -> Tensor:
        """(B, T, S) attention weights at each token."""
        return torch.stack([s.weights for s in self._read(state, ids)[1]], dim=1)

    def _read(self, state: State, ids: Masked) -> tuple[Tensor, list[Step]]:
        x_btw = self.drop(self.embedding(zeroed(ids)))
        h, out = state.past["h"], []
        for gates in self.token_gates(x_btw).unbind(1):
            out.append(self._advance(state.memory, h, gates))
            h = out[-1].h
        return x_btw, out

    def _advance(self, memory: Mapping[str, Tensor], h: Tensor, gates: Tensor) -> Step:
        weights = masked_softmax(self.score(h, memory["keys"]), memory["mask"], dim=1)
        context = (weights[:, None] @ memory["values"])[:, 0] * self.gate(h).sigmoid()
        inputs, recurrent = gates + self.context_gates(context), self.state_gates(h)
        width = h.shape[1]
        reset, keep = (inputs[:, : 2 * width] + recurrent[:, : 2 * width]).sigmoid().chunk(2, dim=1)
        new = torch.addcmul(inputs[:, 2 * width :], reset, recurrent[:, 2 * width :]).tanh()
        return Step(torch.lerp(new, h, keep), context, weights)

    def _hidden(self, h: Tensor, context: Tensor, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.out(torch.cat([h, context, x], dim=-1)).tanh())
        return out
