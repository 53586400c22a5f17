"""Text for a pretrained network: ids of its own tokenizer."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.modalities.base import pad
from polymodal.modalities.pretrained.codec import HubCodec
from polymodal.modalities.pretrained.source import LOCK, Tower, config
from polymodal.modalities.pretrained.source import tokenizer as tokenizer_of
from polymodal.nn import Size

CHARACTERS = 32  # read of a text for each token that is kept: so that a 10 MB cell costs no more than a page


class HubText(HubCodec):
    """Ids of the network's own tokenizer: int64 (T,), T <= length_; an empty text holds nothing.

    fit: `length_` = the smaller of size.tokens and what the network was made for.
    """

    kind: ClassVar[str] = "text"
    tower: ClassVar[Tower] = Tower("text_model", pooled=False, ids=True)

    def __init__(self, source: str) -> None:
        self.source = source
        self.length_ = 128

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Nothing is learned from the cells."""
        self.length_ = min(size.tokens, longest(self.source))
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """int64 (T,)."""
        text = "" if cell is None else str(cell)[: CHARACTERS * self.length_].strip()
        if not text:
            return None
        tokenizer = tokenizer_of(self.source)
        with LOCK:  # the length is a state of the tokenizer
            ids = tokenizer(text, truncation=True, max_length=self.length_)["input_ids"]
        return torch.tensor(ids, dtype=torch.int64) if ids else None

    def offsets(self, cell: Any, text: str) -> list[tuple[int, int]] | None:
        """Where in `text`, the cell from its first character on, each token lies; None where that can't be told."""
        own = str(cell)[: CHARACTERS * self.length_].strip()
        tokenizer = tokenizer_of(self.source)
        if own not in text[: len(own)] or not tokenizer.is_fast:
            return None
        with LOCK:
            read = tokenizer(own, truncation=True, max_length=self.length_, return_offsets_mapping=True)
        return [(int(i), int(j)) for i, j in read["offset_mapping"]]

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """int64 (B, T) and the (B, T) mask."""
        return pad(cells, torch.zeros(0, dtype=torch.int64))


def longest(source: str) -> int:
    """Tokens of the longest text that the network was made for."""
    limit = int(tokenizer_of(source).model_max_length)
    places = getattr(config(source), "max_position_embeddings", 512) or 512
    return min(limit, 512) if limit < 100_000 else max(2, min(places - 2, 512))
