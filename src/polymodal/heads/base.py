"""The contract of a head: what joins the tokens of all modalities, and makes an answer and a loss of them.

tokens of each modality, by name --loss--> Losses        (in training, beside the targets)
                                 --infer--> Output       (in prediction)

A head never sees raw inputs: encoders do, and `learners.network.Network` puts both together.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from polymodal.batch import Losses, Masked
from polymodal.decoders.base import Decoding
from polymodal.errors import InputError
from polymodal.fusion.base import Fusion
from polymodal.output import Output, Texts
from polymodal.tasks.base import Task

Tokens = Mapping[str, Masked]  # by modality, (B, T, dim)


class Shared(NamedTuple):
    """A module that a fresh head may begin with, where its own has the same key: names, widths, words."""

    module: nn.Module
    key: Any


class Attended(NamedTuple):
    """A text of one row, and what each of its W words attended to.

    words: as they are shown. logprob: (W + 1,) of each word and of the end. maps: by modality that is there, (W, S)
    shares of its S real tokens. nothing: (W,) what is left.
    """

    text: str
    words: list[str]
    logprob: NDArray[np.float64]
    maps: dict[str, NDArray[np.float64]]
    nothing: NDArray[np.float64]


class Head(nn.Module, ABC):
    """Tokens of each modality -> a loss, and an answer.

    task: what the answers mean. progress: how much of training is done, from 0 to 1. decoding: how a head that writes
    searches where nothing else is asked for.
    """

    task: Task
    progress: float = 0.0
    decoding: Decoding | None = None
    embeds: ClassVar[bool] = False  # whether there is a `joint` representation
    bounded: ClassVar[bool] = False  # whether a reference can be too long to be learned from: see `unlearnable`
    explains: ClassVar[bool] = False  # whether `attend` shows what each word of a text attended to

    @abstractmethod
    def check(self, dims: Mapping[str, int]) -> None:
        """Raises InputError for encoders, given by the width of their tokens, that the head was not built for."""

    @abstractmethod
    def infer(self, tokens: Tokens) -> Output:
        """The answer to each row; a row with nothing present gets a prior."""

    @abstractmethod
    def loss(self, tokens: Tokens, targets: Mapping[str, Masked]) -> Losses:
        """The loss to minimise; rows without a label are left out of it."""

    @abstractmethod
    def describe(self, encoders: Mapping[str, str]) -> list[str]:
        """How an answer comes about, a line or more. encoders: by modality, what each is."""

    def reads(self, modalities: Sequence[str]) -> Sequence[str]:
        """Those of its modalities whose tokens `infer` wants."""
        return modalities

    def joint(self, tokens: Tokens) -> Masked | None:
        """Tokens of all modalities together, from which the answer is made; None where there are none."""
        return None

    def fused_by(self) -> Fusion | None:
        """The fusion, where one makes the answer."""
        return None

    def filled(self, tokens: Tokens) -> Tokens:
        """The tokens as the fusion sees them."""
        return tokens

    def unimodal_names(self) -> Sequence[str]:
        """Modalities that have a head of their own: none, unless it says otherwise."""
        return ()

    def unimodal(self, tokens: Tokens) -> dict[str, Tensor]:
        """(B, outputs) logits of these heads, by modality; of rows that lack it, a prior."""
        return {}

    def lr_scales(self) -> Mapping[str, float]:
        """By modality, the factor of its encoder's learning rate after `loss`; the names never change."""
        return {}

    def epoch_ended(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Called when an epoch was validated, with a line for each until now; what changes has to be a buffer."""
        return

    def shared(self, modalities: Sequence[str]) -> dict[str, Shared]:
        """By what it is called, what a fresh head of the same form may begin with. modalities: in their order."""
        return {}

    def unlearnable(self, tokens: Tokens, targets: Mapping[str, Masked]) -> int:
        """How many references can't be learned from, and are left out of the loss."""
        return 0

    # --- of a head that writes: its task can "decode"

    def write(self, tokens: Tokens, how: Decoding | None = None) -> Texts:
        """Texts of each row, the best first. Raises InputError of a head that writes none."""
        raise no_texts(self.task)

    def attend(self, tokens: Tokens, how: Decoding | None = None) -> Attended:
        """The best text of the one row of a batch, and what its words attended to; of a head that `explains`."""
        raise no_texts(self.task)


def encoder_list(encoders: Mapping[str, str]) -> str:
    """What each modality is encoded by.

    >>> encoder_list({"note": "TextConv", "photo": "ImageConv"})
    'note: TextConv, photo: ImageConv'
    """
    return ", ".join(f"{m}: {e}" for m, e in encoders.items())


def no_texts(task: Task) -> InputError:
    """Said of a model that is asked to write, and can't."""
    return InputError(f"the model writes no text: its task is {task.name}; leave the decoding out")
