"""What reads a batch: each modality through its own encoder, for every learner that has any."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from polymodal.batch import Masked
from polymodal.modalities.base import Encoder
from polymodal.nn import Named

Answer = TypeVar("Answer")


class Encoders(nn.Module):
    """Raw values of each modality -> its tokens, by name.

    encoders: by modality name, in any order. variation: by modality, what changes its raw values in training, such as
    another voice.
    """

    def __init__(self, encoders: Mapping[str, Encoder], variation: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        self.encoders, self.variation = Named(encoders), Named(variation or {})

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities."""
        return self.encoders.names

    @property
    def dims(self) -> dict[str, int]:
        """The width of each modality's tokens."""
        return {m: e.dim for m, e in self.items()}

    def items(self) -> Iterator[tuple[str, Encoder]]:
        """Names with their encoders, in the order in which they were given."""
        return cast(Iterator[tuple[str, Encoder]], self.encoders.items())

    def __getitem__(self, modality: str) -> Encoder:
        return cast(Encoder, self.encoders[modality])

    def forward(self, inputs: Mapping[str, Masked], names: Sequence[str] | None = None) -> dict[str, Masked]:
        """(B, T, dims[m]) tokens of these modalities, of all by default."""
        read = {m: inputs[m] for m in self.names if names is None or m in names}
        for m, vary in self.variation.items():
            if m in read:
                read[m] = vary(read[m])
        return {m: self._tokens(m, x) for m, x in read.items()}

    def _tokens(self, modality: str, x: Masked) -> Masked:
        """Equal cells are encoded once: questions about one photo, captions of it, a text that recurs; but not where
        somebody looks into the encoder, row by row, or asks for the slope of each cell."""
        if x.values.requires_grad or is_watched(self[modality]):
            return cast(Masked, self[modality](x))
        first, at = distinct(x)
        recurs = 2 * len(first) <= len(at)
        tokens: Masked = self[modality](x.take(first) if recurs else x)
        return tokens.take(at) if recurs else tokens

    def recombine(
        self, inputs: Mapping[str, Masked], answer: Callable[[dict[str, Masked]], Answer], names: Sequence[str]
    ) -> Callable[[Mapping[str, Tensor]], Answer]:
        """A function from places, one tensor a modality, to the answer to rows whose tokens are put together of these.

        Each modality is encoded once, however many rows it becomes a part of.
        """
        tokens = self(inputs, names)
        return lambda at: answer({m: x.take(at[m].to(x.mask.device)) for m, x in tokens.items()})


def is_watched(encoder: nn.Module) -> bool:
    """Has any of its parts a hook?"""
    return any(m._forward_hooks or m._forward_pre_hooks for m in encoder.modules())


def distinct(x: Masked) -> tuple[Tensor, Tensor]:
    """The places of the first of each of the rows that differ, and for each row which of these it is.

    Rows are told apart by 64 bits, sums of their bytes with odd weights that are always the same.
    """
    sums = torch.where(x.present(), _checksum(x.values) * 3 + _checksum(x.mask), 0)  # the absent are alike
    _, at = torch.unique(sums, return_inverse=True)
    first = at.new_full((int(at.max()) + 1 if len(at) else 0,), len(at))
    return first.scatter_reduce(0, at, torch.arange(len(at), device=at.device), "amin"), at


def _checksum(x: Tensor) -> Tensor:
    """(B, ...) -> (B,) int64."""
    if not x.numel():
        return torch.zeros(len(x), dtype=torch.int64, device=x.device)
    bytes_ = (
        x.detach().contiguous().flatten(1).view(torch.uint8) if x.ndim > 1 else x.detach().view(-1, 1).view(torch.uint8)
    )
    words = pad(bytes_, (0, -bytes_.shape[1] % 8)).view(torch.int64)
    weights = torch.randint(-(2**62), 2**62, (words.shape[1],), generator=torch.Generator().manual_seed(0))
    return (words * (2 * weights + 1).to(x.device)).sum(1)
