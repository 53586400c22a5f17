"""`polymodal explain`."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.app import app
from polymodal.cli.options import (
    CacheOpt,
    JsonOpt,
    ModelArg,
    PartOpt,
    TableArg,
    WithoutOpt,
    cache_folder,
    open_model,
    print_json,
    say,
    searched,
    writes,
)
from polymodal.errors import InputError

if TYPE_CHECKING:
    from polymodal.explain.attention import Explanation

FORMS = (".png", ".html", ".json")


@app.command()
@writes
def explain(
    model: ModelArg,
    table: TableArg,
    row: Annotated[int, typer.Option("--row", metavar="N", help="Row to explain; 1 is the first below the header.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="FILE.png, FILE.html or FILE.json (default: print words).")
    ] = None,
    without: WithoutOpt = None,
    cache: CacheOpt = None,
    part: PartOpt = None,
    as_json: JsonOpt = False,
    *,
    asked: Mapping[str, Any],
) -> None:
    """Show what each word of a caption attended to: which part of the picture, which seconds of the recording.

    The page (.html) needs nothing beside itself; the picture (.png) needs matplotlib; the numbers are in .json. Example:

        polymodal explain model photos.csv --row 3 --out row3.html
    """
    from polymodal.explain import explain as found

    if out is not None and out.suffix.lower() not in FORMS:
        raise InputError(f"--out {out} ends in {out.suffix!r}; explain writes {', '.join(FORMS)}: name a file so")
    reader = open_model(model, part)
    how = searched(reader, asked)
    answer = found(reader, table, row, how=how, without=without or (), cache=cache_folder(cache))
    if out is not None:
        _write(out, _form(answer, out.suffix.lower(), shlex.join(["polymodal", *sys.argv[1:]])))
    if as_json:
        print_json(answer.to_json())
    elif out is None:
        _print(answer)
    else:
        _bad(answer)
        say(f"{out}: {answer.text}")


def _form(answer: "Explanation", suffix: str, command: str) -> bytes:
    """The contents of the file."""
    if suffix == ".png":
        from polymodal.explain.draw import png

        return png(answer)
    if suffix == ".html":
        from polymodal.explain.page import page

        return page(answer, command=command).encode("utf-8", "replace")
    return (json.dumps(answer.to_json(), indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _print(answer: "Explanation") -> None:
    """The caption, then a line a word."""
    from polymodal.explain.page import said

    _bad(answer)
    say(f"{answer.table}, row {answer.row}: {answer.text}")
    for text in answer.references:
        say(f"reference: {text}")
    for modality in answer.absent:
        say(f"without {modality}: it is hidden, empty or can't be read")
    for line in said(answer):
        say(f"  {line}")


def _bad(answer: "Explanation") -> None:
    for b in answer.bad:
        sys.stderr.write(f"can't be read, so it was left out: {b}\n")


def _write(path: Path, data: bytes) -> None:
    """The file, put in place only when it is whole."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as e:
        raise InputError(f"{path} can't be written: {e.strerror or e}") from None
    finally:
        if temporary.is_file():
            temporary.unlink()
