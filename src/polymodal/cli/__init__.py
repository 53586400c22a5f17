"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from polymodal.cli import (  # each registers its commands, in this order
    align,
    compare,
    curve,
    data,
    distill,
    explain,
    features,
    fit,
    fusions,
    look,
    modalities,
    report,
    robustness,
    use,
)
from polymodal.cli.app import app
from polymodal.cli.options import say
from polymodal.errors import InputError, command_line

__all__ = [
    "align",
    "app",
    "compare",
    "curve",
    "data",
    "distill",
    "explain",
    "features",
    "fit",
    "fusions",
    "look",
    "main",
    "modalities",
    "report",
    "robustness",
    "use",
]


def main() -> None:
    """Entry point: input errors exit with 2 and one line, an interruption with 130."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a cell may hold what the terminal can't show
    with command_line(), errors():
        app()


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from polymodal import __version__

        say(__version__)
        raise typer.Exit


@contextmanager
def errors() -> Iterator[None]:
    try:
        yield
    except InputError as e:
        sys.stderr.write(f"error: {e}\n")
        raise SystemExit(2) from None
    except ImportError as e:  # an extra that is not installed; the message says how to get it
        sys.stderr.write(f"error: {e}\n")
        raise SystemExit(2) from None
