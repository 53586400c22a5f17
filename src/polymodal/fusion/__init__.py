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
from polymodal.fusion.bilinear import Bilinear, pair_weights
from polymodal.fusion.crossmodal import MulT
from polymodal.fusion.exchange import CEN, MMTM, FiLM
from polymodal.fusion.experts import MVAE
from polymodal.fusion.fill import AbsentTokens, Filler, Imputed
from polymodal.fusion.hybrid import Hybrid, Stacking
from polymodal.fusion.late import LateMax, LateMean, LateProduct, LateWeighted, Vote
from polymodal.fusion.latent import MBT, Perceiver, Recurrent
from polymodal.fusion.products import MCB, MFB, MLB, MUTAN
from polymodal.fusion.simple import Concat, Gated, Mean, Product, Sum, WeightedSum
from polymodal.fusion.tensor import LowRank, Tensor, weights
from polymodal.nn import Size
from polymodal.spec import construct

__all__ = [
    "CEN",
    "FILLERS",
    "FUSIONS",
    "MBT",
    "MCB",
    "MFB",
    "MLB",
    "MMTM",
    "MUTAN",
    "MVAE",
    "AbsentTokens",
    "Bilinear",
    "Concat",
    "CrossAttention",
    "FiLM",
    "Filler",
    "Fusion",
    "Gated",
    "Hybrid",
    "Imputed",
    "JointAttention",
    "Late",
    "LateMax",
    "LateMean",
    "LateProduct",
    "LateWeighted",
    "LowRank",
    "Mean",
    "MulT",
    "Perceiver",
    "Product",
    "Recurrent",
    "Stacking",
    "Sum",
    "Tensor",
    "Vote",
    "WeightedSum",
    "find",
    "make",
]

ROOM = 2**22  # weights of a tensor or bilinear fusion made by name: what an optimiser multiplies stays below 64 MiB


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

    A late fusion gets the task's number of outputs and its link; any other ``dim=size.dim``. The joint part of
    `Hybrid` is `Gated`. Raises InputError for a name that is neither, for a class that is no Fusion or needs
    arguments that the size can't give, and for no modality at all.
    """
    cls = find(name)
    if not dims:
        raise InputError(f"{cls.__name__} needs at least one modality, got none")
    parameters = inspect.signature(cls).parameters
    arguments: dict[str, Any] = {"dims": dims}
    if issubclass(cls, Late):
        arguments |= {"dim": task.outputs, "link": task.link}
    else:
        arguments |= {"dim": size.dim, "heads": size.heads, "layers": max(1, size.layers // 2)}
    if cls is Tensor:
        arguments["rank"] = tensor_rank(len(dims), size.dim)
    if cls is Bilinear:
        arguments["rank"] = bilinear_rank(dims, size.dim)
    if cls is Hybrid:
        arguments["joint"] = make("gated", dims, size, task)
    args = {k: v for k, v in arguments.items() if k in parameters}
    required_names = [
        k for k, p in parameters.items() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if missing := [k for k in required_names if k not in args]:
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
        hint = f"did you mean {near[0]!r}? It" if near else "it"
        raise InputError(
            f"unknown fusion {name!r}; {hint} is one of {', '.join(FUSIONS)}, or your own as package.module:Class"
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


def bilinear_rank(dims: dict[str, int], dim: int) -> int | None:
    """None, for vectors as they are, where bilinear fusion of them has at most ROOM weights; else the greatest rank
    with which it has.
    """
    if pair_weights(list(dims.values()), dim) <= ROOM:
        return None
    return next((r for r in range(max(dims.values()), 1, -1) if pair_weights([r] * len(dims), dim) <= ROOM), 1)


FUSIONS: dict[str, type[Fusion]] = {
    "mean": Mean,
    "sum": Sum,
    "weighted": WeightedSum,
    "product": Product,
    "concat": Concat,
    "gated": Gated,
    "mvae": MVAE,
    "tensor": Tensor,
    "low-rank": LowRank,
    "bilinear": Bilinear,
    "mlb": MLB,
    "mutan": MUTAN,
    "mfb": MFB,
    "mcb": MCB,
    "film": FiLM,
    "mmtm": MMTM,
    "cen": CEN,
    "attention": JointAttention,
    "cross-attention": CrossAttention,
    "mult": MulT,
    "mbt": MBT,
    "perceiver": Perceiver,
    "recurrent": Recurrent,
    "late-mean": LateMean,
    "late-weighted": LateWeighted,
    "late-vote": Vote,
    "late-product": LateProduct,
    "late-max": LateMax,
    "late-stacking": Stacking,
    "hybrid": Hybrid,
}

# what stands in for a modality that a row lacks; without one the fusion masks it
FILLERS: dict[str, type[Filler]] = {"tokens": AbsentTokens, "predicted": Imputed}
