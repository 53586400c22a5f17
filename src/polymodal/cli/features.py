"""`polymodal features`."""

from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.options import CacheOpt, IgnoreOpt, JsonOpt, ModalityOpt, TableArg, pairs, print_json


@app.command()
def features(
    table: TableArg,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Parquet, CSV or TSV file to write.")],
    learn: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE", help="Learn vocabularies and code books from this table (default: TABLE itself)."
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=NAMES",
            help="Features of a column, with commas between, of those that `polymodal modalities` lists; other columns have their defaults (--ignore leaves one out). wordvectors:FILE reads vectors from a file.",
        ),
    ] = None,
    modality: ModalityOpt = None,
    ignore: IgnoreOpt = None,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Write the classical features of columns, such as texts, images, recordings and series, with names such as voice.f0_mean_hz.

    What is read of a cell is kept in the cache, so a second run, or a fit, is quick. Example:

        polymodal features calls.csv --select call=prosody,mfcc --out features.parquet
    """
    from polymodal import extract
    from polymodal.data.cache import default_folder
    from polymodal.report import brief
    from polymodal.view.console import show

    features = extract.features(
        table,
        learn=learn,
        select=pairs(select, "--select"),
        kinds=pairs(modality, "--modality"),
        ignore=ignore or (),
        cache=cache or default_folder(),
        progress=True,
    )
    extract.write(features.frame, out)
    if as_json:
        rows, columns = features.frame.shape
        counts = {"rows": rows, "columns": columns, "features": features.counts, "left_out": features.left_out}
        print_json({"file": str(out), **counts, "bad": [b._asdict() for b in features.bad]})
    else:
        show(brief.extraction_summary(features, out))
