"""What the library asks about a kind of column: one record a kind, written in its folder's `__init__`.

Nothing outside the folders compares a kind with a name: it asks the record.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from polymodal.modalities.base import Codec, Encoder, Guess
from polymodal.modalities.extractor import Extractor
from polymodal.modalities.noise import Noises
from polymodal.modalities.places import CELL, Place
from polymodal.modalities.pretrained.codec import HubCodec
from polymodal.modalities.pretrained.graph import Feeding
from polymodal.modalities.segments import Codecs, Cut, Inputs, Segments, whole
from polymodal.modalities.sizes import Measure
from polymodal.view.cell import Preview, Text

SLOW = 16  # parts of a cell of which a pretrained network looks at every change


class Shift(NamedTuple):
    """How far one cell begins after another that it overlaps, and how long that one is, both in readings."""

    by: int
    length: int


class Modality(NamedTuple):
    """All that anybody may ask about cells of one kind. Of each mapping the first entry is the default.

    A column of the kind is a modality of its own, called as the column; where the record has `columns`, all columns of
    these kinds are one modality together, called `name`, whose cells are mappings of column to value.
    """

    kind: str
    cells: str  # what a cell may be, for a person
    codecs: Mapping[str, type[Codec]]  # by the names that `--encoder COLUMN=NAME` takes
    encoders: Mapping[str, type[Encoder]]
    hub: type[HubCodec] | None = None  # prepares cells for a network of the Hugging Face hub
    onnx: Feeding | None = None  # prepares cells for a network in an ONNX file
    extractors: Mapping[str, type[Extractor]] = {}  # by the names that `--features COLUMN=NAME` takes
    default_extractors: Sequence[str] = ()  # those that are used unless others are asked for

    # --- its columns ---
    columns: Sequence[str] = ()
    name: str = ""
    suffixes: Collection[str] = ()  # a string that ends so is a path, even where there is no such file
    column_kind: Callable[[Sequence[Any]], tuple[str, Guess]] | None = None  # which of `columns`, and how surely
    identifies: Callable[[str, Sequence[Any]], bool] = lambda kind, cells: False  # may such a column name its rows
    legible: bool = False  # a person can read what a cell holds as it stands in the table
    recurs: bool = False  # a cell that stands in several rows is one thing, seen several times
    tells: Mapping[str, str] = {}  # by the column's kind, how it could give a target away: "value", "order", "words"
    measure: Measure | None = None  # of one column
    shift: Callable[[Any, Any], Shift | None] | None = None  # whether a cell begins later than another, and overlaps it

    noise: Noises | None = None  # what spoils its cells, for `robustness`
    segments: Segments = Segments(1, whole)  # what of a cell explanations hide
    preview: Callable[[Any], Preview | None] = lambda cell: Text(str(cell))  # what a page shows; None: nothing is there

    # --- text that is written from it ---
    places: int = 1  # tokens that a frozen network gives of a cell, for words to look at
    stream: bool = False  # its tokens come in the order of time, so that a CTC head can write from it
    speech: bool = False  # its cells may be what somebody says
    transcriber: str | None = None  # the encoder for a CTC head, where the default has too few tokens
    variation: Callable[[], Any] | None = None  # makes a module that varies what its own encoders read, in training

    @property
    def codec(self) -> type[Codec]:
        """The default."""
        return next(iter(self.codecs.values()))

    @property
    def kinds(self) -> Sequence[str]:
        """What a column that it reads may be called in a schema."""
        return self.columns or (self.kind,)

    def settings(self, columns: Mapping[str, str]) -> dict[str, Any]:
        """The arguments of a codec for columns of these kinds, by name."""
        return {"columns": dict(columns)} if self.columns else {}

    def cut(self, codecs: Codecs, xs: Inputs, cell: Any, name: Any) -> Cut:
        """The parts of a cell. codecs, xs: of each view, its one row. name: the cell as the table has it."""
        most = self.segments.most
        few = min(most, SLOW) if any(c.batched for c in codecs.values()) else most
        return self.segments.cut(codecs, xs, cell, _label(name), few)

    def place(self, codec: Codec, cell: Any, name: Any, tokens: int) -> Place:
        """Where the `tokens` of a cell lie that `codec` has read. name: the cell as the table has it."""
        return self.segments.place(codec, cell, _label(name), tokens)

    def guess(self, cells: Sequence[Any]) -> tuple[str, Guess]:
        """What a column with these cells is, if it is this modality's, and how sure that is; see `Codec.accepts`."""
        return (self.kind, self.codec.accepts(cells)) if self.column_kind is None else self.column_kind(cells)


def _label(name: Any) -> str:
    return name[:CELL] if isinstance(name, str) else ""
