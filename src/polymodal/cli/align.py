"""`polymodal align` and `polymodal embed`."""

from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.experiment import (
    BatchSizeOpt,
    DeviceOpt,
    EncoderOpt,
    EpochsOpt,
    FinetuneOpt,
    LrOpt,
    NJobsOpt,
    OutOpt,
    OverwriteOpt,
    ResumeOpt,
    SeedOpt,
    SizeOpt,
    config,
    folder_of,
    resumable,
)
from polymodal.cli.options import (
    DEVICES,
    CacheOpt,
    GroupOpt,
    JsonOpt,
    ModalityOpt,
    TableArg,
    cache_folder,
    open_aligned,
    print_json,
)

AlignedArg = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that `polymodal align --out` wrote.")]


@app.command()
def align(
    table: TableArg,
    columns: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="What to align, with commas between: photo,caption (default: all)."),
    ] = None,
    valid: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Table to choose by (default: a fifth of TABLE is held out).")
    ] = None,
    out: OutOpt = None,
    method: Annotated[
        str,
        typer.Option(
            help="cca (canonical correlations of features), a contrastive loss of networks: info-nce (CLIP), sigmoid "
            "(SigLIP) or triplet (VSE++), or auto: cca, then info-nce, and the better one on validation rows."
        ),
    ] = "auto",
    dim: Annotated[int, typer.Option(metavar="N", help="Dimensions of the shared space.")] = 256,
    encoder: EncoderOpt = None,
    finetune: FinetuneOpt = None,
    modality: ModalityOpt = None,
    group: GroupOpt = None,
    size: SizeOpt = "small",
    time_limit: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="For everything: 90s, 10m, 1h30m (default: by the number of cells)."),
    ] = None,
    epochs: EpochsOpt = None,
    batch_size: BatchSizeOpt = None,
    lr: LrOpt = None,
    seed: SeedOpt = 0,
    n_jobs: NJobsOpt = None,
    device: DeviceOpt = "auto",
    resume: ResumeOpt = False,
    overwrite: OverwriteOpt = False,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Learn one space in which the cells of a row lie together: photos and captions, sounds and pictures; no label.

    Rows that lack some of the columns teach with those that they have. Rows that share a cell, such as five captions of
    one photo, belong to each other, and validation rows share none with training rows. Example:

        polymodal align photos.csv --columns photo,caption --out pairs
    """
    from polymodal.experiment import align as experiment
    from polymodal.report import retrieval
    from polymodal.view.console import show

    out = folder_of(out, table, "aligned")
    with resumable("what was done so far is kept"):
        model = experiment.align(
            table, [c.strip() for c in (columns or "").split(",") if c.strip()], valid=valid, group=group,
            method=method, dim=dim, time_limit=time_limit, seed=seed, out=out,
            config=config(
                encoder=encoder, finetune=finetune, modality=modality, size=size, epochs=epochs, batch_size=batch_size,
                lr=lr, cache=cache, n_jobs=n_jobs, device=device, resume=resume, overwrite=overwrite,
            ),
        )  # fmt: skip
    if as_json:
        print_json({"model": str(out), **model.report.to_json()})
    else:
        show(retrieval.summary(model, out))


@app.command()
def embed(
    model: AlignedArg,
    table: TableArg,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write: .npy, .parquet, .csv or .tsv.")],
    column: Annotated[
        str, typer.Option(metavar="COLUMN", help="Embed this modality (default: the mean of all that a row has).")
    ] = "",
    device: Annotated[str, typer.Option(help=DEVICES)] = "auto",
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Write the points of a table's rows in the space of an aligned MODEL: (rows, dimensions), NaN without a cell."""
    import numpy as np

    from polymodal.data.encode import Bad
    from polymodal.extract import write_points
    from polymodal.report import retrieval
    from polymodal.view.console import show

    bad: list[Bad] = []
    points = open_aligned(model, device).embed(table, column, cache=cache_folder(cache), bad=bad)
    write_points(points, out)
    empty = int(np.isnan(points).any(1).sum())
    if as_json:
        shape = {"rows": len(points), "dimensions": points.shape[1], "without": empty}
        print_json({"file": str(out), **shape, "bad": [b._asdict() for b in bad]})
    else:
        show(retrieval.embedded(len(points), empty, out, bad), stderr=True)
