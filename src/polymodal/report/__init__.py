"""One page about a model and a table that can be handed to somebody else.

>>> from polymodal import report
>>> report.write(polymodal.load("model"), "test.csv", "report.html").sections       # doctest: +SKIP
['data', 'result', 'robustness', 'contributions', 'rows', 'training', 'repeat', 'card']
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from polymodal.model import Model

__all__ = ["Report", "write"]

ROWS = 2000  # that are looked at, unless asked otherwise


class Report(NamedTuple):
    """What was written. sections: their anchors, in order. rows: that were looked at, of the `total`. summary: its
    three sentences. metrics: on the rows that were looked at. robustness: its sentences; contributions: mean sizes by
    modality; both empty where there are none."""

    path: str
    bytes: int
    sections: list[str]
    rows: int
    total: int
    summary: list[str]
    metrics: dict[str, dict[str, float]]
    robustness: list[str]
    contributions: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        return self._asdict()


def write(
    model: "Model",
    table: Any,
    out: Path | str,
    *,
    rows: int = ROWS,
    robust: bool = True,
    train: Any = None,
    card: Path | str | None = None,
    seed: int = 0,
    cache: Path | str | None = None,
    command: str = "",
    overwrite: bool = False,
    quiet: bool = True,
) -> Report:
    """Write the page about a model and a table as one HTML file of less than 3 MB.

    table: a path (read by parts), a DataFrame, a list of dicts; it need not have the target. rows: how many are looked
    at, drawn by the seed. robust: whether absence and noise are tried. train: the training table, for nearest rows.
    card: a JSON or TOML file of what only a person can say. command: what made the page, for those who make it again.
    A file that is no such page is replaced only with `overwrite`.

    Raises InputError for a table or file that can't be used.
    """
    from polymodal.report.writing import write as written

    return written(
        model, table, Path(out), rows=rows, robust=robust, train=train, card=None if card is None else Path(card),
        seed=seed, cache=None if cache is None else Path(cache), command=command, overwrite=overwrite, quiet=quiet,
    )  # fmt: skip
