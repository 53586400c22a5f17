"""`polymodal fit`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.app import app
from polymodal.cli.options import (
    HELPS,
    WRITES,
    BeamsOpt,
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

if TYPE_CHECKING:
    from polymodal.fitting.colearning import Colearning
    from polymodal.fitting.writing import Writing


def written(asked: dict[str, Any], beams: int | None) -> "Writing | None":
    """What was asked of a decoder; None where nothing was."""
    given = {k: v for k, v in asked.items() if v is not None}
    if not given and beams is None:
        return None
    from polymodal.decoders.base import Decoding
    from polymodal.fitting.writing import Writing

    return Writing(**given, decoding=Decoding() if beams is None else Decoding(beams=beams))


def helped(asked: dict[str, Any]) -> "Colearning":
    """What was asked of co-learning, with the defaults of what was not."""
    from polymodal.fitting.colearning import Colearning

    return Colearning(**{k: v for k, v in asked.items() if v is not None})


@app.command()
def fit(
    table: TableArg,
    target: TargetOpt = None,
    valid: Annotated[
        str | None, typer.Option(help="Table to choose the best epoch by (default: a fifth of TABLE is held out).")
    ] = None,
    test: Annotated[str | None, typer.Option(help="Table to score once, at the end.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the model (default: TABLE's name and -model).")
    ] = None,
    fusion: Annotated[
        str | None,
        typer.Option(
            help="auto (tries both paths and chooses), features (estimators on features alone), or how networks join modalities: mean, sum, weighted, product, concat, gated, mvae, tensor, low-rank, bilinear, mlb, mutan, mfb, mcb, film, mmtm, cen, attention, cross-attention, mult, mbt, perceiver, recurrent, late-mean, late-weighted, late-vote, late-product, late-max, late-stacking, hybrid; or mypackage.mymodule:MyFusion. `polymodal fusions` tells them apart. (default: auto)",
        ),
    ] = None,
    preset: Annotated[str, typer.Option(help="How hard auto and features try: fast, balanced or best.")] = "balanced",
    size: Annotated[str, typer.Option(help="tiny, small, base or large.")] = "small",
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=NAME",
            help="Encoder of a column: transformer, gru, vit ...; or a Hugging Face name or folder of a pretrained network, an .onnx file, or another polymodal model (frozen).",
        ),
    ] = None,
    tune: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Fine-tune this column's pretrained network.")
    ] = None,
    modality: ModalityOpt = None,
    ignore: IgnoreOpt = None,
    group: GroupOpt = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="binary, multiclass, multilabel, ordinal, regression or generate (default: from the target's cells)."
        ),
    ] = None,
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
        int | None, typer.Option(help="How often a word occurs at least (default: 2).", rich_help_panel=WRITES)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Words of the longest text that is learned and written (default: 64).", rich_help_panel=WRITES
        ),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(
            help="Metric that chooses the epoch: cider_d, bleu_4, meteor_exact_stem, rouge_l, chrf, exact_match, wer or cer (default: cider_d; wer for transcripts).",
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
            metavar="SHARE",
            help="Words that are replaced by the model's own in training, at most (default: 0).",
            rich_help_panel=WRITES,
        ),
    ] = None,
    self_critical: Annotated[
        int | None,
        typer.Option(
            metavar="EPOCHS",
            help="Epochs of self-critical training on CIDEr-D at the end (default: 0).",
            rich_help_panel=WRITES,
        ),
    ] = None,
    tune_decoder: Annotated[
        bool, typer.Option("--tune-decoder", help="A pretrained language model learns too.", rich_help_panel=WRITES)
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
    absent: Annotated[
        str | None,
        typer.Option(
            help="What stands for a modality that a row lacks: masked (nothing), tokens (learned ones), imputed (made from the others) (default: masked).",
            rich_help_panel=HELPS,
        ),
    ] = None,
    modality_dropout: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Chance that a modality of a row is hidden in training, 0 to below 1; one always stays (default: 0.3).",
            rich_help_panel=HELPS,
        ),
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            help="What keeps one modality from starving the others: none, watch (nothing, but the learning curve of each modality is kept), ogm-ge (gradient modulation), blending (gradient blending) (default: none).",
            rich_help_panel=HELPS,
        ),
    ] = None,
    cyclic: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Learn by translating this modality into the others and back; it alone is needed afterwards.",
            rich_help_panel=HELPS,
        ),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Begin with this model's encoders for columns of the same name and kind, and its fusion or decoder where it fits.",
            rich_help_panel=HELPS,
        ),
    ] = None,
    pretrain: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Learn first from all rows, labelled or not: masked (guess a hidden modality), matching (do these belong together?), contrastive (which belong together?).",
            rich_help_panel=HELPS,
        ),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(metavar="TABLE", help="Further rows for --pretrain; no target is needed.", rich_help_panel=HELPS),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="For everything, comparison included: 90s, 10m, 1h30m (default: none for a fusion by name; for auto by the rows).",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes (default: from the rows).")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows a step (default: from the rows).")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate (default: 0.001).")] = None,
    precision: Annotated[str | None, typer.Option(help="no, bf16 or fp16.")] = None,
    seed: Annotated[int, typer.Option(help="Decides splits, weights and the order of rows.")] = 0,
    baselines: Annotated[
        bool, typer.Option(help="Also train each modality alone, and concat, to compare with.")
    ] = True,
    resume: Annotated[bool, typer.Option(help="Go on with the interrupted run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Write over the model in --out.")] = False,
    cache: CacheOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Train a model on a table, compare it with each modality alone, and save it.

    Each column's kind is inferred; see it first with `polymodal inspect`. Example:

        polymodal fit reviews.csv --target stars --group author --out model --time-limit 10m

    A column of sentences as the target gives a model that writes them: captions of pictures, transcripts, answers.

        polymodal fit captions.csv --target caption --out captioner
    """
    from polymodal import render
    from polymodal.fitting import fit as fitting

    asked = {
        "decoder": decoder,
        "vocabulary": vocabulary,
        "min_count": min_count,
        "limit": limit,
        "measure": measure,
        "smoothing": smoothing,
        "dropout": dropout,
        "sampled": scheduled_sampling,
        "self_critical": self_critical,
        "tune": tune_decoder or None,
        "language": language,
    }
    writing = written(asked, beams)
    helps = {
        "absent": absent,
        "balance": balance,
        "cyclic": cyclic,
        "origin": origin,
        "pretrain": pretrain,
        "unlabelled": unlabelled,
    }
    out = out or Path(f"{Path(table).stem}-model")
    try:
        model = fitting.fit(
            table,
            targets(table, target),
            valid=valid,
            test=test,
            out=out,
            fusion=fusion or fitting.DEFAULT_FUSION,
            preset=preset,
            size=size,
            encoders=pairs(encoder, "--encoder"),
            tune=tune or (),
            kinds=pairs(modality, "--modality"),
            ignore=ignore or (),
            group=group,
            task=task,
            writing=writing,
            colearning=helped(helps),
            modality_dropout=modality_dropout,
            allow_overlap=allow_overlap,
            time_limit=seconds(time_limit),
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            precision=precision,
            seed=seed,
            baselines=baselines,
            resume=resume,
            overwrite=overwrite,
            cache=cache,
            quiet=False,
            command=typed(),
        )
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was done so far is kept: add --resume to go on\n")
        raise SystemExit(130) from None
    from accelerate import PartialState

    if PartialState().is_main_process:
        if as_json:
            print_json({"model": str(out), **model.report})
        else:
            render.fitted(model, out, table)
