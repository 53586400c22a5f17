"""Categories of which a cell has several: red, green | red/green | ["red", "green"] --> a field an item as well."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from polymodal.modalities.base import missing

SEPARATORS = ";|,/"
ITEMS = 64  # that have a field, the commonest
LEAST, SEVERAL, AGAIN, TIMES, WORDS = 10, 0.1, 0.95, 5, 3
LONGEST = 1_000  # characters of a cell


class Items(NamedTuple):
    """What the cells of a column are lists of, and what parts them."""

    separator: str
    items: list[str]


def parts(cell: Any, separator: str) -> list[str]:
    """The items of a cell, each once.

    >>> parts("red, green,red", ","), parts('["red", "green"]', ",")
    (['red', 'green'], ['red', 'green'])
    """
    raw: Any = cell
    if isinstance(cell, str):
        text = cell[:LONGEST].strip()
        try:
            raw = json.loads(text) if text.startswith("[") else text.split(separator)
        except (ValueError, RecursionError):
            raw = text.split(separator)
    each = raw if isinstance(raw, list | tuple | set | np.ndarray) else [raw]
    return [x for x in dict.fromkeys(str(x).strip() for x in each) if x]


def find(cells: Sequence[Any]) -> Items | None:
    """What the cells are lists of; None where they are none.

    Some cells have several items; in nearly all every item occurs elsewhere too, which those of sentences and names
    don't; an item comes back often, is short, and there are at least twice as many lists as items.
    """
    there = [c for c in cells if not missing(c)]
    for separator in SEPARATORS if len(there) >= LEAST else "":
        each = [parts(c, separator) for c in there]
        counts = Counter(i for items in each for i in items)
        if (
            sum(len(items) > 1 for items in each) >= SEVERAL * len(there)
            and sum(all(counts[i] > 1 for i in items) for items in each) >= AGAIN * len(there)
            and counts.total() >= TIMES * len(counts)
            and 2 * len(counts) <= len(set(map(tuple, each)))
            and sum(len(i.split()) for i in counts) <= WORDS * len(counts)
        ):
            return Items(separator, [i for i, _ in counts.most_common(ITEMS)])
    return None
