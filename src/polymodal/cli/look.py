"""Commands that need no model: inspect, cache, demo."""

from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.options import (
    CacheOpt,
    GroupOpt,
    IgnoreOpt,
    JsonOpt,
    ModalityOpt,
    TableArg,
    TargetOpt,
    cache_folder,
    pairs,
    print_json,
)


@app.command()
def inspect(
    table: TableArg,
    target: TargetOpt = None,
    modality: ModalityOpt = None,
    ignore: IgnoreOpt = None,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Look at a table before training: what each column is and why, what is missing, unreadable, doubled or suspicious."""
    from polymodal.data.inspect import inspect as look

    report = look(table, target or None, group, pairs(modality, "--modality"), ignore or (), progress=True)
    print_json(report.to_json()) if as_json else report.show()


@app.command()
def cache(
    folder: CacheOpt = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all that it holds.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Show the cache of decoded cells and outputs of frozen networks, or clear it."""
    from polymodal.data import cache as store
    from polymodal.report import brief
    from polymodal.view.console import show

    where = cache_folder(folder)
    size = store.clear(where) if clear else None
    entries = store.usage(where)
    if as_json:
        print_json({"folder": str(where), "freed": size, "entries": [e._asdict() for e in entries]})
    else:
        show(brief.cache(where, entries, size))


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the tables and the models.")] = Path(
        "demo"
    ),
) -> None:
    """Make tables of written and spoken digits and of captioned shapes, then fit, evaluate and predict each."""
    from polymodal.demo import run

    run(folder)
