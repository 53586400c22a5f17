"""The contract of a fusion, in prose.

A fusion makes one stream of tokens out of those of several modalities, any number of them, any of them absent from
any row. It addresses them by name, in the order in which it was built, whatever the order in which they come.
Absent is not zero: concatenation and gates see one presence bit a modality, tensor products see the vector
(1, 0 ... 0), token fusions mask, late fusions renormalise over what is there.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError


class Fusion(nn.Module, ABC):
    """``dict[str, Masked]`` tokens (B, T_m, dims[m]) -> Masked tokens (B, T, dim).

    dims: width of each modality's tokens, by its name. dim: width of what comes out. Pooled fusions give T = 1. A row
    in which every modality is absent has an all-False mask and finite values.
    """

    paper: ClassVar[str]  # the source of the formula
    family: ClassVar[str]  # "early", "sequence", "late" or "hybrid"
    is_late: ClassVar[bool] = False  # whether what comes out is logits

    def __init__(self, dims: dict[str, int], dim: int) -> None:
        super().__init__()
        if not dims:
            raise InputError(f"{type(self).__name__} needs at least one modality, got none")
        self.dims, self.dim = dims, dim

    @abstractmethod
    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """Fuse; `inputs` holds each modality of `dims` by name."""

    def penalty(self, inputs: Mapping[str, Masked]) -> Tensor:
        """Scalar that a learner adds to its loss: what the fusion asks of its weights, or of how it sees this batch.

        0 where it asks nothing.
        """
        return torch.zeros(())

    def trace(self, weights: Iterator[Tensor], xs: list[Masked]) -> Tensor | None:
        """(B, S) how much of each token of all modalities, in the order of `dims`, is in what `forward` gives, by the
        weights of its attentions and pools in the order of use; None for a fusion that attends to no tokens.

        What its own tokens bring (class token, latents) is left out.
        """
        return None

    def opinions(self, inputs: Mapping[str, Masked]) -> list[Masked]:
        """What is to be trained, each with the rows that it is asked about: first what `forward` gives, then, of a late
        fusion, the logits of heads that learn to answer on their own. None of those unless it says otherwise.
        """
        return [self(inputs)]

    def ordered(self, inputs: Mapping[str, Masked]) -> list[Masked]:
        """The inputs in the order of `dims`. Raises InputError where a name is missing or unknown, or a width off."""
        if inputs.keys() != self.dims.keys():
            raise InputError(
                f"{type(self).__name__} was built for {sorted(self.dims)} but got {sorted(inputs)}; "
                "give a modality that a row lacks an all-False mask instead of leaving it out"
            )
        for m, d in self.dims.items():
            if inputs[m].values.shape[-1] != d:
                raise InputError(
                    f"{type(self).__name__} was built for tokens of width {d} in {m!r} "
                    f"but got {inputs[m].values.shape[-1]}; build it with dims of the encoders' `dim`"
                )
        return [inputs[m] for m in self.dims]


class Late(Fusion, ABC):
    """A fusion of decisions: each modality's tokens are pooled and mapped to logits, and the logits are combined.

    dim is the number of logits, and what comes out is the logits: a learner adds no head. `link` is the task's:
    "softmax", "sigmoid" or "identity".
    """

    family = "late"
    is_late = True

    def __init__(self, dims: dict[str, int], dim: int, *, link: str = "softmax") -> None:
        super().__init__(dims, dim)
        self.link = link


def one_token(x_bd: Tensor, inputs: list[Masked]) -> Masked:
    """(B, dim) -> (B, 1, dim), real where any modality is present."""
    return Masked(x_bd[:, None], presence(inputs).any(1, keepdim=True))


def presence(inputs: list[Masked]) -> Tensor:
    """(B, M) True where the modality has a real token in the row."""
    return torch.stack([x.present() for x in inputs], dim=1)
