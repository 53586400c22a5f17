"""Pretrained networks for text, image and audio: of a folder, an installed package or the Hugging Face hub.

    tuned:   cell --HubText, HubImage, HubAudio--> ids, pixels or samples --Hub--> tokens (B, T, dim)
    frozen:  cell --Frozen(HubText ...)--> float16 (T, width), cached --vectors.Projection--> tokens

Only safetensors weights are read and no code that a model brings along is run. transformers is imported where
used.

Axes: b batch, t token, n sample, c channel, h height, w width, d width of a token.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.base import Codec, Encoder, Guess, pad, stack
from polymodal.modalities.files import picture, read
from polymodal.modalities.network import look, reduced, width
from polymodal.modalities.source import LOCK, config, copy, digest, network, pooling, processor, written
from polymodal.modalities.vectors import Projection
from polymodal.nn import Size
from polymodal.ops import masked_mean, zeroed
from polymodal.spec import spec

CHARACTERS = 32  # read of a text for each token that is kept: so that a 10 MB cell costs no more than a page
BATCH = 8  # larger batches of images are slower on a CPU: the C library hands their memory back after every layer


class HubText(Codec):
    """Ids of the network's own tokenizer: int64 (T,), T <= length_; an empty text holds nothing.

    fit: `length_` = the smaller of size.tokens and what the network was made for.
    """

    kind: ClassVar[str] = "text"

    def __init__(self, source: str) -> None:
        self.source = source
        self.length_ = 128

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Never by itself: a pretrained network is asked for by name."""
        return ASKED

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Nothing is learned from the cells."""
        self.length_ = min(size.tokens, longest(self.source))
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """int64 (T,)."""
        text = "" if cell is None else str(cell)[: CHARACTERS * self.length_].strip()
        if not text:
            return None
        tokenizer = processor(self.source, "text")
        with LOCK:  # the length is a state of the tokenizer
            ids = tokenizer(text, truncation=True, max_length=self.length_)["input_ids"]
        return torch.tensor(ids, dtype=torch.int64) if ids else None

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """int64 (B, T) and the (B, T) mask."""
        return pad(cells, torch.zeros(0, dtype=torch.int64))

    def fingerprint(self) -> str:
        """Its settings and the contents of the tokenizer's files."""
        return keyed(self, digest(self.source, weights=False))

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config and tokenizer."""
        copy(self.source, folder, weights=False)


class HubImage(Codec):
    """Pixels as the network's own processor prepares them: float (3, height_, width_)."""

    kind: ClassVar[str] = "image"
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True

    def __init__(self, source: str) -> None:
        self.source = source
        self.height_, self.width_ = 224, 224

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Never by itself: a pretrained network is asked for by name."""
        return ASKED

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Ask the processor for its size; nothing is learned from the cells."""
        self.height_, self.width_ = self._prepared(Image.new("RGB", (256, 256))).shape[1:]
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """float32 (3, height_, width_)."""
        if cell is None:
            return None
        x = self._prepared(picture(cell))
        if x.shape[1:] != (self.height_, self.width_):  # a processor that keeps the aspect ratio
            x = interpolate(x[None], (self.height_, self.width_), mode="bilinear", antialias=True)[0]
        return x

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """float32 (B, 3, height_, width_) and the (B,) mask."""
        return stack(cells, torch.zeros(3, self.height_, self.width_))

    def _prepared(self, image: Image.Image) -> Tensor:
        x: Tensor = processor(self.source, "image")(images=image, return_tensors="pt")["pixel_values"][0]
        return x.float()

    def fingerprint(self) -> str:
        """Its settings and the contents of the processor's files."""
        return keyed(self, digest(self.source, weights=False))

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config and processor."""
        copy(self.source, folder, weights=False)


class HubAudio(Codec):
    """What the network's own feature extractor makes of a clip, cut after `seconds`.

    float32 (N,) samples for wav2vec 2.0 and its kin; a spectrogram of fixed shape (`shape_`) for Whisper and
    AST.
    """

    kind: ClassVar[str] = "audio"
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True

    def __init__(self, source: str, seconds: float = 15.0) -> None:
        self.source, self.seconds = source, seconds
        self.shape_: list[int] = []

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Never by itself: a pretrained network is asked for by name."""
        return ASKED

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Ask the extractor for its shape; nothing is learned from the cells."""
        x = self._prepared(np.zeros(self._rate, dtype=np.float32))
        self.shape_ = list(x.shape) if x.ndim > 1 else []
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """float32 (N,), or of `shape_`."""
        return None if cell is None else self._prepared(read(cell, self._rate, self.seconds))

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, N) and the (B, N) mask, or (B, *shape_) and the (B,) mask."""
        return stack(cells, torch.zeros(self.shape_)) if self.shape_ else pad(cells, torch.zeros(0))

    @property
    def _rate(self) -> int:
        return int(processor(self.source, "audio").sampling_rate)

    def _prepared(self, x_n: Any) -> Tensor:
        extract = processor(self.source, "audio")
        out = extract(x_n, sampling_rate=extract.sampling_rate, return_tensors="np")
        return torch.from_numpy(np.asarray(out[extract.model_input_names[0]][0], dtype=np.float32))

    def fingerprint(self) -> str:
        """Its settings and the contents of the extractor's files."""
        return keyed(self, digest(self.source, weights=False))

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config and feature extractor."""
        copy(self.source, folder, weights=False)


class Frozen(Codec):
    """What a pretrained network says of a cell: float16 (T, width_), T <= `tokens`; the network never learns.

    tokens = 1 is one vector: the network's own pooled one where that was trained as such (grids, CLIP, ViT),
    or as the folder's sentence-transformers files say, else the mean of its real tokens. More are means over
    neighbours of the grid or the sequence.
    """

    kind: str  # type: ignore[misc]  # of the codec inside
    takes_files: bool  # type: ignore[misc]
    costly: ClassVar[bool] = True
    batched: ClassVar[bool] = True

    def __init__(self, inner: HubText | HubImage | HubAudio, tokens: int = 1) -> None:
        self.inner, self.tokens = inner, tokens
        self.kind, self.takes_files = inner.kind, inner.takes_files
        self.width_ = 1

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Never by itself: a pretrained network is asked for by name."""
        return ASKED

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
        self.width_ = width(network(self.source, self.kind).module)
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """float16 (T, width_)."""
        (out,) = self.encode_batch([cell])
        if isinstance(out, Unreadable):
            raise out
        return out

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
        loaded = network(self.source, self.kind)
        if x.values.ndim == 4:
            x = Masked(x.values.contiguous(memory_format=torch.channels_last), x.mask)
        seen = look(loaded.module, x)
        if self.tokens > 1:
            rows = [reduced(y_td[m_t], seen.grid, self.tokens) for y_td, m_t in zip(*seen.tokens, strict=True)]
        else:
            how = pooling(self.source)
            pooled = seen.pooled if loaded.pooler and seen.pooled is not None else masked_mean(seen.tokens)
            y_bd = seen.tokens.values[:, 0] if "cls" in how else pooled
            rows = list((normalize(y_bd, dim=-1) if "normalize" in how else y_bd)[:, None])
        top = torch.finfo(torch.float16).max
        return [r.nan_to_num().clamp(-top, top).half() for r in rows]

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """float16 (B, T, width_) and the (B, T) mask."""
        return pad(cells, torch.zeros(0, self.width_, dtype=torch.float16))

    def fingerprint(self) -> str:
        """Its settings, and the contents of the weights and the processor's files."""
        return keyed(self, digest(self.source, weights=True))

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
        self.network = network(source, kind, fresh=True).module
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
        written(folder)


ASKED = Guess(0.0, "a pretrained network is asked for by name")


def longest(source: str) -> int:
    """Tokens of the longest text that the network was made for."""
    limit = int(processor(source, "text").model_max_length)
    places = getattr(config(source), "max_position_embeddings", 512) or 512
    return min(limit, 512) if limit < 100_000 else max(2, min(places - 2, 512))


def keyed(codec: Codec, contents: str) -> str:
    """The key of a codec whose `source` counts by its contents, wherever it lies."""
    form = spec(codec)
    (form if "source" in form["args"] else form["args"]["inner"])["args"]["source"] = contents
    return hashlib.blake2b(json.dumps(form, sort_keys=True).encode(), digest_size=16).hexdigest()
