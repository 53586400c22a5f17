"""The demo's tables: ordinary files, balanced, one for one seed, with strangers in the second."""

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from polymodal.demo import digits, run
from polymodal.errors import InputError

pytest.importorskip("espeakng_loader")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> digits.DemoTables:
    return digits.make_table(tmp_path_factory.mktemp("demo"), rows=200, unseen=100)


def test_every_path_of_the_table_opens_as_what_it_says(tables: digits.DemoTables) -> None:
    for table, rows in ((tables.train, 200), (tables.unseen, 100)):
        found = read(table)
        assert len(found) == rows
        assert list(found[0]) == ["picture", "sound", "speaker", "digit"]
        for row in found:
            if row["picture"]:
                with Image.open(table.parent / row["picture"]) as picture:
                    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (32, 32))
            if row["sound"]:
                sound = soundfile.info(table.parent / row["sound"])
                assert (sound.format, sound.subtype, sound.samplerate, sound.channels) == (
                    "WAV",
                    "PCM_16",
                    16_000,
                    1,
                )
                assert 0.15 < sound.duration < 2.0


def test_the_folder_holds_no_file_that_no_row_names(tables: digits.DemoTables) -> None:
    named = {row[c] for t in tables for row in read(t) for c in ("picture", "sound")} - {""}
    folder = tables.train.parent
    assert {p.relative_to(folder).as_posix() for p in folder.glob("*/*")} == named


def test_digits_are_balanced_and_crossed_with_speakers(tables: digits.DemoTables) -> None:
    for table, share in ((tables.train, 20), (tables.unseen, 10)):
        rows = read(table)
        assert Counter(r["digit"] for r in rows) == {str(d): share for d in range(10)}
        said: dict[str, set[str]] = {}
        for r in rows:
            said.setdefault(r["speaker"], set()).add(r["digit"])
        assert min(len(digits) for digits in said.values()) >= 2, "a voice gives a digit away"


def test_a_few_cells_are_empty_but_never_a_whole_row(tables: digits.DemoTables) -> None:
    for table in tables:
        rows = read(table)
        few = round(digits.ABSENT * len(rows))
        assert [sum(not r[c] for r in rows) for c in ("picture", "sound")] == [few, few]
        assert all(r["picture"] or r["sound"] for r in rows)


def test_unseen_speakers_and_their_voices_are_strangers(tables: digits.DemoTables) -> None:
    speakers = [{r["speaker"] for r in read(t)} for t in tables]
    voices = [{s.partition("-")[0] for s in part} for part in speakers]
    assert len(speakers[0]) == 48 and len(speakers[1]) == 12
    assert not voices[0] & voices[1]


def test_unseen_handwriting_never_occurs_in_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[bytes] = []

    def draw(shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        drawn.append(shape.tobytes())
        return np.zeros((32, 32), dtype=np.uint8)

    monkeypatch.setattr(digits, "draw", draw)
    digits.make_table(tmp_path, rows=200, unseen=100)
    assert len(drawn) == len(set(drawn)) == 188 + 94


def test_one_seed_gives_one_table_and_another_seed_another(tables: digits.DemoTables, tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.glob("**/*.*")}

    first = contents(tables.train.parent)
    digits.make_table(tmp_path / "same", rows=200, unseen=100)
    assert contents(tmp_path / "same") == first
    digits.make_table(tmp_path / "other", rows=200, unseen=100, seed=1)
    other = contents(tmp_path / "other")
    assert sum(other.get(name) == data for name, data in first.items()) < 5


def test_noise_stands_where_it_is_stated_below_the_word() -> None:
    rng = np.random.default_rng(0)
    word = np.sin(np.arange(8_000) * 0.3).astype(np.float32)
    ratios = []
    for _ in range(200):
        clip = digits.record(word, digits.RATE, rng).astype(np.float64)
        # Least squares: the clip is a pause, the word by some factor, a pause, and noise all over.
        lag = int(np.argmax(np.correlate(clip, word.astype(np.float64), "valid")))
        heard = clip[lag : lag + len(word)]
        factor = heard @ word / (word @ word)
        noise = clip.copy()
        noise[lag : lag + len(word)] -= factor * word
        ratios.append(10 * np.log10(np.mean((factor * word) ** 2) / np.mean(noise**2)))
    low, high = digits.NOISE_DB
    assert low - 1 < min(ratios) < low + 2
    assert high - 2 < max(ratios) < high + 1
    assert np.mean(ratios) == pytest.approx((low + high) / 2, abs=1.5)


def test_pink_noise_has_unit_power_and_as_much_of_it_in_every_octave() -> None:
    rng = np.random.default_rng(0)
    power = np.mean([np.abs(np.fft.rfft(digits.pink(16_384, rng))) ** 2 for _ in range(50)], axis=0)
    octaves = [power[a : 2 * a].sum() for a in (64, 256, 1024, 4096)]
    assert digits.pink(16_384, rng).std() == pytest.approx(1)
    assert max(octaves) / min(octaves) < 1.3


def test_a_voice_says_different_words_and_voices_differ() -> None:
    with digits.Synthesiser() as synthesiser:
        seven, nine, other = (
            synthesiser.say(word, digits.Speaker("x", voice, 50, 150))
            for word, voice in (("seven", "en+m1"), ("nine", "en+m1"), ("seven", "en-us+f1"))
        )
        assert len(seven) / synthesiser.rate == pytest.approx(0.5, abs=0.25)
        assert np.abs(seven).max() > 0.05
        assert len(seven) != len(nine) and not np.array_equal(seven[:4000], other[:4000])
        with pytest.raises(ValueError, match="no voice 'en-nowhere'"):
            synthesiser.say("one", digits.Speaker("x", "en-nowhere", 50, 150))


def test_every_voice_and_accent_exists() -> None:
    assert len(set(digits.VOICES)) == len(digits.VOICES) == 60
    with digits.Synthesiser() as synthesiser:
        for i, voice in enumerate(digits.VOICES):
            name = f"{digits.ACCENTS[i % len(digits.ACCENTS)]}+{voice}"
            assert len(synthesiser.say("one", digits.Speaker("x", name, 50, 150))) > 2_000


@pytest.mark.parametrize(("name", "n"), [("rows", 0), ("rows", 1_401), ("unseen", 341)])
def test_more_rows_than_there_are_digits(name: str, n: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be from 10 to \d+.*but it is {n}"):
        digits.make_table(tmp_path, **{name: n})
    assert not list(tmp_path.iterdir())


def test_without_the_synthesiser_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"pip install polymodal\[demo\]"):
        digits.make_table(tmp_path)


def test_the_demo_writes_over_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("mine")
    with pytest.raises(InputError, match="holds something else already; name a new folder"):
        run(tmp_path, quiet=True)
    assert (tmp_path / "train.csv").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
