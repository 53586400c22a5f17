"""The embedding of ids and the output layer of a decoder. V ids, d width."""

from torch import Tensor, nn


class WordEmbedding(nn.Module):
    """An embedding and an output layer of untied weights: logits = hidden W + b with W (d, V).

    Initialised with embeddings of variance 1 / width, and with logits near 0.
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
