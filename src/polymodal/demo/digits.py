"""Written and spoken digits: a small audio-visual table made from real input.

    handwritten digit --enlarge, turn, shift, cover, grain--> pictures/train-0001.png  } a row of
    its word --synthesiser, a speaker's voice--> --noise--> sounds/train-0001.wav      } train.csv

The handwriting is scikit-learn's copy of a public set of scanned forms. The voices are those of eSpeak NG, as
`espeakng-loader` bundles it. Nothing is fetched. Both are hard enough that either alone errs often.
"""

import csv
import ctypes
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = "en en-us en-029 en-gb-scotland en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd en-us-nyc".split()
# Not the breathy voices: their hiss is drawn from a generator that has no seed.
VOICES = """
    Alex Andrea Andy Annie AnxiousAndy Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael Mike
    Nguyen Tweaky adam anika antonio aunty belinda benjamin boris david ed edward f1 f4 grandma gustave ian
    iven john kaukovalta linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max michel miguel norbert pablo paul pedro
    quincy rob robert shelby steph travis zac
""".split()
RATE = 16_000  # samples a second of the WAV files
SIDE = 32  # pixels of a picture's edge
PAUSE = 0.1  # seconds of silence before and after a word, at most
NOISE_DB = (-2.0, 13.0)  # signal to noise ratio of a recording: drawn evenly from this range
GRAIN = (0.0, 0.05)  # standard deviation of a picture's grain, where ink is 1
COVER = 0.2  # share of pictures of which a patch is covered
ABSENT = 0.06  # share of rows without a picture, and of rows without a sound


class DemoTables(NamedTuple):
    """Where the two tables are: `unseen` holds speakers and handwriting that `train` does not."""

    train: Path
    unseen: Path


class Speaker(NamedTuple):
    """One way of speaking: a synthesiser's voice, its pitch (0 to 99) and its words a minute."""

    name: str
    voice: str
    pitch: float
    pace: float


def make_table(folder: Path, *, rows: int = 1200, unseen: int = 300, seed: int = 0) -> DemoTables:
    """Write train.csv and unseen.csv, with pictures/*.png and sounds/*.wav beside them, into `folder`.

    Columns: picture and sound (paths relative to the folder, or empty), speaker, digit. Every fifth voice
    and the last fifth of the handwriting, which other hands wrote, are kept for `unseen`. A seed gives one
    table.
    Raises ValueError for more rows than there are digits, ImportError without `espeakng-loader`.
    """
    rng = np.random.default_rng(seed)
    shapes = _handwriting()
    most = min(len(images) for images in shapes)
    n_new = most // 5
    for name, n, room in (("rows", rows, 10 * (most - n_new)), ("unseen", unseen, 10 * n_new)):
        if not 10 <= n <= room:
            raise ValueError(f"{name} must be from 10 to {room}, as there are that many digits, but it is {n}")
    speakers = _speakers(rng)
    parts = {
        "train": (rows, [s for i, s in enumerate(speakers) if i % 5 != 4], [x[:-n_new] for x in shapes]),
        "unseen": (unseen, speakers[4::5], [x[-n_new:] for x in shapes]),
    }
    for sub in ("pictures", "sounds"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    with Synthesiser() as synthesiser:
        for part, (n, voices, images) in parts.items():
            _write(folder, part, n, voices, images, synthesiser, rng)
    return DemoTables(folder / "train.csv", folder / "unseen.csv")


def _handwriting() -> list[NDArray[np.float32]]:
    """For each digit its (N, 8, 8) images, ink 1 on paper 0, in the order in which they were collected."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return [(digits.images[digits.target == d] / 16).astype(np.float32) for d in range(10)]


def _speakers(rng: np.random.Generator) -> list[Speaker]:
    """One speaker a voice, each with an accent, a pitch and a pace of its own."""
    return [
        Speaker(f"{voice}-{accent}", f"{accent}+{voice}", float(rng.uniform(30, 70)), float(rng.uniform(150, 210)))
        for voice, accent in zip(VOICES, rng.choice(ACCENTS, len(VOICES)), strict=True)
    ]


def _write(
    folder: Path,
    part: str,
    rows: int,
    speakers: Sequence[Speaker],
    shapes: Sequence[NDArray[np.float32]],
    synthesiser: "Synthesiser",
    rng: np.random.Generator,
) -> None:
    """One table and its files. Digits and speakers are balanced and crossed; a file's name tells neither."""
    import soundfile
    from PIL import Image

    order = rng.permutation(rows)
    absent = rng.permutation(rows)
    no_picture, no_sound = np.split(absent[: 2 * round(ABSENT * rows)], 2)
    places = [iter(rng.permutation(len(x))) for x in shapes]
    with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["picture", "sound", "speaker", "digit"])
        for k, i in enumerate(order):
            digit = int(i % 10)
            speaker = speakers[(i // 10 + 7 * digit) % len(speakers)]  # 7: all speak in a short table too
            picture, sound = f"pictures/{part}-{k:04}.png", f"sounds/{part}-{k:04}.wav"
            if k in no_picture:
                picture = ""
            else:
                Image.fromarray(draw(shapes[digit][next(places[digit])], rng)).save(folder / picture)
            if k in no_sound:
                sound = ""
            else:
                speech = synthesiser.say(WORDS[digit], _mood(speaker, rng))
                soundfile.write(folder / sound, record(speech, synthesiser.rate, rng), RATE, subtype="PCM_16")
            table.writerow([picture, sound, speaker.name, digit])


def _mood(speaker: Speaker, rng: np.random.Generator) -> Speaker:
    """The speaker, a little higher or lower and faster or slower than usual: no word is said twice alike."""
    pitch, pace = speaker.pitch + rng.normal(0, 6), speaker.pace * rng.normal(1, 0.08)
    return speaker._replace(pitch=float(np.clip(pitch, 0, 99)), pace=float(np.clip(pace, 90, 300)))


def draw(shape: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """An 8 x 8 digit enlarged, turned and shifted on SIDE x SIDE of light paper, some covered, with grain."""
    from PIL import Image

    side = int(rng.integers(25, 31))
    digit = Image.fromarray((255 * shape).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    sheet = Image.new("L", (SIDE, SIDE))
    x, y = rng.integers(0, SIDE - side + 1, 2)
    sheet.paste(digit, (int(x), int(y)))
    ink = np.asarray(sheet.rotate(float(rng.normal(0, 6)), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    top, begin = rng.integers(2, SIDE - 10, 2)
    if rng.random() < COVER:
        high, wide = rng.integers((4, 6), (9, 11))
        ink[top : top + high, begin : begin + wide] = rng.choice([0.0, 0.8])
    ink += rng.uniform(*GRAIN) * rng.standard_normal(ink.shape, dtype=np.float32)
    paper = 0.85 - 0.6 * ink
    return np.asarray(255 * np.clip(paper, 0, 1), dtype=np.uint8)


def record(speech: NDArray[np.float32], rate: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """The word at RATE between short pauses, in pink noise whose power stands NOISE_DB below its own."""
    from scipy.signal import resample_poly

    word = resample_poly(speech, RATE, rate)
    loud = word[np.abs(word) > 0.02 * np.abs(word).max()]
    clip = np.pad(word / np.sqrt(np.mean(loud**2)), rng.integers(0, round(PAUSE * RATE), 2))
    clip += 10 ** (-rng.uniform(*NOISE_DB) / 20) * pink(len(clip), rng)
    return np.asarray(clip * rng.uniform(0.3, 0.9) / np.abs(clip).max(), dtype=np.float32)


def pink(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise of unit power with as much of it in every octave, like that of a street or of a crowd."""
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.sqrt(np.maximum(np.arange(n // 2 + 1), n / 1600))
    noise = np.fft.irfft(spectrum, n)
    return np.asarray(noise / noise.std())


class Synthesiser:
    """eSpeak NG by ctypes: ``with Synthesiser() as s: s.say("seven", speaker)``.

    The library keeps state from one word to the next, so that a word differs with what was said before. Each
    `with` therefore loads a copy of its own: the same words in the same order then sound the same.
    Raises ImportError where the package that bundles it is missing.
    """

    rate: int  # samples a second

    def __enter__(self) -> "Synthesiser":
        try:
            import espeakng_loader
        except ImportError as e:
            raise ImportError("the demo's voices need espeakng-loader: pip install polymodal[demo]") from e
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # Windows keeps a loaded file
        self._library = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), self._folder.name))
        synchronous, report_errors = 2, 0x8000  # else a missing data folder ends the process
        data = str(espeakng_loader.get_data_path()).encode()
        self.rate = self._library.espeak_Initialize(synchronous, 0, data, report_errors)
        if self.rate <= 0:
            raise ImportError(
                "espeakng-loader's synthesiser does not start: pip install --force-reinstall espeakng-loader"
            )
        self._heard: list[NDArray[np.int16]] = []
        self._hear = _CALLBACK(self._receive)  # kept: ctypes does not own a callback
        self._library.espeak_SetSynthCallback(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._library.espeak_Terminate()
        self._folder.cleanup()

    def say(self, word: str, speaker: Speaker) -> NDArray[np.float32]:
        """The word in that voice, at `rate` samples a second, between -1 and 1."""
        if self._library.espeak_SetVoiceByName(speaker.voice.encode()) != 0:
            raise ValueError(f"the synthesiser has no voice {speaker.voice!r}; use one of ACCENTS + one of VOICES")
        pace, pitch, utf8 = 1, 3, 1
        self._library.espeak_SetParameter(pace, round(speaker.pace), 0)
        self._library.espeak_SetParameter(pitch, round(speaker.pitch), 0)
        text = word.encode()
        self._heard.clear()
        self._library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, utf8, None, None)
        self._library.espeak_Synchronize()
        return np.concatenate(self._heard, dtype=np.float32) / np.float32(32768)

    def _receive(self, samples: Any, n: int, events: Any) -> int:
        if samples and n > 0:
            self._heard.append(np.ctypeslib.as_array(samples, (n,)).copy())
        return 0


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
