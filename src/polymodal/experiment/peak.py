"""The memory that this process has needed."""

import ctypes
import gc
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def memory() -> Iterator[Callable[[], float | None]]:
    """By how much this process's memory grows from here on, at most, in MB; None where the system can't tell."""
    peak_memory_mb()  # what is forgotten here counts there
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # training keeps what it frees: it would count for whoever comes next
        Path("/proc/self/clear_refs").write_text("5")
        start = _status("VmRSS:")
    except (OSError, AttributeError):
        start = None
    yield lambda: None if start is None else max(0.0, (_status("VmHWM:") or start) - start)


def _status(line: str) -> float | None:
    """A figure of /proc/self/status in MB."""
    figures = (x.split()[1] for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(line))
    return next((int(x) / 1024 for x in figures), None)


GREATEST = [0.0]  # memory in MB, before the system was told to forget it


def peak_memory_mb() -> float:
    """The greatest memory that this process has had, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    GREATEST[0] = max(GREATEST[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)
    return GREATEST[0]
