"""`polymodal distill`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.options import CacheOpt, JsonOpt, ModelArg, PartOpt, TableArg, print_json, seconds, typed


@app.command()
def distill(
    model: ModelArg,
    table: TableArg,
    keep: Annotated[
        str, typer.Option(metavar="COLUMNS", help="What the student reads, with commas between: photo,price.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the student (default: MODEL's name and -student).")
    ] = None,
    valid: Annotated[
        str | None, typer.Option(help="Table to choose the best epoch by (default: a fifth of TABLE is held out).")
    ] = None,
    test: Annotated[str | None, typer.Option(help="Table to score once, at the end.")] = None,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="Above 1 the teacher's second thoughts count for more.")
    ] = 2.0,
    weight: Annotated[float, typer.Option(metavar="A", help="The teacher's share of the loss, 0 to 1.")] = 0.5,
    fusion: Annotated[str, typer.Option(help="How the student joins modalities, as for fit.")] = "gated",
    size: Annotated[str, typer.Option(help="Of the student: tiny, small, base or large.")] = "small",
    time_limit: Annotated[
        str | None, typer.Option(metavar="TIME", help="For both students together: 90s, 10m, 1h30m (default: none).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes (default: from the rows).")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows a step (default: from the rows).")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate (default: 0.001).")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides splits, weights and the order of rows (default: the teacher's).")
    ] = None,
    part: PartOpt = None,
    resume: Annotated[bool, typer.Option(help="Go on with the interrupted run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Write over the model in --out.")] = False,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Teach a model that reads fewer columns what MODEL knows from all of them, and say what that brings.

    The same student is trained without the teacher too, on the same rows, and the difference has an interval. Example:

        polymodal distill model reviews.csv --keep review --out cheap
    """
    from polymodal import fusion as fusions
    from polymodal import render
    from polymodal.fitting import distilling

    out = out or Path(f"{model.name}-student")
    try:
        student = distilling.distill(
            model,
            table,
            [k.strip() for k in keep.split(",") if k.strip()],
            valid=valid,
            test=test,
            out=out,
            fusion=fusion,
            size=size,
            weight=weight,
            temperature=temperature,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            seed=seed,
            time_limit=seconds(time_limit),
            parts=[fusions.find(name) for name in part or ()],
            cache=cache,
            resume=resume,
            overwrite=overwrite,
            quiet=False,
            command=typed(),
        )
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was done so far is kept: add --resume to go on\n")
        raise SystemExit(130) from None
    if as_json:
        print_json({"model": str(out), **student.report})
    else:
        render.fitted(student, out, table)
