"""`polymodal compare`."""

from pathlib import Path
from typing import Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.experiment import (
    SEARCH,
    ClassWeightOpt,
    DeviceOpt,
    EncoderOpt,
    EpochsOpt,
    LabelTaskOpt,
    MetricOpt,
    NJobsOpt,
    OutOpt,
    OverwriteOpt,
    PresetOpt,
    ResumeOpt,
    SeedOpt,
    SizeOpt,
    TimeLimitOpt,
    WeightOpt,
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
    command_line,
    print_json,
    targets,
)
from polymodal.saving import json_text


@app.command()
def compare(
    table: TableArg,
    target: TargetOpt = None,
    fusion: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Fusions to compare, with commas between; all for every one; features for the small-data path (default: what --preset tries, and features).",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation.", rich_help_panel=SEARCH)] = 5,
    repeats: Annotated[int, typer.Option(help="Repetitions with other folds.", rich_help_panel=SEARCH)] = 1,
    preset: PresetOpt = "balanced",
    size: SizeOpt = "small",
    encoder: EncoderOpt = None,
    modality: ModalityOpt = None,
    ignore: IgnoreOpt = None,
    group: GroupOpt = None,
    split: SplitOpt = None,
    order: OrderOpt = None,
    gap: GapOpt = None,
    task: LabelTaskOpt = None,
    metric: MetricOpt = None,
    weight: WeightOpt = None,
    class_weight: ClassWeightOpt = None,
    time_limit: TimeLimitOpt = None,
    epochs: EpochsOpt = None,
    seed: SeedOpt = 0,
    out: OutOpt = None,
    n_jobs: NJobsOpt = None,
    device: DeviceOpt = "auto",
    resume: ResumeOpt = False,
    overwrite: OverwriteOpt = False,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Compare each modality alone, concat, fusions and features on the same folds, and say what is more than chance.

    Baselines that read nothing stand beside them. What is three standard errors behind after a fold is dropped; where
    --time-limit is short, what can't be finished on all folds is not begun, and named.

    Writes compare.html (with plots), compare.json, and a file a candidate and fold: --resume may add fusions.
    Example:

        polymodal compare reviews.csv --target stars --group author --fusion gated,low-rank,features --time-limit 1h
    """
    from polymodal.evaluate.page import brief, page
    from polymodal.experiment import compare as experiment
    from polymodal.experiment.ranking import standing
    from polymodal.view.blocks import Words
    from polymodal.view.console import show
    from polymodal.view.page import page as html

    out = folder_of(out, table, "compare")
    with resumable(f"finished candidates are kept in {out}"):
        run = experiment.run(
            table, targets(table, target), fusion=[n.strip() for n in fusion.split(",")] if fusion else (),
            folds=folds, repeats=repeats, preset=preset, group=group, ignore=ignore or (), task=task,
            time_limit=time_limit, seed=seed, out=out,
            config=config(
                size=size, encoder=encoder, modality=modality,
                split=split, order=order, gap=gap, metric=metric, weight=weight, class_weight=class_weight,
                epochs=epochs, cache=cache, n_jobs=n_jobs, device=device, resume=resume, overwrite=overwrite,
            ),
        )  # fmt: skip
    leaderboard = standing(run)
    form = {"settings": run.settings, "seconds": run.seconds, **leaderboard.to_json()}
    (out / "compare.json").write_text(json_text(form), encoding="utf-8")
    title = f"{Path(table).name}: what predicts {', '.join(run.problem.schema.target)}?"
    page_text = html(page(leaderboard, title=title, command=command_line()))
    (out / "compare.html").write_text(page_text, encoding="utf-8", errors="replace")
    if as_json:
        print_json(form)
    else:
        end = f"{run.seconds:.0f} s. Plots and tests are in {out / 'compare.html'}"
        show([*brief(leaderboard), Words(""), Words(end)])
