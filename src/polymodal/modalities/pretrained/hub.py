"""Pretrained networks: of a folder, an installed package or the Hugging Face hub.

    tuned:   cell --HubCodec--> ids, pixels or samples --Hub--> tokens (B, T, dim)
    frozen:  cell --Frozen(HubCodec)--> float16 (T, width), cached --Projection--> tokens

Only safetensors weights are read and no code that a model brings along is run. transformers is imported where
used.

Axes: b batch, t token, n sample, c channel, h height, w width, d width of a token.
"""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.pretrained.codec import FrozenCodec, HubCodec, key_for
from polymodal.modalities.pretrained.network import BATCH, look, reduce, width
from polymodal.modalities.pretrained.source import Tower, check_written, copy, digest, network, pooling
from polymodal.modalities.vector.encoders import Projection
from polymodal.nn import Size
from polymodal.ops import masked_mean, zeroed


class Frozen(FrozenCodec):
    """What a pretrained network says of a cell: float16 (T, width_), T <= `tokens`; the network never learns.

    tokens = 1 is one vector: the network's own pooled one where that was trained as such (grids, CLIP, ViT),
    or as the folder's sentence-transformers files say, else the mean of its real tokens. More are means over
    neighbours of the grid or the sequence.
    """

    def __init__(self, inner: HubCodec, tokens: int = 1) -> None:
        self.inner, self.tokens = inner, tokens
        self.kind, self.takes_files = inner.kind, inner.takes_files
        self.width_ = 1

    @property
    def source(self) -> str:
        """Where the network comes from."""
        return self.inner.source

    @source.setter
    def source(self, source: str) -> None:
        self.inner.source = source

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Nothing is learned from the cells."""
        self.inner.fit(cells, size)
        self.width_ = width(network(self.source, self.inner.tower).module)
        return self

    def encode_batch(self, cells: Sequence[Any]) -> list[Tensor | Unreadable | None]:
        """`encode` of each cell, several at a time; an Unreadable stands in its cell's place."""
        out: list[Tensor | Unreadable | None] = [None] * len(cells)
        ready: dict[int, Tensor] = {}
        for i, cell in enumerate(cells):
            try:
                if (x := self.inner.encode(cell)) is not None:
                    ready[i] = x
            except Unreadable as e:
                out[i] = e
            if len(ready) >= 8 * BATCH or i + 1 == len(cells):
                order = sorted(ready, key=lambda k: len(ready[k]))  # by length: less padding
                for start in range(0, len(order), BATCH):
                    rows = order[start : start + BATCH]
                    for k, y in zip(rows, self._run(self.inner.collate([ready[k] for k in rows])), strict=True):
                        out[k] = y
                ready = {}
        return out

    @torch.no_grad()
    def _run(self, x: Masked) -> list[Tensor]:
        net = network(self.source, self.inner.tower)
        if x.values.ndim == 4:
            x = Masked(x.values.contiguous(memory_format=torch.channels_last), x.mask)
        outputs = look(net.module, x)
        if self.tokens > 1:
            rows = [reduce(y_td[m_t], outputs.grid, self.tokens) for y_td, m_t in zip(*outputs.tokens, strict=True)]
        else:
            how = pooling(self.source)
            vector = outputs.pooled if net.pooler and outputs.pooled is not None else masked_mean(outputs.tokens)
            y_bd = outputs.tokens.values[:, 0] if "cls" in how else vector
            rows = list((normalize(y_bd, dim=-1) if "normalize" in how else y_bd)[:, None])
        top = torch.finfo(torch.float16).max
        return [r.nan_to_num().clamp(-top, top).half() for r in rows]

    def keep(self, tokens: int) -> None:
        """Means over neighbours, at most so many."""
        self.tokens = tokens

    def same(self, other: Codec) -> bool:
        """Of one network, wherever it lies."""
        return isinstance(other, Frozen) and _one_network(self.source, other.source)

    def thawed(self, encoder: Encoder, other: Codec, cls: type[Encoder]) -> Encoder | None:
        """The network, which learns now; what maps its tokens goes on."""
        if cls is not Hub or not isinstance(other, HubCodec) or not isinstance(encoder, Projection):
            return None
        if not _one_network(self.source, other.source):
            return None
        return Hub(other.source, encoder.dim, kind=self.kind, head=deepcopy(encoder))

    def fingerprint(self) -> str:
        """Its settings, and the contents of the weights and the processor's files."""
        return key_for(self, digest(self.source, weights=True))

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config, processor and weights."""
        copy(self.source, folder, weights=True)


class Hub(Encoder):
    """A pretrained network to be fine-tuned, then norm and a linear map of its tokens to `dim`.

    Batch norm always stays in eval(): its statistics came with the weights, and rows must not see each other.
    `kind` picks the tower of a network that has several (CLIP). head: what maps its tokens to `dim` instead, as it did
    while the network was frozen. From a folder that `save_source` wrote, the architecture is built with fresh weights:
    the learner's own file then brings them.
    """

    def __init__(
        self, source: str, dim: int, dropout: float = 0.1, kind: str = "", head: Projection | None = None
    ) -> None:
        super().__init__()
        self.source, self.dim, self.dropout, self.kind, self.head = source, dim, dropout, kind, head
        self.tower = _tower(kind)
        self.network = network(source, self.tower, fresh=True).module
        d = width(self.network)
        if any(True for _ in getattr(self.network, "pooler", nn.Identity()).parameters()):
            self.network.pooler = None  # type: ignore[assignment]  # not read, so it would never learn
        if head is None:
            self.out = nn.Sequential(nn.LayerNorm(d), nn.Dropout(dropout), nn.Linear(d, dim))
        self.train()

    @classmethod
    def for_codec(cls, codec: Any, size: Size) -> Self:
        """The network that the codec prepares cells for."""
        return cls(codec.source, size.dim, kind=codec.kind)

    def entrance(self) -> nn.Module | None:
        """The embedding of its ids, where it reads such."""
        if not self.tower.ids:
            return None
        table = self.network.get_input_embeddings()  # type: ignore[operator]
        return table if isinstance(table, nn.Embedding) else None

    def train(self, mode: bool = True) -> Self:
        """As of any module, but batch norm stays in eval()."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, x: Masked) -> Masked:
        """(B, T) ids, (B, 3, H, W) pixels, (B, N) samples or (B, F, T) spectrograms -> (B, T', dim)."""
        tokens = look(self.network, x).tokens
        if self.head is not None:
            return self.head(tokens)  # type: ignore[no-any-return]
        return Masked(zeroed(Masked(self.out(tokens.values), tokens.mask)), tokens.mask)

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config, and a note that weights are elsewhere."""
        copy(self.source, folder, weights=False)
        check_written(folder)


def _tower(kind: str) -> Tower:
    from polymodal.modalities import MODALITIES

    hub = MODALITIES[kind].hub if kind else None
    return Tower(ids=True) if hub is None else hub.tower


def _one_network(a: str, b: str) -> bool:
    return digest(a, weights=True) == digest(b, weights=True)
