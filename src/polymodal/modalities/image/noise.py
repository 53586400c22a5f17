"""What spoils a picture: grain, blur, compression, something in front of it, too much light.

Severities are those of Hendrycks & Dietterich 2019 (ImageNet-C), which were set on pictures of 224 pixels: a blur is
as wide as there in proportion to the picture, and larger pictures are reduced before they are spoiled, since grain of
twelve megapixels is gone once a model has reduced them.

Axes: h height, w width, c channel.
"""

import io
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from polymodal.modalities.image.files import picture
from polymodal.modalities.noise import Noise, Noises, plain

SIDE = 256  # pixels of the shorter side that are left
REFERENCE = 224  # pixels, on which the severities were set


def load(cell: Any) -> Image.Image:
    """The cell as an RGB picture whose shorter side has at most `SIDE` pixels."""
    image = picture(cell, (SIDE, SIDE))
    short = min(image.size)
    if short <= SIDE:
        return image
    width, height = (max(1, round(s * SIDE / short)) for s in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def grain(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """x + severity * N(0, 1) for each value of the pixels, which run from 0 to 1."""
    x_hwc = np.asarray(image, dtype=np.float64) / 255
    return _image(x_hwc + severity * rng.standard_normal(x_hwc.shape))


def blur(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """A Gaussian blur of `severity` pixels in a picture of 224, in proportion in others."""
    return image.filter(ImageFilter.GaussianBlur(severity * min(image.size) / REFERENCE))


def jpeg(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """Written as JPEG of quality `severity`, and read again."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(severity))
    with Image.open(file) as file_image:
        return file_image.convert("RGB")


def occlusion(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """A rectangle of the picture's shape in its mean colour over `severity` of it, anywhere. DeVries & Taylor 2017."""
    x_hwc = np.array(image)
    mean_c = x_hwc.mean((0, 1)).round().astype(np.uint8)
    (top, begin), (height, width) = rng.random(2), x_hwc.shape[:2]
    h, w = (round(side * severity**0.5) for side in (height, width))
    y, x = round(top * (height - h)), round(begin * (width - w))
    x_hwc[y : y + h, x : x + w] = mean_c
    return Image.fromarray(x_hwc)


def brightness(image: Image.Image, severity: float, rng: np.random.Generator) -> Image.Image:
    """`severity` is added to the value of hue, saturation and value, which run from 0 to 1."""
    x_hwc = np.array(image.convert("HSV"))
    x_hwc[..., 2] = (x_hwc[..., 2] + 255 * severity).clip(max=255).round()
    return Image.frombytes("HSV", image.size, x_hwc.tobytes()).convert("RGB")


def _image(x_hwc: np.ndarray) -> Image.Image:
    return Image.fromarray((255 * x_hwc).clip(0, 255).round().astype(np.uint8))


NOISES = Noises(
    load,
    {
        "gaussian": Noise((0, 0.08, 0.12, 0.18, 0.26, 0.38), "deviation {:.2f} of the full range", plain(grain)),
        "blur": Noise((0, 1, 2, 3, 4, 6), "{:.1f} pixels wide in one of 224", plain(blur)),
        "jpeg": Noise((95, 25, 18, 15, 10, 7), "quality {:.0f}", plain(jpeg)),
        "occlusion": Noise((0, 0.1, 0.2, 0.35, 0.5, 0.7), "{:.0%} of the area", plain(occlusion)),
        "brightness": Noise((0, 0.1, 0.2, 0.3, 0.4, 0.5), "{:.2f} brighter", plain(brightness)),
    },
)
