"""`polymodal compare`."""

import json
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
    typed,
)


@app.command()
def compare(
    table: TableArg,
    target: TargetOpt = None,
    fusion: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Fusions to compare, with commas between; all for every one; features for the small-data path (default: what --preset tries, and features).",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Parts that are tested in turn.")] = 5,
    repeats: Annotated[int, typer.Option(help="Times that the rows are parted anew.")] = 1,
    preset: Annotated[str, typer.Option(help="How hard to try: fast, balanced or best.")] = "balanced",
    size: Annotated[str, typer.Option(help="tiny, small, base or large.")] = "small",
    encoder: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=NAME", help="Encoder of a column, as for fit.")
    ] = None,
    modality: ModalityOpt = None,
    ignore: IgnoreOpt = None,
    group: GroupOpt = None,
    task: Annotated[str | None, typer.Option(help="binary, multiclass, multilabel, ordinal or regression.")] = None,
    time_limit: Annotated[
        str | None, typer.Option(metavar="TIME", help="For everything, in equal shares: 10m, 2h (default: none).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes of a network.")] = None,
    seed: Annotated[int, typer.Option(help="Decides folds, weights and the order of rows.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the results (default: TABLE's name and -compare).")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with what is in --out; fusions may be added.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Begin anew in --out.")] = False,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Compare each modality alone, concat, fusions and features on the same folds, and say what is more than chance.

    Writes compare.html (with plots), compare.json, and a file a candidate and fold, so that nothing is done twice.
    Example:

        polymodal compare reviews.csv --target stars --group author --fusion gated,low-rank,features --time-limit 1h
    """
    from rich.console import Console

    from polymodal.comparing import compare as comparing
    from polymodal.comparing.standing import standing
    from polymodal.evaluate.page import page, portray

    out = out or Path(f"{Path(table).stem}-compare")
    try:
        run = comparing.run(
            table,
            targets(table, target),
            fusion=[n.strip() for n in fusion.split(",")] if fusion else (),
            folds=folds,
            repeats=repeats,
            preset=preset,
            size=size,
            encoders=pairs(encoder, "--encoder"),
            kinds=pairs(modality, "--modality"),
            ignore=ignore or (),
            group=group,
            task=task,
            time_limit=seconds(time_limit),
            epochs=epochs,
            seed=seed,
            cache=cache,
            out=out,
            resume=resume,
            overwrite=overwrite,
            quiet=False,
        )
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; finished candidates are kept in {out}: add --resume to go on\n")
        raise SystemExit(130) from None
    board = standing(run)
    form = {"settings": run.settings, "seconds": run.seconds, **board.to_json()}
    (out / "compare.json").write_text(json.dumps(form, indent=1, ensure_ascii=False), encoding="utf-8")
    title = f"{Path(table).name}: what predicts {', '.join(run.problem.schema.target)}?"
    html = page(board, title=title, command=typed())
    (out / "compare.html").write_text(html, encoding="utf-8")
    if as_json:
        print_json(form)
    else:
        console = Console()
        portray(board, console)
        console.print(f"\n{run.seconds:.0f} s. Plots and tests are in {out / 'compare.html'}", highlight=False)
