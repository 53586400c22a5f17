"""What reads a batch: each modality through its own encoder, for every learner that has any."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar, cast

from torch import Tensor, nn

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
        return {m: self[m](x) for m, x in read.items()}

    def recombine(
        self, inputs: Mapping[str, Masked], answer: Callable[[dict[str, Masked]], Answer], names: Sequence[str]
    ) -> Callable[[Mapping[str, Tensor]], Answer]:
        """A function from places, one tensor a modality, to the answer to rows whose tokens are put together of these.

        Each modality is encoded once, however many rows it becomes a part of.
        """
        tokens = self(inputs, names)
        return lambda at: answer({m: x.take(at[m].to(x.mask.device)) for m, x in tokens.items()})
