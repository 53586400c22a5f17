"""`polymodal distill`."""

from typing import Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.experiment import (
    SEED,
    BatchSizeOpt,
    DeviceOpt,
    EpochsOpt,
    LrOpt,
    NJobsOpt,
    OneFusionOpt,
    OutOpt,
    OverwriteOpt,
    ResumeOpt,
    SizeOpt,
    TestOpt,
    TimeLimitOpt,
    ValidOpt,
    config,
    folder_of,
    resumable,
)
from polymodal.cli.options import CacheOpt, CustomClassOpt, JsonOpt, ModelArg, TableArg, print_json


@app.command()
def distill(
    model: ModelArg,
    table: TableArg,
    keep: Annotated[
        str, typer.Option(metavar="COLUMNS", help="What the student reads, with commas between: photo,price.")
    ],
    out: OutOpt = None,
    valid: ValidOpt = None,
    test: TestOpt = None,
    temperature: Annotated[
        float, typer.Option(metavar="T", help="Divides the teacher's and the student's logits; above 1 softens both.")
    ] = 2.0,
    weight: Annotated[
        float, typer.Option(metavar="FRACTION", help="Weight of the teacher's loss, 0 to 1; the label's has the rest.")
    ] = 0.5,
    fusion: OneFusionOpt = "gated",
    size: SizeOpt = "small",
    time_limit: TimeLimitOpt = None,
    epochs: EpochsOpt = None,
    batch_size: BatchSizeOpt = None,
    lr: LrOpt = None,
    seed: Annotated[int | None, SEED] = None,
    custom_class: CustomClassOpt = None,
    n_jobs: NJobsOpt = None,
    device: DeviceOpt = "auto",
    resume: ResumeOpt = False,
    overwrite: OverwriteOpt = False,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Teach a model that reads fewer columns what MODEL knows from all of them, and say what that brings.

    The same student is trained without the teacher too, on the same rows, and the difference has an interval.
    The default of --seed is the teacher's. Example:

        polymodal distill model reviews.csv --keep review --out cheap
    """
    from polymodal import fusion as fusions
    from polymodal.experiment import distill as experiment
    from polymodal.report import brief
    from polymodal.view.console import show

    out = folder_of(out, model, "student")
    with resumable("what was done so far is kept"):
        student = experiment.distill(
            model, table, [k.strip() for k in keep.split(",") if k.strip()], valid=valid, test=test, out=out,
            weight=weight, temperature=temperature, time_limit=time_limit, seed=seed,
            custom=[fusions.find(name) for name in custom_class or ()],
            config=config(
                fusion=fusion, size=size, epochs=epochs, batch_size=batch_size, lr=lr, cache=cache,
                n_jobs=n_jobs, device=device, resume=resume, overwrite=overwrite,
            ),
        )  # fmt: skip
    if as_json:
        print_json({"model": str(out), **student.report.to_json()})
    else:
        show(brief.fit_summary(student, out))
