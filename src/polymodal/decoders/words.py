"""Words in and words out: the embedding of ids, and the map from what a decoder has made to logits.

V ids, d width.
"""

from torch import Tensor, nn


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
