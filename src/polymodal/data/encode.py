"""Cells -> tensors, decoded once: the column as a learner reads it, and the cells that could not be read."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from polymodal.data.cache import Place, Store, key
from polymodal.errors import Unreadable
from polymodal.hardware import cores
from polymodal.modalities.base import Codec

CHUNK = 64  # cells that are in memory, decoded, at a time and worker


class Bad(NamedTuple):
    """A cell that can't be read: it is treated as absent, and reported."""

    row: int  # as `Table.row_number` counts: 1 is the first below the header
    column: str
    cell: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, column {self.column!r}: {self.reason}"


class Encoded:
    """One modality of a table: `encoded[row]` is the cell's tensor, or None where it is absent.

    Rows with the same content share one record. Records lie in pages (memory-mapped files or memory), so that a column
    costs a few numbers a row, whatever its cells weigh.
    """

    def __init__(self, store: Store, places: Sequence[Place | None]) -> None:
        self.store = store
        kinds = list(dict.fromkeys((p.dtype, p.shape) for p in places if p is not None))
        number = {k: i for i, k in enumerate(kinds)}
        self._kinds = kinds
        self._where = np.array(
            [(-1, 0, 0) if p is None else (p.page, p.start, number[p.dtype, p.shape]) for p in places],
            dtype=np.int64,
        ).reshape(len(places), 3)

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, row: int) -> Tensor | None:
        page, start, kind = self._where[row].tolist()
        return None if page < 0 else self.store.read(Place(page, start, *self._kinds[kind]))

    def take(self, rows: Sequence[int]) -> "Encoded":
        """These rows, in this order; the records are shared."""
        part = object.__new__(Encoded)
        part.store, part._kinds, part._where = self.store, self._kinds, self._where[list(rows)].reshape(-1, 3)
        return part

    def hidden(self, away: np.ndarray) -> "Encoded":
        """The same column without the cells at which `away`, (N,) bool, is True."""
        part = self.take(range(len(self)))
        part._where[away] = (-1, 0, 0)
        return part

    def sizes(self) -> np.ndarray:
        """(N,) how many values each cell has; 0 where it is absent."""
        counts = np.array([*(int(np.prod(shape)) for _, shape in self._kinds), 0])
        return counts[np.where(self._where[:, 0] < 0, -1, self._where[:, 2])]

    def identities(self) -> np.ndarray:
        """(N,) a number for each cell, the same for equal ones; absent cells differ from all."""
        _, number = np.unique(self._where[:, :2], axis=0, return_inverse=True)
        return np.where(self.present(), number.reshape(-1), -1 - np.arange(len(self)))

    def present(self) -> np.ndarray:
        """(N,) True where the row has this modality."""
        return self._where[:, 0] >= 0


def encode(
    cells: Sequence[Any],
    codec: Codec,
    cache: Path | None = None,
    tick: Callable[[int], object] = lambda n: None,
) -> tuple[Encoded, dict[int, str]]:
    """Encode a column, reading what the cache has and adding what it lacks.

    Returns the column and, by position, the reason why a cell could not be read. `tick` is called with the number
    of rows done. What was decoded before an interruption stays in the cache.
    """
    store = Store(None if cache is None or not codec.costly else cache / f"{codec.kind}-{codec.fingerprint()}")
    places: list[Place | None] = []
    bad: dict[int, str] = {}
    try:
        with ThreadPoolExecutor(cores()) as pool:
            todo = iter(cells)
            while chunk := list(islice(todo, CHUNK * cores())):
                first = len(places)
                for i, answer in enumerate(_chunk(chunk, codec, store, pool)):
                    if isinstance(answer, Unreadable):
                        bad[first + i] = str(answer)
                    places.append(answer if isinstance(answer, Place) else None)
                tick(len(places))
    finally:
        store.flush()
    return Encoded(store, places), bad


def _chunk(
    cells: list[Any], codec: Codec, store: Store, pool: ThreadPoolExecutor
) -> Iterator[Place | Unreadable | None]:
    """Where each cell's record lies, decoding the unknown ones once each."""
    if not codec.costly:
        for i, value in enumerate(codec.encode_batch(cells)):
            yield store.add(b"%d" % i, value) if isinstance(value, Tensor) else value
        return
    keys = list(pool.map(lambda c: None if c is None else key(c), cells))
    new = {k: c for k, c in zip(keys, cells, strict=True) if k is not None and store.find(k) is None}
    parts = np.array_split(np.arange(len(new)), max(1, min(len(new), cores())))
    todo = list(new.values())
    # a codec that runs a network uses all cores by itself; the others decode one part a thread
    jobs = [todo] if codec.batched else [[todo[i] for i in part] for part in parts]
    values = [v for part in pool.map(codec.encode_batch, jobs) for v in part]
    fresh: dict[bytes, Place | Unreadable | None] = {
        k: store.add(k, v) if isinstance(v, Tensor) else v for k, v in zip(new, values, strict=True)
    }
    for k, cell in zip(keys, cells, strict=True):
        if k is None:  # nothing there, or not to be hashed
            (value,) = codec.encode_batch([cell])
            yield store.add(os.urandom(16), value) if isinstance(value, Tensor) else value
        else:
            yield fresh[k] if k in fresh else store.find(k)
