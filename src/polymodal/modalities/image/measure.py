"""How large an image is."""

from typing import Any

from polymodal.modalities.image.files import picture, shape
from polymodal.modalities.sizes import Measure, Sizes, Summary, spread


def sides(cell: Any) -> Sizes:
    """(width, height); decoded to the end, JPEGs at an eighth of their size."""
    picture(cell, (8, 8))
    h, w = shape(cell) or (0, 0)
    return w, h


def in_words(sizes: Summary) -> str:
    """The size of a column's images."""
    return f"{spread(sizes['width'])} wide, {spread(sizes['height'])} high (pixels)"


MEASURE = Measure(("width", "height"), sides, in_words)
