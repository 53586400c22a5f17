"""A recurrent decoder that looks at the memory before each word.

What does not depend on the words before is computed once: the memory's keys in `start`, the input gates and the output
of all words in one product each. What is left to the loop is the state's own gates, its look, and the gates of what it
saw.

Axes: b row, t word, s memory token, d width of the memory, w width of the state.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.decoders.base import Decoder, Forced, State
from polymodal.decoders.words import Separate
from polymodal.errors import InputError
from polymodal.nn import MLP
from polymodal.ops import masked_mean, masked_softmax, zeroed


class Look(nn.Module, ABC):
    """How well each memory token fits a state. dim: of the memory's tokens. width: of the state."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.dim, self.width = dim, width

    @abstractmethod
    def keys(self, memory_bsd: Tensor) -> Tensor:
        """(B, S, dim) -> (B, S, width): what is compared with every state."""

    @abstractmethod
    def forward(self, state_bw: Tensor, keys_bsw: Tensor) -> Tensor:
        """(B, width) states -> (B, S) scores, before the softmax."""


class Additive(Look):
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


class DotProduct(Look):
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


class Seen(NamedTuple):
    """What a step leaves: the state after it (B, w), what it saw (B, d), and the share of each memory token (B, S)."""

    h: Tensor
    context: Tensor
    share: Tensor


class AttentiveGRU(Decoder):
    """A gated recurrent unit that sees, at each word, a mean of the memory that its state has weighted.

    With m[s] the normalised memory, x_t the embedding of word t and h_0 = tanh(mlp(mean of m)):

        a_t = softmax over real s of look(h_t-1, m[s])
        z_t = sigmoid(g . h_t-1 + c) sum_s a_t[s] m[s]
        h_t = GRU([x_t, z_t], h_t-1)
        hidden_t = tanh(O [h_t, z_t, x_t])

    penalty = balance * mean over rows of sum over real s of (1 - sum over real t of a_t[s])^2: every token should be
    looked at about once in a caption. Xu et al. 2015 (Show, Attend and Tell), eq. 4, 5, 7, 13, 14, with a GRU in place
    of their LSTM. They add the penalty, times 1, to the loss of a whole caption; here it meets the loss of a word, and
    `balance` is smaller still: at 0.1 it outweighs what a word gains by looking at few places.

    look: `Additive` or `DotProduct`. words: of the width of the state.
    """

    def __init__(self, look: Look, words: Separate, *, balance: float = 0.01, dropout: float = 0.1) -> None:
        super().__init__()
        dim, width = look.dim, look.width
        if words.width != width:
            raise InputError(
                f"the words are of width {words.width} but the look is of width {width}; give both the same"
            )
        self.look, self.words, self.balance, self.dropout = look, words, balance, dropout
        self.dim, self.size = dim, words.size
        self.norm, self.first = nn.LayerNorm(dim), MLP([dim, width, width], dropout)
        self.gate = nn.Linear(width, 1)
        self.of_word, self.of_state = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)
        self.of_context = nn.Linear(dim, 3 * width, bias=False)
        self.out, self.drop = nn.Linear(2 * width + dim, width), nn.Dropout(dropout)

    def start(self, memory: Masked) -> State:
        """fixed: memory (B, S, d) and its keys (B, S, w), real (B, S). moving: h (B, w)."""
        clean = Masked(zeroed(memory), memory.mask)
        m = Masked(self.norm(clean.values), memory.mask)
        keys = self.look.keys(m.values)
        # autocast would cast a float32 memory again at every word, and its gradient back
        fixed = {"memory": m.values.to(keys.dtype), "keys": keys, "real": m.mask}
        return State(fixed, {"h": self.first(masked_mean(m)).tanh()})

    def forced(self, state: State, ids: Masked) -> Forced:
        """(B, T) words -> (B, T, w) hidden, and the penalty for memory that is seen too little or too much."""
        x_btw, seen = self._read(state, ids)
        h_btw, context_btd = (torch.stack(z, dim=1) for z in zip(*((s.h, s.context) for s in seen), strict=True))
        share_bts = torch.stack([s.share for s in seen], dim=1)
        looked_bs = torch.where(ids.mask[..., None], share_bts, 0.0).sum(1)
        missed_bs = torch.where(state.fixed["real"], 1 - looked_bs, 0.0)
        penalty = self.balance * missed_bs.square().sum(1).mean()
        return Forced(self._hidden(h_btw, context_btd, x_btw), penalty)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., w) -> (..., size)."""
        return self.words.logits(hidden)

    def step(self, state: State, ids_b: Tensor) -> tuple[Tensor, State]:
        """(B,) ids -> (B, w) hidden, and the state after it."""
        x = self.drop(self.words(ids_b))
        seen = self._next(state.fixed, state.moving["h"], self.of_word(x))
        return self._hidden(seen.h, seen.context, x), State(state.fixed, {"h": seen.h})

    def attention(self, state: State, ids: Masked) -> Tensor:
        """(B, T, S) shares of the memory tokens at each word."""
        return torch.stack([s.share for s in self._read(state, ids)[1]], dim=1)

    def _read(self, state: State, ids: Masked) -> tuple[Tensor, list[Seen]]:
        x_btw = self.drop(self.words(zeroed(ids)))
        h, out = state.moving["h"], []
        for gates in self.of_word(x_btw).unbind(1):
            out.append(self._next(state.fixed, h, gates))
            h = out[-1].h
        return x_btw, out

    def _next(self, fixed: Mapping[str, Tensor], h: Tensor, gates: Tensor) -> Seen:
        share = masked_softmax(self.look(h, fixed["keys"]), fixed["real"], dim=1)
        context = (share[:, None] @ fixed["memory"])[:, 0] * self.gate(h).sigmoid()
        given, own = gates + self.of_context(context), self.of_state(h)
        width = h.shape[1]
        reset, keep = (given[:, : 2 * width] + own[:, : 2 * width]).sigmoid().chunk(2, dim=1)
        new = torch.addcmul(given[:, 2 * width :], reset, own[:, 2 * width :]).tanh()
        return Seen(torch.lerp(new, h, keep), context, share)

    def _hidden(self, h: Tensor, context: Tensor, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.out(torch.cat([h, context, x], dim=-1)).tanh())
        return out
