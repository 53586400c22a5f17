"""Features of images against their definitions, by slow loops."""

import colorsys
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polymodal.modalities.image.features import HOG, LBP, ColorStatistics, Thumbnail, region_shares, to_size
from polymodal.modalities.image.visual_words import (
    CELL,
    KeypointWords,
    VisualWords,
    cell_histograms,
    descriptors,
    nearest,
    word_shares,
)


def photo(seed: int = 0, height: int = 64, width: int = 64) -> np.ndarray:
    """Smooth colours with noise, of a size that is left as it is."""
    g = np.random.default_rng(seed)
    small = Image.fromarray(g.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return (np.asarray(small) + g.normal(0, 8, (height, width, 3))).clip(0, 255).astype(np.uint8)


def grey(x: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(x).convert("L")).astype(np.float64)


# --- colour ---------------------------------------------------------------------------------------------


def figures(x: np.ndarray) -> list[float]:
    x = np.sort(np.ravel(x))
    mean, std = x.mean(), x.std()
    ranks = [x[max(0, math.ceil(len(x) * p / 100) - 1)] for p in (5, 25, 50, 75, 95)]
    return [mean, std, ((x - mean) ** 3).mean() / std**3, *ranks]


def test_colour_statistics_are_their_definitions() -> None:
    x = photo(height=64, width=80)
    got = dict(zip(ColorStatistics().names(), ColorStatistics().read(x), strict=True))
    red, green, blue = (x[..., c].astype(float) for c in range(3))
    hsv = np.array([[colorsys.rgb_to_hsv(*p / 255) for p in row] for row in x])
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    named = {"red": red / 255, "green": green / 255, "blue": blue / 255, "grey": light / 255}
    named |= {"saturation": hsv[..., 1], "value": hsv[..., 2]}
    for name, values in named.items():
        keys = [f"{name}_{f}" for f in ("mean", "std", "skew", "p5", "p25", "p50", "p75", "p95")]
        # saturation and grey are rounded to 8 bits
        np.testing.assert_allclose(
            [got[k] for k in keys], figures(values), atol=0.006 if name in ("grey", "saturation") else 1e-5
        )
    rg, yb = red - green, (red + green) / 2 - blue
    colourful = math.sqrt(rg.var() + yb.var()) + 0.3 * math.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    padded = np.pad(light, 1, mode="edge")
    laplacian = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2] - 4 * light
    assert got["colourfulness_255"] == pytest.approx(colourful, rel=1e-4)
    assert got["contrast_rms"] == pytest.approx(light.std() / 255, rel=1e-4)
    assert got["sharpness_255"] == pytest.approx(laplacian.var(), rel=1e-4)
    turn = 2 * math.pi * hsv[..., 0]
    assert got["hue_cos_mean"] == pytest.approx((np.cos(turn) * hsv[..., 1]).mean(), abs=0.01)
    assert got["hue_sin_mean"] == pytest.approx((np.sin(turn) * hsv[..., 1]).mean(), abs=0.01)
    assert (got["width_px"], got["height_px"], got["aspect_width_over_height"]) == (80, 64, 1.25)
    for r, g, b in np.ndindex(4, 4, 4):
        want = ((x // 64) == (r, g, b)).all(-1).mean()
        assert got[f"colour_r{r}_g{g}_b{b}_share"] == pytest.approx(want, abs=1e-6)


def test_a_plain_image_has_finite_statistics() -> None:
    got = dict(
        zip(ColorStatistics().names(), ColorStatistics().read(np.full((9, 9, 3), (255, 0, 0), np.uint8)), strict=True)
    )
    assert np.isfinite(list(got.values())).all()
    assert (got["red_mean"], got["red_skew"], got["sharpness_255"], got["colour_r3_g0_b0_share"]) == (1, 0, 0, 1)
    assert got["hue_cos_mean"] == pytest.approx(1)


def test_size_is_the_original_ones_and_a_cameras_rotation_is_undone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(photo(height=300, width=500)).save(tmp_path / "x.jpg", exif=exif)
    got = dict(zip(ColorStatistics().names(), ColorStatistics().read(tmp_path / "x.jpg"), strict=True))
    assert (got["width_px"], got["height_px"]) == (300, 500)
    assert to_size(tmp_path / "x.jpg").size == (77, 128)


# --- edges and texture ------------------------------------------------------------------------------------


def test_hog_is_its_definition() -> None:
    x, n, size = photo(), 9, 8
    light = grey(x)
    down, right = np.zeros_like(light), np.zeros_like(light)
    down[1:-1], right[:, 1:-1] = light[2:] - light[:-2], light[:, 2:] - light[:, :-2]
    histogram = np.zeros((8, 8, n))
    for i, j in np.ndindex(64, 64):
        angle = math.degrees(math.atan2(down[i, j], right[i, j])) % 180
        histogram[i // size, j // size, int(angle // (180 / n))] += math.hypot(down[i, j], right[i, j]) / size**2
    want = []
    for r, c in np.ndindex(7, 7):
        v = histogram[r : r + 2, c : c + 2].ravel()
        v = np.minimum(v / math.sqrt((v**2).sum() + 1e-10), 0.2)
        want.append(v / math.sqrt((v**2).sum() + 1e-10))
    got = HOG().read(x)
    np.testing.assert_allclose(got, np.ravel(want), atol=1e-4)
    assert len(HOG().names()) == len(got)


def test_names_of_hog_say_where_and_which_way() -> None:
    x = np.zeros((64, 64), np.uint8)
    x[:, 40:] = 255  # an upright edge: its gradient points along the row, 0 degrees
    got = {n for n, v in zip(HOG().names(), HOG().read(x), strict=True) if v > 0}
    assert got and all(n.endswith("_10deg") for n in got)
    assert {n.split("_")[2] for n in got} <= {"3", "4", "5"}, "blocks of columns 3 to 5 hold the edge"


def test_lbp_is_its_definition() -> None:
    x = photo(height=64, width=70)
    light = grey(x)
    uniform = [k for k in range(256) if sum((k >> i & 1) != (k >> (i + 1) % 8 & 1) for i in range(8)) <= 2]
    assert len(uniform) == 58
    count = np.zeros((4, 4, 59))
    for i, j in np.ndindex(62, 68):  # the outermost pixels depend on what lies outside
        i, j = i + 1, j + 1
        bits = []
        for p in range(8):
            y, z = i - round(math.sin(math.pi / 4 * p), 5), j + round(math.cos(math.pi / 4 * p), 5)
            r, c = min(math.floor(y), 62), min(math.floor(z), 68)
            fy, fz = y - r, z - c
            value = (1 - fy) * ((1 - fz) * light[r, c] + fz * light[r, c + 1]) + fy * (
                (1 - fz) * light[r + 1, c] + fz * light[r + 1, c + 1]
            )
            bits.append(value >= light[i, j])
        k = sum(b << p for p, b in enumerate(bits))
        count[i * 4 // 64, j * 4 // 70, uniform.index(k) if k in uniform else 58] += 1
    got = LBP(radii=[1]).read(x).reshape(4, 4, 59)
    assert LBP(radii=[1]).names()[59 * 5 + 3] == "lbp_r1_region1_1_pattern3_share"
    inner = got[1:3, 1:3]  # patterns are numbered otherwise: compare their shares, sorted, and that of the rest
    want = count[1:3, 1:3] / count[1:3, 1:3].sum(-1, keepdims=True)
    np.testing.assert_allclose(inner[..., 58], want[..., 58], atol=1e-6)
    np.testing.assert_allclose(np.sort(inner, -1), np.sort(want, -1), atol=1e-6)
    np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-6)


def test_shares_of_regions() -> None:
    ids = np.random.default_rng(0).integers(0, 5, (7, 10))
    want = np.zeros((3, 3, 5))
    for i, j in np.ndindex(7, 10):
        want[i * 3 // 7, j * 3 // 10, ids[i, j]] += 1
    want /= want.sum(-1, keepdims=True)
    np.testing.assert_allclose(region_shares(ids, 5, 3), want.ravel(), rtol=1e-6)
    assert region_shares(ids[:1, :1], 5, 2).sum() == 1, "regions without a pixel are 0"


# --- visual words -----------------------------------------------------------------------------------------


def test_descriptors_are_their_definition() -> None:
    x = grey(photo(height=66, width=50))
    down, right = np.gradient(x)
    cells = np.zeros((16, 12, 8))
    for i, j in np.ndindex(64, 48):
        part = math.atan2(down[i, j], right[i, j]) / (2 * math.pi) * 8 % 8
        low, size = math.floor(part), math.hypot(down[i, j], right[i, j])
        cells[i // CELL, j // CELL, low % 8] += size * (1 - (part - low))
        cells[i // CELL, j // CELL, (low + 1) % 8] += size * (part - low)
    np.testing.assert_allclose(cell_histograms(x.astype(np.uint8)), cells, rtol=1e-3, atol=0.01)
    got = descriptors(x.astype(np.uint8))
    assert got.shape == (7, 5, 128)
    for r, c in np.ndindex(7, 5):
        d = cells[2 * r : 2 * r + 4, 2 * c : 2 * c + 4].ravel()
        for _ in range(2):
            d = np.minimum(d / np.linalg.norm(d), 0.2)
        np.testing.assert_allclose(got[r, c], 512 * d / np.linalg.norm(d), atol=0.51)


def test_a_patch_without_an_edge_is_no_word() -> None:
    assert not descriptors(np.full((20, 90), 77, np.uint8)).any()
    x = VisualWords(5).fit([photo(i) for i in range(3)]).transform([np.full((64, 64), 77, np.uint8)])
    assert (x == 0).all()


def test_words_are_the_nearest_and_counted_whole_and_by_quarter() -> None:
    g = np.random.default_rng(0)
    d, words = g.integers(1, 256, (6, 8, 128), dtype=np.uint8), g.uniform(0, 255, (5, 128)).astype(np.float32)
    d[0, 0] = 0
    ids = nearest(d, words)
    assert ids[0, 0] == 5
    want = np.zeros((5, 5))
    for r, c in np.ndindex(6, 8):
        if (r, c) == (0, 0):
            continue
        distance = [((d[r, c] - w.astype(np.float64)) ** 2).sum() for w in words]
        assert ids[r, c] == np.argmin(distance)
        want[0, ids[r, c]] += 1 / 48
        want[1 + 2 * (r >= 3) + (c >= 4), ids[r, c]] += 1 / 12
    np.testing.assert_allclose(word_shares(ids, 5, 5), want.ravel(), rtol=1e-6)
    np.testing.assert_allclose(word_shares(ids, 5, 1), want[0], rtol=1e-6)


def test_visual_words_tell_textures_apart() -> None:
    g = np.random.default_rng(0)

    def stripes(upright: bool) -> np.ndarray:
        x = 128 + 100 * np.sin(np.arange(64) * g.uniform(0.5, 0.8) + g.uniform(0, 6)) + g.normal(0, 10, (64, 64))
        return (x if upright else x.T).clip(0, 255).astype(np.uint8)

    x = VisualWords(6).fit_transform([stripes(i % 2 == 0) for i in range(20)])
    near = x @ x.T
    same = np.equal.outer(np.arange(20) % 2, np.arange(20) % 2)
    np.fill_diagonal(near, 0)
    assert (np.where(same, near, 0).sum(1) / 9 > np.where(same, 0, near).max(1) + 0.3).all()


def test_keypoints_are_found_however_an_image_is_turned_and_their_absence_is_zero() -> None:
    x = np.zeros((96, 96), np.uint8)
    g = np.random.default_rng(1)
    for _ in range(25):
        r, c, s = (int(v) for v in g.integers(4, 80, 3))
        x[r : r + 4 + s // 6, c : c + 4 + s // 9] = g.integers(60, 256)
    others = [np.asarray(photo(i)) for i in range(3)]
    words = KeypointWords(8).fit([x, *others])
    v = words.transform([x, np.rot90(x).copy(), np.zeros((64, 64), np.uint8)])
    np.testing.assert_allclose((v[:2] ** 2).sum(1), 1, rtol=1e-5)
    assert v[0] @ v[1] > 0.95
    assert (v[2] == 0).all()


# --- pixels -----------------------------------------------------------------------------------------------


def test_pixels_are_the_coordinates_on_the_principal_axes() -> None:
    photos = [photo(i, 8, 8) for i in range(12)]
    e = Thumbnail(side=8, components=4).fit(photos[:10])
    x = np.array([p.ravel() / 255 for p in photos])
    centred = x - x[:10].mean(0)
    axes = np.linalg.svd(centred[:10])[2][:4]
    got = e.transform(photos)
    np.testing.assert_allclose(np.abs(got), np.abs(centred @ axes.T), atol=1e-3)
    assert e.names() == ["pixels_0", "pixels_1", "pixels_2", "pixels_3"]


def test_alike_images_have_no_components() -> None:
    assert Thumbnail().fit_transform([photo()] * 3).shape == (3, 0)
    assert Thumbnail().fit_transform([photo(i) for i in range(3)]).shape == (3, 2)
