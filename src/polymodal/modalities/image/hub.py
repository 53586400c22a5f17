"""Images for a pretrained network, as its own processor prepares them.

Axes: b batch, h height, w width.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from polymodal.batch import Masked
from polymodal.modalities.base import stack
from polymodal.modalities.image.files import picture
from polymodal.modalities.pretrained.codec import HubCodec
from polymodal.modalities.pretrained.source import Tower, processor
from polymodal.nn import Size


class HubImage(HubCodec):
    """Pixels as the network's own processor prepares them: float (3, height_, width_)."""

    kind: ClassVar[str] = "image"
    tower: ClassVar[Tower] = Tower("vision_model", channels_last=True)
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True
    whole: ClassVar[bool] = True

    def __init__(self, source: str) -> None:
        self.source = source
        self.height_, self.width_ = 224, 224

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
        x: Tensor = processor(self.source, "AutoImageProcessor")(images=image, return_tensors="pt")["pixel_values"][0]
        return x.float()
