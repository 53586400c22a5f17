"""Fusions through a few tokens of the fusion's own: bottleneck tokens, latents, the state of a recurrent cell.

b batch, t token, l latent token, m modality, d width. Their cost is linear in the number of tokens, where that of
attention over all tokens is quadratic.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.fusion.attention import Asking, Embed, concatenate
from polymodal.fusion.base import Fusion, one_token, presence
from polymodal.fusion.pooled import each
from polymodal.fusion.trace import mix, over_present, own, sources
from polymodal.nn import Attention, Block, Named
from polymodal.ops import masked_mean, zeroed


class MBT(Fusion):
    """A transformer for each modality, over its class token, its tokens, and `bottleneck` tokens shared by all.

    `layers` times: [x_m, f_m] = block_m([x_m, f]) for each m, then f = mean of f_m over the modalities that are
    present. What a modality wrote into f in one layer the others read in the next, so a last block follows, in which
    each class token asks; y_m is the norm of what it heard. One token a modality, real where the modality is present.
    """

    paper = "Nagrani et al. 2021 (multimodal bottleneck transformer)"
    family = "sequence"

    def __init__(
        self,
        dims: dict[str, int],
        dim: int,
        *,
        bottleneck: int = 4,
        heads: int = 4,
        layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dims, dim)
        self.bottleneck, self.heads, self.layers, self.dropout = bottleneck, heads, layers, dropout
        self.embed = Named({m: Embed(d, dim) for m, d in dims.items()})
        self.shared_ld = nn.Parameter(torch.randn(bottleneck, dim) * 0.02)
        self.starts_md = nn.Parameter(torch.randn(len(dims), dim) * 0.02)
        self.blocks = nn.ModuleList(Named({m: Block(dim, heads, dropout) for m in dims}) for _ in range(layers))
        self.last, self.norm = Named({m: Asking(dim, heads, dropout) for m in dims}), nn.LayerNorm(dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, M, dim), one token a modality."""
        xs = self.ordered(inputs)
        here_bm = presence(xs)
        rows = here_bm.shape[0]
        own = [
            concatenate(Masked(start.expand(rows, 1, -1), x.present()[:, None]), x)
            for start, x in zip(self.starts_md, each(self.embed, xs), strict=True)
        ]
        open_bl = here_bm.new_ones(rows, self.bottleneck)
        bottleneck = Masked(self.shared_ld.expand(rows, -1, -1), open_bl)
        for blocks in self.blocks:
            views = [block(concatenate(x, bottleneck)).values for block, x in zip(blocks.children(), own, strict=True)]
            own = [Masked(y[:, : -self.bottleneck], x.mask) for y, x in zip(views, own, strict=True)]
            written_bmld = torch.stack([y[:, -self.bottleneck :] for y in views], dim=1)
            bottleneck = Masked(masked_mean(Masked(written_bmld, here_bm)), open_bl)
        firsts = zip(self.last.children(), own, strict=True)
        y_bmd = torch.cat(
            [ask(Masked(x.values[:, :1], x.mask[:, :1]), concatenate(x, bottleneck)) for ask, x in firsts], dim=1
        )
        return Masked(self.norm(y_bmd), here_bm)

    def trace(self, weights: Iterator[Tensor], xs: list[Masked]) -> Tensor:
        """Each modality's class token, tokens and the shared ones together; what all wrote into these is averaged."""
        every = [torch.cat([own(xs, 1), x], dim=1) for x in sources(xs)]
        bottleneck = own(xs, self.bottleneck)
        for _ in range(self.layers):
            wrote = []
            for m, x in enumerate(every):
                both = torch.cat([x, bottleneck], dim=1)
                both = mix(next(weights), both, both)
                every[m] = both[:, : x.shape[1]]
                wrote.append(both[:, x.shape[1] :].flatten(1))
            bottleneck = over_present(wrote, xs).view_as(bottleneck)
        return over_present([mix(next(weights), x[:, :1], torch.cat([x, bottleneck], dim=1))[:, 0] for x in every], xs)


class Perceiver(Fusion):
    """`latents` learned tokens ask the tokens of all modalities, then each other, `layers` times; y is the latents."""

    paper = "Jaegle et al. 2021 (Perceiver)"
    family = "sequence"

    def __init__(
        self, dims: dict[str, int], dim: int, *, latents: int = 8, heads: int = 4, layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__(dims, dim)
        self.latents, self.heads, self.layers, self.dropout = latents, heads, layers, dropout
        self.embed = Named({m: Embed(d, dim) for m, d in dims.items()})
        self.start_ld = nn.Parameter(torch.randn(latents, dim) * 0.02)
        self.ask = nn.ModuleList(Asking(dim, heads, dropout) for _ in range(layers))
        self.talk = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, latents, dim), real where any modality is present."""
        xs = self.ordered(inputs)
        tokens = concatenate(*each(self.embed, xs))
        rows = tokens.mask.shape[0]
        x = Masked(self.start_ld.expand(rows, -1, -1), tokens.mask.new_ones(rows, self.latents))
        for ask, talk in zip(self.ask, self.talk, strict=True):
            x = talk(Masked(ask(x, tokens), x.mask))
        return Masked(self.norm(x.values), presence(xs).any(1, keepdim=True).expand(-1, self.latents))

    def trace(self, weights: Iterator[Tensor], xs: list[Masked]) -> Tensor:
        """Latents ask all tokens, then each other; the answer is their mean."""
        share, tokens = own(xs, self.latents), torch.cat(sources(xs), dim=1)
        for _ in range(self.layers):
            share = mix(next(weights), share, tokens)
            share = mix(next(weights), share, share)
        return share.mean(1)


class Recurrent(Fusion):
    """`stages` times a state attends to the tokens of all modalities, and a recurrent cell takes in what it heard.

    h_0 = 0; a_k = attention(query = q + h_k-1, keys = all tokens); h_k = GRU(a_k, h_k-1); y = norm(h_K). Each stage
    looks at what matters in the light of what the earlier ones have put together. The weights of all stages are one.
    """

    paper = "Liang et al. 2018 (recurrent multistage fusion), with a GRU and dot-product attention"
    family = "sequence"

    def __init__(
        self, dims: dict[str, int], dim: int, *, stages: int = 3, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__(dims, dim)
        self.stages, self.heads, self.dropout = stages, heads, dropout
        self.embed = Named({m: Embed(d, dim) for m, d in dims.items()})
        self.query = nn.Parameter(torch.randn(dim) * 0.02)
        self.norm_of_tokens, self.attention = nn.LayerNorm(dim), Attention(dim, heads, dropout)
        self.cell, self.norm = nn.GRUCell(dim, dim), nn.LayerNorm(dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        tokens = concatenate(*each(self.embed, xs))
        tokens = Masked(self.norm_of_tokens(zeroed(tokens)), tokens.mask)
        h_bd = tokens.values.new_zeros(tokens.mask.shape[0], self.dim)
        for _ in range(self.stages):
            heard_bd = self.attention((self.query + h_bd)[:, None], tokens)[:, 0]
            h_bd = self.cell(heard_bd, h_bd)
        return one_token(self.norm(h_bd), xs)

    def trace(self, weights: Iterator[Tensor], xs: list[Masked]) -> Tensor:
        """A state asks all tokens, stage after stage; the cell is taken to keep half of what it had."""
        share, tokens = own(xs, 1), torch.cat(sources(xs), dim=1)
        for a in weights:
            share = mix(a, share, tokens)
        return share[:, 0]
