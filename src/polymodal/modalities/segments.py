"""How a cell is cut into parts, and how a model is shown the cell without some of them.

    cell --cut--> words, patches, seconds, segments, columns, dimensions --hide--> the cell's views without these

A view that a network reads is hidden where it is read: a False in its mask, so that the part is as absent as an empty
cell; a picture has no mask of pixels and shows the training mean instead. A view that an extractor or a frozen network
makes of the whole cell is made again of a changed cell: words cut out, a patch in the mean colour, silence, gaps.

Axes: p set of hidden parts, s part.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.base import Codec
from polymodal.modalities.places import Floats, Place, Sequence
from polymodal.ops import widen

Away = NDArray[np.bool_]  # (P, S) True where a part is hidden
Codecs = Mapping[str, Codec]
Inputs = Mapping[str, Masked]  # of one row


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
        away_s = away_ps[:, self.owner]
        values, mask = (v.expand(len(away), *v.shape[1:]) for v in self.x)
        if self.blank is None:
            return Masked(values, mask & ~away_s)
        return Masked(torch.where(away_s, self.blank.to(values.dtype), values), mask)

    def there(self, parts: int) -> NDArray[np.bool_]:
        """(S,) True for the parts of which the row has a real value."""
        shape = self.owner.shape if self.blank is None else self.x.values.shape[1:]
        real = widen(self.x.mask[0], len(shape)).expand(shape) & (self.owner >= 0)
        out = np.zeros(parts, dtype=bool)
        out[self.owner.expand(shape)[real].cpu().numpy()] = True
        return out

    def owners(self) -> Tensor:
        """The part of every value of the row."""
        shape = self.x.values.shape[1:]
        return (self.owner if self.blank is not None else widen(self.owner, len(shape))).expand(shape)

    def shares(self, share_t: Floats, parts: int) -> Floats | None:
        """(T,) shares of tokens, each of as many places that follow one another -> (S,) of the parts; a token's is
        divided evenly. None where that many tokens can't be made of the places so."""
        owner = self.owner.cpu().numpy()
        places = len(owner)
        stride = next(s for s in range(1, places + 1) if -(-places // s) <= len(share_t))
        if -(-places // stride) != len(share_t):
            return None
        token = np.arange(places) // stride
        even = share_t[token] / np.bincount(token)[token]
        out = np.zeros(parts + 1)
        owner = owner.reshape(places, -1)
        np.add.at(out, owner, even[:, None] / owner.shape[1])
        return out[:-1]


class Closed:
    """A view that is made again of the changed cell. without: from (S,) hidden parts to the cell without them."""

    def __init__(self, codec: Codec, without: Callable[[NDArray[np.bool_]], Any], device: torch.device) -> None:
        self.codec, self.without, self.device = codec, without, device
        self.known: dict[bytes, Tensor | None] = {}

    def hidden(self, away: Away) -> Masked:
        """(P, ...) the view of each changed cell; what can't be read of one is absent. Each is made once."""
        new = {a.tobytes(): a for a in away if a.tobytes() not in self.known}
        records = self.codec.encode_batch([self.without(a) for a in new.values()]) if new else []
        self.known |= {k: None if isinstance(v, Unreadable) else v for k, v in zip(new, records, strict=True)}
        return self.codec.collate([self.known[a.tobytes()] for a in away]).to(self.device)

    def there(self, parts: int) -> NDArray[np.bool_]:
        """(S,) True: which parts a changed cell's view has nothing of isn't known."""
        return np.ones(parts, dtype=bool)

    def shares(self, share_t: Floats, parts: int) -> Floats | None:
        """None: tokens of the whole cell lie nowhere in it."""
        return None


class Cut(NamedTuple):
    """A cell in parts: where they lie, how many they are, and each of its views."""

    where: Place
    parts: int
    views: dict[str, Open | Closed]

    @property
    def open(self) -> dict[str, Open]:
        """The views that are hidden where they are read."""
        return {v: x for v, x in self.views.items() if isinstance(x, Open)}

    def shares(self, view: str, share_t: Floats, place: Callable[[Any, str], Place]) -> Floats | None:
        """(T,) shares of a view's tokens -> (S,) of the parts that they lie on; a token over several is divided evenly.

        place: from a cell and its name to where these tokens lie in it. None where the tokens can't be told apart by
        the parts.
        """
        if len(share_t) < 2:
            return None
        return self.where.shares(share_t, place) if self.where.extent else self.views[view].shares(share_t, self.parts)


def views(
    codecs: Codecs, xs: Inputs, open_view: Callable[[str, Codec, Masked], Open | None], without: Any
) -> dict[str, Open | Closed]:
    """Each view as it can be hidden: where it is read, or else by changing the cell."""
    out: dict[str, Open | Closed] = {}
    for v, codec in codecs.items():
        view = open_view(v, codec, xs[v])
        out[v] = Closed(codec, without, xs[v].mask.device) if view is None else view
    return out


class Segments(NamedTuple):
    """How cells of a kind are cut. most: parts of a cell.

    cut(codecs, xs, cell, label, most): the parts; codecs, xs: of each view, its one row; label: the cell's name in the
    table. place(codec, cell, label, tokens): where the tokens lie that an encoder makes of what the codec has read.
    """

    most: int
    cut: Callable[[Codecs, Inputs, Any, str, int], Cut]
    place: Callable[[Codec, Any, str, int], Place] = lambda codec, cell, label, tokens: Sequence(tokens)


def whole(codecs: Codecs, xs: Inputs, cell: Any, label: str, most: int) -> Cut:
    """A cell in one part, which is all of it."""

    def open_view(view: str, codec: Codec, x: Masked) -> Open:
        return Open(x, torch.zeros(x.mask.shape[1:], dtype=torch.long, device=x.mask.device))

    return Cut(Sequence(1), 1, views(codecs, xs, open_view, lambda away: None if away.all() else cell))
