"""`polymodal learning-curve`."""

import sys
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
    pairs,
    print_json,
    seconds,
    targets,
)
from polymodal.errors import InputError


@app.command("learning-curve")
def learning_curve(
    table: TableArg,
    target: TargetOpt = None,
    pretrain: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Compare with pretraining on all rows: masked, matching or contrastive."),
    ] = None,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="Compare with beginning from this model's encoders.")
    ] = None,
    unlabelled: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Further rows for --pretrain; no target is needed.")
    ] = None,
    shares: Annotated[
        str, typer.Option(help="Shares of the labelled training rows, with commas between.")
    ] = "0.05,0.1,0.25,0.5,1",
    valid: Annotated[
        str | None, typer.Option(help="Table to score on (default: a fifth of TABLE is held out).")
    ] = None,
    fusion: Annotated[str, typer.Option(help="How modalities are joined, as for fit.")] = "gated",
    size: Annotated[str, typer.Option(help="tiny, small, base or large.")] = "small",
    encoder: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=NAME", help="Encoder of a column, as for fit.")
    ] = None,
    modality: ModalityOpt = None,
    ignore: IgnoreOpt = None,
    group: GroupOpt = None,
    task: Annotated[str | None, typer.Option(help="binary, multiclass, multilabel, ordinal or regression.")] = None,
    time_limit: Annotated[
        str | None, typer.Option(metavar="TIME", help="For all fits, in equal shares: 10m, 2h (default: none).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes (default: from the rows).")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows a step (default: from the rows).")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate (default: 0.001).")] = None,
    seed: Annotated[int, typer.Option(help="Decides splits, shares, weights and the order of rows.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the results (default: TABLE's name and -curve).")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what is in --out.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Begin anew in --out.")] = False,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Fit with a few of the labels, with more, and with all, and say how many a head start saves.

    Writes curve.json, curve.csv and curve.png. Example:

        polymodal learning-curve reviews.csv --target stars --pretrain contrastive --out curve
    """
    from polymodal.comparing import curve as curves
    from polymodal.fitting.colearning import Colearning

    out = out or Path(f"{Path(table).stem}-curve")
    try:
        found = curves.learning_curve(
            table,
            targets(table, target),
            helped=Colearning(origin=origin, pretrain=pretrain, unlabelled=unlabelled),
            shares=numbers(shares),
            valid=valid,
            fusion=fusion,
            size=size,
            encoders=pairs(encoder, "--encoder"),
            kinds=pairs(modality, "--modality"),
            ignore=ignore or (),
            group=group,
            task=task,
            time_limit=seconds(time_limit),
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            seed=seed,
            out=out,
            resume=resume,
            overwrite=overwrite,
            cache=cache,
            quiet=False,
        )
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; finished fits are kept in {out}: add --resume to go on\n")
        raise SystemExit(130) from None
    written = found.write(out)
    if as_json:
        print_json({**found.to_json(), "files": [str(p) for p in written]})
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    grid = Table(title=f"{found.metric} on {found.valid:,} validation rows", title_justify="left", box=None)
    for name in ("share", "labels", "labels alone", found.start or "", "gain" if found.start else ""):
        grid.add_column(escape(name), justify="right")
    for line in curves.lines(found):
        grid.add_row(*map(escape, line))
    console.print(grid)
    console.print(escape(found.sentence), highlight=False)
    console.print(escape(f"written: {', '.join(map(str, written))}"), highlight=False)


def numbers(text: str) -> list[float]:
    """Numbers with commas between.

    >>> numbers("0.1, 1")
    [0.1, 1.0]
    """
    try:
        return [float(x) for x in text.split(",") if x.strip()]
    except ValueError:
        raise InputError(f"--shares {text!r} is no list of shares; write 0.05,0.1,0.25,0.5,1") from None
