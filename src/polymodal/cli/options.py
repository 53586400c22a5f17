"""What several commands share: options, the reading of their values, and how answers are printed."""

import inspect
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from polymodal.errors import InputError
from polymodal.saving import json_text, replace_path

if TYPE_CHECKING:
    from polymodal.aligned import AlignedModel
    from polymodal.decoders.base import Decoding
    from polymodal.model import Model
    from polymodal.tasks.generate import Generation

DEVICES = "Where networks run: cpu, cuda, mps or auto (a CUDA GPU where there is one, else the CPU)."
COLUMNS = "Columns (how the table is read)"  # the panel of their options

TableArg = Annotated[
    str,
    typer.Argument(metavar="TABLE", help="CSV, TSV, JSONL or Parquet file; paths in it are relative to its folder."),
]
ModelArg = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that `polymodal fit --out` wrote.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on standard output.")]
CacheOpt = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="Where decoded cells are kept (default: the user's cache folder)."),
]
CustomClassOpt = Annotated[
    list[str] | None,
    typer.Option("--custom-class", metavar="MODULE:CLASS", help="A fusion of your own that the model was fitted with."),
]
WithoutOpt = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="COLUMN", help="Hide this modality, as if it were absent; repeatable."),
]
TargetOpt = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", metavar="COLUMN", help="What to predict; repeat for several numbers."),
]
GroupOpt = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="Rows of one group (speaker, patient) never part between training and validation.",
        rich_help_panel=COLUMNS,
    ),
]
ModalityOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--modality",
        metavar="COLUMN=KIND",
        help="Read a column as this kind, one of those that `polymodal modalities` lists.",
        rich_help_panel=COLUMNS,
    ),
]
IgnoreOpt = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="COLUMN", help="Leave a column out; repeatable.", rich_help_panel=COLUMNS),
]
SplitOpt = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="HOW",
        help="How rows are parted: random, or time, so that the latest validate (default: time where neighbouring rows hold the same readings, as windows of one series do).",
        rich_help_panel=COLUMNS,
    ),
]
OrderOpt = Annotated[
    str | None,
    typer.Option(
        "--order", metavar="COLUMN", help="Dates or numbers that order rows in time: --split time by them.",
        rich_help_panel=COLUMNS,
    ),
]  # fmt: skip
GapOpt = Annotated[
    int | None,
    typer.Option(
        "--gap", metavar="ROWS", help="Rows left out between stretches of time to train and to validate on.",
        rich_help_panel=COLUMNS,
    ),
]  # fmt: skip

PrecisionOpt = Annotated[
    str, typer.Option("--precision", help="no (float32), bf16, or int8 (large linear maps as integers).")
]
WRITES = "Text (for models that write it)"  # the panel of options that only such models know
CaptionsOpt = Annotated[
    int | None,
    typer.Option(
        "--captions",
        metavar="N",
        min=1,
        help="Texts per row, each with its log-probability (default: 1).",
        rich_help_panel=WRITES,
    ),
]


def _decoding(kind: type, name: str, metavar: str, text: str) -> Any:
    return Annotated[kind | None, typer.Option(name, metavar=metavar, help=text, rich_help_panel=WRITES)]


BeamsOpt = _decoding(int, "--beams", "N", "Beam width: hypotheses kept per step (default: 3).")
DECODING: dict[str, Any] = {  # the settings of `Decoding`, for every command that generates text
    "method": _decoding(
        str,
        "--decoding",
        "METHOD",
        "greedy, beam, sample, or diverse: beam search in groups that differ (default: beam).",
    ),
    "beams": BeamsOpt,
    "length_penalty": _decoding(
        float,
        "--length-penalty",
        "A",
        "Beams are ranked by log-probability / length^A: above 1 favours longer texts (default: 1).",
    ),
    "no_repeat": _decoding(
        int, "--no-repeat", "N", "No n-gram of N tokens occurs twice in a text (default: 0, no limit)."
    ),
    "min_length": _decoding(int, "--min-length", "N", "Minimum length in tokens (default: 0)."),
    "max_length": _decoding(int, "--max-length", "N", "Maximum length in tokens (default: the longest of training)."),
    "groups": _decoding(
        int, "--groups", "N", "Diverse beam search: groups, which must divide the beams (default: one beam per group)."
    ),
    "diversity": _decoding(
        float,
        "--diversity",
        "PENALTY",
        "Diverse beam search: penalty subtracted from a token's score for each earlier group that chose it at the same "
        "step (default: 0.5).",
    ),
    "top_k": _decoding(int, "--top-k", "K", "Sampling: from the K most probable tokens (default: 0, all)."),
    "top_p": _decoding(
        float, "--top-p", "P", "Nucleus sampling: from the most probable tokens that sum to probability P (default: 1)."
    ),
    "temperature": _decoding(
        float,
        "--temperature",
        "T",
        "Sampling: divides the logits; above 1 flattens the distribution, below 1 sharpens it (default: 1).",
    ),
    "seed": _decoding(int, "--seed", "N", "Sampling: random seed (default: 0)."),
}


def add_decoding(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `DECODING` too; their values come to it as one mapping, its argument `decoding`."""
    signature = inspect.signature(command)
    own = [p for name, p in signature.parameters.items() if name != "decoding"]
    more = [
        inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=a) for k, a in DECODING.items()
    ]

    @wraps(command)
    def run(**options: Any) -> None:
        decoding = {name: options.pop(name) for name in DECODING}
        command(**options, decoding=decoding)

    run.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
    return run


def decoding_of(model: "Model", options: Mapping[str, Any]) -> "Decoding | None":
    """The model's own decoding with these options in place of its settings; None where no option is given."""
    values = {k: v for k, v in options.items() if v is not None}
    if not values:
        return None
    if model.learner.decoding is None:
        names = ", ".join("--decoding" if k == "method" else f"--{k.replace('_', '-')}" for k in values)
        raise InputError(f"the model writes no text (its task is {model.task.name}); leave out {names}")
    task = cast("Generation", model.task)
    return model.learner.decoding.override(task.outputs, task.longest_, **values)


def targets(table: str, target: Sequence[str] | None) -> list[str]:
    """The target columns, or an error that names the table's columns."""
    if target:
        return list(target)
    from polymodal.data.table import Table

    columns = ", ".join(Table.read(table).columns)
    raise InputError(f"what should be predicted? Name a column with --target; {table} has: {columns}")


def pairs(values: Sequence[str] | None, option: str) -> dict[str, str]:
    """COLUMN=VALUE options as a dict; the last "=" parts them, since a column's name may hold one.

    Overrides of an ONNX file are left out of the search.

    >>> pairs(["a=b=model.onnx:rate=8000"], "--encoder")
    {'a=b': 'model.onnx:rate=8000'}
    """
    out = {}
    for value in values or ():
        head, mark, overrides = value.partition(".onnx:")
        column, equals, name = head.rpartition("=")
        if not (equals and column and (name or mark)):
            raise InputError(f"{option} {value!r} is not of the form COLUMN=VALUE")
        out[column] = name + mark + overrides
    return out


def open_model(folder: Path, names: Sequence[str] | None, device: str = "auto") -> "Model":
    """The model in a folder, on this device; by default on the GPU where there is one."""
    from polymodal.fusion import find
    from polymodal.hardware import find_device
    from polymodal.model import load

    model = load(folder, [find(name) for name in names or ()])
    if not model.predicts:
        raise InputError(
            f"{folder} is an aligned model: it predicts nothing, and is for evaluate and embed; for "
            "predictions fit a model with a target"
        )
    return model.to(find_device(device))


def open_aligned(folder: Path, device: str = "auto") -> "AlignedModel":
    """The aligned model in a folder, on this device."""
    from polymodal.hardware import find_device
    from polymodal.model import load

    model: Any = load(folder)
    if model.predicts:
        raise InputError(f"{folder} is a model that predicts; give the folder that `polymodal align` wrote")
    return cast("AlignedModel", model.to(find_device(device)))


def cache_folder(folder: Path | None) -> Path:
    """The cache that was named, or the user's own."""
    from polymodal.data.cache import default_folder

    return folder or default_folder()


def print_json(form: Any) -> None:
    """One JSON object on standard output."""
    say(json_text(finite(form), default=str))


def finite(form: Any) -> Any:
    """NaN and infinity as null, since JSON has no word for them."""
    if isinstance(form, dict):
        return {str(k): finite(v) for k, v in form.items()}
    if isinstance(form, list | tuple):
        return [finite(v) for v in form]
    if isinstance(form, float):
        return form if form - form == 0 else None
    return form


def command_line() -> str:
    """The command as it was typed, for pages and reports that say how they were made."""
    return shlex.join(["polymodal", *sys.argv[1:]])


def say(text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(text + "\n")


@contextmanager
def output(path: Path | None) -> Iterator[Any]:
    """The file to write, put in place only when it is whole; or standard output."""
    if path is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:  # `polymodal predict ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        return
    replace_path(path)
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("w", encoding="utf-8", errors="replace", newline="") as file:
            yield file
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path} can't be written: {e.strerror or e}") from None
    finally:
        temporary.unlink(missing_ok=True)
