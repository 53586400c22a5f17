"""The kinds of noise: what each does to a decoded cell, and how much of it each level means.

    cell --open--> decoded --apply(severity, rng)--> a cell that every codec of that kind reads

Level 0 is the clean cell, to which nothing is applied. Of L levels, level k is the place k / (L - 1) along the kind's
row of severities, read off in straight lines between the numbers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from polymodal.modalities.base import Codec

Change = Callable[[Any, float, np.random.Generator], Any]
Some = Callable[[int], Iterator[tuple[int, Any]]]  # at most so many decoded cells of a column, with their rows


class Noise(NamedTuple):
    """A kind of noise. severities: from nearly nothing to most. said: the severity in words, with its unit.

    apply(decoded, severity, rng, context, row) -> a cell. lacks(context): why it can't be applied; "" where it can.
    """

    severities: tuple[float, ...]
    said: str
    apply: Callable[[Any, float, np.random.Generator, Any, int], Any]
    lacks: Callable[[Any], str] = lambda context: ""

    def severity(self, place: float) -> float:
        """The severity at a place along the row, above 0 up to 1."""
        return float(np.interp(place * (len(self.severities) - 1), range(len(self.severities)), self.severities))


class Noises(NamedTuple):
    """What spoils cells of one kind. open(cell): the cell, decoded; raises Unreadable for what holds nothing.

    context(codecs, some): what the kinds of noise may know beside the cell, from the fitted codecs of the column and
    some of its decoded cells.
    """

    open: Callable[[Any], Any]
    kinds: Mapping[str, Noise]
    context: Callable[[Sequence[Codec], Some], Any] = lambda codecs, some: None


def plain(change: Change) -> Callable[[Any, float, np.random.Generator, Any, int], Any]:
    """Noise that knows the cell alone."""
    return lambda x, severity, rng, context, row: change(x, severity, rng)


def with_context(change: Callable[[Any, float, np.random.Generator, Any], Any]) -> Callable[..., Any]:
    """Noise that knows the context too."""
    return lambda x, severity, rng, context, row: change(x, severity, rng, context)
