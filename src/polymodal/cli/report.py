"""`polymodal report`."""

from pathlib import Path
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
    command_line,
    open_model,
    print_json,
    say,
)


@app.command()
def report(
    model: ModelArg,
    table: TableArg,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The HTML file to write.")] = Path("report.html"),
    rows: Annotated[int, typer.Option(min=1, help="Rows of the table that are looked at, drawn by --seed.")] = 2000,
    robustness: Annotated[
        bool,
        typer.Option("--robustness/--no-robustness", help="Try absent modalities and noise too, which takes longest."),
    ] = True,
    train: Annotated[
        str | None, typer.Option(metavar="TABLE", help="The training table: rows are shown beside the nearest of it.")
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON or TOML file of what only a person can say, such as intended_use and ethics."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides which rows are drawn, and what noise is made.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace --out, even if it is no report.")] = False,
    cache: CacheOpt = None,
    custom_class: CustomClassOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Write one page about a model and a table that can be handed to somebody else.

    It holds the data, the result beside each modality alone and concat, robustness, what each modality adds, the best and
    worst rows with their explanations, training, how to repeat it, and a model card; it needs nothing beside itself.
    Example:

        polymodal report model test.csv --train train.csv --card card.toml --out report.html
    """
    from polymodal.report import write

    result = write(
        open_model(model, custom_class), table, out, rows=rows, robust=robustness, train=train, card=card, seed=seed,
        cache=cache_folder(cache), command=command_line(), overwrite=overwrite, progress=True,
    )  # fmt: skip
    if as_json:
        print_json(result.to_json())
        return
    for sentence in result.summary:
        say(sentence)
    say(f"{result.path}: {result.bytes / 1000:,.0f} kB")
