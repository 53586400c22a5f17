"""An encoder of another polymodal model as a frozen encoder of a column: `--encoder photo=MODEL` (or MODEL:MODALITY).

    cell --that model's codec and encoder--> tokens --mean--> float16 (1, width), cached --Projection--> token

What a network has learned on a large table then serves a small one, and serves the small-data path. Rows that the model
was trained or validated on must not be among those that it serves now, with the same target: it has seen their labels,
and no fold is held out from it. `fit` and `compare` refuse the very table; parts of it they can't tell.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from polymodal.errors import InputError, Unreadable
from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.pretrained.codec import FrozenCodec
from polymodal.nn import Size, at
from polymodal.ops import masked_mean
from polymodal.saving import put_tensors
from polymodal.spec import build

BATCH = 64
OUT = "encoder"  # stem of the two files that a copy consists of


class Part(NamedTuple):
    """A modality of a model: the specifications of its codec and its encoder, and the encoder's weights."""

    codec: Any
    encoder: Any
    weights: dict[str, Tensor]

    def key(self) -> str:
        """What it is, wherever it lies."""
        out = hashlib.blake2b(json.dumps([self.codec, self.encoder], sort_keys=True).encode(), digest_size=16)
        for name, w in sorted(self.weights.items()):
            out.update(name.encode() + w.contiguous().view(torch.uint8).numpy().tobytes() if w.ndim else name.encode())
        return out.hexdigest()


class Own(FrozenCodec):
    """What a trained encoder says of a cell: float16 (1, width_), the mean of its real tokens; it never learns.

    source: a model folder, or what `save_source` wrote. kind: of the column. modality: which of that model; "" is the
    only one of that kind. Raises InputError for a folder without such an encoder.
    """

    tokens = 1

    def __init__(self, source: str, kind: str, modality: str = "") -> None:
        self.source, self.kind, self.modality = source, kind, modality
        codec, encoder = _build(source, kind, modality)
        self.takes_files, self.width_ = codec.takes_files, encoder.dim

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Nothing is learned from the cells."""
        return self

    @torch.no_grad()
    def encode_batch(self, cells: Sequence[Any]) -> list[Tensor | Unreadable | None]:
        """`encode` of each cell, several at a time; an Unreadable stands in its cell's place."""
        codec, encoder = _build(self.source, self.kind, self.modality)
        out = codec.encode_batch(cells)
        ready = [i for i, x in enumerate(out) if isinstance(x, Tensor)]
        for start in range(0, len(ready), BATCH):
            rows = ready[start : start + BATCH]
            y_bd = masked_mean(encoder(codec.collate([out[i] for i in rows])))  # type: ignore[misc]
            for i, y_d in zip(rows, y_bd, strict=True):
                out[i] = y_d[None].half()
        return out

    def fingerprint(self) -> str:
        """A key of the encoder's settings and weights."""
        return _part(self.source, self.kind, self.modality).key()

    def save_source(self, folder: Path) -> None:
        """Write the encoder alone: its specification, and its weights."""
        part = _part(self.source, self.kind, self.modality)
        folder.mkdir(parents=True, exist_ok=True)
        form = json.dumps({"codec": part.codec, "encoder": part.encoder}, indent=1)
        (folder / f"{OUT}.json").write_text(form, encoding="utf-8")
        put_tensors(folder / f"{OUT}.safetensors", part.weights)


def is_model(name: str) -> bool:
    """Does this name a model folder, with or without ":MODALITY" after it?"""
    return any((Path(folder) / "manifest.json").is_file() for folder, _ in _split_name(name))


def split_name(name: str) -> tuple[str, str]:
    """Folder and modality of a name for which `is_model` holds."""
    return next((folder, m) for folder, m in _split_name(name) if (Path(folder) / "manifest.json").is_file())


def _split_name(name: str) -> list[tuple[str, str]]:
    folder, _, modality = name.rpartition(":")
    return [(name, ""), (folder, modality)] if folder else [(name, "")]


@lru_cache(maxsize=8)
def _build(source: str, kind: str, modality: str) -> tuple[Codec, Encoder]:
    from polymodal.modalities import MODALITIES

    part = _part(source, kind, modality)
    of_kind = MODALITIES[kind]
    codec: Codec = build(part.codec, {c.__name__: c for c in of_kind.codecs.values()})
    encoder: Encoder = build(part.encoder, {e.__name__: e for e in of_kind.encoders.values()})
    encoder.load_state_dict(part.weights)
    return codec, encoder.eval()


@lru_cache(maxsize=8)
def _part(source: str, kind: str, modality: str) -> Part:
    folder = Path(source)
    try:
        if (folder / f"{OUT}.json").is_file():
            form = json.loads((folder / f"{OUT}.json").read_text(encoding="utf-8"))
            return Part(form["codec"], form["encoder"], load_file(folder / f"{OUT}.safetensors"))
        form = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        weights = load_file(folder / "weights.safetensors")
        encoders = dict(_encoders(form["learner"], ""))
        kinds = {m: c for m, c in form["codecs"].items() if m in encoders}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as e:
        raise InputError(f"{source} is no whole polymodal model ({type(e).__name__}: {e}); fit it again") from None
    name = _choose(source, kind, modality, kinds)
    encoder, prefix = encoders[name]
    return Part(kinds[name], encoder, {k.removeprefix(prefix): w for k, w in weights.items() if k.startswith(prefix)})


def _choose(source: str, kind: str, modality: str, kinds: Mapping[str, Any]) -> str:
    """The modality that is meant."""
    from polymodal.modalities import MODALITIES

    own = {c.__name__ for c in MODALITIES[kind].codecs.values()}
    there = [m for m, codec in kinds.items() if codec["class"] in own]
    if modality in there:
        return modality
    if modality or len(there) != 1:
        names = ", ".join(there) or "none (one that a pretrained network reads is named by that network)"
        raise InputError(
            f"{source} is asked for an encoder of {kind}{f' named {modality!r}' if modality else ''}, and the networks "
            f"that it holds of {kind} are: {names}; name one with MODEL:MODALITY"
        )
    return there[0]


def _encoders(form: Any, prefix: str) -> Iterator[tuple[str, tuple[Any, str]]]:
    """By modality: the specification and the prefix of the weights of each encoder that a learner holds."""
    args = form["args"]
    if form["class"] == "Network":
        for m, encoder in args["encoders"]["args"]["encoders"]["items"].items():
            yield m, (encoder, f"{prefix}encoders.encoders.{at(m)}.")
    elif form["class"] == "Ensemble":
        for name, member in reversed(args["members"]["items"].items()):
            yield from _encoders(member, f"{prefix}members.{at(name)}.")
