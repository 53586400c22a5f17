"""Where the parts of a cell lie, and how the cell is shown with a score or a share of attention on each part.

A kind whose cells have places of their own, such as patches of a picture, says so in its folder.

Axes: w word, s token of a modality or part of a cell.
"""

from abc import ABC, abstractmethod
from collections import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from polymodal.view.blocks import Block, Layer
from polymodal.view.cell import to_unit
from polymodal.view.text import short

Floats = NDArray[np.float64]
CELL = 200  # characters of a cell that are kept as its name
ACROSS = 240  # pixels along time
NAME, TITLE = 40, 80  # characters of a part's name, of a cell's


class Place(ABC):
    """Where the parts of one cell, or its tokens, lie.

    bars: how many parts a list of the strongest has; none where their names say little. in_place: whether their scores
    are read on the cell itself, and not in a list. extent: whether tokens lie on the parts by where they are in the
    cell, as in a picture, and not by their order.
    """

    bars: ClassVar[int] = 8
    in_place: ClassVar[bool] = False
    extent: ClassVar[bool] = False

    @abstractmethod
    def words(self, attention_ws: Floats) -> list[str]:
        """(W, S) -> of each word where most of its attention went."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain containers, without the cell."""

    def names(self, parts: int) -> list[str]:
        """What each part is called."""
        return [w or f"part {i + 1}" for i, w in enumerate(self.words(np.eye(parts)))]

    def shares(self, share_t: Floats, place: abc.Callable[[Any, str], "Place"]) -> Floats | None:
        """(T,) shares of tokens -> (S,) of the parts that they lie on, of an `extent`; None where they lie elsewhere.

        place: from a cell and its name to where the tokens lie in it.
        """
        return None

    def scored(self, scores: Floats, modality: str, output: str, characters: int) -> list[Block]:
        """The cell with (S,) scores that speak for an output or against it; nothing where it has no look of its own.

        characters: of a text that are shown.
        """
        return []

    def attended(self, attention_ws: Floats, modality: str, notes: abc.Sequence[str]) -> Layer | None:
        """The cell under the words that attended to it; None where there is nothing to see."""
        return None


@dataclass(frozen=True)
class Sequence(Place):
    """Tokens of which nothing is known but their order."""

    tokens: int

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the token that gets most; nothing where there is only one."""
        if self.tokens == 1:
            return [""] * len(attention_ws)
        return [f"token {int(a_s.argmax()) + 1} of {self.tokens}" for a_s in attention_ws]

    def to_json(self) -> dict[str, Any]:
        """How many."""
        return {"kind": "sequence", "tokens": self.tokens}

    def attended(self, attention_ws: Floats, modality: str, notes: abc.Sequence[str]) -> Layer | None:
        """Maps of the tokens from left to right, of several."""
        if self.tokens < 2:
            return None
        name = short(modality, TITLE)
        token = np.arange(ACROSS) * self.tokens // ACROSS if self.tokens < ACROSS else np.arange(self.tokens)
        alt, marks = f"the {self.tokens} tokens of {name}, one after another", ["token 1", f"token {self.tokens}"]
        return Layer(name, alt, None, to_unit(attention_ws[:, token]), notes, marks)


@dataclass(frozen=True)
class Columns(Place):
    """Parts that are the columns of a table's row, or groups of a vector's dimensions: names, and what they hold."""

    columns: tuple[str, ...]
    cells: tuple[str, ...]

    bars = 40

    def names(self, parts: int) -> list[str]:
        """The column and what it holds."""
        each = zip(self.columns, self.cells, strict=True)
        return [f"{short(n, NAME)}: {short(x, NAME)}" if x else short(n, NAME) for n, x in each]

    def words(self, attention_ws: Floats) -> list[str]:
        """Of each word the column that gets most."""
        return [self.columns[int(a_s.argmax())] for a_s in attention_ws]

    def to_json(self) -> dict[str, Any]:
        """Names and cells."""
        return {"kind": "columns", "names": list(self.columns), "cells": list(self.cells)}


def top(scores: Floats) -> float:
    """The size of the strongest score."""
    return float(np.abs(scores).max(initial=0))


def title(modality: str, name: str) -> str:
    """A modality and its cell, for a reader."""
    return f"{modality}: {short(name, TITLE)}" if name else modality
