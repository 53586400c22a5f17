r"""Ways in which people write numbers; a column has one, found from all of its training cells.

1 lb. 5 oz. | 3h 20m | 52" | 12 pcs      quantities --> kilograms, seconds, metres, as many of a unit of their own
10-20 | 5 to 7 | 65+ | <18               ranges --> the middle, or the end that is known
1.234,56 | 0,5                           decimal commas
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

ENOUGH = 0.95  # of the texts must be written so
DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
TOKEN = re.compile(rf"([+-]?(?:{DIGITS}))\s*((?:[^\W\d_]|[°%/²³\"'″′])+)\.?")
COMMA = re.compile(r"[+-]?(?:\d{1,3}(?:[. \xa0]\d{3})+|\d+)(?:,\d+)?")
RANGE = re.compile(rf"({DIGITS})\s*(?:-|–|—|to|\.\.\.?)\s*({DIGITS})")
END = re.compile(rf"(?:[<>≤≥]=?|under|over)?\s*({DIGITS})\s*(?:\+|and over|and above|or more|or less)?", re.IGNORECASE)
ZERO = re.compile(r"(?<![\d.,])0\d")  # 01-12: a code
IN, FT, LB = 0.0254, 0.3048, 0.45359237
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
UNITS = {  # one plural s is left out
    "mass in kg": {"mg": 1e-6, "g": 1e-3, "gr": 1e-3, "gram": 1e-3, "kg": 1.0, "kilo": 1.0, "kilogram": 1.0, "t": 1e3,
                   "oz": LB / 16, "ounce": LB / 16, "lb": LB, "pound": LB, "st": 14 * LB, "stone": 14 * LB},
    "length in m": {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "meter": 1.0, "metre": 1.0, "km": 1e3, "in": IN, "inch": IN,
                    "inche": IN, '"': IN, "″": IN, "''": IN, "ft": FT, "foot": FT, "feet": FT, "'": FT, "′": FT,
                    "yd": 3 * FT, "yard": 3 * FT, "mi": 5280 * FT, "mile": 5280 * FT},
    "time in s": {"ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "m": MINUTE, "min": MINUTE, "minute": MINUTE,
                  "h": HOUR, "hr": HOUR, "hour": HOUR, "d": DAY, "day": DAY, "w": 7 * DAY, "wk": 7 * DAY,
                  "week": 7 * DAY, "month": 30.4375 * DAY, "y": 365.25 * DAY, "yr": 365.25 * DAY,
                  "year": 365.25 * DAY},
    "volume in l": {"ml": 1e-3, "cl": 1e-2, "dl": 0.1, "l": 1.0, "ltr": 1.0, "liter": 1.0, "litre": 1.0,
                    "pt": 0.473176473, "pint": 0.473176473, "qt": 0.946352946, "quart": 0.946352946,
                    "gal": 3.785411784, "gallon": 3.785411784},
    "bytes in MB": {"kb": 1e-3, "mb": 1.0, "gb": 1e3, "tb": 1e6},
}  # fmt: skip


def quantity(text: str, units: dict[str, float]) -> float | None:
    """The sum of numbers with units of one dimension; None for anything else.

    >>> quantity("1 lb. 5 oz.", UNITS["mass in kg"]), quantity("3h 20m", UNITS["time in s"]), quantity("5", {"kg": 1.0})
    (0.595339985625, 12000.0, None)
    """
    total, end = 0.0, 0
    for token in TOKEN.finditer(text):
        unit = token[2].lower()
        factor = units.get(unit) or units.get(unit.removesuffix("s"))
        if factor is None or text[end : token.start()].strip(" ,") not in ("", "and"):
            return None
        total, end = total + float(token[1].replace(",", "")) * factor, token.end()
    return total if end and not text[end:].strip() else None


def middle(text: str) -> float | None:
    """The middle of a range, or its known end.

    >>> middle("10-20"), middle("65+"), middle("20-10")
    (15.0, 65.0, None)
    """
    if ZERO.search(text):
        return None
    if both := RANGE.fullmatch(text):
        low, high = (float(x.replace(",", "")) for x in both.groups())
        return (low + high) / 2 if low <= high else None
    end = END.fullmatch(text)
    return float(end[1].replace(",", "")) if end else None


def comma(text: str) -> float | None:
    """A number with a decimal comma; points or spaces may part its thousands.

    >>> comma("1.234,56"), comma("0,5"), comma("1.5")
    (1234.56, 0.5, None)
    """
    if not COMMA.fullmatch(text):
        return None
    return float(re.sub(r"[. \xa0]", "", text).replace(",", "."))


FORMS = {"with a decimal comma": comma, "ranges": middle}


def reader(way: str) -> Callable[[str], float | None]:
    """What reads a text that is written in a way that `find` named."""
    return FORMS.get(way) or partial(quantity, units=UNITS.get(way, {way: 1.0}))


def is_known(text: str) -> bool:
    """Whether it is a number in any of the ways, but for units of their own."""
    starts = re.match(r"\s*[+-]?[.\d<>≤≥]", text) is not None
    return starts and any(reader(way)(text.strip()) is not None for way in (*FORMS, *UNITS))


def find(texts: Sequence[str], plain: Callable[[str], bool], enough: float = ENOUGH) -> str | None:
    """The way in which at least this share of these texts, and more than are `plain` numbers, are written.

    None where they are not numbers, or plain ones.
    """
    most, best = sum(map(plain, texts)), None
    if most == len(texts):
        return None
    words = Counter(t[2].lower().removesuffix("s") for x in texts if (t := TOKEN.match(x)))
    for way in (*FORMS, *UNITS, *(w for w, _ in words.most_common(1) if w)):
        read = reader(way)
        count = sum(read(x) is not None for x in texts)
        if count >= enough * len(texts) and count > most:
            most, best = count, way
    return best
