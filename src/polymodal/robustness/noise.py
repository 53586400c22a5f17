"""Which noise a row gets: its draws are decided by (seed, row number, modality, kind) alone.

They are the same at every level, whatever the other rows are.
"""

import zlib

import numpy as np

MISMATCH = "mismatch"  # the modality of another row, for modalities of every kind


def rng_of(seed: int, row: int, modality: str, kind: str) -> np.random.Generator:
    """The draws of one row."""
    return np.random.default_rng([seed, row, zlib.crc32(f"{modality}\0{kind}".encode("utf-8", "surrogatepass"))])
