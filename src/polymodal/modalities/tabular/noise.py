"""What spoils the plain columns of a row, in units of the spread that training saw."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from polymodal.errors import Unreadable
from polymodal.modalities.base import Codec, missing
from polymodal.modalities.noise import Noise, Noises, Some, with_context
from polymodal.modalities.tabular.codec import Cells
from polymodal.modalities.tabular.columns import BOOLEAN, CATEGORY, DATE, NUMBER, READ

State = Mapping[str, Any]
Columns = Mapping[str, tuple[str, State]]  # by name, the kind, and what training knows of it
DAYS = 365.25
KEEPS_ORDER, NOMINAL = (NUMBER, DATE), (CATEGORY, BOOLEAN)


def numbers(row: Mapping[str, Any], severity: float, rng: np.random.Generator, columns: Columns) -> dict[str, Any]:
    """Each number and date + severity * spread of its column * N(0, 1).

    The spread is the interquartile range of the training rows as a share of a normal's.
    """
    out = dict(row)
    for c, (kind, state) in columns.items():
        step = severity * float(rng.standard_normal()) * state.get("scale", 0.0)
        value = _value(kind, row.get(c), state) if kind in KEEPS_ORDER else None
        if value is None or not math.isfinite(step):
            continue
        try:
            out[c] = value + (step if kind == NUMBER else timedelta(days=DAYS * step))
        except OverflowError:  # past the year 9999
            continue
    return out


def swaps(row: Mapping[str, Any], severity: float, rng: np.random.Generator, columns: Columns) -> dict[str, Any]:
    """Each category becomes, with probability `severity`, another one that training knows; a boolean its opposite."""
    out = dict(row)
    for c, (kind, state) in columns.items():
        u, place = rng.random(2)
        value = _value(kind, row.get(c), state) if kind in NOMINAL else None
        if value is None or u >= severity:
            continue
        others = [not value] if kind == BOOLEAN else [w for w in state["places"] if w != value]
        if others:
            out[c] = others[int(place * len(others))]
    return out


def _value(kind: str, cell: Any, state: State) -> Any:
    """What the cell means; None where it holds nothing or can't be read, so that it stays as it is."""
    try:
        return None if missing(cell) else READ[kind](cell, dict(state))
    except Unreadable:
        return None


def _values(codecs: Sequence[Codec], some: Some) -> Columns:
    table = next(c for c in codecs if isinstance(c, Cells))
    return {c: (kind, table.columns_[c]) for c, kind in table.columns.items()}


def _needs(kinds: Sequence[str], words: str) -> Callable[[Columns], str]:
    return lambda columns: "" if any(k in kinds for k, _ in columns.values()) else f"there is no {words}"


NOISES = Noises(
    dict,
    {
        "gaussian": Noise(
            (0, 0.1, 0.25, 0.5, 1, 2),
            "deviation {:.2f} spreads",
            with_context(numbers),
            _needs(KEEPS_ORDER, "column of numbers or dates"),
        ),
        "swaps": Noise(
            (0, 0.1, 0.2, 0.4, 0.6, 0.8),
            "{:.0%} of the cells",
            with_context(swaps),
            _needs(NOMINAL, "column of categories"),
        ),
    },
    _values,
)
