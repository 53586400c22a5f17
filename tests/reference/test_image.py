"""Opening, scaling and measuring images, each against its definition or a picture whose pixels are known."""

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cases import over
from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.image.codec import Pixels, common_size
from polymodal.modalities.image.encoders import ConvNet, ViT, normalise
from polymodal.modalities.image.files import eight_bit, picture, shape
from polymodal.nn import SIZES

TURN, SMALL = 0x0112, SIZES["small"]


def quadrants(h: int = 16, w: int = 24) -> Image.Image:
    """Red, green over blue, white: no two of its eight orientations look the same."""
    x = np.zeros((h, w, 3), np.uint8)
    x[: h // 2, : w // 2], x[: h // 2, w // 2 :] = (255, 0, 0), (0, 255, 0)
    x[h // 2 :, : w // 2], x[h // 2 :, w // 2 :] = (0, 0, 255), (255, 255, 255)
    return Image.fromarray(x)


def fixed(height: int, width: int) -> Pixels:
    codec = Pixels()
    codec.height_, codec.width_ = height, width
    return codec


def pixels(cell: object) -> np.ndarray:
    return np.asarray(picture(cell))


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """The header of a PNG of this size, without its pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_every_format_gives_the_same_pixels(form: str, tmp_path: Path) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    data, path = saved(quadrants(), form, **options), tmp_path / f"x.{form.lower()}"
    path.write_bytes(data)
    for cell in (data, path, str(path), quadrants(), np.asarray(quadrants())):
        assert np.array_equal(pixels(cell), np.asarray(quadrants()))


@over("orientation", range(1, 9))
def test_the_cameras_rotation_is_undone(orientation: int) -> None:
    # what a camera held in that orientation stores, by the EXIF standard's own words for rows and columns
    x = np.asarray(quadrants())
    stored = {
        1: x, 2: x[:, ::-1], 3: x[::-1, ::-1], 4: x[::-1], 5: x.swapaxes(0, 1),
        6: np.rot90(x), 7: x.swapaxes(0, 1)[::-1, ::-1], 8: np.rot90(x, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[TURN] = orientation
    data = saved(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    assert np.array_equal(pixels(data), x)
    assert shape(data) == (16, 24)
    big = Image.fromarray(np.ascontiguousarray(stored)).resize((stored.shape[1] * 20, stored.shape[0] * 20), 0)
    small = fixed(16, 24).encode(saved(big, "JPEG", exif=exif, quality=95))  # through the JPEG's own reduction
    assert small is not None
    assert (small.permute(1, 2, 0).int() - torch.from_numpy(x.copy()).int()).abs()[2:6, 2:10].max() < 12
    assert (small.permute(1, 2, 0).int() - torch.from_numpy(x.copy()).int()).abs()[10:14, 14:22].max() < 12


def test_transparency_shows_white() -> None:
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (200, 0, 0, 128))
    assert (pixels(clear) == 255).all()
    assert np.abs(pixels(half)[0, 0].astype(int) - [227, 127, 127]).max() <= 1
    assert (pixels(Image.new("LA", (4, 4), (10, 0))) == 255).all()
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    assert (pixels(saved(palette, "PNG")) == (9, 8, 7)).all()
    assert (pixels(saved(palette, "PNG", transparency=1)) == 255).all()
    assert (pixels(saved(palette, "PNG", transparency=bytes([0, 0]))) == 255).all()  # Pillow warns of this one


def test_other_modes() -> None:
    assert (pixels(Image.new("1", (4, 4), 1)) == 255).all()
    assert (pixels(Image.new("L", (4, 4), 77)) == 77).all()
    assert (pixels(Image.new("CMYK", (4, 4), (0, 255, 255, 0))) == (255, 0, 0)).all()
    assert (pixels(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))[4, 4] > (200, -1, -1)).all()
    assert (pixels(Image.new("HSV", (4, 4), (0, 255, 255))) == (255, 0, 0)).all()


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    x = np.array([[0, 257, 32896, 65535]], np.uint16)
    want = np.repeat(np.array([[0, 1, 128, 255]], np.uint8)[..., None], 3, 2)
    for form in ("PNG", "TIFF"):
        assert np.array_equal(pixels(saved(Image.fromarray(x), form)), want)
    assert np.array_equal(pixels(x), want)
    dark = np.full((3, 3), 300, np.uint16)  # a dark photograph stays dark: the type's range counts, not the values'
    assert (pixels(dark) == 1).all()


@over(
    "x, want",
    [
        (np.array([[0.0, 0.5, 1.0]]), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]]), [0, 100, 255]),
        (np.array([[0.0, 65535.0]]), [0, 255]),
        (np.array([[0.0, 1e6]]), [0, 255]),
        (np.array([[-5, 7]], np.int32), [0, 7]),
        (np.array([[False, True]]), [0, 255]),
        (np.array([[np.nan, np.inf, 1.0]]), [0, 0, 255]),
    ],
)
def test_any_numbers_become_eight_bits(x: np.ndarray, want: list[int]) -> None:
    assert eight_bit(x).tolist() == [want]


def test_resizing_averages_what_it_drops() -> None:
    lines = np.zeros((64, 64), np.uint8)
    lines[::4] = 255  # two lines in eight; without antialiasing each pixel sees two rows only
    x = fixed(8, 8).encode(lines)
    assert x is not None and x.shape == (3, 8, 8) and (x[:, 1:-1].int() - 64).abs().max() <= 8


@over("orientation", [1, 6])
def test_a_jpegs_own_reduction_is_not_seen(orientation: int) -> None:
    g = np.random.default_rng(0)
    coarse = Image.fromarray(g.integers(0, 256, (12, 40, 3), dtype=np.uint8)).resize(
        (320, 96), Image.Resampling.BICUBIC
    )
    exif = Image.Exif()
    exif[TURN] = orientation
    data = saved(coarse, "JPEG", quality=95, subsampling=0, exif=exif)
    codec = fixed(24, 80) if orientation == 1 else fixed(80, 24)
    a, b = codec.encode(data), codec.encode(pixels(data))
    assert a is not None and b is not None and (a.int() - b.int()).abs().float().mean() < 4


def test_resizing_keeps_the_layout() -> None:
    x = fixed(8, 12).encode(quadrants(160, 240))
    assert x is not None
    corner = x[:, [0, 0, -1, -1], [0, -1, 0, -1]].T.tolist()
    assert corner == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


def test_size_of_a_column() -> None:
    assert common_size([(480, 640)] * 3 + [(2000, 100)], 64**2) == (55, 73)
    assert common_size([(20, 30)], 64**2) == (20, 30)  # never larger than the median image
    assert common_size([(1, 1)], 64**2) == (8, 8)
    assert common_size([(1, 5000)], 64**2)[0] >= 8
    for sides in ([(300, 200)], [(123, 456)], [(31, 33)]):
        h, w = common_size(sides, 64**2)
        assert h * w <= 64**2 and h <= sides[0][0] and w <= sides[0][1]


def test_fit_reads_headers_of_all_and_pixels_of_some(tmp_path: Path) -> None:
    cells: list[object] = [None]
    for i in range(5):
        cells.append(tmp_path / f"{i}.png")
        Image.new("RGB", (40, 20), (255, 0, 51)).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    codec = Pixels().fit([*cells, tmp_path / "broken.png", tmp_path / "absent.png"], SMALL)
    assert (codec.height_, codec.width_) == (20, 40)
    assert codec.mean_ == [1.0, 0.0, 0.2] and codec.std_ == [0.02] * 3
    empty = Pixels().fit([None, b"junk"], SMALL)  # nothing to learn from: still usable
    assert empty.collate([None]).values.shape == (1, 3, 64, 64)


def test_normalised_is_its_formula() -> None:
    x = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    y = normalise(Masked(x, torch.tensor([True, False])), mean, std, torch.float64)
    for c in range(3):
        assert torch.allclose(y[0, c], (x[0, c].double() / 255 - mean[c]) / std[c])
    assert not y[1].any()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda d: d / "absent.png", "absent.png does not exist"),
        (lambda d: d, "is a folder, expected a file"),
        (lambda d: written(d / "zero.png", b""), r"zero.png is empty \(0 bytes\)"),
        (lambda d: written(d / "text.png", b"hello" * 50), "text.png is not an image"),
        (lambda d: written(d / "half.png", saved(noise(), "PNG")[:900]), "half.png is damaged: "),
        (lambda d: written(d / "half.jpg", saved(noise(), "JPEG")[:900]), "half.jpg is damaged: "),
        (lambda d: written(d / "bomb.png", png_that_claims(20_000, 20_000)), "bomb.png is too large"),
        (lambda d: b"", "0 bytes"),
        (lambda d: b"junk", "4 bytes is not an image"),
        (lambda d: np.zeros((2, 2, 5)), r"array \(2, 2, 5\)"),
        (lambda d: np.zeros((0, 4)), r"array \(0, 4\)"),
        (lambda d: np.array([["a"]]), "is not an image"),
        (lambda d: 7, "a int is not an image: expected a path, PIL image, bytes or array"),
        (lambda d: Path("a\0b.png"), "a.x00b.png"),
        (lambda d: Path("x" * 5000 + ".png"), "can't be read: File name too long"),
    ],
)
def test_what_is_wrong_is_said(make, text: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=text):
        fixed(8, 8).encode(make(tmp_path))


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def test_the_caller_sees_no_warning(tmp_path: Path) -> None:
    large = written(tmp_path / "large.png", png_that_claims(10_000, 10_000))  # Pillow warns from 89 million pixels
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert shape(large) == (10_000, 10_000)
        Pixels.accepts([large])
        with pytest.raises(Unreadable, match="damaged"):
            fixed(8, 8).encode(large)
    assert not seen


def test_threads_that_decode_side_by_side_leave_the_filters_as_they_were(tmp_path: Path) -> None:
    palette = Image.new("P", (64, 64), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    data = saved(palette, "PNG", transparency=bytes([0, 0]))  # Pillow warns as it converts this
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert all((x == 255).all() for x in pool.map(pixels, [data] * 400))
    assert warnings.filters == before


def test_the_callers_image_stays_as_it_was() -> None:
    image = quadrants()
    Pixels().fit([image], SMALL).encode(image)
    assert image.size == (24, 16) and np.array_equal(np.asarray(image), np.asarray(quadrants()))


def test_accepts_counts_what_opens(tmp_path: Path) -> None:
    good = written(tmp_path / "a.png", saved(quadrants(), "PNG"))
    bad, other = written(tmp_path / "b.png", b"junk"), written(tmp_path / "c.csv", b"junk")
    assert Pixels.accepts([good, good]) == (1.0, "2 of 2 cells are paths that open as images")
    guess = Pixels.accepts([good, bad, tmp_path / "gone.jpg", other])
    assert guess.confidence == 0.5 and "1 of 4" in guess.reason and "2 are named like images" in guess.reason
    assert Pixels.accepts(["a.png", 3, other, np.zeros(4), (1, 2)]).confidence == 0
    assert Pixels.accepts([np.zeros((9, 9, 3)), quadrants(), good.read_bytes()]).confidence == 1
    assert Pixels.accepts([np.zeros((9, 2))]).confidence == 0  # a series of two channels looks like this
    assert Pixels.accepts([]).confidence == 0


@over("side", [(8, 8), (9, 31), (28, 28), (64, 40), (224, 171)])
@over("encoder", [ConvNet, ViT])
def test_encoders_take_every_size(encoder: type, side: tuple[int, int]) -> None:
    codec = fixed(*side)
    x = codec.collate([torch.randint(0, 256, (3, *side), dtype=torch.uint8), None])
    y = encoder.for_codec(codec, SIZES["tiny"]).eval()(x)
    assert y.values.shape[2] == SIZES["tiny"].dim and 4 <= y.values.shape[1] <= 256
    assert y.mask[0].all() and not y.mask[1].any() and torch.isfinite(y.values).all()


def test_a_vit_knows_where_a_patch_lies() -> None:
    codec = fixed(32, 32)
    vit = ViT.for_codec(codec, SIZES["tiny"]).eval()
    a, b = torch.zeros(3, 32, 32, dtype=torch.uint8), torch.zeros(3, 32, 32, dtype=torch.uint8)
    a[:, :8, :8], b[:, 24:, 24:] = 255, 255
    y = vit(codec.collate([a, b])).values.mean(1)
    assert (y[0] - y[1]).abs().max() > 1e-4
