"""`polymodal explain`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.app import app
from polymodal.cli.options import (
    CacheOpt,
    CustomClassOpt,
    JsonOpt,
    ModelArg,
    TableArg,
    WithoutOpt,
    add_decoding,
    cache_folder,
    command_line,
    decoding_of,
    finite,
    open_model,
    print_json,
    say,
)
from polymodal.errors import InputError
from polymodal.saving import put, replace_path

if TYPE_CHECKING:
    from polymodal.data.encode import Bad
    from polymodal.explain.attention import Explanation
    from polymodal.explain.overall import Overall
    from polymodal.explain.reasons import Reasons
    from polymodal.view.blocks import Page

FORMS = (".png", ".html", ".json")
ANSWERS = "Answers (for models that give one)"
LINES = 10  # unreadable cells that are named


@app.command()
@add_decoding
def explain(
    model: ModelArg,
    table: TableArg,
    row: Annotated[
        int | None,
        typer.Option(
            "--row", metavar="N", help="Row to explain; 1 is the first below the header (default: the table)."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="FILE.png, .html or .json; of a table .csv too (default: print words)."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="LABEL",
            help="Explain this label, or of several targets this one (default: the predicted one).",
            rich_help_panel=ANSWERS,
        ),
    ] = None,
    scored: Annotated[
        str,
        typer.Option(
            "--method",
            help="What in a modality counts: auto, integrated-gradients, occlusion or rollout.",
            rich_help_panel=ANSWERS,
        ),
    ] = "auto",
    train: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="Training table, to show its rows that are most like this one.",
            rich_help_panel=ANSWERS,
        ),
    ] = None,
    no_parts: Annotated[
        bool,
        typer.Option(
            "--no-parts", help="Leave out what in each modality counts, which takes longest.", rich_help_panel=ANSWERS
        ),
    ] = False,
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="Without --row: explain at most so many rows, drawn at random.", rich_help_panel=ANSWERS
        ),
    ] = 1000,
    without: WithoutOpt = None,
    cache: CacheOpt = None,
    custom_class: CustomClassOpt = None,
    as_json: JsonOpt = False,
    *,
    decoding: Mapping[str, Any],
) -> None:
    """Show why a model answers as it does: which modality, what in it, which training rows are like the row.

    Without --row, which modality its answers come from over the whole table. Of a model that writes text, what each word
    attended to: which part of the picture, which seconds of the recording.

    The page (.html) needs nothing beside itself; the picture (.png) needs matplotlib; the numbers are in .json. Example:

        polymodal explain model photos.csv --row 3 --out row3.html
    """
    from polymodal.explain import explain as found
    from polymodal.explain.attention import Explanation

    _check(out, row)
    reader = open_model(model, custom_class)
    how, command = decoding_of(reader, decoding), command_line()
    writer = "decode" in reader.task.capabilities
    if writer:
        _refuse({"--class": label, "--train": train, "--no-parts": no_parts or None, "--method": None if scored == "auto" else scored})  # fmt: skip
    folder = cache_folder(cache)
    if row is None:
        _whole(reader, table, writer, label, limit, without or (), folder, train, out, as_json, command)
        return
    answer = found(
        reader, table, row, how=how, without=without or (), cache=folder, output=label, method=scored, train=train,
        parts=not no_parts, progress=True,
    )  # fmt: skip
    if out is not None:
        put(out, _form(answer, out.suffix.lower(), command))
    if as_json:
        print_json(answer.to_json())
    elif out is not None:
        _bad(answer.bad)
        say(f"{out}: {answer.text}")
    else:
        from polymodal.explain import brief
        from polymodal.view.console import show

        _bad(answer.bad)
        show(brief.caption(answer) if isinstance(answer, Explanation) else brief.row(answer))


def _check(out: Path | None, row: int | None) -> None:
    if out is None:
        return
    if out.suffix.lower() in FORMS or (row is None and out.suffix.lower() == ".csv"):
        replace_path(out)
        return
    more = "" if row is not None else ", .csv"
    only = "; a CSV is of a whole table, so leave --row out" if out.suffix.lower() == ".csv" else ""
    raise InputError(
        f"--out {out} ends in {out.suffix!r}; explain writes {', '.join(FORMS)}{more}: name a file so{only}"
    )


def _refuse(options: Mapping[str, Any]) -> None:
    """Options that a model which writes text has no use for."""
    if unused := [name for name, value in options.items() if value is not None]:
        raise InputError(f"the model writes text, and its words are explained; leave out {', '.join(unused)}")


def _whole(
    reader: Any, table: str, writer: bool, label: str | None, limit: int, without: Sequence[str], cache: Path,
    train: str | None, out: Path | None, as_json: bool, command: str,
) -> None:  # fmt: skip
    """Explain the table."""
    from polymodal.explain.overall import overall

    if writer:
        raise InputError("the model writes text, which is explained row by row; name a row with --row")
    if train is not None:
        raise InputError("--train shows training rows like one row; name that row with --row, or leave --train out")
    answer = overall(reader, table, output=label, limit=limit, without=without, cache=cache, progress=True)
    if out is not None:
        put(out, _summary(answer, out.suffix.lower(), command))
    if as_json:
        print_json(answer.to_json())
        return
    _bad(answer.bad)
    if out is not None:
        say(f"{out}: {answer.rows:,} row{'s' * (answer.rows != 1)} explained")
        return
    from polymodal.explain import brief
    from polymodal.view.console import show

    show(brief.table(answer))


def _summary(answer: "Overall", suffix: str, command: str) -> bytes:
    """The contents of the file of a table."""
    from polymodal.explain import pages

    if suffix == ".csv":
        return str(answer.frame().to_csv(index=False)).encode("utf-8", "replace")
    return _json(answer.to_json()) if suffix == ".json" else _draw(pages.table(answer, command=command), suffix)


def _form(answer: "Explanation | Reasons", suffix: str, command: str) -> bytes:
    """The contents of the file of a row."""
    from polymodal.explain import pages
    from polymodal.explain.reasons import Reasons

    if suffix == ".json":
        return _json(answer.to_json())
    page = pages.row(answer, command=command) if isinstance(answer, Reasons) else pages.caption(answer, command=command)
    return _draw(page, suffix)


def _draw(of: "Page", suffix: str) -> bytes:
    from polymodal.view import page, sheet

    return sheet.png(of) if suffix == ".png" else page.page(of).encode("utf-8", "replace")


def _json(form: Any) -> bytes:
    return (json.dumps(finite(form), indent=1, ensure_ascii=False, default=str) + "\n").encode("utf-8", "replace")


def _bad(bad: "Sequence[Bad]") -> None:
    for b in bad[:LINES]:
        sys.stderr.write(f"can't be read, so it was left out: {b}\n")
    if len(bad) > LINES:
        sys.stderr.write(f"and {len(bad) - LINES:,} more; --json lists them all\n")
