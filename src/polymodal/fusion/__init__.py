"""Fusions: many streams of tokens into one; see `base` for the contract. The table at the foot names them all."""
