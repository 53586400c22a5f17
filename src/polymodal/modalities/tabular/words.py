"""The words of a row's categories: a brand, a list of colours, a short name say more than that they differ."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from polymodal.errors import Unreadable
from polymodal.modalities.base import missing
from polymodal.modalities.extractor import Record
from polymodal.modalities.tabular import ways
from polymodal.modalities.tabular.columns import cell_text, number_or_nan
from polymodal.modalities.text.features import Tfidf

LONGEST = 1_000  # characters of a cell


class CellWords(Tfidf):
    """TF-IDF of the words, and of pairs of words, in all cells of a row that are no numbers, nor quantities or
    ranges; see `Tfidf`.

    {"brand": "Lambs & Ivy", "colours": "mauve / cream", "pieces": 4} --> lambs, ivy, mauve, cream ...
    """

    kind: ClassVar[str] = "tabular"

    def read(self, cell: Any) -> Record | None:
        """The texts of a row, one after another, as UTF-8; None where there is none."""
        if not isinstance(cell, Mapping):
            raise Unreadable(f"{cell_text(cell)} is not a mapping of column to value")
        parts = [
            x[:LONGEST].strip() for x in cell.values() if isinstance(x, str) and not missing(x) and not _numeric(x)
        ]
        text = "\n".join(parts)
        return np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8) if text else None


def _numeric(text: str) -> bool:
    text = str(text)  # the name of an ordered category, which is a place else
    return not math.isnan(number_or_nan(text)) or ways.is_known(text)
