"""Blocks in a terminal or a log. With `progress` and the help of commands the only module that uses rich.

All text is text: nothing in it is markup or an order to the terminal. Pictures, cells and cards are left out.
"""

from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any

from polymodal.view.blocks import Bars, Block, Code, Facts, Heading, Items, Table, Words
from polymodal.view.text import many, plain

if TYPE_CHECKING:
    from rich.console import Console

BAR = 24  # characters of a bar
PLAIN: Any = {"markup": False, "highlight": False, "soft_wrap": True}  # text that may be copied


def show(
    blocks: Sequence[Block], *, stderr: bool = False, file: IO[str] | None = None, width: int | None = None
) -> None:
    """Print them, one after another."""
    from rich.console import Console

    console = Console(file=file, width=width, stderr=stderr)
    for i, block in enumerate(b for b in blocks if type(b) in SHOWS):
        if i and (isinstance(block, Heading) or (isinstance(block, Table | Bars) and block.caption)):
            console.print()
        SHOWS[type(block)](console, block)


def _heading(console: "Console", b: Heading) -> None:
    console.print(plain(b.text), style="bold yellow" if b.warning else "bold", **PLAIN)


def _words(console: "Console", b: Words) -> None:
    for line in b.text.split("\n"):
        console.print(plain(line), **PLAIN)


def _code(console: "Console", b: Code) -> None:
    console.print(b.text, style="bold", **PLAIN)


def _facts(console: "Console", b: Facts) -> None:
    from rich.text import Text

    for name, value in b.items:
        console.print(Text.assemble((plain(name), "bold"), f": {plain(value)}"), soft_wrap=True)


def _items(console: "Console", b: Items) -> None:
    from rich.padding import Padding
    from rich.text import Text

    rest = len(b.texts) - b.most
    more = [f"and {many(rest, f'more {b.noun}')}{b.where}"] if rest > 0 else []
    for text in [*b.texts[: b.most], *more]:
        console.print(Padding(Text(plain(text)), (0, 0, 0, 2)))


def _bars(console: "Console", b: Bars) -> None:
    top = max((abs(x.value) for x in b.bars if x.value == x.value), default=0.0) or 1.0
    rows = [[x.name, x.said, "\u2588" * max(1, round(BAR * abs(x.value) / top))] for x in b.bars if x.value == x.value]
    _table(console, Table(b.caption, (), rows, frozenset({2})), gap="  ")


def _table(console: "Console", b: Table, gap: str = "") -> None:
    from rich.padding import Padding
    from rich.table import Table as Grid
    from rich.text import Text

    if b.caption:  # a title of the table would be broken at the table's width
        console.print(plain(b.caption), style="bold", **PLAIN)
    grid = Grid(box=None, header_style="dim", show_header=bool(b.head), pad_edge=False, padding=(0, 2, 0, 0))
    width = max((len(row) for row in b.rows), default=len(b.head))
    longest = [max(len(line) for row in (b.head, *b.rows) for cell in row[k : k + 1] for line in cell.split("\n"))
               for k in range(width)]  # fmt: skip
    tight = sum(longest) + 2 * width > console.width
    for k in range(width):
        words = not k or k in b.words
        name = plain(b.head[k]) if b.head else ""
        if tight and not words:  # or names, which can be broken, would be a letter a line
            name = name.replace("_", "_\n").replace(" ", "\n")
        grid.add_column(Text(name), justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for i, row in enumerate(b.rows):
        cells = ["\n".join(map(plain, c.split("\n"))) for c in row]
        grid.add_row(*(Text(c, "bold" if (i, k) in b.strong else "") for k, c in enumerate(cells)))
    console.print(Padding(grid, (0, 0, 0, len(gap))))


SHOWS: dict[type, Callable[[Any, Any], None]] = {
    Heading: _heading, Words: _words, Table: _table, Bars: _bars, Code: _code, Facts: _facts, Items: _items,
}  # fmt: skip
