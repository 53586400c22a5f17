"""Text for an ONNX file: ids of the tokenizer.json beside it."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import InputError
from polymodal.modalities.pretrained.graph import Feeding, GraphCodec, locate
from polymodal.modalities.pretrained.source import LOCK
from polymodal.modalities.text.hub import CHARACTERS


def ids(source: str, text: str, length: int) -> NDArray:
    """int64 (T,) ids of a text, by the tokenizer.json beside the file."""
    with LOCK:  # the length is a state of the tokenizer
        tokenizer = tokens_of(str(locate(source).parent / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(length)
        return np.asarray(tokenizer.encode(text).ids, dtype=np.int64)


@lru_cache(maxsize=4)
def tokens_of(path: str) -> Any:
    """The tokenizer in a file."""
    try:
        from tokenizers import Tokenizer
    except ImportError as e:
        raise ImportError("ONNX files that read text need tokenizers: pip install polymodal[hub]") from e
    if not Path(path).is_file():
        raise InputError(f"there is no {path}; put the tokenizer.json that the network was made with beside its file")
    try:
        return Tokenizer.from_file(path)
    except Exception as e:  # tokenizers raises bare Exception
        raise InputError(f"{path} can't be read as a tokenizer ({' '.join(str(e).split())[:120]})") from None


def _prepare(cell: Any, graph: GraphCodec) -> NDArray | None:
    text = str(cell)[: CHARACTERS * graph.tokens].strip()
    return ids(graph.source, text, graph.tokens) if text else None


def _blank(graph: GraphCodec) -> NDArray:
    return ids(graph.source, "a", graph.tokens)


FEEDING = Feeding(("NT",), _prepare, _blank, ids=True)
