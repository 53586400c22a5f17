"""Fusions: many streams of tokens into one; see `base` for the contract. The table at the foot names all."""

import difflib
import inspect
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from polymodal.errors import InputError
from polymodal.fusion.attention import CrossAttention, JointAttention
from polymodal.fusion.base import Fusion, Late
from polymodal.fusion.bilinear import Bilinear
from polymodal.fusion.late import LateMean, LateWeighted, Vote
from polymodal.fusion.simple import Concat, Gated, Mean, Product, Sum, WeightedSum
from polymodal.fusion.tensor import LowRank, Tensor, weights
from polymodal.nn import Size
from polymodal.spec import construct

__all__ = [
    "FUSIONS",
    "Bilinear",
    "Concat",
    "CrossAttention",
    "Fusion",
    "Gated",
    "JointAttention",
    "Late",
    "LateMean",
    "LateWeighted",
    "LowRank",
    "Mean",
    "Product",
    "Sum",
    "Tensor",
    "Vote",
    "WeightedSum",
    "find",
    "make",
]

ROOM = 2**22  # weights of a tensor fusion that is made by name: what an optimiser multiplies stays below 64 MiB


class Answers(Protocol):
    """What a fusion needs to know of a task."""

    @property
    def outputs(self) -> int:
        """How many logits a row has."""

    @property
    def link(self) -> str:
        """From logits to the scale of the answer: "softmax", "sigmoid" or "identity"."""


def make(name: str, dims: dict[str, int], size: Size, task: Answers) -> Fusion:
    """A fusion by its name in `FUSIONS`, or of one's own as "package.module:Class", with the settings of
    `size`.

    A late fusion gets the task's number of outputs and its link; any other ``dim=size.dim``. Raises
    InputError for a name that is neither, and for a class that is no Fusion or needs arguments that the size
    can't give.
    """
    cls = find(name)
    known = inspect.signature(cls).parameters
    given: dict[str, Any] = {"dims": dims}
    if issubclass(cls, Late):
        given |= {"dim": task.outputs, "link": task.link}
    else:
        given |= {"dim": size.dim, "heads": size.heads, "layers": max(1, size.layers // 2)}
    if cls is Tensor:
        given["rank"] = tensor_rank(len(dims), size.dim)
    args = {k: v for k, v in given.items() if k in known}
    needed = [k for k, p in known.items() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if missing := [k for k in needed if k not in args]:
        raise InputError(
            f"{name} needs the argument{'s' * (len(missing) > 1)} {', '.join(missing)}, which can't be given "
            "by name alone; give each a default, or build the fusion in Python: Predictor(encoders, fusion, "
            "task)"
        )
    fusion: Fusion = construct(cls, **args)
    return fusion


def find(name: str) -> type[Fusion]:
    """The class of this name: one of `FUSIONS`, or "package.module:Class", looked for in the working folder
    too.
    """
    if name in FUSIONS:
        return FUSIONS[name]
    if ":" not in name:
        near = difflib.get_close_matches(name, FUSIONS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"unknown fusion {name!r}; {hint}It is one of {', '.join(FUSIONS)}, or your own as package.module:Class"
        )
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        cls = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as e:
        raise InputError(
            f"fusion {name!r} can't be imported ({e}); expected package.module:Class, importable from {here}"
        ) from e
    if not (isinstance(cls, type) and issubclass(cls, Fusion)) or inspect.isabstract(cls):
        raise InputError(f"{name!r} is not a fusion; expected a concrete subclass of polymodal.fusion.Fusion")
    return cls


def tensor_rank(modalities: int, dim: int) -> int:
    """The greatest rank up to 16 with which tensor fusion has at most ROOM weights; 1 where none is."""
    return next((r for r in range(16, 1, -1) if weights(modalities, r, dim) <= ROOM), 1)


FUSIONS: dict[str, type[Fusion]] = {
    "mean": Mean,
    "sum": Sum,
    "weighted": WeightedSum,
    "product": Product,
    "concat": Concat,
    "gated": Gated,
    "tensor": Tensor,
    "low-rank": LowRank,
    "bilinear": Bilinear,
    "attention": JointAttention,
    "cross-attention": CrossAttention,
    "late-mean": LateMean,
    "late-weighted": LateWeighted,
    "late-vote": Vote,
}
