"""What the library asks about a kind of column: one record a kind, written in its folder's `__init__`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.extractor import Extractor
from polymodal.modalities.pretrained.codec import HubCodec


class Modality(NamedTuple):
    """All that anybody may ask about cells of one kind. Of each mapping the first entry is the default."""

    kind: str
    codecs: Mapping[str, type[Codec]]  # by the names that `--encoder COLUMN=NAME` takes
    encoders: Mapping[str, type[Encoder]]
    hub: type[HubCodec] | None = None  # prepares cells for a pretrained network that is fine-tuned
    extractors: Mapping[str, type[Extractor]] = {}  # by the names that `--features COLUMN=NAME` takes
    default_extractors: Sequence[str] = ()  # those that are used unless others are asked for
