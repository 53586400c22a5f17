"""Fusions of tokens by attention: over all of them together, or from one modality to the others.

b batch, t token, m modality, d width.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.fusion.base import Fusion, one_token, presence
from polymodal.fusion.pooled import each
from polymodal.fusion.trace import mix, over_present, own, sources
from polymodal.nn import Block, Named, Pool
from polymodal.ops import zeroed


class Embed(nn.Module):
    """Tokens of one modality (B, T, width) -> (B, T, dim): norm, linear map, and a learned embedding of the
    modality.
    """

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.width, self.dim = width, dim
        self.norm, self.project = nn.LayerNorm(width), nn.Linear(width, dim)
        self.kind = nn.Parameter(torch.randn(dim) * 0.02)

    def forward(self, x: Masked) -> Masked:
        """The same tokens, each told which modality it is of."""
        return Masked(self.project(self.norm(zeroed(x))) + self.kind, x.mask)


class JointAttention(Fusion):
    """A transformer over a learned class token and the tokens of all modalities; y is the class token of its
    last layer.

    Every token sees every other, whatever its modality. It is told of its modality by a learned embedding,
    and of its place by its encoder.
    """

    paper = "Kim, Son & Kim 2021 (ViLT); Vaswani et al. 2017"
    family = "sequence"

    def __init__(
        self, dims: dict[str, int], dim: int, *, heads: int = 4, layers: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__(dims, dim)
        self.heads, self.layers, self.dropout = heads, layers, dropout
        self.embed = Named({m: Embed(d, dim) for m, d in dims.items()})
        self.token = nn.Parameter(torch.randn(dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers - 1))
        self.last, self.norm = Block(dim, heads, dropout), nn.LayerNorm(dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        tokens = each(self.embed, xs)
        start = self.token.expand(xs[0].mask.shape[0], 1, -1)
        x = concatenate(Masked(start, tokens[0].mask.new_ones(len(start), 1)), *tokens)
        for block in self.blocks:
            x = block(x)
        # of the last layer only the class token is read, so it alone asks; the others would be thrown away
        context = Masked(self.last.norm(zeroed(x)), x.mask)
        y = self.last(Masked(x.values[:, :1], x.mask[:, :1]), context).values
        return one_token(self.norm(y)[:, 0], xs)

    def trace(self, weights: Iterator[Tensor], xs: list[Masked]) -> Tensor:
        """Self-attention over class token and tokens, layer by layer; of the last one the class token's row."""
        share = torch.cat([own(xs, 1), *sources(xs)], dim=1)
        *layers, last = list(weights)
        for a in layers:
            share = mix(a, share, share)
        return mix(last, share[:, :1], share)[:, 0]


class CrossAttention(Fusion):
    """Each modality's tokens ask those of all the others, `layers` times; then each modality is pooled to one
    token.

    x_m <- block_m(x_m, context = norm of [x_n : n != m]), all modalities at once. y_m = norm(pool(x_m)): one
    token a modality, real where the modality is present. A modality alone asks itself.
    """

    paper = "Tsai et al. 2019 (MulT), with one context of all others in place of one stack a pair"
    family = "sequence"

    def __init__(
        self, dims: dict[str, int], dim: int, *, heads: int = 4, layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__(dims, dim)
        self.heads, self.layers, self.dropout = heads, layers, dropout
        self.embed = Named({m: Embed(d, dim) for m, d in dims.items()})
        self.steps = nn.ModuleList(Exchange(dims, dim, heads, dropout) for _ in range(layers))
        self.pools = Named({m: nn.Sequential(Pool(dim), nn.LayerNorm(dim)) for m in dims})

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, M, dim), one token a modality."""
        xs = self.ordered(inputs)
        tokens = each(self.embed, xs)
        for step in self.steps:
            tokens = step(tokens)
        y_bmd = torch.stack(each(self.pools, tokens), dim=1)
        return Masked(y_bmd, presence(xs))

    def trace(self, weights: Iterator[Tensor], xs: list[Masked]) -> Tensor:
        """Each modality asks all the others, as they were before the layer; then each is pooled."""
        share = sources(xs)
        for _ in range(self.layers):
            before = list(share)
            for m, x in enumerate(before):
                others = before[:m] + before[m + 1 :] or before
                share[m] = mix(next(weights), x, torch.cat(others, dim=1))
        return over_present([torch.einsum("bt,bts->bs", next(weights), x) for x in share], xs)


class Exchange(nn.Module):
    """One layer of `CrossAttention`: a norm and a block for each modality."""

    def __init__(self, dims: Mapping[str, int], dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = Named({m: nn.LayerNorm(dim) for m in dims})
        self.blocks = Named({m: Block(dim, heads, dropout) for m in dims})

    def forward(self, tokens: list[Masked]) -> list[Masked]:
        """Tokens of each modality -> the same, each having looked at all the others."""
        states = [Masked(norm(zeroed(x)), x.mask) for norm, x in zip(self.norms.children(), tokens, strict=True)]
        out = []
        for i, (block, x) in enumerate(zip(self.blocks.children(), tokens, strict=True)):
            others = states[:i] + states[i + 1 :] or states
            out.append(block(x, concatenate(*others)))
        return out


class Asking(nn.Module):
    """Cross-attention: a few tokens ask a context, which is normalised first."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dim = dim
        self.norm, self.block = nn.LayerNorm(dim), Block(dim, heads, dropout)

    def forward(self, x: Masked, context: Masked) -> Tensor:
        """(B, Q, dim) tokens and a (B, K, dim) context -> (B, Q, dim)."""
        out: Tensor = self.block(x, Masked(self.norm(zeroed(context)), context.mask)).values
        return out


def concatenate(*parts: Masked) -> Masked:
    """Tokens one after another."""
    return Masked(torch.cat([p.values for p in parts], dim=1), torch.cat([p.mask for p in parts], dim=1))
