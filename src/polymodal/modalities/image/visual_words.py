"""Bags of visual words: which small shapes an image holds, out of a code book that training images made.

    image --patches or key points--> descriptors (rows, columns, 128) --nearest of k means--> shares of words

Axes: h, w pixel; y, x cell of 4 x 4 pixels; o orientation; d value of a descriptor; p place of a patch.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils.validation import check_is_fitted

from polymodal.modalities.extractor import Record
from polymodal.modalities.image.features import Images, region_shares, to_size

CELL, CELLS, ORIENTATIONS = 4, 4, 8  # pixels a side of a cell, cells a side of a patch, directions
WIDTH = CELLS * CELLS * ORIENTATIONS
SAMPLE = 50_000  # descriptors of which the code book is made
REGIONS = ("whole", "top_left", "top_right", "bottom_left", "bottom_right")


class BagOfVisualWords(Images):
    """What the two kinds share: descriptors uint8 (rows, columns, 128) in, shares of words out.

    learn: k-means over at most SAMPLE training descriptors, evenly spread over the images, gives the code book
    `words_` (k, 128). vectors: each descriptor stands for its nearest word; x = sqrt(share of the word among the
    descriptors), so that the inner product of two images is Hellinger's. A descriptor of zeros, of a patch without an
    edge, is counted in the whole but is no word. Sivic & Zisserman 2003; Csurka et al. 2004.
    """

    words: int
    seed: int
    words_: NDArray[np.float32]
    prefix: ClassVar[str]
    regions: ClassVar[Sequence[str]]  # the whole, or it and its quarters: Lazebnik et al. 2006

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Make the code book."""
        there = [np.asarray(r).reshape(-1, WIDTH) for r in records if r is not None]
        each = max(1, SAMPLE // max(1, len(there)))
        sample = [r[np.linspace(0, len(r) - 1, min(each, len(r))).round().astype(int)] for r in there]
        x = np.concatenate(sample) if sample else np.zeros((0, WIDTH))
        x = np.asarray(x[x.any(1)], dtype=np.float32)
        k = min(self.words, len(np.unique(x, axis=0)))
        self.words_ = np.zeros((0, WIDTH), np.float32)
        if k:
            means = MiniBatchKMeans(k, batch_size=4096, n_init=1, max_iter=20, random_state=self.seed).fit(x)
            self.words_ = np.asarray(means.cluster_centers_, dtype=np.float32)
        return self

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, k * regions); NaN in rows without an image."""
        out = np.full((len(records), len(self.names())), np.nan, dtype=np.float32)
        for row, record in zip(out, records, strict=True):
            if record is not None:
                ids = nearest(np.asarray(record), self.words_)
                row[:] = np.sqrt(word_shares(ids, len(self.words_), len(self.regions)))
        return out

    def names(self) -> list[str]:
        """visual_word_7_top_left ..."""
        check_is_fitted(self, "words_")
        return [f"{self.prefix}_{i}_{region}" for region in self.regions for i in range(len(self.words_))]


def nearest(descriptors: NDArray, words: NDArray[np.float32]) -> NDArray[np.int64]:
    """The index of the nearest word of each descriptor (rows, columns); k, one too many, for one of zeros."""
    x = descriptors.astype(np.float32)
    if not len(words):
        return np.zeros(x.shape[:2], np.int64)
    # |x - w|^2 less |x|^2, which is the same for all words
    distance = (words * words).sum(1) - 2 * (x @ words.T)
    return np.where(x.any(-1), distance.argmin(-1), len(words))


def word_shares(ids: NDArray[np.int64], count: int, regions: int) -> NDArray[np.float32]:
    """The share of each of `count` words in the whole, then in each quarter; (regions * count,)."""
    parts = [region_shares(ids, count + 1, 1)]
    if regions > 1:
        parts.append(region_shares(ids, count + 1, 2))
    return np.concatenate(parts).reshape(regions, count + 1)[:, :count].ravel()


class VisualWords(BagOfVisualWords):
    """Visual words of a regular grid of patches, in the whole image and in each quarter.

    A patch has 16 x 16 pixels; the next begins 8 further. Each is described as SIFT does (Lowe 2004): see
    `descriptors`. The image is at its working size, and so has 7 x 7 to 15 x 15 patches.
    """

    prefix: ClassVar[str] = "visual_word"
    regions: ClassVar[Sequence[str]] = REGIONS

    def __init__(self, words: int = 200, seed: int = 0) -> None:
        self.words, self.seed = words, seed

    def read(self, cell: Any) -> Record | None:
        """uint8 (rows, columns, 128)."""
        return None if cell is None else descriptors(np.asarray(to_size(cell).convert("L")))


class KeypointWords(BagOfVisualWords):
    """Visual words of key points: SIFT where the image has corners and blobs, at their own size and direction.

    Unlike a grid of patches, the same however the image is turned. Lowe 2004, by scikit-image. An image without a key
    point is a row of zeros.
    """

    prefix: ClassVar[str] = "keypoint_word"
    regions: ClassVar[Sequence[str]] = REGIONS[:1]

    def __init__(self, words: int = 200, seed: int = 0) -> None:
        self.words, self.seed = words, seed

    def read(self, cell: Any) -> Record | None:
        """uint8 (points, 1, 128); one descriptor of zeros where there is no key point."""
        if cell is None:
            return None
        from skimage.feature import SIFT

        sift = SIFT(upsampling=1)
        try:
            sift.detect_and_extract(np.asarray(to_size(cell).convert("L")))
        except RuntimeError:  # its way of saying that there is none
            return np.zeros((1, 1, WIDTH), np.uint8)
        return np.asarray(sift.descriptors, dtype=np.uint8).reshape(-1, 1, WIDTH)


def descriptors(grey_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """SIFT descriptors of patches of 16 x 16 pixels, one every 8: (rows, columns, 128), 512 standing for 1.

    In each of the 4 x 4 cells of a patch, a histogram of the gradient's direction over 8 parts of the circle, weighted
    by its size and shared between the two nearest parts. The 128 numbers are divided by their length, cut at 0.2 and
    divided again. All 0 where the mean gradient is below one grey level. An image shorter than a patch is extended by
    its last row or column.
    """
    cells_yxo = cell_histograms(grey_hw)
    windows = sliding_window_view(cells_yxo, (CELLS, CELLS), axis=(0, 1))[:: CELLS // 2, :: CELLS // 2]
    d = np.moveaxis(windows, 2, -1).reshape(*windows.shape[:2], WIDTH)
    flat = d.sum(-1, keepdims=True) < (CELL * CELLS) ** 2
    for _ in range(2):
        d = np.minimum(d / np.maximum(np.linalg.norm(d, axis=-1, keepdims=True), 1e-6), 0.2)
    d = d / np.maximum(np.linalg.norm(d, axis=-1, keepdims=True), 1e-6)
    return np.where(flat, 0, np.minimum(np.round(512 * d), 255)).astype(np.uint8)


def cell_histograms(grey_hw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The sum of gradients a direction in each cell of 4 x 4 pixels, (y, x, 8); pixels beyond the last cell are cut."""
    short = [max(0, CELL * CELLS - n) for n in grey_hw.shape]
    grey = np.pad(grey_hw, [(0, n) for n in short], mode="edge").astype(np.float32)
    down, right = np.gradient(grey)
    size = np.hypot(down, right)
    part = np.arctan2(down, right) * np.float32(ORIENTATIONS / (2 * np.pi))
    low = np.floor(part)
    upper = size * (part - low)
    y, x = (n // CELL for n in grey.shape)
    ids = np.arange(y * CELL)[:, None] // CELL * x + np.arange(x * CELL) // CELL
    crop = (slice(y * CELL), slice(x * CELL))
    first = low.astype(np.int64)[crop]
    out = np.zeros(y * x * ORIENTATIONS)
    for o, weight in ((first, size - upper), (first + 1, upper)):
        out += np.bincount((ids * ORIENTATIONS + o % ORIENTATIONS).ravel(), weight[crop].ravel(), out.size)
    return out.reshape(y, x, ORIENTATIONS).astype(np.float32)
