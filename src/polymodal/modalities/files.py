"""Cells as files, whatever they hold; a failure is an Unreadable."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from polymodal.errors import Unreadable
from polymodal.modalities.base import Guess

ADDRESS = re.compile(r"(?:https?|ftp|s3|gs|hf):/", re.IGNORECASE)
ELSEWHERE = "lies elsewhere, and nothing is downloaded: fetch it, and name the file by its path"

# --- any file -----------------------------------------------------------------------------------------


def is_address(cell: Any) -> bool:
    """Whether a path or a text is the address of something that lies elsewhere, such as https://..."""
    return isinstance(cell, str | Path) and ADDRESS.match(str(cell).strip()) is not None


def address(path: Path) -> str:
    """The address as it was written: a path has lost one of its slashes.

    >>> address(Path("https://example.com/1.png"))
    'https://example.com/1.png'
    """
    return re.sub(r":/+", "://", path.as_posix(), count=1)


def readable(path: Path) -> Path:
    """The path, if it is a file that holds something; else Unreadable says what it is."""
    if is_address(path):
        raise Unreadable(f"{address(path)} {ELSEWHERE}")
    if "\0" in str(path):
        raise Unreadable(f"{str(path)!r} is not a path: it holds a NUL")
    try:
        if not path.exists():
            raise Unreadable(f"{path} does not exist")
        if path.is_dir():
            raise Unreadable(f"{path} is a folder, expected a file")
        if path.stat().st_size == 0:
            raise Unreadable(f"{path} is empty (0 bytes)")
    except OSError as e:  # a name too long, a loop of links, no permission
        raise Unreadable(f"{path} can't be read: {reason(e)}") from e
    return path


def name_of(cell: Any) -> str:
    """The cell in an error's text."""
    if isinstance(cell, str | Path):
        return str(cell)
    return f"{len(cell)} bytes" if isinstance(cell, bytes | bytearray | memoryview) else f"a {type(cell).__name__}"


def reason(e: BaseException) -> str:
    """An exception as one short line, without the path that the message names already."""
    text = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
    return " ".join(text.split())[:200] or type(e).__name__


def spread(cells: list[Any], count: int) -> list[Any]:
    """At most `count` of the cells, evenly spread."""
    return cells if len(cells) <= count else [cells[i * len(cells) // count] for i in range(count)]


def count_opening(cells: Sequence[Any], test: Any, suffixes: frozenset[str], noun: str) -> Guess:
    """A Guess from how many cells pass `test`; a file named like one that does not open counts half."""
    if not cells:
        return Guess(0.0, "no cells")
    good = [test(c) for c in cells]
    named_so = sum(
        not g and isinstance(c, Path) and c.suffix.lower() in suffixes for c, g in zip(cells, good, strict=True)
    )
    what = "paths" if all(isinstance(c, Path) for c, g in zip(cells, good, strict=True) if g) else "cells"
    reason = f"{sum(good)} of {len(cells)} cells are {what} that open as {noun}"
    if named_so:
        reason += f"; {named_so} are named like {noun} but don't open"
    return Guess((sum(good) + named_so / 2) / len(cells), reason)


class Silence:
    """While any thread is inside, no Python warning is shown in any.

    Pillow warns of large images, odd EXIF and odd palettes; what matters of it is raised here. By itself
    `catch_warnings` would mix up the filters of threads that decode side by side.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.filters = Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.filters.__exit__(None, None, None)


silence = Silence()
