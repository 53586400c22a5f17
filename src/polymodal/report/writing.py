"""From a model and a table to the file: each section, then the page, in less detail where it would be too large."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polymodal.errors import InputError
from polymodal.experiment.config import Training
from polymodal.explain.overall import Overall
from polymodal.model import Model
from polymodal.progress import bar, silent
from polymodal.report.card import model_card, read_card, summary
from polymodal.report.data import data
from polymodal.report.evidence import training_rows
from polymodal.report.results import details, results
from polymodal.report.rows import rows as of_rows
from polymodal.report.study import Study, study
from polymodal.report.sturdy import contributions, explanation_of, robustness_of, sturdy
from polymodal.report.training import repeat, training
from polymodal.robustness import Robustness
from polymodal.saving import put
from polymodal.view.blocks import Page, Section
from polymodal.view.cell import Detail
from polymodal.view.page import page as html
from polymodal.view.text import short

ROWS = 2000  # that are looked at, unless asked otherwise
LARGEST = 2_900_000  # bytes of a page
DETAILS = (
    Detail(512, 224, 100_000, 400), Detail(320, 96, 40_000, 300), Detail(192, 64, 0, 200), Detail(0, 0, 0, 120)
)  # fmt: skip
OPEN = ("result",)  # sections that are in sight
MARK = b'<meta name="generator" content="polymodal report">'
HEAD = 2048  # bytes in which the mark of a page stands
NOT_MEASURED = "Not measured: --no-robustness was given."


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
    model: Model,
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
    progress: bool | None = None,
) -> Report:
    """Write the page about a model and a table as one HTML file of less than 3 MB.

    table: a path (read by parts), a DataFrame, a list of dicts; it need not have the target. rows: how many are looked
    at, drawn by the seed. robust: whether absence and noise are tried. train: the training table, for nearest rows.
    card: a JSON or TOML file of what only a person can say. command: what made the page, for those who make it again.
    A file that is no such page is replaced only with `overwrite`.

    Raises InputError for a table or file that can't be used.
    """
    out = Path(out)
    if rows < 1 or seed < 0:
        raise InputError(f"rows {rows}, seed {seed}: expected at least 1 and 0")
    Training().check(seed)
    _refuse(out, overwrite)
    fields = read_card(None if card is None else Path(card))
    with bar("report", 6, silent(progress)) as tick:
        tick(0, "rows")
        sample = study(model, table, rows, None if cache is None else Path(cache), seed)
        near = None if train is None or sample.writes else training_rows(sample, train)
        tick(1, "contributions")
        modalities = explanation_of(sample)
        sections = [results(sample, modalities), details(sample)]
        tick(2, "robustness")
        robustness = robustness_of(sample) if robust else NOT_MEASURED
        sections += [sturdy(sample, robustness), contributions(modalities)]
        tick(4, "rows and their explanations")
        sections += [of_rows(sample, near), data(sample), training(sample), repeat(sample, command)]
        sections.append(model_card(sample, robustness, fields))
        tick(5, "page")
        lines = summary(sample, robustness)
        html = page(sample, lines, sections).encode("utf-8", "replace")
    put(out, html)
    return _report(out, len(html), sections, sample, lines, robustness, modalities)


def _refuse(out: Path, overwrite: bool) -> None:
    """Raises InputError rather than write over what is no report, or into nowhere."""
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file, such as {out / 'report.html'}")
    if not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}; make it, or name another file")
    if overwrite or not out.exists():
        return
    with out.open("rb") as file:
        if MARK not in file.read(HEAD):
            raise InputError(f"{out} is no report of polymodal's; name another file, or add --overwrite to replace it")


def _report(
    out: Path, size: int, sections: list[Section], of: Study, lines: list[str], robustness: Robustness | str,
    modalities: Overall | str,
) -> Report:  # fmt: skip
    shares = [] if isinstance(modalities, str) else modalities.summary.modalities
    return Report(
        path=str(out),
        bytes=size,
        sections=[s.key for s in sections],
        rows=of.table.rows,
        total=of.drawn.rows,
        summary=lines,
        metrics={} if of.scores is None else {k: v._asdict() for k, v in of.scores.metrics.items()},
        robustness=[] if isinstance(robustness, str) else list(robustness.sentences),
        contributions={m.modality: m.size.value for m in shares},
    )


# --- the page -----------------------------------------------------------------------------------------


def page(study: Study, summary: Sequence[str], sections: Sequence[Section]) -> str:
    """The page as HTML: its summary and the result in sight, the rest folded."""
    title = f"{short(study.target, 80)} in {study.name}"
    parts = [s._replace(folded=s.key not in OPEN) for s in sections]
    return html(Page("report", title, title, (), parts, summary, contents=True), largest=LARGEST, details=DETAILS)
