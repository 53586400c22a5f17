"""The crossmodal transformer: a stack for each ordered pair of modalities.

b batch, t token, m target modality, n source modality, d width.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.fusion.attention import Asking, Embed
from polymodal.fusion.base import Fusion, presence
from polymodal.fusion.pooled import each
from polymodal.fusion.trace import mix, over_present, sources
from polymodal.nn import Block, Named, Pool


class MulT(Fusion):
    """y_m = P_m pool(S_m [C_nm : n != m]): what modality m hears from each other one, put together.

    C_nm is the tokens of m after `layers` blocks in which they ask the tokens of n as they came in; the C_nm of all n
    stand side by side, (M - 1) dim wide, and go through `layers` self-attention blocks S_m. One token a modality, real
    where the modality is present; a modality alone asks itself. An absent n answers nothing, and C_nm is then the
    tokens of m by themselves.
    """

    paper = "Tsai et al. 2019 (multimodal transformer)"
    family = "sequence"

    def __init__(
        self, dims: dict[str, int], dim: int, *, heads: int = 4, layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__(dims, dim)
        self.heads, self.layers, self.dropout = heads, layers, dropout
        self.embed = Named({m: Embed(d, dim) for m, d in dims.items()})
        self.targets = Named({m: Target(max(1, len(dims) - 1), dim, heads, layers, dropout) for m in dims})

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, M, dim), one token a modality."""
        xs = self.ordered(inputs)
        tokens = each(self.embed, xs)
        messages = []
        for m, target in enumerate(self.targets.children()):
            messages.append(target(tokens[m], tokens[:m] + tokens[m + 1 :] or tokens))
        return Masked(torch.stack(messages, dim=1), presence(xs))

    def trace(self, weights: Iterator[Tensor], xs: list[Masked]) -> Tensor:
        """For each target: a stack of questions to each source, the stacks side by side, self-attention, a pool."""
        start, rows = sources(xs), []
        for m, x in enumerate(start):
            stacks = []
            for source in start[:m] + start[m + 1 :] or start:
                share = x
                for _ in range(self.layers):
                    share = mix(next(weights), share, source)
                stacks.append(share)
            wide = torch.stack(stacks).mean(0)
            for _ in range(self.layers):
                wide = mix(next(weights), wide, wide)
            rows.append(torch.einsum("bt,bts->bs", next(weights), wide))
        return over_present(rows, xs)


class Target(nn.Module):
    """One target of `MulT`: its stack for each source, the stack over all that they gave, and the pool."""

    def __init__(self, sources: int, dim: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.cross = nn.ModuleList(
            nn.ModuleList(Asking(dim, heads, dropout) for _ in range(layers)) for _ in range(sources)
        )
        wide = sources * dim
        self.together = nn.ModuleList(Block(wide, heads, dropout) for _ in range(layers))
        self.out = nn.Sequential(Pool(wide), nn.LayerNorm(wide), nn.Linear(wide, dim))

    def forward(self, x: Masked, sources: list[Masked]) -> Tensor:
        """(B, T, dim) tokens of the target and those of each source -> (B, dim)."""
        messages = []
        for stack, source in zip(self.cross, sources, strict=True):
            y = x
            for ask in stack.children():
                y = Masked(ask(y, source), x.mask)
            messages.append(y.values)
        wide = Masked(torch.cat(messages, dim=2), x.mask)
        for block in self.together:
            wide = block(wide)
        out: Tensor = self.out(wide)
        return out
