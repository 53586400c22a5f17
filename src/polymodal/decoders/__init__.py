"""Decoders: how text is written from memory; see `base` for the contract."""
