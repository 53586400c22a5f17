"""What codecs of pretrained networks share: of those that never learn, and of those that prepare cells for one."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.base import Codec, Guess, pad
from polymodal.modalities.extractor import Tokens, Vectorizer
from polymodal.modalities.pretrained.source import Tower, copy, digest
from polymodal.spec import spec

BY_NAME = Guess(0.0, "a pretrained network is asked for by name")


class FrozenCodec(Codec):
    """What a network that never learns says of a cell: float16 (T, width_) tokens, which are kept on disk."""

    kind: str  # type: ignore[misc]  # of the column
    takes_files: bool  # type: ignore[misc]
    costly: ClassVar[bool] = True
    batched: ClassVar[bool] = True
    for_estimators: ClassVar[bool] = True
    width_: int

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Never by itself: a pretrained network is asked for by name."""
        return BY_NAME

    def encode(self, cell: Any) -> Tensor | None:
        """float16 (T, width_)."""
        (out,) = self.encode_batch([cell])
        if isinstance(out, Unreadable):
            raise out
        return out

    @abstractmethod
    def encode_batch(self, cells: Sequence[Any]) -> list[Tensor | Unreadable | None]:
        """`encode` of each cell, several at a time; an Unreadable stands in its cell's place."""

    def same(self, other: Codec) -> bool:
        """Of one network, wherever it lies."""
        return type(other) is type(self) and self.fingerprint() == other.fingerprint()

    def vectorizer(self) -> Vectorizer:
        """The mean of its tokens."""
        return Tokens()

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """float16 (B, T, width_) and the (B, T) mask."""
        return pad(cells, torch.zeros(0, self.width_, dtype=torch.float16))


class HubCodec(Codec):
    """What prepares the cells of one kind for a network in `source`, as its own processor does it."""

    tower: ClassVar[Tower]
    whole: ClassVar[bool] = False  # may an encoder-decoder read what it prepares, and write about it alone

    def __init__(self, source: str) -> None:
        self.source = source

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Never by itself: a pretrained network is asked for by name."""
        return BY_NAME

    def fingerprint(self) -> str:
        """Its settings and the contents of the processor's files."""
        return key_for(self, digest(self.source, weights=False))

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config and processor."""
        copy(self.source, folder, weights=False)


def key_for(codec: Codec, contents: str) -> str:
    """The key of a codec whose `source` counts by its contents, wherever it lies."""
    form = spec(codec)
    (form if "source" in form["args"] else form["args"]["inner"])["args"]["source"] = contents
    return hashlib.blake2b(json.dumps(form, sort_keys=True).encode(), digest_size=16).hexdigest()
