"""`polymodal fit`."""

from typing import Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.experiment import (
    COLEARNING,
    SEARCH,
    TRAINING,
    BatchSizeOpt,
    ClassWeightOpt,
    DeviceOpt,
    EncoderOpt,
    EpochsOpt,
    FinetuneOpt,
    InitFromOpt,
    LrOpt,
    MetricOpt,
    NJobsOpt,
    OutOpt,
    OverwriteOpt,
    PresetOpt,
    PretrainOpt,
    ResumeOpt,
    SeedOpt,
    SizeOpt,
    TestOpt,
    ThresholdOpt,
    TimeLimitOpt,
    UnlabelledOpt,
    ValidOpt,
    WeightOpt,
    config,
    folder_of,
    resumable,
)
from polymodal.cli.options import (
    WRITES,
    BeamsOpt,
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


@app.command()
def fit(
    table: TableArg,
    target: TargetOpt = None,
    valid: ValidOpt = None,
    test: TestOpt = None,
    out: OutOpt = None,
    fusion: Annotated[
        str | None,
        typer.Option(
            help="auto (searches networks and estimators on features), features (estimators alone), or how a network joins modalities: concat, gated, film, mbt, late-mean, hybrid ... (`polymodal fusions` lists all), or mypackage.mymodule:MyFusion (default: auto)",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    preset: PresetOpt = "balanced",
    size: SizeOpt = "small",
    encoder: EncoderOpt = None,
    finetune: FinetuneOpt = None,
    modality: ModalityOpt = None,
    ignore: IgnoreOpt = None,
    group: GroupOpt = None,
    split: SplitOpt = None,
    order: OrderOpt = None,
    gap: GapOpt = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="binary, multiclass, multilabel, ordinal, regression or generate (default: from the target's cells)."
        ),
    ] = None,
    metric: MetricOpt = None,
    weight: WeightOpt = None,
    class_weight: ClassWeightOpt = None,
    optimize_threshold: ThresholdOpt = False,
    decoder: Annotated[
        str | None,
        typer.Option(
            help="What writes text: transformer, gru (Show, Attend and Tell), gru-dot, prefix (prefix language model), ctc (transcripts), or a Hugging Face name or folder of a pretrained language model or encoder-decoder (default: ctc for recordings with one text each, else transformer).",
            rich_help_panel=WRITES,
        ),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(help="words, bpe or characters (default: words).", rich_help_panel=WRITES),
    ] = None,
    min_count: Annotated[
        int | None,
        typer.Option(help="Words that occur less often are unknown (default: 2).", rich_help_panel=WRITES),
    ] = None,
    max_words: Annotated[
        int | None,
        typer.Option(
            help="Longest text, in words, that is learned and written; longer references are cut (default: 64).",
            rich_help_panel=WRITES,
        ),
    ] = None,
    smoothing: Annotated[
        float | None, typer.Option(help="Label smoothing (default: 0.1).", rich_help_panel=WRITES)
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Dropout in the decoder (default: 0.1).", rich_help_panel=WRITES),
    ] = None,
    scheduled_sampling: Annotated[
        float | None,
        typer.Option(
            metavar="FRACTION",
            help="Scheduled sampling: fraction of the decoder's inputs that are its own samples, at the end of training (default: 0).",
            rich_help_panel=WRITES,
        ),
    ] = None,
    self_critical: Annotated[
        int | None,
        typer.Option(
            metavar="EPOCHS",
            help="Epochs of self-critical sequence training on CIDEr-D after cross-entropy (default: 0).",
            rich_help_panel=WRITES,
        ),
    ] = None,
    finetune_decoder: Annotated[
        bool, typer.Option("--finetune-decoder", help="Fine-tune a pretrained language model.", rich_help_panel=WRITES)
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(
            help="Language that a pretrained Whisper writes: en, de ... (default: en).", rich_help_panel=WRITES
        ),
    ] = None,
    beams: BeamsOpt = None,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap", help="Files may be in --valid or --test and in TABLE too.", rich_help_panel=WRITES
        ),
    ] = False,
    imputation: Annotated[
        str | None,
        typer.Option(
            help="What stands in for a modality that a row lacks: none (it is masked), tokens (learned ones), predicted (from the others) (default: none).",
            rich_help_panel=COLEARNING,
        ),
    ] = None,
    modality_dropout: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Chance that a modality of a row is hidden in training, 0 to below 1; one always stays (default: 0.3 where training rows lack any, else 0.1).",
            rich_help_panel=COLEARNING,
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            help="What keeps one modality from starving the others: none, watch (nothing, but the learning curve of each modality is kept), ogm-ge (gradient modulation), blending (gradient blending) (default: none).",
            rich_help_panel=COLEARNING,
        ),
    ] = None,
    cyclic: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Learn by translating this modality into the others and back; it alone is needed afterwards.",
            rich_help_panel=COLEARNING,
        ),
    ] = None,
    init_from: InitFromOpt = None,
    pretrain: PretrainOpt = None,
    unlabelled: UnlabelledOpt = None,
    time_limit: TimeLimitOpt = None,
    epochs: EpochsOpt = None,
    batch_size: BatchSizeOpt = None,
    lr: LrOpt = None,
    precision: Annotated[
        str | None, typer.Option(help="Of training: no (float32), bf16 or fp16.", rich_help_panel=TRAINING)
    ] = None,
    seed: SeedOpt = 0,
    baselines: Annotated[
        bool,
        typer.Option(
            help="Of a named fusion: also train each modality alone, and concat, to compare with.",
            rich_help_panel=SEARCH,
        ),
    ] = True,
    prefer: Annotated[
        str,
        typer.Option(
            help="What a search chooses: score (the best on rows that it did not learn from), simple (what reads "
            "least within one standard error of the best) or fast-predict (what predicts soonest within one).",
            rich_help_panel=SEARCH,
        ),
    ] = "score",
    n_jobs: NJobsOpt = None,
    device: DeviceOpt = "auto",
    folds: Annotated[
        int | None,
        typer.Option(
            help="Folds by which a search judges estimators (default: from the rows, 5 at most).",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    resume: ResumeOpt = False,
    overwrite: OverwriteOpt = False,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Train a model on a table, compare it with each modality alone, and save it.

    Each column's kind is inferred; see it first with `polymodal inspect`. Example:

        polymodal fit reviews.csv --target stars --group author --out model --time-limit 10m

    A column of sentences as the target gives a model that writes them: captions of pictures, transcripts, answers.

        polymodal fit captions.csv --target caption --out captioner
    """
    from polymodal.decoders.base import Decoding
    from polymodal.experiment import fit as experiment
    from polymodal.report import brief
    from polymodal.view.console import show

    out = folder_of(out, table, "model")
    request = config(
        fusion=fusion, size=size, baselines=baselines, prefer=prefer, folds=folds, encoder=encoder, modality=modality,
        split=split, order=order, gap=gap, finetune=finetune,
        epochs=epochs, batch_size=batch_size, lr=lr, precision=precision, modality_dropout=modality_dropout,
        decoder=decoder, vocabulary=vocabulary, min_count=min_count, max_words=max_words, metric=metric, weight=weight, class_weight=class_weight,
        optimize_threshold=optimize_threshold or None,
        smoothing=smoothing, dropout=dropout, scheduled_sampling=scheduled_sampling, self_critical=self_critical,
        finetune_decoder=finetune_decoder or None, language=language,
        decoding=None if beams is None else Decoding(beams=beams),
        imputation=imputation, balance=balance, cyclic=cyclic, init_from=init_from, pretrain=pretrain,
        unlabelled=unlabelled, allow_overlap=allow_overlap, resume=resume, overwrite=overwrite, cache=cache,
        n_jobs=n_jobs, device=device,
    )  # fmt: skip
    with resumable("what was done so far is kept"):
        model = experiment.fit(
            table, targets(table, target), valid=valid, test=test, out=out, group=group, ignore=ignore or (),
            task=task, time_limit=time_limit, preset=preset, seed=seed, config=request,
        )  # fmt: skip
    from accelerate import PartialState

    if PartialState().is_main_process:
        if as_json:
            print_json({"model": str(out), **model.report.to_json()})
        else:
            show(brief.fit_summary(model, out))
