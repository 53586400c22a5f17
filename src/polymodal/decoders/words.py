"""Words in and words out: the embedding of ids, and the map from what a decoder has made to logits.

V ids, d width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class Separate(nn.Module):
    """An embedding, and an output map of its own: logits = hidden W + b with W (d, V).

    Begins with embeddings of variance 1 / width, and with logits that are near 0.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size, self.width = size, width
        self.table = nn.Embedding(size, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        self.out = nn.Linear(width, size)

    def forward(self, ids: Tensor) -> Tensor:
        """(...) ids -> (..., width)."""
        x: Tensor = self.table(ids)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (..., size)."""
        out: Tensor = self.out(hidden)
        return out


class Tied(nn.Module):
    """One table E (V, d) for both: word v is E[v], and its logit hidden . E[v] + b[v]. Press & Wolf 2017.

    Half the weights of `Separate`: for large vocabularies and few captions.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size, self.width = size, width
        self.table = nn.Embedding(size, width)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, ids: Tensor) -> Tensor:
        """(...) ids -> (..., width)."""
        x: Tensor = self.table(ids)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., width) -> (..., size)."""
        return linear(hidden, self.table.weight, self.bias)
