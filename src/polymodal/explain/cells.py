"""How a cell is cut into parts, and how a model is shown the cell without some of them.

    cell --cut--> words, patches, seconds, segments, columns, dimensions --hide--> the cell's views without these

A view that a network reads is hidden where it is read: a False in its mask, so that the part is as absent as an empty
cell; a picture has no mask of pixels and shows the training mean instead. A view that an extractor or a frozen network
makes of the whole cell is made again of a changed cell: words cut out, a patch in the mean colour, silence, gaps.

Axes: p set of hidden parts, s part.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.explain.places import CELL, WHOLE, Columns, Grid, Place, Seconds, Steps, Words, seen_box
from polymodal.modalities.arrays import array
from polymodal.modalities.audio.codec import HOP, LogMel
from polymodal.modalities.audio.files import samples
from polymodal.modalities.audio.hub import HubAudio
from polymodal.modalities.base import Codec, missing
from polymodal.modalities.image.codec import Pixels
from polymodal.modalities.image.files import picture
from polymodal.modalities.image.hub import HubImage
from polymodal.modalities.pretrained.source import LOCK, processor
from polymodal.modalities.series.codec import Readings, numbers
from polymodal.modalities.tabular.codec import Cells
from polymodal.modalities.text.codec import CHARACTERS_A_TOKEN, WORD, Bytes, Pieces, cut, split, tokenizers
from polymodal.modalities.text.codec import Words as WordCodec
from polymodal.modalities.text.hub import CHARACTERS, HubText
from polymodal.modalities.vector.codec import Vectors
from polymodal.ops import widened

Away = NDArray[np.bool_]  # (P, S) True where a part is hidden
Codecs = Mapping[str, Codec]
Inputs = Mapping[str, Masked]  # of one row
PARTS = {"image": 64, "text": 128, "audio": 24, "series": 24, "vector": 32, "tabular": 10_000}
SLOW = 16  # parts of a cell of which a pretrained network looks at every change
CHANNELS = 6  # a series with more has parts that are all of them together
TEXT, SECONDS = 20_000, 3600.0  # characters and seconds of a cell that are looked at
GREY = (128, 128, 128)


class Open(NamedTuple):
    """A view that is hidden where it is read.

    x: its one row. owner: the part that each place belongs to, -1 for none: of the shape of the row's mask; where
    `blank` is given, of a shape that broadcasts to the row's values, which are then replaced by it.
    """

    x: Masked
    owner: Tensor
    blank: Tensor | None = None

    def hidden(self, away: Away) -> Masked:
        """(P, ...) the row without those parts."""
        away_ps = torch.from_numpy(np.pad(away, ((0, 0), (0, 1)))).to(self.owner.device)  # the last is that of no part
        gone = away_ps[:, self.owner]
        values, mask = (v.expand(len(away), *v.shape[1:]) for v in self.x)
        if self.blank is None:
            return Masked(values, mask & ~gone)
        return Masked(torch.where(gone, self.blank.to(values.dtype), values), mask)

    def there(self, parts: int) -> NDArray[np.bool_]:
        """(S,) True for the parts of which the row has a real value."""
        shape = self.owner.shape if self.blank is None else self.x.values.shape[1:]
        real = widened(self.x.mask[0], len(shape)).expand(shape) & (self.owner >= 0)
        out = np.zeros(parts, dtype=bool)
        out[self.owner.expand(shape)[real].cpu().numpy()] = True
        return out

    def owners(self) -> Tensor:
        """The part of every value of the row."""
        shape = self.x.values.shape[1:]
        return (self.owner if self.blank is not None else widened(self.owner, len(shape))).expand(shape)


class Closed:
    """A view that is made again of the changed cell. changed: from (S,) hidden parts to the cell without them."""

    def __init__(self, codec: Codec, changed: Callable[[NDArray[np.bool_]], Any], device: torch.device) -> None:
        self.codec, self.changed, self.device = codec, changed, device
        self.known: dict[bytes, Tensor | None] = {}

    def hidden(self, away: Away) -> Masked:
        """(P, ...) the view of each changed cell; what can't be read of one is absent. Each is made once."""
        new = {a.tobytes(): a for a in away if a.tobytes() not in self.known}
        made = self.codec.encode_batch([self.changed(a) for a in new.values()]) if new else []
        self.known |= {k: None if isinstance(v, Unreadable) else v for k, v in zip(new, made, strict=True)}
        return self.codec.collate([self.known[a.tobytes()] for a in away]).to(self.device)


class Cut(NamedTuple):
    """A cell in parts: where they lie, how many they are, and each of its views."""

    where: Place
    parts: int
    views: dict[str, Open | Closed]


def cut_up(kind: str, codecs: Codecs, xs: Inputs, cell: Any, name: Any) -> Cut:
    """The parts of a cell of this kind. codecs, xs: of each view, its one row. name: the cell as the table has it."""
    most = min(PARTS[kind], SLOW) if any(c.batched for c in codecs.values()) else PARTS[kind]
    label = name[:CELL] if isinstance(name, str) else ""
    return KINDS[kind](codecs, xs, cell, label, most)


def _views(
    codecs: Codecs, xs: Inputs, opened: Callable[[str, Codec, Masked], Open | None], changed: Any
) -> dict[str, Open | Closed]:
    """Each view as it can be hidden: where it is read, or else by changing the cell."""
    out: dict[str, Open | Closed] = {}
    for v, codec in codecs.items():
        found = opened(v, codec, xs[v])
        out[v] = Closed(codec, changed, xs[v].mask.device) if found is None else found
    return out


# --- texts --------------------------------------------------------------------------------------------


def _text(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    text = cut(cell, TEXT)
    read = {v: _offsets(c, cell, text, xs[v].mask.shape[1]) for v, c in codecs.items()}
    ends = [max((j for _, j in spans), default=0) if spans is not None else len(text) for spans in read.values()]
    words = [m.span() for m in WORD.finditer(text) if m.start() < max(ends)] or [(0, len(text))]
    size = -(-len(words) // most)
    spans = tuple((words[i][0], words[min(i + size, len(words)) - 1][1]) for i in range(0, len(words), size))
    part = np.full(len(text) + 1, -1)
    for s, (i, j) in enumerate(spans):
        part[i:j] = s

    # a piece may begin with the space before its word, so it belongs to the word that its last character is in
    def opened(view: str, codec: Codec, x: Masked) -> Open | None:
        if (tokens := read[view]) is None:
            return None
        owner = [int(part[j - 1]) if j > i else -1 for i, j in tokens]
        return Open(x, torch.tensor(owner, device=x.mask.device))

    def changed(away: NDArray[np.bool_]) -> str:
        keep = np.append(away, False)[part[:-1]]
        return "".join(" " if gone else c for c, gone in zip(text, keep, strict=True)).strip()

    return Cut(Words(text, spans), len(spans), _views(codecs, xs, opened, changed))


def _offsets(codec: Codec, cell: Any, text: str, tokens: int) -> list[tuple[int, int]] | None:
    """Where in the text each token lies; an empty span for one that is nowhere. None where that can't be told."""
    found: list[tuple[int, int]] | None = None
    if isinstance(codec, WordCodec):
        lower = cut(cell, CHARACTERS_A_TOKEN * codec.length_).lower()
        # of a few letters the lower case is longer, and places shift
        same = len(lower) == len(cut(cell, CHARACTERS_A_TOKEN * codec.length_))
        found = [m.span() for m in WORD.finditer(lower)][: codec.length_] if same else None
        assert found is None or len(found) == len(split(cell, codec.length_))
    elif isinstance(codec, Bytes):
        found = [(i, i + 1) for i, c in enumerate(cut(cell, codec.length_)) for _ in c.encode()][: codec.length_]
    elif isinstance(codec, Pieces):
        read = tokenizers().Tokenizer.from_str(codec.tokenizer_).encode(cut(cell, CHARACTERS_A_TOKEN * codec.length_))
        found = [(int(i), int(j)) for i, j in read.offsets][: codec.length_]
    elif isinstance(codec, HubText) and (own := str(cell)[: CHARACTERS * codec.length_].strip()) in text[: len(own)]:
        tokenizer = processor(codec.source, "text")
        if tokenizer.is_fast:
            with LOCK:
                read = tokenizer(own, truncation=True, max_length=codec.length_, return_offsets_mapping=True)
            found = [(int(i), int(j)) for i, j in read["offset_mapping"]]
    return found if found is not None and len(found) == tokens else None


# --- pictures -----------------------------------------------------------------------------------------


def _image(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    image = picture(cell)
    width, height = image.size
    rows = min(most, height, max(1, round(math.sqrt(most * height / width))))
    columns = min(width, max(1, most // rows))
    mean = next((tuple(round(255 * m) for m in c.mean_) for c in codecs.values() if isinstance(c, Pixels)), GREY)

    def opened(view: str, codec: Codec, x: Masked) -> Open | None:
        if not isinstance(codec, Pixels | HubImage):
            return None
        box = seen_box(codec, width, height) if isinstance(codec, HubImage) else WHOLE
        h, w = x.values.shape[2:]
        y, left = _bins(h, box[1], box[3], rows), _bins(w, box[0], box[2], columns)
        owner = torch.from_numpy(y[:, None] * columns + left)[None].to(x.mask.device)
        blank = torch.tensor([255 * m for m in codec.mean_]) if isinstance(codec, Pixels) else torch.zeros(3)
        return Open(x, owner, blank[:, None, None].to(x.mask.device))

    def changed(away: NDArray[np.bool_]) -> Image.Image:
        out = image.copy()
        draw = ImageDraw.Draw(out)
        for y, left in zip(*np.nonzero(away.reshape(rows, columns)), strict=True):
            corner = (left * width // columns, y * height // rows)
            draw.rectangle((corner, ((left + 1) * width // columns - 1, (y + 1) * height // rows - 1)), fill=mean)
        return out

    return Cut(Grid(cell, label, rows, columns), rows * columns, _views(codecs, xs, opened, changed))


def _bins(count: int, low: float, high: float, parts: int) -> NDArray[np.int64]:
    """(count,) which of equal parts of 0 to 1 each of `count` places between low and high lies in."""
    at = low + (np.arange(count) + 0.5) / count * (high - low)
    return np.minimum((at * parts).astype(np.int64), parts - 1)


# --- recordings and series ------------------------------------------------------------------------------


def _audio(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    inner = [getattr(c, "inner", c) for c in codecs.values()]
    limit = max(float(getattr(c, "seconds", SECONDS)) for c in inner)
    x_nc, rate = samples(cell, min(limit, SECONDS))
    duration = min(len(x_nc) / rate, limit)
    parts = max(1, min(most, math.ceil(duration / HOP)))
    edges = np.linspace(0, duration, parts + 1)

    def at(seconds: Any) -> NDArray[np.int64]:
        return np.asarray(np.clip(np.searchsorted(edges, seconds, side="right") - 1, 0, parts - 1))

    def opened(view: str, codec: Codec, x: Masked) -> Open | None:
        if isinstance(codec, HubAudio) and not codec.shape_:
            step = 1 / processor(codec.source, "audio").sampling_rate
        elif isinstance(codec, LogMel):
            step = HOP
        else:
            return None
        return Open(x, torch.from_numpy(at(np.arange(x.mask.shape[1]) * step + 1e-9)).to(x.mask.device))

    def changed(away: NDArray[np.bool_]) -> tuple[Any, int]:
        gone = away[at(np.arange(len(x_nc)) / rate)]
        return np.where(gone[:, None], x_nc.dtype.type(0), x_nc), rate

    return Cut(Seconds(cell, label, edges.tolist(), duration), parts, _views(codecs, xs, opened, changed))


def _series(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    raw = numbers(cell)
    assert raw is not None, "the modality is present"
    x_tc = raw.reshape(len(raw), -1)
    length, channels = x_tc.shape
    each = channels if 1 < channels <= CHANNELS else 1
    parts = max(1, min(length, most // each))
    edges = np.linspace(0, length, parts + 1).round().astype(int)
    segment = np.repeat(np.arange(parts), np.diff(edges))
    owner_tc = segment[:, None] * each + (np.arange(channels) if each > 1 else np.zeros(channels, dtype=int))

    def opened(view: str, codec: Codec, x: Masked) -> Open | None:
        if not isinstance(codec, Readings | Vectors):
            return None
        block = -(-length // codec.length_)  # neighbours that are averaged where the series is too long
        owner = torch.from_numpy(owner_tc[::block]).to(x.mask.device)
        return Open(x, owner if isinstance(codec, Readings) else owner[:, 0])

    def changed(away: NDArray[np.bool_]) -> Any:
        return np.where(away[owner_tc], np.nan, x_tc).reshape(raw.shape)

    names = tuple(f"channel {c + 1}" for c in range(channels)) if each > 1 else ()
    place = Steps(tuple(edges.tolist()), length, names)
    return Cut(place, parts * each, _views(codecs, xs, opened, changed))


# --- vectors and tables ---------------------------------------------------------------------------------


def _vector(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    raw = array(cell)
    assert raw is not None, "the modality is present"
    if raw.ndim > 1 and len(raw) > 1:
        return _series(codecs, xs, raw, label, most)
    x_d = raw.reshape(-1)
    size = -(-len(x_d) // most)
    part_d = np.arange(len(x_d)) // size
    groups = [x_d[i : i + size] for i in range(0, len(x_d), size)]

    def opened(view: str, codec: Codec, x: Masked) -> Open | None:
        if not isinstance(codec, Vectors):
            return None
        return Open(x, torch.from_numpy(part_d)[None].to(x.mask.device), torch.zeros((), device=x.mask.device))

    def changed(away: NDArray[np.bool_]) -> Any:
        return np.where(away[part_d], np.nan, x_d)

    starts = range(1, len(x_d) + 1, size)
    names = [
        f"dimensions {i}-{i + len(g) - 1}" if len(g) > 1 else f"dimension {i}"
        for i, g in zip(starts, groups, strict=True)
    ]
    place = Columns(tuple(names), tuple(f"{g.mean():.4g}" for g in groups))
    return Cut(place, len(groups), _views(codecs, xs, opened, changed))


def _tabular(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    names = list(cell)

    def opened(view: str, codec: Codec, x: Masked) -> Open | None:
        if not isinstance(codec, Cells):
            return None
        return Open(x, torch.tensor([names.index(c) for c in codec.field_columns], device=x.mask.device))

    def changed(away: NDArray[np.bool_]) -> dict[str, Any]:
        return {c: None if gone else cell[c] for c, gone in zip(names, away, strict=True)}

    shown = tuple("" if missing(cell[c]) else str(cell[c])[:CELL] for c in names)
    return Cut(Columns(tuple(names), shown), len(names), _views(codecs, xs, opened, changed))


KINDS: dict[str, Callable[[Codecs, Inputs, Any, str, int], Cut]] = {
    "text": _text,
    "image": _image,
    "audio": _audio,
    "series": _series,
    "vector": _vector,
    "tabular": _tabular,
}
