"""What stands in for a modality that a row lacks, before the fusion sees it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from polymodal.batch import Masked


class Filler(nn.Module, ABC):
    """Tokens of all modalities -> the same, with something in place of what is absent.

    dims: width of each modality's tokens, by its name. A row in which every modality is absent stays so. What is
    present is passed on as it is.
    """

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__()
        self.dims = dims

    @abstractmethod
    def forward(self, tokens: Mapping[str, Masked]) -> dict[str, Masked]:
        """(B, T_m, dims[m]) by modality -> the same names and widths."""

    @abstractmethod
    def penalty(self, tokens: Mapping[str, Masked]) -> Tensor:
        """Scalar that a learner adds to its loss; 0 where it asks nothing."""
