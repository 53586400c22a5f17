"""Heads: what makes answers and losses of the tokens of all modalities; see `base` for the contract. The table at the
foot names all that a model folder may hold."""

from polymodal.heads.balanced import Balanced
from polymodal.heads.base import Head
from polymodal.heads.cyclic import Cyclic
from polymodal.heads.fused import Fused
from polymodal.heads.transcriber import Transcriber
from polymodal.heads.writer import Writer

__all__ = ["HEADS", "Balanced", "Cyclic", "Fused", "Head", "Transcriber", "Writer"]

HEADS: tuple[type[Head], ...] = (Fused, Balanced, Cyclic, Writer, Transcriber)
