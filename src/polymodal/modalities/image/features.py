"""Classical features of images: colours, edges, texture, and pixels.

    cell --opened--> upright RGB --resized--> figures of colour | histograms of gradients | of patterns | pixels

Axes: h height, w width, c channel (red, green, blue), g row or column of a grid of regions.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import laplace
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from polymodal.modalities.extractor import Extractor, Record, dense
from polymodal.modalities.image.files import picture, shape

Floats = NDArray[np.floating]

SIDES = (64, 128)  # a longer side below, above which an image is resized to that
FLATTEST = 8.0  # the aspect ratio beyond which an image is squeezed
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def resize(cell: Any, height: int, width: int) -> Image.Image:
    """The cell as an RGB image of one size, with antialiasing; its aspect ratio is not kept."""
    image = picture(cell, (height, width))
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def to_size(cell: Any) -> Image.Image:
    """The cell as an RGB image whose longer side is within SIDES; see `working_size`."""
    # `picture` is only told a size that every image of that aspect ratio still exceeds
    image = picture(cell, (SIDES[1], SIDES[1]))
    height, width = working_size(image.height, image.width)
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def working_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) at the same aspect ratio, within 1 : FLATTEST, with the longer side within SIDES.

    >>> working_size(28, 28), working_size(480, 640), working_size(90, 100), working_size(1, 1000)
    ((64, 64), (96, 128), (90, 100), (16, 128))
    """
    longer = max(height, width)
    scale = min(max(longer, SIDES[0]), SIDES[1]) / longer
    least = round(longer * scale / FLATTEST)
    return max(round(height * scale), least), max(round(width * scale), least)


class Images(Extractor):
    """What all features of images share: cells as `modalities.files.picture` opens them."""

    kind: ClassVar[str] = "image"
    takes_files: ClassVar[bool] = True


class Described(Images):
    """Features of which nothing is learned: the record of a cell is its row (D,) already."""

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Nothing."""
        return self

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, D); NaN in rows without an image."""
        return dense(records, len(self.names()))


# --- colour ---------------------------------------------------------------------------------------------

CHANNELS = ("red", "green", "blue", "saturation", "value", "grey")
PERCENTS = (5, 25, 50, 75, 95)
FIGURES = ("mean", "std", "skew", *(f"p{p}" for p in PERCENTS))
WHOLE = (
    "hue_cos_mean",
    "hue_sin_mean",
    "colourfulness_255",
    "contrast_rms",
    "sharpness_255",
    "aspect_width_over_height",
    "width_px",
    "height_px",
)


class ColorStatistics(Described):
    """Figures of an image's colours, light and size, and a histogram of its colours; nothing is learned.

    Of red, green, blue, saturation, value (of HSV) and grey, each from 0 to 1: mean, standard deviation, skewness and
    percentiles. Of the hue, which is an angle: its mean cosine and sine, each pixel weighted by its saturation.
    Histogram: the share of pixels in each of `bins` ** 3 equal boxes of RGB.

    colourfulness = sqrt(std(rg)^2 + std(yb)^2) + 0.3 sqrt(mean(rg)^2 + mean(yb)^2), rg = R - G, yb = (R + G) / 2 - B,
    of values 0 to 255 (Hasler & Suesstrunk 2003); contrast = the standard deviation of grey; sharpness = the variance
    of the Laplacian of grey of 0 to 255 (Pech-Pacheco et al. 2000). Width and height are the original image's.
    """

    def __init__(self, bins: int = 4) -> None:
        self.bins = bins

    def read(self, cell: Any) -> Record | None:
        """The row (D,) float32, from the image at its working size."""
        if cell is None:
            return None
        image = to_size(cell)
        height, width = shape(cell) or image.size[::-1]
        size = [width / height, float(width), float(height)]
        parts = [channel_figures(image), whole_figures(image), size, colour_shares(np.asarray(image), self.bins)]
        return np.concatenate([np.asarray(p, dtype=np.float32) for p in parts])

    def names(self) -> list[str]:
        """red_mean ... colour_r0_g0_b3_share, box 0 being the darkest."""
        each = range(self.bins)
        boxes = [f"colour_r{r}_g{g}_b{b}_share" for r in each for g in each for b in each]
        return [f"{c}_{f}" for c in CHANNELS for f in FIGURES] + list(WHOLE) + boxes


def channel_figures(image: Image.Image) -> Floats:
    """FIGURES of each of CHANNELS, (48,), from histograms of their 256 values."""
    counts = [*image.histogram(), *image.convert("HSV").histogram()[256:], *image.convert("L").histogram()]
    return np.concatenate([figures(np.array(c)) for c in np.reshape(counts, (len(CHANNELS), 256))])


def figures(count: NDArray[np.int64]) -> Floats:
    """FIGURES of values i / 255 that come count[i] times; the skewness of a constant is 0.

    p5 is the smallest value that at least 5 % of the values do not exceed.
    """
    value, weight = np.arange(256) / 255, count / count.sum()
    mean = weight @ value
    std = np.sqrt(weight @ (value - mean) ** 2)
    skew = weight @ (value - mean) ** 3 / std**3 if std > 1e-5 else 0.0
    percentiles = np.searchsorted(np.cumsum(count), np.array(PERCENTS) * count.sum() / 100) / 255
    return np.array([mean, std, skew, *percentiles])


def whole_figures(image: Image.Image) -> list[float]:
    """WHOLE up to the sharpness."""
    red, green, blue = np.moveaxis(np.asarray(image, dtype=np.float32), -1, 0)
    hue, saturation = (np.asarray(c) for c in image.convert("HSV").split()[:2])
    # how much of each of the 256 hues there is; a turn is 256
    much = np.bincount(hue.ravel(), saturation.ravel() / 255, 256) / hue.size
    turn = np.arange(256) * (2 * np.pi / 256)
    rg, yb = red - green, (red + green) / 2 - blue
    colourful = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    sharpness = laplace(grey, mode="nearest").var()
    return [float(x) for x in (much @ np.cos(turn), much @ np.sin(turn), colourful, grey.std() / 255, sharpness)]


def colour_shares(rgb_hwc: NDArray[np.uint8], bins: int) -> Floats:
    """The share of pixels in each box of RGB (bins ** 3,), blue running fastest."""
    box = np.arange(256) * bins // 256
    red, green, blue = (scale * box for scale in (bins**2, bins, 1))
    index = red[rgb_hwc[..., 0]] + green[rgb_hwc[..., 1]] + blue[rgb_hwc[..., 2]]
    return np.bincount(index.ravel(), minlength=bins**3) / index.size


# --- edges and texture ------------------------------------------------------------------------------------

POINTS, PATTERNS = 8, 59  # of local binary patterns


class HOG(Described):
    """Histograms of oriented gradients of the grey image at `side` x `side` pixels: where edges run which way.

    In each cell of `cell` x `cell` pixels, a histogram of the gradient's direction (0 to 180 degrees) weighted by its
    size; each block of 2 x 2 cells is divided by its length, cut at 0.2 and divided again. Dalal & Triggs 2005.
    """

    def __init__(self, side: int = 64, cell: int = 8, orientations: int = 9) -> None:
        self.side, self.cell, self.orientations = side, cell, orientations

    def read(self, cell: Any) -> Record | None:
        """The row (D,) float32, D = (side // cell - 1)^2 * 4 * orientations."""
        if cell is None:
            return None
        from skimage.feature import hog

        grey = np.asarray(resize(cell, self.side, self.side).convert("L"))
        pixels = (self.cell, self.cell)
        return np.asarray(
            hog(grey, self.orientations, pixels_per_cell=pixels, cells_per_block=(2, 2), block_norm="L2-Hys"),
            dtype=np.float32,
        )

    def names(self) -> list[str]:
        """hog_block1_0_cell0_1_40deg: block row and column, cell in it, the middle of the range of directions."""
        each = range(self.side // self.cell - 1)
        degrees = [round(180 * (k + 0.5) / self.orientations, 1) for k in range(self.orientations)]
        blocks = [(r, c) for r in each for c in each]
        cells = [(r, c) for r in range(2) for c in range(2)]
        return [f"hog_block{r}_{c}_cell{i}_{j}_{d:g}deg" for r, c in blocks for i, j in cells for d in degrees]


class LBP(Described):
    """Local binary patterns of the grey image: the share of each small texture in each region of a grid.

    A pixel's pattern says which of 8 points at distance `radii` around it are at least as bright as it is. Those with
    at most two changes around the circle are told apart (58 of them), all others are one: 59 shares a region and
    radius. Ojala et al. 2002; Ahonen et al. 2006. The image is cut into `grid` x `grid` regions.
    """

    def __init__(self, radii: Sequence[int] = (1, 2), grid: int = 4) -> None:
        self.radii, self.grid = radii, grid

    def read(self, cell: Any) -> Record | None:
        """The row (D,) float32, D = len(radii) * grid^2 * 59, from the image at its working size."""
        if cell is None:
            return None
        from skimage.feature import local_binary_pattern

        grey = np.asarray(to_size(cell).convert("L"))
        maps = [local_binary_pattern(grey, POINTS, radius, "nri_uniform") for radius in self.radii]
        return np.concatenate([region_shares(m.astype(np.int64), PATTERNS, self.grid) for m in maps])

    def names(self) -> list[str]:
        """lbp_r2_region0_3_pattern17_share: radius in pixels, region's row and column."""
        each = range(self.grid)
        regions = [(r, c) for r in each for c in each]
        return [
            f"lbp_r{d}_region{r}_{c}_pattern{p}_share" for d in self.radii for r, c in regions for p in range(PATTERNS)
        ]


def region_shares(ids_hw: NDArray[np.int64], count: int, grid: int) -> NDArray[np.float32]:
    """The share of each id in each region of a grid, (grid * grid * count,), regions row by row.

    Pixel h of H is in row h * grid // H. A region without a pixel is all 0.
    """
    height, width = ids_hw.shape
    row, column = np.arange(height) * grid // height, np.arange(width) * grid // width
    region = row[:, None] * grid + column
    shares = np.bincount((region * count + ids_hw).ravel(), minlength=grid * grid * count).reshape(-1, count)
    return np.asarray(shares / np.maximum(shares.sum(1, keepdims=True), 1), dtype=np.float32).ravel()


# --- pixels -----------------------------------------------------------------------------------------------


class Thumbnail(Images):
    """The image at `side` x `side` pixels, RGB from 0 to 1, on the first `components` principal components.

    Fewer components where the training images do not span that many.
    """

    mean_: NDArray[np.float32]  # (side * side * 3,)
    components_: NDArray[np.float32]  # (D, side * side * 3)

    def __init__(self, side: int = 32, components: int = 64, seed: int = 0) -> None:
        self.side, self.components, self.seed = side, components, seed

    def read(self, cell: Any) -> Record | None:
        """uint8 (side, side, 3)."""
        return None if cell is None else np.asarray(resize(cell, self.side, self.side))

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Find the principal components of the training images."""
        x = self._rows([r for r in records if r is not None])
        count = min(self.components, len(x) - 1, x.shape[1])
        self.mean_, self.components_ = np.zeros(x.shape[1], np.float32), np.zeros((0, x.shape[1]), np.float32)
        if count > 0 and (x != x[0]).any():
            pca = PCA(count, svd_solver="randomized", random_state=self.seed).fit(x)
            self.mean_, self.components_ = (np.array(a, np.float32, order="C") for a in (pca.mean_, pca.components_))
        return self

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, D); NaN in rows without an image."""
        check_is_fitted(self, "components_")
        out = np.full((len(records), len(self.components_)), np.nan, dtype=np.float32)
        x = self._rows([r for r in records if r is not None])
        out[[r is not None for r in records]] = (x - self.mean_) @ self.components_.T
        return out

    def names(self) -> list[str]:
        """pixels_0, pixels_1 ..., the largest component first."""
        check_is_fitted(self, "components_")
        return [f"pixels_{i}" for i in range(len(self.components_))]

    def _rows(self, records: Sequence[Record]) -> NDArray[np.float32]:
        flat = np.stack(records).reshape(len(records), -1) if records else np.zeros((0, 3 * self.side**2))
        return np.asarray(flat, dtype=np.float32) / np.float32(255)
