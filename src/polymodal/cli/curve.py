"""`polymodal learning-curve`."""

from typing import Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.experiment import (
    BatchSizeOpt,
    DeviceOpt,
    EncoderOpt,
    EpochsOpt,
    InitFromOpt,
    LabelTaskOpt,
    LrOpt,
    NJobsOpt,
    OneFusionOpt,
    OutOpt,
    OverwriteOpt,
    PretrainOpt,
    ResumeOpt,
    SeedOpt,
    SizeOpt,
    TimeLimitOpt,
    UnlabelledOpt,
    ValidOpt,
    config,
    folder_of,
    resumable,
)
from polymodal.cli.options import (
    CacheOpt,
    GapOpt,
    GroupOpt,
    IgnoreOpt,
    JsonOpt,
    ModalityOpt,
    OrderOpt,
    SplitOpt,
    TableArg,
    TargetOpt,
    print_json,
    targets,
)
from polymodal.errors import InputError


@app.command("learning-curve")
def learning_curve(
    table: TableArg,
    target: TargetOpt = None,
    pretrain: PretrainOpt = None,
    init_from: InitFromOpt = None,
    unlabelled: UnlabelledOpt = None,
    fractions: Annotated[
        str, typer.Option(help="Fractions of the labelled training rows, with commas between.")
    ] = "0.05,0.1,0.25,0.5,1",
    valid: ValidOpt = None,
    fusion: OneFusionOpt = "gated",
    size: SizeOpt = "small",
    encoder: EncoderOpt = None,
    modality: ModalityOpt = None,
    ignore: IgnoreOpt = None,
    group: GroupOpt = None,
    split: SplitOpt = None,
    order: OrderOpt = None,
    gap: GapOpt = None,
    task: LabelTaskOpt = None,
    time_limit: TimeLimitOpt = None,
    epochs: EpochsOpt = None,
    batch_size: BatchSizeOpt = None,
    lr: LrOpt = None,
    seed: SeedOpt = 0,
    out: OutOpt = None,
    n_jobs: NJobsOpt = None,
    device: DeviceOpt = "auto",
    resume: ResumeOpt = False,
    overwrite: OverwriteOpt = False,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Fit with a few of the labels, with more, and with all, and say how many a head start saves.

    Scores are of the validation rows. Writes curve.json, curve.csv and curve.png. Example:

        polymodal learning-curve reviews.csv --target stars --pretrain contrastive --out curve
    """
    from polymodal.experiment import learning_curve as experiment

    out = folder_of(out, table, "curve")
    with resumable(f"finished fits are kept in {out}"):
        curve = experiment.learning_curve(
            table, targets(table, target), fractions=numbers(fractions), valid=valid, group=group, ignore=ignore or (),
            task=task, time_limit=time_limit, seed=seed, out=out,
            config=config(
                fusion=fusion, size=size, encoder=encoder, modality=modality,
                split=split, order=order, gap=gap, epochs=epochs, batch_size=batch_size,
                lr=lr, init_from=init_from, pretrain=pretrain, unlabelled=unlabelled, cache=cache,
                n_jobs=n_jobs, device=device, resume=resume, overwrite=overwrite,
            ),
        )  # fmt: skip
    paths = curve.write(out)
    if as_json:
        print_json({**curve.to_json(), "files": [str(p) for p in paths]})
        return
    from polymodal.view.blocks import Words
    from polymodal.view.console import show

    show([*experiment.brief(curve), Words(f"written: {', '.join(map(str, paths))}")])


def numbers(text: str) -> list[float]:
    """Numbers with commas between.

    >>> numbers("0.1, 1")
    [0.1, 1.0]
    """
    try:
        return [float(x) for x in text.split(",") if x.strip()]
    except ValueError:
        raise InputError(f"--fractions {text!r} is no list of fractions; write 0.05,0.1,0.25,0.5,1") from None
