"""What each word of a caption attended to, or in which seconds each word of a transcript was heard.

    row --encoders--> memory --search--> words --attention over the memory--> by modality (W, S)
    row --encoders--> frames --search--> words --forced alignment--> the frames of each (W, S)

Axes: w word, s token of the memory or of one modality of it, v word of the vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.data.encode import Bad
from polymodal.data.preprocess import target_cells
from polymodal.data.references import keys
from polymodal.data.table import Table, resolve
from polymodal.decoders.base import Decoding
from polymodal.errors import InputError
from polymodal.modalities import MODALITIES
from polymodal.modalities.places import Place
from polymodal.model import Model
from polymodal.tasks.generate import references
from polymodal.view.text import short

Floats = NDArray[np.float64]
LEAST = 0.005  # of the attention: what is not rounded to 0%


class Explanation(NamedTuple):
    """The caption of a row, and the attention of each of its words.

    words: as a person reads them. logprob: (W,) of each word after those before it; `end` is that of stopping there.
    maps: by modality (W, S), attention over its S tokens; nothing: (W,), what went to the token that stands for
    nothing. Over all modalities and nothing a word's attention sums to 1. where: by modality, what its tokens are.
    references: the texts that the table has for the row. absent: modalities of which the row has nothing, and hidden
    ones. bad: cells of the row that can't be read.
    """

    table: str
    row: int
    text: str
    words: list[str]
    logprob: Floats
    end: float
    maps: dict[str, Floats]
    nothing: Floats
    where: dict[str, Place]
    references: list[str]
    absent: list[str]
    bad: list[Bad]

    def __repr__(self) -> str:
        return f"<Explanation of row {self.row} of {self.table}: {short(self.text, 80)}>"

    @property
    def share(self) -> dict[str, Floats]:
        """By modality (W,): how much of each word's attention went to it."""
        return {m: a_ws.sum(1) for m, a_ws in self.maps.items()}

    def told(self) -> dict[str, list[str]]:
        """By modality, in words, where each word looked most."""
        return {m: self.where[m].words(a_ws) for m, a_ws in self.maps.items()}

    def sentences(self) -> list[str]:
        """A sentence a word: how sure it was, and where it looked."""
        places, share, out = self.told(), self.share, []
        for i, word in enumerate(self.words):
            parts = [f"{m} {share[m][i]:.0%}" + (f", {places[m][i]}" if places[m][i] else "") for m in self.maps]
            parts += [f"nothing {self.nothing[i]:.0%}"] if self.nothing[i] >= LEAST else []
            out.append(f"{word} (p {np.exp(self.logprob[i]):.2f}): {'; '.join(parts)}")
        return out

    def to_json(self) -> dict[str, Any]:
        """Plain containers: words with shares and places in words, and the attention of every token."""
        places, share = self.told(), self.share
        words = [
            {
                "word": word,
                "logprob": round(float(self.logprob[i]), 6),
                "share": {m: round(float(s[i]), 6) for m, s in share.items()},
                "where": {m: t[i] for m, t in places.items()},
                "nothing": round(float(self.nothing[i]), 6),
            }
            for i, word in enumerate(self.words)
        ]
        maps = {m: {**self.where[m].to_json(), "attention": a_ws.round(6).tolist()} for m, a_ws in self.maps.items()}
        return {
            "table": self.table,
            "row": self.row,
            "text": self.text,
            "words": words,
            "end": {"logprob": round(self.end, 6)},
            "maps": maps,
            "references": self.references,
            "absent": self.absent,
            "bad": [b._asdict() for b in self.bad],
        }


def caption(
    model: Model,
    table: Any,
    row: int,
    *,
    how: Decoding | None = None,
    without: Sequence[str] = (),
    cache: Path | str | None = None,
) -> Explanation:
    """Write a row's text and say what each of its words attended to, or which frames say it (CTC).

    row: as everywhere, 1 is the first below the header. how: how the caption is searched for [the model's own way].
    without: modalities that are hidden. Raises InputError for a row that the table does not have, and for a model that
    writes in another way, which nothing explains yet.
    """
    table = Table.read(table)
    at = position(table, row)
    one = table.take([at])
    rows = model.preprocessor.encode(
        one, None, cache=None if cache is None else Path(cache), without=without, quiet=True
    )
    learner = model.learner
    device = next(learner.parameters()).device
    inputs = rows.only(learner.reads).batch([0]).to(device).inputs
    attention = learner.attend(inputs, how)
    where = {m: _place(model, one, m, a_ws.shape[1]) for m, a_ws in attention.maps.items()}
    return Explanation(
        table=table.name,
        row=row,
        text=attention.text,
        words=attention.words,
        logprob=attention.logprob[:-1],
        end=float(attention.logprob[-1]),
        maps=attention.maps,
        nothing=attention.nothing,
        where=where,
        references=_references(model, table, at),
        absent=[m for m in learner.reads if m not in attention.maps],
        bad=list(rows.bad),
    )


def position(table: Table, row: int) -> int:
    """The place of the row with this number. Raises InputError, with the numbers that there are, for another."""
    numbers = [table.row_number(i) for i in range(table.rows)]
    if row not in numbers:
        raise InputError(
            f"{table.name} has no row {row}; its rows are {min(numbers)} to {max(numbers)}, where 1 is the first below "
            "the header"
        )
    return numbers.index(row)


def _place(model: Model, one: Table, view: str, tokens: int) -> Place:
    prep = model.preprocessor
    kind, columns = prep.schema.modalities()[prep.views[view]]
    codec, cell = prep.codecs[view], one.cells(columns[0])[0]
    return MODALITIES[kind].place(codec, resolve(cell, one.folder) if codec.takes_files else cell, cell, tokens)


def _references(model: Model, table: Table, at: int) -> list[str]:
    """The texts of the row and of all rows with the same input."""
    schema = model.preprocessor.schema
    if any(t not in table.columns for t in schema.target):
        return []
    inputs, cells = keys(table, schema), target_cells(table, schema)
    same = [c for k, c in zip(inputs, cells, strict=True) if k == inputs[at]]
    return list(dict.fromkeys(text for c in same for text in references(c)))
