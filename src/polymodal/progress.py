"""Progress on standard error, for whoever waits: a bar in a terminal or notebook, elsewhere now and then a line."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Ticker(Protocol):
    """What long work calls as it goes on."""

    def __call__(self, amount: float, note: str = "") -> None:
        """`amount` of the total; `note` is what a person wants to know now."""


def silent(progress: bool | None) -> bool:
    """Whether to show nothing: None asks for progress where a person looks on, in a terminal or a notebook."""
    return not (sys.stderr.isatty() or _in_notebook() if progress is None else progress)


def _in_notebook() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel.")


@contextmanager
def bar(title: str, total: float, quiet: bool = False) -> Iterator[Ticker]:
    """A bar titled so, with the time left. Nothing is shown where `quiet`, or for work of under half a second."""
    if quiet:
        yield lambda amount, note="": None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total, note="")
            yield lambda amount, note="": bar.update(task, completed=amount, **({"note": note} if note else {}))
    elif _in_notebook():  # rich needs widgets there
        line = _Lines(title, total, 0.5, "\r{:<100.100}")
        try:
            yield line
        finally:
            line.clear()
    else:
        yield _Lines(title, total)


class _Lines:
    """One line every ten seconds, for a log file; or one that is written over."""

    def __init__(self, title: str, total: float, every: float = 10.0, form: str = "{}\n") -> None:
        self.title, self.total, self.every, self.form = title, total, every, form
        self.start = self.last = time.monotonic()

    def __call__(self, amount: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self.last < self.every:
            return
        self.last = now
        remaining = (now - self.start) * (self.total - amount) / max(amount, 1e-9)
        share = amount / max(self.total, 1e-9)
        self._write(f"{self.title}: {share:.0%}, about {remaining:.0f} s left  {note}")

    def clear(self) -> None:
        """Leave an empty line where one was written over."""
        if self.last > self.start:
            self._write("")
            sys.stderr.write("\r")

    def _write(self, text: str) -> None:
        sys.stderr.write(self.form.format(text))
        sys.stderr.flush()
