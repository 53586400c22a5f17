"""Classical features of each modality; see `base` for the contract. The table at the foot names all."""

from polymodal.features.base import Extractor

__all__ = ["EXTRACTORS", "Extractor"]

# By kind of column, then by name; `DEFAULT` says which of them are used unless others are asked for.
EXTRACTORS: dict[str, dict[str, type[Extractor]]] = {"text": {}, "image": {}, "audio": {}, "series": {}}
DEFAULT: dict[str, list[str]] = {"text": [], "image": [], "audio": [], "series": []}
