"""The kinds of noise: what each does to a decoded cell, and how much of it each level means.

    cell --open--> decoded --apply(severity, rng)--> a cell that every codec of that kind reads

Level 0 is the clean cell, to which nothing is applied. Of L levels, level k is the place k / (L - 1) along the kind's
row of severities, read off in straight lines between the numbers. The draws of a row are decided by (seed, row number,
modality, kind) alone: they are the same at every level, whatever the other rows are.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from polymodal.robustness import pictures, readings, sounds, words

MISMATCH = "mismatch"  # the modality of another row, for modalities of every kind


class Context(NamedTuple):
    """What noise may know beside the cell: the spread of each channel (C,), the columns of a table with what training
    knows of them, and recordings of other rows, by row."""

    scale: Any = None
    columns: Mapping[str, tuple[str, Mapping[str, Any]]] = {}
    recordings: Mapping[int, sounds.Recording] = {}


class Noise(NamedTuple):
    """A kind of noise. severities: from nearly nothing to most. said: the severity in words, with its unit.

    apply(decoded, severity, rng, context, row) -> a cell. lacks(context): why it can't be applied; "" where it can.
    """

    severities: tuple[float, ...]
    said: str
    apply: Callable[[Any, float, np.random.Generator, Context, int], Any]
    lacks: Callable[[Context], str] = lambda context: ""

    def severity(self, place: float) -> float:
        """The severity at a place along the row, above 0 up to 1."""
        return float(np.interp(place * (len(self.severities) - 1), range(len(self.severities)), self.severities))


def rng_of(seed: int, row: int, modality: str, kind: str) -> np.random.Generator:
    """The draws of one row."""
    return np.random.default_rng([seed, row, zlib.crc32(f"{modality}\0{kind}".encode("utf-8", "surrogatepass"))])


def _plain(change: Callable[[Any, float, np.random.Generator], Any]) -> Callable[..., Any]:
    return lambda x, severity, rng, context, row: change(x, severity, rng)


def _scaled(change: Callable[[Any, float, np.random.Generator, Any], Any]) -> Callable[..., Any]:
    return lambda x, severity, rng, context, row: change(x, severity, rng, context.scale)


def _columns(change: Callable[[Any, float, np.random.Generator, Any], Any]) -> Callable[..., Any]:
    return lambda x, severity, rng, context, row: change(x, severity, rng, context.columns)


def _babble(x: sounds.Recording, severity: float, rng: np.random.Generator, context: Context, row: int) -> Any:
    return sounds.babble(x, severity, rng, [y for i, y in context.recordings.items() if i != row])


def _needs(kinds: Sequence[str], words: str) -> Callable[[Context], str]:
    return lambda context: "" if any(k in kinds for k, _ in context.columns.values()) else f"there is no {words}"


def _few(context: Context) -> str:
    return "" if len(context.recordings) > 1 else "there are no recordings of other rows to mix"


DECIBEL = (25.0, 20.0, 15.0, 10.0, 5.0, 0.0, -5.0)
NOISES: dict[str, dict[str, Noise]] = {
    "image": {
        "gaussian": Noise(
            (0, 0.08, 0.12, 0.18, 0.26, 0.38), "deviation {:.2f} of the full range", _plain(pictures.grain)
        ),
        "blur": Noise((0, 1, 2, 3, 4, 6), "{:.1f} pixels wide in one of 224", _plain(pictures.blur)),
        "jpeg": Noise((95, 25, 18, 15, 10, 7), "quality {:.0f}", _plain(pictures.jpeg)),
        "occlusion": Noise((0, 0.1, 0.2, 0.35, 0.5, 0.7), "{:.0%} of the area", _plain(pictures.occlusion)),
        "brightness": Noise((0, 0.1, 0.2, 0.3, 0.4, 0.5), "{:.2f} brighter", _plain(pictures.brightness)),
    },
    "audio": {
        "white": Noise(DECIBEL, "signal to noise {:.0f} dB", _plain(sounds.white)),
        "babble": Noise(DECIBEL, "signal to noise {:.0f} dB", _babble, _few),
        "clipping": Noise((1, 0.5, 0.3, 0.2, 0.1, 0.05), "at {:.0%} of the peak", _plain(sounds.clipping)),
        "dropouts": Noise((0, 0.1, 0.2, 0.4, 0.6, 0.8), "{:.0%} of the packets", _plain(sounds.dropouts)),
    },
    "text": {
        "typos": Noise((0, 0.02, 0.05, 0.1, 0.2, 0.4), "{:.0%} of the characters", _plain(words.typos)),
        "drops": Noise((0, 0.1, 0.2, 0.4, 0.6, 0.8), "{:.0%} of the words", _plain(words.word_drops)),
        "ocr": Noise((0, 0.05, 0.1, 0.2, 0.4, 0.8), "{:.0%} of what looks alike", _plain(words.ocr)),
    },
    "series": {
        "jitter": Noise((0, 0.1, 0.25, 0.5, 1, 2), "deviation {:.2f} spreads", _scaled(readings.jitter)),
        "dropouts": Noise((0, 0.1, 0.2, 0.4, 0.6, 0.8), "{:.0%} of the readings", _plain(readings.gaps)),
        "drift": Noise((0, 0.25, 0.5, 1, 2, 4), "{:.2f} spreads at the end", _scaled(readings.drift)),
    },
    "vector": {
        "gaussian": Noise((0, 0.1, 0.25, 0.5, 1, 2), "deviation {:.2f} spreads", _scaled(readings.jitter)),
    },
    "tabular": {
        "gaussian": Noise(
            (0, 0.1, 0.25, 0.5, 1, 2),
            "deviation {:.2f} spreads",
            _columns(readings.numbers),
            _needs(readings.KEEPS_ORDER, "column of numbers or dates"),
        ),
        "swaps": Noise(
            (0, 0.1, 0.2, 0.4, 0.6, 0.8),
            "{:.0%} of the cells",
            _columns(readings.swaps),
            _needs(readings.NOMINAL, "column of categories"),
        ),
    },
}
OPEN: dict[str, Callable[[Any], Any]] = {
    "image": pictures.opened,
    "audio": sounds.opened,
    "text": words.opened,
    "series": readings.series,
    "vector": readings.vectors,
    "tabular": dict,
}
