"""The command line. Commands import what they need when they run, so that `--help` answers at once."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.errors import InputError

if TYPE_CHECKING:
    from polymodal.model import Model

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Machine learning on tables whose columns are text, images, audio, series, vectors and numbers.\n\n"
    "A first run:  polymodal inspect train.csv --target label,  then  polymodal fit train.csv --target label --out model,  "
    "then  polymodal predict model new.csv --out predictions.csv. No data at hand?  polymodal demo.",
)

TableArg = Annotated[
    str,
    typer.Argument(metavar="TABLE", help="CSV, TSV, JSONL or Parquet file; paths in it are relative to its folder."),
]
ModelArg = Annotated[Path, typer.Argument(metavar="MODEL", help="Folder that `polymodal fit --out` wrote.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on standard output.")]
CacheOpt = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="Where decoded cells are kept [default: the user's cache folder]."),
]
PartOpt = Annotated[
    list[str] | None,
    typer.Option("--part", metavar="MODULE:CLASS", help="A fusion of your own that the model was fitted with."),
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
    ),
]
ModalityOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--modality",
        metavar="COLUMN=KIND",
        help="Read a column as this kind: text, image, audio, series, vector, number, category, boolean, date.",
    ),
]
IgnoreOpt = Annotated[
    list[str] | None, typer.Option("--ignore", metavar="COLUMN", help="Leave a column out; repeatable.")
]


def main() -> None:
    """Entry point: input errors exit with 2 and one line, an interruption with 130."""
    with _errors():
        app()


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from polymodal import __version__

        _say(__version__)
        raise typer.Exit


@app.command()
def fit(
    table: TableArg,
    target: TargetOpt = None,
    valid: Annotated[
        str | None, typer.Option(help="Table to choose the best epoch by [default: a fifth of TABLE is held out].")
    ] = None,
    test: Annotated[str | None, typer.Option(help="Table to score once, at the end.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the model [default: TABLE's name and -model].")
    ] = None,
    fusion: Annotated[
        str | None,
        typer.Option(
            help="How modalities are joined: mean, sum, weighted, product, concat, gated, tensor, low-rank, bilinear, attention, cross-attention, late-mean, late-weighted, late-vote; or mypackage.mymodule:MyFusion."
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="tiny, small, base or large.")] = "small",
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=NAME",
            help="Encoder of a column: transformer, gru, vit ...; or a Hugging Face name or folder of a pretrained network (frozen).",
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
        typer.Option(help="binary, multiclass, multilabel, ordinal or regression [default: from the target's cells]."),
    ] = None,
    time_limit: Annotated[
        str | None, typer.Option(metavar="TIME", help="For everything, comparison included: 90s, 10m, 1h30m.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many passes [default: from the rows].")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows a step [default: from the rows].")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate [default: 0.001].")] = None,
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
    """
    from polymodal import fitting, render

    out = out or Path(f"{Path(table).stem}-model")
    try:
        model = fitting.fit(
            table,
            _target(table, target),
            valid=valid,
            test=test,
            out=out,
            fusion=fusion or fitting.DEFAULT_FUSION,
            size=size,
            encoders=_pairs(encoder, "--encoder"),
            tune=tune or (),
            kinds=_pairs(modality, "--modality"),
            ignore=ignore or (),
            group=group,
            task=task,
            time_limit=_seconds(time_limit),
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
        )
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was done so far is kept: add --resume to go on\n")
        raise SystemExit(130) from None
    from accelerate import PartialState

    if PartialState().is_main_process:
        if as_json:
            _print_json({"model": str(out), **model.report})
        else:
            render.fitted(model, out, table)


@app.command()
def evaluate(
    model: ModelArg,
    table: TableArg,
    without: WithoutOpt = None,
    cache: CacheOpt = None,
    part: PartOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Score a model on a table that has the target, with 95% bootstrap intervals."""
    from polymodal import render

    answer = _load(model, part).evaluate(table, without=without or (), cache=_cache(cache), quiet=False)
    _print_json(answer.to_json()) if as_json else render.evaluation(answer)


@app.command()
def predict(
    model: ModelArg,
    table: TableArg,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV file to write [default: standard output].")
    ] = None,
    without: WithoutOpt = None,
    cache: CacheOpt = None,
    part: PartOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Predict each row of a table, in order; the target need not be there, and any cell may be empty."""
    from polymodal import render
    from polymodal.data.encode import Bad

    loaded = _load(model, part)
    bad: list[Bad] = []
    frames = loaded.predictions(table, without=without or (), cache=cache, bad=bad)
    if as_json:
        rows = [r for frame in frames for r in frame.to_dict("records")]
        _print_json({"rows": len(rows), "predictions": rows, "bad": [b._asdict() for b in bad]})
        return
    with _output(out) as file:
        count = 0
        for frame in frames:
            for column in frame.select_dtypes("object"):  # sets of labels, in a form that can be read again
                frame[column] = [json.dumps(x, ensure_ascii=False) if isinstance(x, list) else x for x in frame[column]]
            frame.to_csv(file, index=False, header=count == 0)
            count += len(frame)
    render.predicted(count, out, bad)


@app.command()
def inspect(
    table: TableArg,
    target: TargetOpt = None,
    modality: ModalityOpt = None,
    ignore: IgnoreOpt = None,
    group: GroupOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Look at a table before training: what each column is and why, what is missing, unreadable, doubled or suspicious."""
    from rich.console import Console

    from polymodal.data.inspect import inspect as look

    found = look(table, target or None, group, _pairs(modality, "--modality"), ignore or ())
    _print_json(found.to_json()) if as_json else found.render(Console())


@app.command()
def schema(model: ModelArg, part: PartOpt = None, as_json: JsonOpt = False) -> None:
    """Show what a model reads: each column's kind and why, encoders, fusion, task."""
    from polymodal import render

    loaded = _load(model, part)
    if as_json:
        _print_json(loaded.preprocessor.schema.to_json())
    else:
        render.schema(loaded)


@app.command()
def cache(
    folder: CacheOpt = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all that it holds.")] = False,
    as_json: JsonOpt = False,
) -> None:
    """Show the cache of decoded cells and outputs of frozen networks, or clear it."""
    from polymodal import render
    from polymodal.data import cache as store

    where = _cache(folder)
    freed = store.clear(where) if clear else None
    entries = store.usage(where)
    if as_json:
        _print_json({"folder": str(where), "freed": freed, "entries": [e._asdict() for e in entries]})
    else:
        render.cache(where, entries, freed)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the table and the model.")] = Path(
        "demo"
    ),
) -> None:
    """Make a small audio-visual table (written and spoken digits), then inspect, fit, evaluate and predict it."""
    from polymodal.demo import run

    run(folder)


def _target(table: str, target: Sequence[str] | None) -> list[str]:
    if target:
        return list(target)
    from polymodal.data.table import Table

    columns = ", ".join(Table.read(table).columns)
    raise InputError(f"what should be predicted? Name a column with --target; {table} has: {columns}")


def _pairs(values: Sequence[str] | None, option: str) -> dict[str, str]:
    """COLUMN=VALUE options as a dict; the last "=" parts them, since a column's name may hold one."""
    out = {}
    for value in values or ():
        column, equals, name = value.rpartition("=")
        if not (equals and column and name):
            raise InputError(f"{option} {value!r} is not of the form COLUMN=VALUE")
        out[column] = name
    return out


def _seconds(text: str | None) -> float | None:
    """Seconds of "90", "90s", "10m" or "1h30m".

    >>> _seconds("1h30m")
    5400.0
    """
    if text is None:
        return None
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    parts = [float(x or 0) for x in found.groups()] if found else []
    if not any(parts):
        raise InputError(f"--time-limit {text!r} is no time; write 90s, 10m or 1h30m")
    return parts[0] * 3600 + parts[1] * 60 + parts[2]


def _load(folder: Path, names: Sequence[str] | None) -> "Model":
    import torch

    from polymodal.fusion import find
    from polymodal.model import load

    model = load(folder, [find(name) for name in names or ()])
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _cache(folder: Path | None) -> Path:
    from polymodal.data.cache import default_folder

    return folder or default_folder()


def _print_json(form: Any) -> None:
    _say(json.dumps(_finite(form), indent=1, ensure_ascii=False, default=str))


def _finite(form: Any) -> Any:
    """NaN and infinity as null, since JSON has no word for them."""
    if isinstance(form, dict):
        return {str(k): _finite(v) for k, v in form.items()}
    if isinstance(form, list | tuple):
        return [_finite(v) for v in form]
    if isinstance(form, float):
        return form if form - form == 0 else None
    return form


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


@contextmanager
def _output(path: Path | None) -> Iterator[Any]:
    """The file to write, put in place only when it is whole; or standard output."""
    if path is None:
        try:
            yield sys.stdout
            sys.stdout.flush()
        except BrokenPipeError:  # `polymodal predict ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        return
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path} can't be written: {e.strerror or e}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except InputError as e:
        sys.stderr.write(f"error: {e}\n")
        raise SystemExit(2) from None
    except ImportError as e:  # an extra that is not installed; the message says how to get it
        sys.stderr.write(f"error: {e}\n")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
