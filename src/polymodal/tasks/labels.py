"""Cells of a target column -> labels. Shared by the tasks that have classes."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from polymodal.errors import InputError
from polymodal.levels import value_of


def missing(cell: Any) -> bool:
    """No label: None, NaN (of any library), or blank text."""
    if isinstance(cell, str):
        return not cell.strip()
    if cell is None:
        return True
    if isinstance(cell, list | tuple | set | Mapping | np.ndarray):
        return False
    try:
        return bool(cell != cell)
    except TypeError:  # pandas.NA has no truth
        return True


def plain(cell: Any) -> Any:
    """The label as JSON can hold it: a str without spaces around it, a bool, an int, or a finite float."""
    cell = value_of(cell)
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bool | int) or (isinstance(cell, float) and math.isfinite(cell)):
        return cell
    if isinstance(cell, list | tuple | set | Mapping | np.ndarray | float):
        raise InputError(
            f"{cell!r} can't be a class; expected one text, number or boolean a row"
            + ("" if isinstance(cell, float) else " (for several labels a row use the task multilabel)")
        )
    return str(cell)  # a date, say


def key(label: Any) -> str:
    """What two spellings of one label share: 3, 3.0 and "3" are one class, however the table was read."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def number(label: Any) -> float | None:
    """The label as a finite number; None where it is none."""
    try:
        x = float(label)
    except (TypeError, ValueError):
        return None
    return x if math.isfinite(x) else None


def count(labels: Iterable[Any]) -> tuple[list[Any], list[int]]:
    """Distinct labels and how often each occurs; in numeric order where all are numbers, else in that of
    their text.
    """
    first: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    for label in labels:
        k = key(label)
        first.setdefault(k, label)
        counts[k] += 1
    keys = sorted(first)
    numbers = [number(first[k]) for k in keys]
    if all(x is not None for x in numbers):
        keys = [k for _, k in sorted(zip(numbers, keys, strict=True))]
    return [first[k] for k in keys], [counts[k] for k in keys]


def several(cell: Any, separator: str | None) -> list[Any]:
    """The labels of one multi-label cell: a list, a JSON list, or text with a separator; in order, without
    repeats.
    """
    if isinstance(cell, str):
        cell = from_json(cell) if is_json_list(cell) else cell.split(separator) if separator else [cell]
    if not isinstance(cell, list | tuple | set | np.ndarray):
        cell = [cell]
    labels = [plain(x) for x in cell if not missing(x)]
    return list({key(x): x for x in labels}.values())


def is_json_list(cell: Any) -> bool:
    """Text that begins and ends like a JSON list."""
    return isinstance(cell, str) and cell.strip().startswith("[") and cell.strip().endswith("]")


def from_json(cell: str) -> list[Any]:
    """The list that a JSON text holds."""
    try:
        value = json.loads(cell)
    except json.JSONDecodeError:
        raise InputError(
            f'{label_text(cell)} looks like a JSON list but is none; expected for example ["a", "b"], or a|b'
        ) from None
    return list(value)


def separator_of(cells: Sequence[Any]) -> str | None:
    """The first of | ; , that is in any text cell that is no JSON list; None where none is."""
    texts = [c for c in cells if isinstance(c, str) and not is_json_list(c)]
    return next((s for s in "|;," if any(s in c for c in texts)), None)


def label_text(value: Any, limit: int = 60) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def list_text(values: Sequence[Any], limit: int = 10) -> str:
    """Some values for a message, and how many more there are."""
    text = ", ".join(label_text(v, 30) for v in values[:limit])
    return text if len(values) <= limit else f"{text} and {len(values) - limit} more"
