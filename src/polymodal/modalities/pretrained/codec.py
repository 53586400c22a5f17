"""Cells as a pretrained network takes them: what the kinds' own codecs for that share."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from polymodal.modalities.base import Codec, Guess
from polymodal.modalities.pretrained.source import copy, digest
from polymodal.spec import spec

ASKED = Guess(0.0, "a pretrained network is asked for by name")


class HubCodec(Codec):
    """What prepares the cells of one kind for a network in `source`, as its own processor does it."""

    whole: ClassVar[bool] = False  # may an encoder-decoder read what it prepares, and write about it alone

    def __init__(self, source: str) -> None:
        self.source = source

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """Never by itself: a pretrained network is asked for by name."""
        return ASKED

    def fingerprint(self) -> str:
        """Its settings and the contents of the processor's files."""
        return keyed(self, digest(self.source, weights=False))

    def save_source(self, folder: Path) -> None:
        """Write what `source` needs to be this folder: config and processor."""
        copy(self.source, folder, weights=False)


def keyed(codec: Codec, contents: str) -> str:
    """The key of a codec whose `source` counts by its contents, wherever it lies."""
    form = spec(codec)
    (form if "source" in form["args"] else form["args"]["inner"])["args"]["source"] = contents
    return hashlib.blake2b(json.dumps(form, sort_keys=True).encode(), digest_size=16).hexdigest()
