"""Decoded cells and outputs of frozen networks, kept on disk and memory-mapped.

    cache/
      image-3f2a.../            one folder for each codec with its settings (its fingerprint)
        9c41d0....bin           records one after another, each aligned to 64 bytes
        9c41d0....npy           what is in it: key, start, dtype, shape of each record

A key is the hash of a cell's content, so a renamed file is found and a changed one is not. A writer appends segments of
its own, written to a temporary name and then renamed, index last: two processes may write at once, and one that is
killed leaves nothing that another could misread.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

ALIGN = 64
SEGMENT = 64 << 20  # bytes held in memory before a segment is written
DTYPES = {"u1": torch.uint8, "i8": torch.int64, "f2": torch.float16, "f4": torch.float32}
CODES = {dtype: code for code, dtype in DTYPES.items()}
AXES = 4
INDEX = np.dtype([("key", "V16"), ("start", "<i8"), ("dtype", "S2"), ("ndim", "<i4"), ("shape", "<i8", (AXES,))])


class Place(NamedTuple):
    """Where a record lies: which page, from which byte, of what type and shape."""

    page: int
    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Store:
    """Records by key: on disk below `folder`, or in memory where `folder` is None.

    `add` keeps a record; `flush` makes all that was added readable (and, with a folder, durable).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.pages: list[Tensor] = []  # flat bytes
        self._places: dict[bytes, Place] = {}
        self._pending: list[tuple[bytes, Place, Tensor]] = []
        self._end = 0
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for index in sorted(folder.glob("*.npy")):
                self._open(index)

    def find(self, key: bytes) -> Place | None:
        """Where the record of this key lies, if there is one."""
        return self._places.get(key)

    def add(self, key: bytes, value: Tensor) -> Place:
        """Keep a record. It can be read after the next `flush`."""
        value = value.contiguous()
        place = Place(len(self.pages), self._end, value.dtype, tuple(value.shape))
        self._pending.append((key, place, value))
        self._places[key] = place
        self._end += -(-value.nbytes // ALIGN) * ALIGN
        if self._end >= SEGMENT:
            self.flush()
        return place

    def flush(self) -> None:
        """Write what is pending as one segment."""
        if not self._pending:
            return
        page = torch.zeros(self._end, dtype=torch.uint8)
        for _, place, value in self._pending:
            raw = value.reshape(-1).view(torch.uint8)
            page[place.start : place.start + len(raw)] = raw
        self.pages.append(page if self.folder is None else self._write(page))
        self._pending, self._end = [], 0

    def read(self, place: Place) -> Tensor:
        """The record, as a view that copies nothing."""
        size = place.dtype.itemsize
        count = size
        for n in place.shape:
            count *= n
        return self.pages[place.page][place.start : place.start + count].view(place.dtype).view(place.shape)

    def _write(self, page: Tensor) -> Tensor:
        assert self.folder is not None
        name = self.folder / uuid.uuid4().hex
        index = np.zeros(len(self._pending), INDEX)
        for row, (key, place, _) in zip(index, self._pending, strict=True):
            shape = place.shape + (0,) * (AXES - len(place.shape))
            row["key"], row["start"], row["ndim"] = key, place.start, len(place.shape)
            row["dtype"], row["shape"] = CODES[place.dtype], shape
        for suffix, write in ((".bin", page.numpy().tofile), (".npy", lambda f: np.save(f, index))):
            temporary = name.with_suffix(".tmp")
            with temporary.open("wb") as f:
                write(f)
            temporary.replace(name.with_suffix(suffix))
        return _map(name.with_suffix(".bin"))

    def _open(self, index: Path) -> None:
        try:
            rows = np.load(index, allow_pickle=False)
            page = _map(index.with_suffix(".bin"))
        except (OSError, ValueError):
            return  # a broken or vanished segment is a cache miss, never an error
        if rows.dtype != INDEX:
            return
        for row in rows:
            dtype = DTYPES[row["dtype"].decode()]
            shape = tuple(int(n) for n in row["shape"][: row["ndim"]])
            place = Place(len(self.pages), int(row["start"]), dtype, shape)
            if place.start + dtype.itemsize * int(np.prod(shape, dtype=np.int64)) <= len(page):
                self._places[bytes(row["key"])] = place
        self.pages.append(page)


def _map(path: Path) -> Tensor:
    # mode "c": copy on write. The file is never changed, and torch warns of arrays that can't be written to.
    return torch.from_numpy(np.memmap(path, mode="c", dtype=np.uint8))


def key(cell: Any) -> bytes | None:
    """A 16-byte hash of the cell's content; None for one that can't be hashed (it is then not cached).

    A path's content is that of its file.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        if isinstance(cell, Path):
            digest.update(cell.read_bytes())
        elif isinstance(cell, str | bytes):
            digest.update(cell.encode("utf-8", "surrogatepass") if isinstance(cell, str) else cell)
        elif hasattr(cell, "tobytes"):  # arrays and pictures in memory
            mode = getattr(cell, "dtype", getattr(cell, "mode", ""))
            shape = getattr(cell, "shape", getattr(cell, "size", ""))
            digest.update(f"{mode} {shape} ".encode())
            digest.update(cell.tobytes())
        else:
            return None
    except (OSError, ValueError):  # ValueError: a path with a NUL
        return None
    digest.update(type(cell).__name__.encode() if not isinstance(cell, Path) else b"file")
    return digest.digest()


def default_folder() -> Path:
    """``$POLYMODAL_CACHE``, else the user's cache folder."""
    if named_folder := os.environ.get("POLYMODAL_CACHE"):
        return Path(named_folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "polymodal"


class Usage(NamedTuple):
    """One line of `polymodal cache`."""

    name: str
    records: int
    bytes: int


def usage(folder: Path) -> list[Usage]:
    """What the cache holds, one entry for each codec with its settings."""
    return [
        Usage(store.name, sum(len(np.load(f, allow_pickle=False)) for f in store.glob("*.npy")), _size(store))
        for store in _stores(folder)
    ]


def clear(folder: Path) -> int:
    """Remove all that the cache holds; returns the bytes freed. Files that are not the cache's stay."""
    bytes_ = 0
    for store in _stores(folder):
        bytes_ += _size(store)
        shutil.rmtree(store)
    return bytes_


def _stores(folder: Path) -> Iterable[Path]:
    """Folders that a Store made: named kind-fingerprint, and holding nothing but segments."""
    if not folder.is_dir():
        return []
    return [
        p
        for p in sorted(folder.iterdir())
        if p.is_dir()
        and len(p.name.rsplit("-", 1)[-1]) == 32
        and all(f.suffix in (".bin", ".npy", ".tmp") for f in p.iterdir())
    ]


def _size(store: Path) -> int:
    return sum(f.stat().st_size for f in store.iterdir())
