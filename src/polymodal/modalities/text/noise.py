"""What spoils a text: slips of the keyboard, lost words, characters that a scanner takes for others.

A text never becomes empty: the last word stays. Slips after Belinkov & Bisk 2018.
"""

from typing import Any

import numpy as np

from polymodal.errors import Unreadable
from polymodal.modalities.base import missing
from polymodal.modalities.noise import Noise, Noises, plain
from polymodal.modalities.text.codec import WORD

KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
LOOKALIKES = (  # what stands on one side is read as the other
    ("o", "0"), ("l", "1"), ("i", "l"), ("s", "5"), ("b", "6"), ("g", "9"), ("z", "2"), ("e", "c"), ("a", "o"),
    ("u", "v"), ("h", "b"), ("n", "ri"), ("m", "rn"), ("w", "vv"), ("d", "cl"), ("t", "f"), ("y", "v"), ("r", "n"),
    ("O", "0"), ("I", "l"), ("S", "5"), ("B", "8"), ("G", "6"), ("Z", "2"), ("D", "0"), ("Q", "O"), ("E", "F"),
    ("0", "O"), ("1", "l"), ("5", "S"), ("8", "B"), ("2", "Z"), ("6", "b"), (".", ","), (",", "."), ("'", "`"),
)  # fmt: skip
READ_AS = dict(LOOKALIKES)
NEAR = {c: row[max(0, i - 1) : i] + row[i + 1 : i + 2] for row in KEYBOARD for i, c in enumerate(row)}


def load(cell: Any) -> str:
    """The cell as text. Raises Unreadable for what holds none."""
    text = "" if missing(cell) else str(cell)
    if not text.strip():
        raise Unreadable("an empty text")
    return text


def typos(text: str, severity: float, rng: np.random.Generator) -> str:
    """Each character, with probability `severity`, is hit beside its key, left out, doubled, or swapped with the next.

    A script that the keyboard lacks knows the last three alone; spaces are left as they are.
    """
    out, u, slip, side = list(text), *rng.random((3, len(text)))
    for i in np.flatnonzero(u < severity):
        c, near = text[i], NEAR.get(text[i].lower(), "")
        if c.isspace():
            continue
        how = int(slip[i] * 4) if near else 1 + int(slip[i] * 3)
        if how == 0:
            hit = near[int(side[i] * len(near))]
            out[i] = hit.upper() if c.isupper() else hit
        elif how == 3 and i + 1 < len(out) and not text[i + 1].isspace():
            out[i], out[i + 1] = out[i + 1], out[i]
        else:
            out[i] = "" if how == 1 else c + c
    return _something("".join(out), text)


def word_drops(text: str, severity: float, rng: np.random.Generator) -> str:
    """Each word is lost with probability `severity`, but never all; a Chinese or Japanese character is a word."""
    words = list(WORD.finditer(text))
    u = rng.random(len(words))
    drop = (u < severity) & (u < u.max(initial=0))
    out, start = [], 0
    for word, away in zip(words, drop, strict=True):
        if away:
            out.append(text[start : word.start()])
            start = word.end()
    return _something("".join([*out, text[start:]]), text)


def ocr(text: str, severity: float, rng: np.random.Generator) -> str:
    """Each character that looks like another is taken for it with probability `severity`: o and 0, m and rn."""
    u = rng.random(len(text))
    return "".join(READ_AS.get(c, c) if x < severity else c for c, x in zip(text, u, strict=True))


def _something(text: str, otherwise: str) -> str:
    return text if text.strip() else otherwise


NOISES = Noises(
    load,
    {
        "typos": Noise((0, 0.02, 0.05, 0.1, 0.2, 0.4), "{:.0%} of the characters", plain(typos)),
        "drops": Noise((0, 0.1, 0.2, 0.4, 0.6, 0.8), "{:.0%} of the words", plain(word_drops)),
        "ocr": Noise((0, 0.05, 0.1, 0.2, 0.4, 0.8), "{:.0%} of what looks alike", plain(ocr)),
    },
)
