"""`polymodal data list`, `read` and `get`: public sets of captions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.options import JsonOpt, print_json

if TYPE_CHECKING:
    from polymodal.data.public import Reading

data = typer.Typer(no_args_is_help=True, help="Public sets of captions (Flickr8k, COCO, Clotho ...) as tables.")
app.add_typer(data, name="data")

NameArg = Annotated[str, typer.Argument(metavar="NAME", help="A set that `polymodal data list` names.")]


@data.command("list")
def list_(as_json: JsonOpt = False) -> None:
    """Show the sets: what they need, their licence, whom to cite, whether they can be downloaded."""
    from rich.console import Console
    from rich.markup import escape

    from polymodal.data.public import SETS

    if as_json:
        print_json({name: {**s._asdict(), "files": [f._asdict() for f in s.files]} for name, s in SETS.items()})
        return
    console = Console()
    for name, s in SETS.items():
        size = sum(f.gigabytes for f in s.files)
        way = f"polymodal data get {name} ({size:.2g} GB)" if s.files else s.how
        console.print(f"[bold]{name}[/]  {escape(s.title)}", highlight=False)
        for what, text in (
            ("page", s.page),
            ("licence", s.licence),
            ("cite", s.citation),
            ("get", way),
            ("read", s.needs),
        ):
            console.print(f"  {what + ':':9}{escape(text)}", highlight=False, soft_wrap=True)


@data.command()
def read(
    name: NameArg,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="What the publisher ships: a folder of files or zip files, or one zip file."
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where train.csv, val.csv, test.csv go, and what is extracted.")
    ],
    split: Annotated[
        str, typer.Option(metavar="HOW", help="published, or random for Flickr30k, whose publisher makes none.")
    ] = "published",
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out rows whose photo or recording is absent.")
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """Turn a public set into tables: one row a photo or recording, its captions in caption_0, caption_1 ...

    Files stay where they are; those inside zip files are extracted to DIR. Example:

        polymodal data read flickr8k downloads/flickr8k --out flickr8k
    """
    from polymodal.data import public

    found = public.read(name, folder, out, split=split, skip=skip_missing, quiet=False)
    if as_json:
        print_json({**found._asdict(), "tables": {k: str(v) for k, v in found.tables.items()}})
    else:
        _show(found)


@data.command()
def get(
    name: NameArg,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go; a download that was cut off goes on.")],
    as_json: JsonOpt = False,
) -> None:
    """Download a public set from its publisher: the one command that uses the network for data. Then read it.

    polymodal data get multi30k --out downloads/multi30k
    """
    from rich.console import Console
    from rich.markup import escape

    from polymodal.data import public

    found = public.get(name, out, quiet=False)
    if as_json:
        print_json({"name": name, "files": [{**g._asdict(), "path": str(g.path)} for g in found]})
        return
    console, s = Console(), public.SETS[name]
    for g in found:
        was = "" if g.new else ", was there"
        console.print(
            f"{escape(str(g.path))}  {g.size:,} bytes{was}; checked by {escape(g.how)}", highlight=False, soft_wrap=True
        )
    console.print(f"\nlicence: {escape(s.licence)}\ncite:    {escape(s.citation)}", highlight=False, soft_wrap=True)
    first = f"{s.how}, then" if s.how else ""
    console.print(
        f"next: {escape(first)}\n  polymodal data read {name} {escape(str(out))} --out {escape(str(out))}",
        highlight=False,
        soft_wrap=True,
    )


def _show(found: "Reading") -> None:
    """What was written, and what to do with it."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    for part, path in found.tables.items():
        columns = ", ".join(found.columns[part])
        console.print(
            f"{escape(str(path))}  {found.rows[part]:,} rows, {found.captions[part]:,} texts: {escape(columns)}",
            highlight=False,
            soft_wrap=True,
        )
    for count, what in (
        (found.extracted, "files were extracted"),
        (found.skipped, "rows were left out, as their file is absent"),
        (found.unused, "captions are of files in no split"),
    ):
        if count:
            console.print(f"{count:,} {what}", highlight=False)
    for note in found.notes:
        console.print(escape(note), highlight=False, soft_wrap=True)
    first = next(iter(found.tables.values()))
    console.print(f"\nnext:\n  polymodal inspect {escape(str(first))}", highlight=False, soft_wrap=True)
