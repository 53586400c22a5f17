"""Decoders, which generate text from memory; see `base` for the contract. The tables at the foot name all."""

import difflib
from collections.abc import Callable

from polymodal.decoders.base import Decoder, Decoding, HiddenStates, State
from polymodal.decoders.embedding import WordEmbedding
from polymodal.decoders.recurrent import Additive, AttentiveGRU, DotProduct
from polymodal.decoders.transformer import CrossTransformer, PrefixLM
from polymodal.errors import InputError
from polymodal.nn import Size

__all__ = [
    "CLASSES",
    "DECODERS",
    "Additive",
    "AttentiveGRU",
    "CrossTransformer",
    "Decoder",
    "Decoding",
    "DotProduct",
    "HiddenStates",
    "PrefixLM",
    "WordEmbedding",
    "State",
    "make",
]

Maker = Callable[[int, int, Size, float], Decoder]


def make(name: str, dim: int, size: int, width: Size, dropout: float = 0.1) -> Decoder:
    """A decoder by its name in `DECODERS`: for memory of width `dim` and `size` ids, as wide and deep as `width` says.

    Raises InputError, with the nearest name, for one that is not there.
    """
    if name not in DECODERS:
        near = difflib.get_close_matches(name, DECODERS, 1)
        hint = f"did you mean {near[0]!r}? It" if near else "it"
        raise InputError(f"unknown decoder {name!r}; {hint} is one of {', '.join(DECODERS)}")
    return DECODERS[name](dim, size, width, dropout)


def _gru(dim: int, size: int, width: Size, dropout: float) -> Decoder:
    return AttentiveGRU(Additive(dim, width.dim), WordEmbedding(size, width.dim), dropout=dropout)


def _gru_dot(dim: int, size: int, width: Size, dropout: float) -> Decoder:
    return AttentiveGRU(DotProduct(dim, width.dim), WordEmbedding(size, width.dim), dropout=dropout)


def _transformer(dim: int, size: int, width: Size, dropout: float) -> Decoder:
    return CrossTransformer(
        dim, WordEmbedding(size, width.dim), heads=width.heads, layers=width.layers, dropout=dropout
    )


def _prefix(dim: int, size: int, width: Size, dropout: float) -> Decoder:
    return PrefixLM(dim, WordEmbedding(size, width.dim), heads=width.heads, layers=width.layers, dropout=dropout)


DECODERS: dict[str, Maker] = {
    "gru": _gru,
    "gru-dot": _gru_dot,
    "transformer": _transformer,
    "prefix": _prefix,
}

# every class that the specification of a decoder may name
CLASSES: tuple[type, ...] = (AttentiveGRU, CrossTransformer, PrefixLM, Additive, DotProduct, WordEmbedding)
