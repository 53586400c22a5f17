"""`polymodal robustness`."""

from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.options import (
    CacheOpt,
    CustomClassOpt,
    JsonOpt,
    ModelArg,
    TableArg,
    cache_folder,
    open_model,
    print_json,
    say,
)


@app.command()
def robustness(
    model: ModelArg,
    table: TableArg,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for robustness.json, robustness.csv and pictures (.png, .svg)."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="MODEL2", help="A late fusion to compare with on the same noise: effective robustness."),
    ] = None,
    noise: Annotated[
        bool, typer.Option("--noise/--no-noise", help="Spoil cells too; without, only absence is measured.")
    ] = True,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kinds", metavar="KIND", help="This noise alone: blur, or photo=blur; repeatable (default: all)."
        ),
    ] = None,
    levels: Annotated[int, typer.Option(min=2, help="Levels of each noise, the clean one included.")] = 5,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rows at most, drawn by the seed; 100 of a model that writes text.")
    ] = 1000,
    given: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column by which cells are removed at random (default: the group, or a number)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides rows, removed cells and noise.")] = 0,
    cache: CacheOpt = None,
    custom_class: CustomClassOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Measure what a model loses when modalities are absent, cells are removed, or what they hold is noisy.

    Three questions on a table that has the target, each with 95% bootstrap intervals. Subsets: the score with every
    subset of the modalities. Removed cells: 0 to 90% of them, completely at random (mcar), at random given a column
    (mar), and by the target itself (mnar). Noise on one modality at a time: each kind that `polymodal modalities`
    lists, and mismatch: another row's in its place.

    Example:

        polymodal robustness model test.csv --out robustness --against late
    """
    from polymodal.robustness import robustness as measured
    from polymodal.robustness.portray import WIDE, brief, usable, write
    from polymodal.view.console import show

    if out is not None:
        usable(out)
    reader = open_model(model, custom_class)
    other = None if against is None else open_model(against, custom_class)
    answer = measured(
        reader,
        table,
        against=other,
        noise=noise,
        kinds=kinds or (),
        levels=levels,
        limit=limit,
        seed=seed,
        given=given,
        cache=cache_folder(cache),
        progress=True,
    )
    paths = [] if out is None else write(answer, out)
    if as_json:
        print_json(answer.to_json())
        return
    show(brief(answer, wide=get_terminal_size().columns >= WIDE))
    if out is not None:
        say(f"\n{out}: {', '.join(paths)}")
