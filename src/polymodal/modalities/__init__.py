"""One file per modality; see `base` for the contract.

The table at the foot names every codec and encoder. The first of each is the default.
"""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

from polymodal.errors import InputError
from polymodal.modalities.audio import AudioConv, AudioTransformer, LogMel
from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.image import ConvNet, Pixels, ViT
from polymodal.modalities.onnx import Onnx, parted
from polymodal.modalities.own import Own, is_model
from polymodal.modalities.own import parted as model_parted
from polymodal.modalities.pretrained import Frozen, Hub, HubAudio, HubImage, HubText
from polymodal.modalities.series import TCN, Readings, SeriesTransformer
from polymodal.modalities.tabular import Cells, FTTransformer, TabularMLP
from polymodal.modalities.text import Bytes, Pieces, TextBag, TextConv, TextGRU, TextTransformer, Words
from polymodal.modalities.vectors import Projection, Vectors


class Modality(NamedTuple):
    """The parts that a kind of column can be read with, by the names that `--encoder COLUMN=NAME` takes."""

    codecs: dict[str, type[Codec]]
    encoders: dict[str, type[Encoder]]
    hub: type[HubText | HubImage | HubAudio] | None = None  # prepares cells for a pretrained network that is fine-tuned


MODALITIES = {
    "text": Modality(
        {"words": Words, "pieces": Pieces, "bytes": Bytes},
        {"transformer": TextTransformer, "conv": TextConv, "bag": TextBag, "gru": TextGRU},
        HubText,
    ),
    "image": Modality({"pixels": Pixels}, {"convnet": ConvNet, "vit": ViT}, HubImage),
    "audio": Modality({"logmel": LogMel}, {"conv": AudioConv, "transformer": AudioTransformer}, HubAudio),
    "series": Modality({"readings": Readings}, {"tcn": TCN, "transformer": SeriesTransformer}),
    "vector": Modality({"vectors": Vectors}, {"projection": Projection}),
    "tabular": Modality({"cells": Cells}, {"mlp": TabularMLP, "ft-transformer": FTTransformer}),
}
PRETRAINED: tuple[type, ...] = (Frozen, Hub, Onnx, Own)


def choose(
    kind: str, name: str | None = None, *, tune: bool = False, settings: Mapping[str, Any] | None = None
) -> tuple[Codec, type[Encoder]]:
    """The codec and the encoder class for a kind of column, by the name that a user gives.

    name: None for the defaults, "encoder", "codec+encoder", a Hugging Face name or folder of a pretrained network,
    frozen unless `tune`, an ONNX file with its overrides ("model.onnx:rate=8000", see `onnx.Onnx`), or another
    polymodal model, whose encoder stays frozen ("MODEL" or "MODEL:MODALITY", see `own.Own`).
    settings: the codec's arguments. Raises InputError for a name that is nothing of these.
    """
    modality = MODALITIES[kind]
    if name and is_model(name):
        if tune:
            raise InputError(f"an encoder of {name} stays frozen; leave --tune out")
        folder, of = model_parted(name)
        return Own(folder, kind, of), Projection
    file, options = parted(name or "")
    if file.endswith(".onnx"):
        if tune:
            raise InputError(f"{file} is an ONNX file, whose weights can't be trained; leave --tune out")
        return Onnx(file, kind, options), Projection
    codec_name, _, encoder_name = (name or "").rpartition("+")
    codec = modality.codecs.get(codec_name or next(iter(modality.codecs)))
    encoder = modality.encoders.get(encoder_name or next(iter(modality.encoders)))
    if codec and encoder:
        if tune:
            raise InputError(f"{name or encoder_name!r} is trained from scratch anyway; leave --tune out")
        return codec(**(settings or {})), encoder
    known = [*modality.encoders, *(f"{c}+{e}" for c in modality.codecs for e in modality.encoders)]
    close = difflib.get_close_matches(name or "", known, 1)
    if modality.hub is None or close:
        hint = f"did you mean {close[0]!r}? " if close else ""
        also = (
            ", or the name or folder of a pretrained network, an .onnx file, or a polymodal model"
            if modality.hub
            else ""
        )
        raise InputError(f"no encoder {name!r} for {kind}; {hint}It is one of: {', '.join(known)}{also}")
    prepared = modality.hub(str(name))
    return (prepared, Hub) if tune else (Frozen(prepared), Projection)
