"""What the commands that train share: their options, the config that these make, and how an interruption ends."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.options import COLUMNS, DEVICES, command_line, pairs

if TYPE_CHECKING:
    from polymodal.experiment.config import Record

SEARCH, TRAINING, RUN = "Search (what is tried)", "Training (of networks)", "Run (time, files and repetition)"
TARGET = "Target (how it is learned and judged)"
COLEARNING = "Co-learning (modalities that help each other, and what is learned before)"

ValidOpt = Annotated[
    str | None,
    typer.Option("--valid", help="Table to validate on, which chooses the epoch (default: a fifth of TABLE)."),
]
TestOpt = Annotated[str | None, typer.Option("--test", help="Table to score once, at the end.")]
OutOpt = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder to write (default: named after what is read).")
]
OneFusionOpt = Annotated[
    str, typer.Option("--fusion", help="How a network joins modalities, as for fit.", rich_help_panel=SEARCH)
]
PresetOpt = Annotated[
    str, typer.Option("--preset", help="How hard a search tries: fast, balanced or best.", rich_help_panel=SEARCH)
]
SizeOpt = Annotated[
    str,
    typer.Option("--size", help="Widths and depths of networks: tiny, small, base or large.", rich_help_panel=SEARCH),
]
EncoderOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        metavar="COLUMN=NAME",
        help="Encoder of a column: transformer, gru, vit ...; or a Hugging Face name or folder of a pretrained network, an .onnx file, or another polymodal model (frozen).",
        rich_help_panel=COLUMNS,
    ),
]
FinetuneOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--finetune",
        metavar="COLUMN",
        help="Fine-tune this column's pretrained network; repeatable.",
        rich_help_panel=COLUMNS,
    ),
]
LabelTaskOpt = Annotated[
    str | None, typer.Option("--task", help="binary, multiclass, multilabel, ordinal or regression.")
]
MetricOpt = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="Metric of early stopping, search and report, one of the task's: accuracy, balanced_accuracy, macro_f1, roc_auc, log_loss ...; r2, mae, rmse, spearman ...; cider_d, rouge_l, wer ... (default: by the task).",
        rich_help_panel=TARGET,
    ),
]
WeightOpt = Annotated[
    str | None,
    typer.Option(
        "--weight",
        metavar="COLUMN",
        help="Column of sample weights, numbers from 0: how much each row counts in losses and scores; it is no input.",
        rich_help_panel=TARGET,
    ),
]
ClassWeightOpt = Annotated[
    str | None,
    typer.Option(
        "--class-weight",
        metavar="NAME",
        help="How much rows of each label count in losses: balanced (all labels alike) or none (all rows alike) (default: between the two).",
        rich_help_panel=TARGET,
    ),
]
ThresholdOpt = Annotated[
    bool,
    typer.Option(
        "--optimize-threshold",
        help="Of two labels, or sets of labels: decide above the threshold that is best by --metric on rows that were not learned from, in place of one half.",
        rich_help_panel=TARGET,
    ),
]
TimeLimitOpt = Annotated[
    str | None,
    typer.Option(
        "--time-limit",
        metavar="TIME",
        help="For everything, in equal shares where several are trained: 90s, 10m, 1h30m (default: none; of a search, by the number of cells).",
        rich_help_panel=RUN,
    ),
]
EpochsOpt = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        min=1,
        help="Passes over the training rows, at most (default: from the rows).",
        rich_help_panel=TRAINING,
    ),
]
BatchSizeOpt = Annotated[
    int | None,
    typer.Option(
        "--batch-size", min=1, help="Rows in a training step (default: from the rows).", rich_help_panel=TRAINING
    ),
]
LrOpt = Annotated[
    float | None, typer.Option("--lr", help="Peak learning rate (default: 0.001).", rich_help_panel=TRAINING)
]
SEED = typer.Option("--seed", help="Decides splits, initial weights and the order of rows.", rich_help_panel=RUN)
SeedOpt = Annotated[int, SEED]
InitFromOpt = Annotated[
    str | None,
    typer.Option(
        "--init-from",
        metavar="MODEL",
        help="Initialise with this model's encoders for columns of the same name and kind, and its fusion or decoder where it fits.",
        rich_help_panel=COLEARNING,
    ),
]
PretrainOpt = Annotated[
    str | None,
    typer.Option(
        "--pretrain",
        metavar="KIND",
        help="Pretrain on all rows, labelled or not: masked (predict a hidden modality), matching (do these modalities belong together?), contrastive (which belong together?).",
        rich_help_panel=COLEARNING,
    ),
]
UnlabelledOpt = Annotated[
    str | None,
    typer.Option(
        "--unlabelled", metavar="TABLE", help="Further rows for --pretrain; no target is needed.",
        rich_help_panel=COLEARNING,
    ),
]  # fmt: skip
NJobsOpt = Annotated[
    int | None,
    typer.Option("--n-jobs", metavar="N", help="Cores that work, at most; -1 for all.", rich_help_panel=RUN),
]
DeviceOpt = Annotated[str, typer.Option("--device", help=DEVICES, rich_help_panel=RUN)]
ResumeOpt = Annotated[
    bool, typer.Option("--resume", help="Go on with the interrupted run in --out.", rich_help_panel=RUN)
]
OverwriteOpt = Annotated[bool, typer.Option("--overwrite", help="Write over what is in --out.", rich_help_panel=RUN)]


def config(
    *, encoder: Sequence[str] | None = None, modality: Sequence[str] | None = None,
    finetune: Sequence[str] | None = None, **options: Any,
) -> "list[Record]":  # fmt: skip
    """The records of these options; None stands for what was not given."""
    from polymodal.experiment.config import records

    columns: Mapping[str, Any] = {
        "encoders": pairs(encoder, "--encoder") or None,
        "kinds": pairs(modality, "--modality") or None,
        "finetune": finetune or None,
    }
    return records(**columns, **options, progress=True, command=command_line())


def folder_of(out: Path | None, source: Path | str, ending: str) -> Path:
    """The folder that was named, or one with the name of a table or model and this ending."""
    return out or Path(f"{Path(source).stem}-{ending}")


@contextmanager
def resumable(note: str) -> Iterator[None]:
    """On Ctrl-C say what is kept, and exit with 130."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; {note}: add --resume to go on\n")
        raise SystemExit(130) from None
