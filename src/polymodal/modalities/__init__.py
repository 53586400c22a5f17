"""One file per modality; see `base` for the contract.

The table at the foot names every codec and encoder. The first of each is the default.
"""

from typing import NamedTuple

from polymodal.modalities.audio import AudioConv, AudioTransformer, LogMel
from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.image import ConvNet, Pixels, ViT
from polymodal.modalities.pretrained import Frozen, Hub, HubAudio, HubImage, HubText
from polymodal.modalities.series import TCN, Readings, SeriesTransformer
from polymodal.modalities.tabular import Cells, FTTransformer, TabularMLP
from polymodal.modalities.text import Bytes, Pieces, TextBag, TextConv, TextGRU, TextTransformer, Words
from polymodal.modalities.vectors import Projection, Vectors


class Modality(NamedTuple):
    """The parts that a kind of column can be read with, by the names that `--encoder COLUMN=NAME` takes."""

    codecs: dict[str, type[Codec]]
    encoders: dict[str, type[Encoder]]
    hub: type[Codec] | None = None  # prepares cells for a pretrained network that is fine-tuned


MODALITIES = {
    "text": Modality(
        {"words": Words, "pieces": Pieces, "bytes": Bytes},
        {"conv": TextConv, "bag": TextBag, "gru": TextGRU, "transformer": TextTransformer},
        HubText,
    ),
    "image": Modality({"pixels": Pixels}, {"convnet": ConvNet, "vit": ViT}, HubImage),
    "audio": Modality({"logmel": LogMel}, {"conv": AudioConv, "transformer": AudioTransformer}, HubAudio),
    "series": Modality({"readings": Readings}, {"tcn": TCN, "transformer": SeriesTransformer}),
    "vector": Modality({"vectors": Vectors}, {"projection": Projection}),
    "tabular": Modality({"cells": Cells}, {"mlp": TabularMLP, "ft-transformer": FTTransformer}),
}
PRETRAINED: tuple[type, ...] = (Frozen, Hub)
