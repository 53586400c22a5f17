"""Clips for a pretrained network, as its own feature extractor prepares them.

Axes: b batch, n sample.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.modalities.audio.files import read
from polymodal.modalities.base import pad, stack
from polymodal.modalities.pretrained.codec import HubCodec
from polymodal.modalities.pretrained.source import Tower, processor
from polymodal.nn import Size


class HubAudio(HubCodec):
    """What the network's own feature extractor makes of a clip, cut after `seconds`.

    float32 (N,) samples for wav2vec 2.0 and its kin; a spectrogram of fixed shape (`shape_`) for Whisper and
    AST.
    """

    kind: ClassVar[str] = "audio"
    tower: ClassVar[Tower] = Tower("audio_model")
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True
    whole: ClassVar[bool] = True

    def __init__(self, source: str, seconds: float = 15.0) -> None:
        self.source, self.seconds = source, seconds
        self.shape_: list[int] = []

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
        return int(feature_extractor(self.source).sampling_rate)

    def _prepared(self, x_n: Any) -> Tensor:
        extract = feature_extractor(self.source)
        out = extract(x_n, sampling_rate=extract.sampling_rate, return_tensors="np")
        return torch.from_numpy(np.asarray(out[extract.model_input_names[0]][0], dtype=np.float32))


def feature_extractor(source: str) -> Any:
    """What prepares clips for the network, of transformers."""
    return processor(source, "AutoFeatureExtractor")
