"""One folder a kind of column, one record each; see `base` for the contract of what it holds.

The table names every kind. It is the only place outside the folders that does.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from polymodal.errors import InputError
from polymodal.modalities.audio import AUDIO
from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.image import IMAGE
from polymodal.modalities.pretrained.hub import Frozen, Hub
from polymodal.modalities.pretrained.onnx import Onnx, split_name
from polymodal.modalities.pretrained.own import Own, is_model
from polymodal.modalities.pretrained.own import split_name as model_parted
from polymodal.modalities.record import Modality
from polymodal.modalities.series import SERIES
from polymodal.modalities.tabular import TABULAR
from polymodal.modalities.text import TEXT
from polymodal.modalities.vector import VECTOR
from polymodal.modalities.vector.encoders import Projection

MODALITIES: dict[str, Modality] = {m.kind: m for m in (TEXT, IMAGE, AUDIO, SERIES, VECTOR, TABULAR)}
NOT_YET = {  # kinds of files that are known by name, and not read yet
    "video": (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"),
    "points": (".bin", ".ply", ".pcd", ".las", ".laz", ".xyz"),
}
PRETRAINED: tuple[type, ...] = (Frozen, Hub, Onnx, Own)


def of_column(kind: str) -> Modality | None:
    """The modality that a column of this kind is, or is a part of; None for ids, targets and the like.

    >>> of_column("image").kind, of_column("number").kind, of_column("id")
    ('image', 'tabular', None)
    """
    return next((m for m in MODALITIES.values() if kind in m.kinds), None)


def column_kinds() -> tuple[str, ...]:
    """What a column can be that something is learned from."""
    return tuple(k for m in MODALITIES.values() for k in m.kinds)


def choose(
    kind: str, name: str | None = None, *, finetune: bool = False, settings: Mapping[str, Any] | None = None
) -> tuple[Codec, type[Encoder]]:
    """The codec and the encoder class for a kind of column, by the name that a user gives.

    name: None for the defaults, "encoder", "codec+encoder", a Hugging Face name or folder of a pretrained network,
    frozen unless `finetune`, an ONNX file with its overrides ("model.onnx:rate=8000", see `onnx.Onnx`), or another
    polymodal model, whose encoder stays frozen ("MODEL" or "MODEL:MODALITY", see `own.Own`).
    settings: the codec's arguments. Raises InputError for a name that is nothing of these.
    """
    modality = MODALITIES[kind]
    if name and is_model(name):
        if finetune:
            raise InputError(f"an encoder of {name} stays frozen; leave --finetune out")
        folder, of = model_parted(name)
        return Own(folder, kind, of), Projection
    file, options = split_name(name or "")
    if file.endswith(".onnx"):
        if finetune:
            raise InputError(f"{file} is an ONNX file, whose weights can't be trained; leave --finetune out")
        return Onnx(file, kind, options), Projection
    codec_name, _, encoder_name = (name or "").rpartition("+")
    codec = modality.codecs.get(codec_name or next(iter(modality.codecs)))
    encoder = modality.encoders.get(encoder_name or next(iter(modality.encoders)))
    if codec and encoder:
        if finetune:
            raise InputError(f"{name or encoder_name!r} is trained from scratch anyway; leave --finetune out")
        return codec(**(settings or {})), encoder
    names = [*modality.encoders, *(f"{c}+{e}" for c in modality.codecs for e in modality.encoders)]
    close = difflib.get_close_matches(name or "", names, 1)
    if modality.hub is None or close:
        hint = f"did you mean {close[0]!r}? It" if close else "it"
        also = (
            ", or the name or folder of a pretrained network, an .onnx file, or a polymodal model"
            if modality.hub
            else ""
        )
        raise InputError(f"no encoder {name!r} for {kind}; {hint} is one of: {', '.join(names)}{also}")
    preparation = modality.hub(str(name))
    return (preparation, Hub) if finetune else (Frozen(preparation), Projection)
