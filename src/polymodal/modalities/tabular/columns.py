"""Plain columns: how a number, a category, a boolean or a date is read, learned and encoded.

For each kind: reading gives what a value means, None where it holds nothing, or raises Unreadable; fitting
gives the state of a column, JSON values only; coding gives the fields of a value, NaN where it is missing.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from polymodal.errors import Unreadable
from polymodal.levels import order_of
from polymodal.modalities.base import missing
from polymodal.modalities.tabular import lists, ways

State = dict[str, Any]
NUMBER, CATEGORY, BOOLEAN, DATE = "number", "category", "boolean", "date"  # kinds of column

CATEGORIES = 1_000  # of a column with more, the rarest are unknown: they have too few rows to learn from
HALF = 0.5  # of a column of numbers, so that the cells which a guess was not made from change nothing
BOUND = 10.0  # after asinh: eleven thousand deviations from the median
TRUE = {"true", "yes", "y", "t", "on"}
FALSE = {"false", "no", "n", "f", "off"}
# "none" or "NA" may be a category (no pet, Namibia), but never a number, a date or a boolean
NOTHING = {"na", "n/a", "nan", "null", "none", "nat", "<na>", "-", "?"}
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
WHOLE = re.compile(r"[+-]?\d+\.0+")
# A literal list, not a parser that guesses: such parsers fill what is not there from today's date, and warn
NUMERIC_DATES = ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y"]
NUMERIC_DATES += ["%d.%m.%y", "%Y-%m"]
MONTH_NAMES = [
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%B %d %Y",
    "%a, %d %b %Y",
    "%b %Y",
    "%B %Y",
]
MONTH_NAMES += ["%B %d %Y"]
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def number(x: Any, state: State | None = None) -> float | None:
    """A finite number; of an ordered category, its place. Text may hold a sign of currency or percent, and commas
    between thousands, or be written in the way of its column.

    >>> number("$1,250.50")
    1250.5
    """
    if missing(x):
        return None
    levels = names_of(order_of([x])) if state is None else state.get("levels")
    try:
        if levels is not None and not isinstance(x, float):
            return float(levels.index(str(category(x))))
        if isinstance(x, str):
            text = bare(x)
            if text.lower() in NOTHING:
                return None
            if (way := (state or {}).get("way")) and (z := ways.reader(way)(text)) is not None:
                return z
            y = float("_" if "_" in text else text.replace(",", "") if THOUSANDS.fullmatch(text) else text)
        else:
            y = float(x)
    except (TypeError, ValueError, OverflowError):
        what = "a number" if levels is None else f"one of {', '.join(levels)}"
        raise Unreadable(f"{cell_text(x)} is not {what}") from None
    if math.isinf(y):
        raise Unreadable(f"{cell_text(x)} is not a finite number")
    if y and (state or {}).get("way") in ways.UNITS:  # of nothing there is as much in any unit
        raise Unreadable(f"{cell_text(x)} has no unit, and its column is of {(state or {})['way']}")
    return None if math.isnan(y) else y


def bare(text: str) -> str:
    """A number as text, without a sign of currency or percent."""
    return text[:100].strip().strip("$€£¥%").strip()


def way_of(values: Sequence[Any], enough: float = ways.ENOUGH) -> str | None:
    """How the texts among these values write numbers, where that is not plain; see `ways.find`."""
    texts = [t for x in values if isinstance(x, str) and (t := bare(x)) and t.lower() not in NOTHING]
    return ways.find(texts, lambda t: not math.isnan(number_or_nan(t)), enough)


def names_of(order: Sequence[Any] | None) -> list[str] | None:
    """The names of ordered categories, as cells of later tables hold them; None for None."""
    return None if order is None else [str(category(v)) for v in order]


def number_or_nan(x: Any, state: State | None = None) -> float:
    """The number; NaN where there is none, or something else."""
    try:
        value = number(x, state)
    except Unreadable:
        value = None
    return math.nan if value is None else value


def category(x: Any, state: State | None = None) -> str | None:
    """A name. 3, 3.0, "3" and "3.0" are one: a gap elsewhere in its column makes a reader write 3 as 3.0.

    >>> category(3.0), category(" Oslo ")
    ('3', 'Oslo')
    """
    if missing(x):
        return None
    text = str(x)[:1_000].strip()
    return text.split(".")[0] if WHOLE.fullmatch(text) else text


def boolean(x: Any, state: State | None = None) -> bool | None:
    """True or false, yes or no, on or off; 1 or 0."""
    if missing(x):
        return None
    text = str(x)[:100].strip().lower()
    if text in NOTHING:
        return None
    if text in TRUE or text in ("1", "1.0"):
        return True
    if text in FALSE or text in ("0", "0.0"):
        return False
    raise Unreadable(f"{cell_text(x)} is neither true nor false")


def moment(x: Any, state: State | None = None) -> datetime | None:
    """A date and time of day, as the clock on the wall showed it: ISO 8601, or a format of the column."""
    if missing(x):
        return None
    if isinstance(x, np.datetime64):
        x = x.astype("datetime64[us]").item()
    if isinstance(x, datetime):
        return x.replace(tzinfo=None)
    if isinstance(x, date):
        return datetime(x.year, x.month, x.day)
    text = str(x)[:100].strip()
    if text.lower() in NOTHING:
        return None
    # a name of a month can't be taken for a day, so that these need not have been seen in training
    for day in (None, *(NUMERIC_DATES if state is None else state["formats"]), *MONTH_NAMES):
        if (y := parse(text, day)) is not None:
            return y
    raise Unreadable(f"{cell_text(x)} is not a date")


def parse(text: str, day: str | None) -> datetime | None:
    """The date in this format, with or without a time, or in ISO 8601 without one; None where it is none.

    >>> parse("September 1st 2010", "%B %d %Y")
    datetime.datetime(2010, 9, 1, 0, 0)
    """
    text = ORDINAL.sub("", text)
    for time in ("",) if day is None else TIMES:
        try:
            y = datetime.fromisoformat(text) if day is None else datetime.strptime(text, day + time)
        except ValueError:
            continue
        return y.replace(tzinfo=None)
    return None


def fit_number(values: Sequence[Any]) -> State:
    """Median, and the interquartile range in units of a normal deviation; the names of ordered categories, or the way
    in which numbers are written."""
    levels = names_of(order_of(x for x in values if not missing(x)))
    state: State = {} if levels is None else {"levels": levels}
    if levels is None and (way := way_of(values, HALF)):
        state = {"way": way}
    return state | centre_and_scale(np.array(list(read(lambda x: number(x, state), values)), dtype=np.float64))


def centre_and_scale(x: np.ndarray[Any, np.dtype[np.float64]]) -> State:
    """Median and IQR / 1.349; the deviation where that is 0; 0 and 1 where there is nothing to learn.

    Robust, so that one slip of the keyboard doesn't flatten the rest.
    """
    if not x.size:
        return {"center": 0.0, "scale": 1.0}
    with np.errstate(over="ignore", invalid="ignore"):
        low, center, high = np.quantile(x, [0.25, 0.5, 0.75])
        for scale in ((high - low) / 1.349, x.std()):
            # below this lies what is left of rounding in a constant column
            if np.isfinite(scale) and scale > 1e-9 * abs(center):
                return {"center": float(center), "scale": float(scale)}
    return {"center": float(center) if np.isfinite(center) else 0.0, "scale": 1.0}


def fit_category(values: Sequence[Any]) -> State:
    """The vocabulary: each category's place, from 1, the commonest first; of lists also their items, see `lists`."""
    match = lists.find(values)
    count = Counter(read(category, values))
    words = [w for _, w in sorted((-n, w) for w, n in count.items())[:CATEGORIES]]
    return {"places": {w: i + 1 for i, w in enumerate(words)}} | (match._asdict() if match else {})


def fit_boolean(values: Sequence[Any]) -> State:
    """Nothing."""
    return {}


def fit_moment(values: Sequence[Any]) -> State:
    """The formats in use, the median, and whether there is a time of day.

    Day or month first is a question for the whole column: the format that reads most cells is tried first.
    """
    texts = sorted({x.strip() for x in values if isinstance(x, str) and not missing(x)} - {""})
    texts = [t for t in texts[:: -(-len(texts) // 300) or 1] if parse(t, None) is None]
    reads = {day: {t for t in texts if parse(t, day)} for day in NUMERIC_DATES}
    formats: list[str] = []
    while (best := max(reads, key=lambda day: len(reads[day]))) and reads[best]:
        formats.append(best)
        first = reads[best].copy()
        for match in reads.values():
            match -= first
    state: State = {"formats": formats}
    days: list[datetime] = list(read(lambda x: moment(x, state), values))
    return state | centre_and_scale(np.array([years(d) for d in days])) | {"clock": any(map(hours, days))}


def whole(x: Any) -> bool:
    """Is this a whole number, written as one?"""
    return not isinstance(x, float) and str(x).lstrip("-").isdigit()


def read(reader: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[Any]:
    """What the reader makes of the values that hold something and can be read."""
    for x in values:
        try:
            y = reader(x)
        except Unreadable:  # it is reported when the same cell is encoded
            continue
        if y is not None:
            yield y


def years(d: datetime) -> float:
    """1999.5 is the middle of 1999."""
    return d.year + (d.timetuple().tm_yday - 1 + hours(d) / 24) / 366


def hours(d: datetime) -> float:
    """Since midnight."""
    return d.hour + d.minute / 60 + d.second / 3600


def code_number(x: float, state: State) -> list[float]:
    """asinh: a line near the median, a logarithm far away, so prices over five decades keep their order."""
    y = math.asinh((x - state["center"]) / state["scale"])
    return [min(max(y, -BOUND), BOUND)]


def code_moment(d: datetime, state: State) -> list[float]:
    """Years from the median; then places on the circles of the year, the week and perhaps the day."""
    parts = [years(d) % 1, (d.weekday() + hours(d) / 24) / 7, *([hours(d) / 24] if state["clock"] else [])]
    circles = [f(2 * math.pi * p) for p in parts for f in (math.sin, math.cos)]
    return [*code_number(years(d), state), *circles]


def code(kind: str, x: Any, state: State) -> list[float]:
    """The fields of one value of a column of this kind; NaN where it is missing or can't be read."""
    try:
        y = READ[kind](x, state)
    except Unreadable:
        y = None
    if y is None:
        return [math.nan] * fields(kind, state)
    if kind == NUMBER:
        return code_number(y, state)
    if kind == DATE:
        return code_moment(y, state)
    if kind == BOOLEAN:
        return [1.0 if y else -1.0]
    there = lists.parts(x, state["separator"]) if "items" in state else []
    return [float(state["places"].get(y, 0)), *(float(item in there) for item in state.get("items", ()))]


def fields(kind: str, state: State) -> int:
    """How many fields a value takes."""
    if kind == DATE:
        return 7 if state["clock"] else 5
    return 1 + len(state.get("items", ()))


def cell_text(x: Any) -> str:
    """A value for an error message, short."""
    text = repr(x[:60] if isinstance(x, str) else x)
    return text if len(text) <= 60 else text[:57] + "..."


READ: dict[str, Callable[[Any, State | None], Any]] = {
    NUMBER: number,
    CATEGORY: category,
    BOOLEAN: boolean,
    DATE: moment,
}
FIT: dict[str, Callable[[Sequence[Any]], State]] = {
    NUMBER: fit_number,
    CATEGORY: fit_category,
    BOOLEAN: fit_boolean,
    DATE: fit_moment,
}
