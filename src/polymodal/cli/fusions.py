"""`polymodal fusions`."""

from typing import TYPE_CHECKING, Annotated

import typer

from polymodal.cli.app import app
from polymodal.cli.options import JsonOpt, print_json
from polymodal.errors import InputError

if TYPE_CHECKING:
    from polymodal.fusion.cost import Cost

FAMILIES = {
    "early": "one vector a modality, joined, then one head",
    "sequence": "modalities meet token by token",
    "late": "each modality answers, and the answers are joined",
    "hybrid": "a joint head and a head of each modality, joined",
}


@app.command()
def fusions(
    dims: Annotated[
        str, typer.Option(metavar="WIDTHS", help="Width of each modality's tokens, with commas between.")
    ] = "64,64,64",
    tokens: Annotated[int, typer.Option(help="Tokens of each modality: words, image patches, frames.")] = 16,
    dim: Annotated[int, typer.Option(help="Width of what the fusion gives; 64 is that of --size small.")] = 64,
    outputs: Annotated[int, typer.Option(help="Classes, or numbers to predict.")] = 10,
    as_json: JsonOpt = False,
) -> None:
    """List every way to join modalities that `fit --fusion` knows: its family, its cost and its paper.

    Early fusions are cheap and see each modality as one vector. Sequence fusions let a word look at a region of the image, at a price that grows with the tokens. Late fusions only join answers.

    MFLOP is of one row, forward, with the head; training takes about three times as much. Counted are products of matrices, attention and Fourier transforms (a multiply-add is two operations), not elementwise work. Example, a long text beside a photo:

        polymodal fusions --dims 384,1280 --tokens 128
    """
    from polymodal.fusion.cost import costs

    widths = _widths(dims)
    prices = costs(widths, tokens=tokens, dim=dim, outputs=outputs)
    if as_json:
        options = {"dims": widths, "tokens": tokens, "dim": dim, "outputs": outputs}
        print_json({**options, "fusions": [c._asdict() for c in prices]})
    else:
        _show(prices, f"{len(widths)} modalities of {tokens} tokens, widths {', '.join(map(str, widths))} -> {dim}")


def _widths(text: str) -> list[int]:
    try:
        return [int(x) for x in text.split(",")]
    except ValueError:
        raise InputError(f"--dims {text!r} is no list of widths; write a number for each modality: 64,64,64") from None


def _show(prices: "list[Cost]", title: str) -> None:
    from polymodal.view.blocks import Table, Words
    from polymodal.view.console import show

    rows = [[c.name, c.family, f"{c.parameters:,}", f"{c.flops / 1e6:.3g}", c.paper] for c in prices]
    families = [Words(f"{family}: {text}") for family, text in FAMILIES.items()]
    show([Table(title, ["name", "family", "parameters", "MFLOP", "paper"], rows, frozenset({1, 4})), *families])
