"""How numbers, intervals and what cells hold are written, wherever they are shown."""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

DASH = "–"  # for what is undefined
LONGEST = 44  # characters of a name in a plot
ENDING = 40  # characters of a path that are shown
SMALL = 1e-9  # a change that is none
ISOLATE = "\u2068\u2069"  # first strong isolate, and its end
# controls of direction, as marks that change nothing
MARKS = {c: f"[U+{c:04X}]" for c in (*range(0x202A, 0x202F), 0x2066, 0x2067)} | {0x2028: " ", 0x2029: " "}


class Note(NamedTuple):
    """What a reader must know. hint: what a command or its files have more of, which a page about something else leaves
    out; either may be empty."""

    text: str
    hint: str = ""

    def __str__(self) -> str:
        return "; ".join(x for x in self if x)


# --- numbers ------------------------------------------------------------------------------------------


def number(x: float) -> str:
    """A number for a reader.

    >>> number(1234.0), number(0.12345), number(float("nan")), number(float("inf"))
    ('1,234', '0.123', '–', 'endless')
    """
    if math.isnan(x):
        return DASH
    if math.isinf(x):
        return "endless"
    whole = x == int(x) or abs(x) >= 100
    return f"{x:,.0f}" if whole and abs(x) < 1e12 else f"{x:.3g}"


def figure(x: Any) -> str:
    """A number in four places, or what it is.

    >>> figure(0.25), figure(1234567.0), figure("red")
    ('0.25', '1.235e+06', 'red')
    """
    return f"{x:.4g}" if isinstance(x, float) else str(x)


def with_sign(x: float) -> str:
    """A change, with its sign.

    >>> with_sign(0.25), with_sign(-1e-12), with_sign(float("nan"))
    ('+0.250', '0.000', 'unknown')
    """
    if math.isnan(x):
        return "unknown"
    size = max(3, 3 - math.floor(math.log10(abs(x)))) if SMALL < abs(x) < 0.001 else 3
    return "0.000" if abs(x) <= SMALL else f"{x:+.{min(size, 6)}f}" if abs(x) < 1000 else f"{x:+.4g}"


def digits(x: float, places: int = 3, sign: str = "") -> str:
    """A score, as everywhere; never a -0.000.

    >>> digits(0.81249), digits(-1e-5), digits(0.1, 2, "+")
    ('0.812', '0.000', '+0.10')
    """
    return DASH if math.isnan(x) else f"{round(x, places) + 0.0:{sign}.{places}f}"


def ends(x: Sequence[float], places: int = 3, sign: str = "") -> str:
    """The ends of an interval (value, low, high)."""
    low, high = x[-2:]
    return DASH if math.isnan(low) else f"[{digits(low, places, sign)}, {digits(high, places, sign)}]"


def interval(x: Sequence[float], places: int = 3, sign: str = "") -> str:
    """A value and its ends.

    >>> interval((0.8, 0.75, 0.85)), interval((0.8, float("nan"), float("nan")))
    ('0.800 [0.750, 0.850]', '0.800')
    """
    span = "" if math.isnan(x[0]) or math.isnan(x[1]) else f" {ends(x, places, sign)}"
    return digits(x[0], places, sign) + span


def many(count: int, noun: str) -> str:
    """So many of something.

    >>> many(1, "row"), many(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def not_shown(what: str, rows: int, no: str = "no") -> str:
    """That an interval holds 0: the one wording for it, wherever something is compared. no: "No" begins a sentence.

    >>> not_shown("gain of gated", 214)
    'no gain of gated was shown on 214 rows'
    """
    return f"{no} {what} was shown on {many(rows, 'row')}"


def list_names(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> list_names(["photo"]), list_names(["photo", "note", "table"])
    ('photo', 'photo, note and table')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def some(names: Iterable[str], most: int = 10) -> str:
    """The first names, each on one line and cut where it is long, and how many more there are.

    >>> some(["photo", "note", "table"], 2)
    'photo, note and 1 more'
    """
    every = list(names)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(short(n, LONGEST) for n in every[:most]) + more


# --- cells --------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Without what XML can't hold and no font draws, such as control characters; those that would turn the order of
    what comes after them around are shown as marks.
    """
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Co") else c for c in text)
    return clean.translate(MARKS)


def truncate(text: str, longest: int = LONGEST) -> str:
    """Plain text, cut where it is longer."""
    text = plain(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def short(cell: Any, limit: int) -> str:
    """A cell as text that a page can hold, cut where it is long; what is written from right to left stays by itself."""
    if isinstance(cell, list | tuple):
        cell = " | ".join(str(x) for x in cell[:limit])
    text = plain(str(cell)[: 4 * limit]).strip() or "(blank)"
    return apart(text if len(text) <= limit else text[: limit - 1] + "…")


def tail(cell: str | Path) -> str:
    """The end of a path, by which files differ."""
    text = plain(str(cell)[-8 * ENDING :])
    return apart(text if len(text) <= ENDING else "…" + text[1 - ENDING :])


def apart(text: str) -> str:
    r"""A cell's text that does not change the order of the words around it: isolated where any of it runs from right to
    left (Unicode Standard Annex 9), with its own controls of direction as marks.

    >>> apart("lovely"), apart("\u202egnp.exe\u2069")
    ('lovely', '[U+202E]gnp.exe[U+2069]')
    """
    text = text.translate({ord(c): f"[U+{ord(c):04X}]" for c in ISOLATE}).translate(MARKS)
    leftward = any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text)
    return f"{ISOLATE[0]}{text}{ISOLATE[1]}" if leftward else text
