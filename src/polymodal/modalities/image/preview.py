"""What there is to look at in an image."""

from typing import Any

from PIL import Image

from polymodal.modalities.image.files import picture
from polymodal.view.cell import SIDE, Photo


def photo(cell: Any) -> Photo:
    """The picture, upright."""
    image = picture(cell, (SIDE, SIDE))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return Photo(image)
