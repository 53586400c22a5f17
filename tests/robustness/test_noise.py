"""Each kind of noise against its definition; levels; what never happens to a cell."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from polymodal.errors import Unreadable
from polymodal.modalities import MODALITIES
from polymodal.modalities.audio import noise as sounds
from polymodal.modalities.image import noise as pictures
from polymodal.modalities.series import noise as readings
from polymodal.modalities.tabular import noise as rows
from polymodal.modalities.text import noise as words
from polymodal.robustness.noise import rng_of

TEXT = "The quick brown fox jumps over the lazy dog, and comes again on Tuesday with 25 others. " * 8


def rng(seed=0):
    return np.random.default_rng(seed)


def noise_of(x, y):
    """Decibels of x over what was added to it."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    return 10 * np.log10(np.sum(x**2) / np.sum((y - x) ** 2))


def photo(side=64, seed=0):
    return Image.fromarray(rng(seed).integers(60, 190, (side, side + 8, 3), dtype=np.uint8))


CELLS = {
    "image": lambda: pictures.blur(photo(96), 4, rng()),
    "audio": lambda: (rng(1).standard_normal(16000).astype(np.float32), 8000),
    "text": lambda: TEXT,
    "series": lambda: np.cumsum(rng(1).standard_normal((200, 2)), axis=0),
    "vector": lambda: rng(1).standard_normal((1, 500)),
    "tabular": lambda: {f"x{i}": ("abc"[i % 3] if i % 2 else i) for i in range(60)},
}
STATES = {
    f"x{i}": ("category", {"places": {"a": 1, "b": 2, "c": 3}}) if i % 2 else ("number", {"scale": 1.0})
    for i in range(60)
}


def far(kind, x, y):
    """How far a spoiled cell is from the clean one."""
    if kind == "text":
        return ((Counter(x) - Counter(y)) + (Counter(y) - Counter(x))).total()
    if kind == "tabular":
        return sum(abs(x[c] - y[c]) if isinstance(x[c], int) else x[c] != y[c] for c in x)
    x, y = (np.asarray(v[0] if kind == "audio" else v, dtype=float) for v in (x, y))
    return np.abs(x - np.nan_to_num(y, nan=1e3)).mean() / np.abs(x).mean()


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, m in MODALITIES.items() for n in m.noise.kinds])
def test_each_level_spoils_more_than_the_one_before_and_the_first_severity_next_to_nothing(kind, name):
    noise, x = MODALITIES[kind].noise.kinds[name], CELLS[kind]()
    others = {i: (rng(i).standard_normal(9000).astype(np.float32), 8000) for i in (2, 3, 4)}
    knows = {"series": np.ones(2), "vector": np.ones(500), "tabular": STATES, "audio": others}
    context = knows.get(kind)
    assert not noise.lacks(context)
    found = [far(kind, x, noise.apply(x, noise.severity(k / 6), rng(5), context, 0)) for k in range(7)]
    assert (np.diff(found) >= 0).all() and found[0] < found[3] < found[6], found
    # but for what has no end at which it is nothing: a ratio of signal to noise, a quality
    assert found[0] == 0 or (found[0] < 0.1 and name in ("white", "babble", "jpeg", "brightness"))
    assert noise.severity(0) == noise.severities[0] and noise.severity(1) == noise.severities[-1]
    assert noise.said.format(noise.severity(0.5)) != noise.said


@pytest.mark.parametrize("decibel", [20.0, 3.0, -5.0])
def test_noise_on_a_recording_has_the_power_that_it_says(decibel):
    x = np.sin(np.arange(4000) / 7, dtype=np.float32)
    y, rate = sounds.white((x, 8000), decibel, rng())
    assert rate == 8000 and noise_of(x, y) == pytest.approx(decibel, abs=1e-3)
    others = [(np.cos(np.arange(n) / 5, dtype=np.float32), r) for n, r in ((3000, 8000), (100, 16000))]
    assert noise_of(x, sounds.babble((x, 8000), decibel, rng(), others)[0]) == pytest.approx(decibel, abs=1e-3)


def test_babble_is_made_of_the_other_recordings_alone():
    x, other = (np.sin(np.arange(2000) / k, dtype=np.float32) for k in (3, 50))
    babble = sounds.NOISES.kinds["babble"]
    y, _ = babble.apply((x, 8000), 0.0, rng(), {0: (x, 8000), 1: (other, 8000)}, 0)
    added = np.abs(np.fft.rfft(y - x))
    assert added.argmax() == np.abs(np.fft.rfft(other)).argmax()
    assert babble.lacks({0: (x, 8000)})


def test_silence_stays_silent_and_clipping_cuts_at_a_share_of_the_peak():
    quiet = np.zeros(100, dtype=np.float32)
    assert (sounds.white((quiet, 8000), 0.0, rng())[0] == 0).all()
    x = rng().standard_normal(1000).astype(np.float32)
    y, _ = sounds.clipping((x, 8000), 0.25, rng())
    top = 0.25 * np.abs(x).max()
    assert np.abs(y).max() == pytest.approx(top) and (y[np.abs(x) <= top] == x[np.abs(x) <= top]).all()


def test_lost_packets_are_as_many_as_said_and_never_all():
    x = np.ones(400 * 1000, dtype=np.float32)
    assert (sounds.dropouts((x, 8000), 0.4, rng())[0] == 0).mean() == pytest.approx(0.4, abs=0.05)
    for seed in range(20):
        assert sounds.dropouts((x[:1200], 8000), 0.99, rng(seed))[0].any()


def test_grain_has_its_deviation_and_the_same_draws_at_every_level():
    image = Image.new("RGB", (80, 60), (128, 128, 128))
    small, large = (np.asarray(pictures.grain(image, s, rng(1)), dtype=float) - 128 for s in (0.05, 0.1))
    assert small.std() / 255 == pytest.approx(0.05, rel=0.03)
    assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("side", [224, 112])
def test_blur_is_as_wide_in_proportion_to_the_picture(side):
    """The variance of a blurred point is that of the Gaussian, here of 6 / 224 of the side, and of the point itself."""
    x = np.zeros((side, side, 3), dtype=np.uint8)
    x[side // 2 - 4 : side // 2 + 4, side // 2 - 4 : side // 2 + 4] = 255
    y = np.asarray(pictures.blur(Image.fromarray(x), 6, rng()), dtype=float)[..., 0].sum(0)
    at = np.arange(side)
    spread = (y * (at - (y * at).sum() / y.sum()) ** 2).sum() / y.sum()
    assert spread == pytest.approx((6 * side / 224) ** 2 + (8**2 - 1) / 12, rel=0.12)


def test_occlusion_hides_its_share_in_the_mean_colour():
    image = photo()
    x, y = np.asarray(image), np.asarray(pictures.occlusion(image, 0.35, rng()))
    changed = (y == x.mean((0, 1)).round().astype(np.uint8)).all(2)
    assert changed.mean() == pytest.approx(0.35, abs=0.03)
    assert (y[~changed] == x[~changed]).all()


def test_brightness_is_added_to_the_value_and_compression_costs_more_the_harder_it_is():
    image = photo()
    before, after = (
        np.asarray(i.convert("HSV"), float)[..., 2] for i in (image, pictures.brightness(image, 0.2, rng()))
    )
    assert (after - before).mean() == pytest.approx(51, abs=1.5)
    lost = [
        np.abs(np.asarray(pictures.jpeg(image, q, rng()), float) - np.asarray(image, float)).mean() for q in (90, 25, 7)
    ]
    assert lost[0] < lost[1] < lost[2]


def test_large_pictures_are_reduced_and_small_ones_are_not():
    assert min(pictures.load(np.zeros((700, 900, 3), dtype=np.uint8)).size) == pictures.SIDE
    assert pictures.load(photo()).size == (72, 64)


def test_typos_are_as_many_as_said_and_words_stay_apart():
    text = "abcdefgh " * 400
    y = words.typos(text, 0.1, rng())
    same = sum(len(set(a) & set(b)) for a, b in zip(text.split(), y.split(), strict=True))
    assert len(y.split()) == len(text.split()) and 0.9 < same / (8 * 400) < 0.97
    assert words.typos(text, 0.0, rng()) == text != y
    greek = "ένα δύο τρία τέσσερα πέντε"
    assert words.typos(greek, 0.5, rng()) != greek


def test_a_share_of_the_words_is_lost_but_never_all():
    kept = len(words.word_drops(TEXT, 0.4, rng()).split()) / len(TEXT.split())
    assert kept == pytest.approx(0.6, abs=0.12)
    for seed in range(30):
        assert len(words.word_drops("only one stays", 1.0, rng(seed)).split()) == 1
        assert words.typos("a", 0.99, rng(seed)).strip()
    assert 0 < len(words.word_drops("日本語の文章を読む", 0.5, rng(1))) < 9


def test_a_scanner_takes_only_what_looks_alike_for_something_else():
    assert words.ocr("rock 0", 1.0, rng()) == "n0ck O"
    assert words.ocr("xkX漢字", 1.0, rng()) == "xkX漢字"
    share = np.mean([a != b for a, b in zip("o" * 2000, words.ocr("o" * 2000, 0.3, rng()), strict=True)])
    assert share == pytest.approx(0.3, abs=0.04)


def test_jitter_is_in_units_of_the_spread_and_gaps_stay_gaps():
    x = np.zeros((5000, 2))
    x[7, 1] = np.nan
    y = readings.jitter(x, 0.5, rng(), np.array([1.0, 10.0]))
    assert np.nanstd(y, axis=0) == pytest.approx([0.5, 5.0], rel=0.05)
    assert np.isnan(y[7, 1]) and np.isnan(y).sum() == 1


def test_drift_ends_where_it_says_and_gaps_leave_something():
    x = np.zeros((10, 3))
    y = readings.drift(x, 2.0, rng(), np.array([1.0, 2.0, 3.0]))
    assert np.abs(y[-1]) == pytest.approx([2, 4, 6])
    assert np.ptp(np.diff(y, axis=0), axis=0) == pytest.approx([0, 0, 0])  # a line
    lost = np.mean([np.isnan(readings.gaps(np.zeros((40, 1)), 0.4, rng(s))).mean() for s in range(200)])
    assert lost == pytest.approx(0.4, abs=0.03)
    only = np.full((40, 1), np.nan)
    only[11] = 1.0
    for seed in range(30):
        assert np.isfinite(readings.gaps(only, 0.9, rng(seed))).any()


COLUMNS = {
    "price": ("number", {"center": 0.0, "scale": 4.0}),
    "city": ("category", {"places": {"Oslo": 1, "Rome": 2, "Bern": 3}}),
    "sold": ("boolean", {}),
    "on": ("date", {"formats": [], "center": 2020.0, "scale": 2.0, "clock": False}),
}


def test_numbers_and_dates_move_by_their_spread_and_the_rest_stays():
    row = {"price": "$10", "city": "Oslo", "sold": "yes", "on": "2020-05-01"}
    found = [rows.numbers(row, 0.5, rng(s), COLUMNS) for s in range(400)]
    assert np.std([f["price"] - 10 for f in found]) == pytest.approx(2.0, rel=0.1)
    days = [(f["on"] - found[0]["on"]).days for f in found]
    assert np.std(days) == pytest.approx(365.25, rel=0.1)
    assert all(f["city"] == "Oslo" and f["sold"] == "yes" for f in found)


def test_categories_become_another_and_booleans_their_opposite():
    row = {"price": 10, "city": "Oslo", "sold": "yes", "on": None}
    found = [rows.swaps(row, 0.4, rng(s), COLUMNS) for s in range(400)]
    cities = [f["city"] for f in found]
    assert np.mean([c != "Oslo" for c in cities]) == pytest.approx(0.4, abs=0.07)
    assert set(cities) == {"Oslo", "Rome", "Bern"} and {f["sold"] for f in found} == {"yes", False}
    assert all(f["price"] == 10 for f in found)


def test_what_is_missing_or_unreadable_stays_so():
    row = {"price": "dear", "city": None, "sold": "perhaps", "on": None}
    for change in (rows.numbers, rows.swaps):
        assert change(row, 1.0, rng(), COLUMNS) == row
    for kind, cell in (("text", "  "), ("series", [None, None]), ("vector", "[]"), ("audio", (np.zeros(0), 8000))):
        with pytest.raises(Unreadable):
            MODALITIES[kind].noise.open(cell)


def test_draws_are_those_of_the_row_alone():
    same = [rng_of(3, 17, "photo", "blur").random() for _ in range(2)]
    others = [
        rng_of(*a).random() for a in ((4, 17, "photo", "blur"), (3, 18, "photo", "blur"), (3, 17, "photo", "jpeg"))
    ]
    assert same[0] == same[1] and same[0] not in others
