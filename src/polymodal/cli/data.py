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

    from polymodal.data.public import SETS
    from polymodal.view.blocks import Block, Facts, Words
    from polymodal.view.console import show

    if as_json:
        print_json({name: {**s._asdict(), "files": [f._asdict() for f in s.files]} for name, s in SETS.items()})
        return
    blocks: list[Block] = []
    for name, s in SETS.items():
        size = sum(f.gigabytes for f in s.files)
        way = f"polymodal data get {name} ({size:.2g} GB)" if s.files else s.how
        info = {"page": s.page, "licence": s.licence, "cite": s.citation, "get": way, "read": s.needs}
        blocks += [Facts([(name, s.title)]), *(Words(f"  {what + ':':9}{text}") for what, text in info.items())]
    show(blocks)


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

    reading = public.read(name, folder, out, split=split, skip=skip_missing, quiet=False)
    if as_json:
        print_json({**reading._asdict(), "tables": {k: str(v) for k, v in reading.tables.items()}})
    else:
        _show(reading)


@data.command()
def get(
    name: NameArg,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go; a download that was cut off goes on.")],
    as_json: JsonOpt = False,
) -> None:
    """Download a public set from its publisher: the one command that uses the network for data. Then read it.

    polymodal data get multi30k --out downloads/multi30k
    """

    from polymodal.data import public
    from polymodal.view.blocks import Words
    from polymodal.view.console import show

    files = public.get(name, out, quiet=False)
    if as_json:
        print_json({"name": name, "files": [{**g._asdict(), "path": str(g.path)} for g in files]})
        return
    s = public.SETS[name]
    lines = [f"{g.path}  {g.size:,} bytes{'' if g.new else ', was there'}; checked by {g.how}" for g in files]
    lines += ["", f"licence: {s.licence}", f"cite:    {s.citation}", f"next: {s.how + ', then' if s.how else ''}"]
    show([*map(Words, lines), Words(f"  polymodal data read {name} {out} --out {out}")])


def _show(reading: "Reading") -> None:
    """What was written, and what to do with it."""
    from polymodal.view.blocks import Words
    from polymodal.view.console import show

    lines = []
    for part, path in reading.tables.items():
        columns = ", ".join(reading.columns[part])
        lines.append(f"{path}  {reading.rows[part]:,} rows, {reading.captions[part]:,} texts: {columns}")
    for count, what in (
        (reading.extracted, "files were extracted"),
        (reading.skipped, "rows were left out, as their file is absent"),
        (reading.unused, "captions are of files in no split"),
    ):
        lines += [f"{count:,} {what}"] if count else []
    first = next(iter(reading.tables.values()))
    show([*map(Words, [*lines, *reading.notes, "", "next:", f"  polymodal inspect {first}"])])
