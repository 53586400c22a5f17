"""From a model and a table to the file: each section in turn, then the page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from polymodal import runs
from polymodal.errors import InputError
from polymodal.explain.overall import Overall
from polymodal.model import Model
from polymodal.progress import progress
from polymodal.report import Report
from polymodal.report.blocks import Section
from polymodal.report.card import model_card, read_card, summary
from polymodal.report.data import data
from polymodal.report.looks import short
from polymodal.report.nearby import nearby
from polymodal.report.page import MARK, page
from polymodal.report.results import results
from polymodal.report.rows import rows as of_rows
from polymodal.report.study import Study, study
from polymodal.report.sturdy import contributions, explained, measured, sturdy
from polymodal.report.training import repeat, training
from polymodal.robustness import Robustness
from polymodal.saving import put

HEAD = 2048  # bytes in which the mark of a page stands
SKIPPED = "Not measured: --no-robustness was given."


def write(
    model: Model, table: Any, out: Path, *, rows: int, robust: bool, train: Any, card: Path | None, seed: int,
    cache: Path | None, command: str, overwrite: bool, quiet: bool,
) -> Report:  # fmt: skip
    """See `polymodal.report.write`."""
    if rows < 1 or seed < 0:
        raise InputError(f"rows {rows}, seed {seed}: expected at least 1 and 0")
    runs.check({"seed": seed})
    _refuse(out, overwrite)
    given = read_card(card)
    with progress("report", 9, quiet) as tick:
        step = _steps(tick)
        step("rows")
        looked = study(model, table, rows, cache, seed, True)
        near = None if train is None or looked.writes else nearby(looked, train)
        step("data")
        sections = [data(looked)]
        step("result")
        sections.append(results(looked))
        step("robustness")
        robustness = measured(looked) if robust else SKIPPED
        sections.append(sturdy(looked, robustness))
        step("contributions")
        modalities = explained(looked)
        sections.append(contributions(modalities))
        step("rows and their explanations")
        sections.append(of_rows(looked, near))
        step("training")
        sections += [training(looked), repeat(looked, command)]
        step("card")
        sections.append(model_card(looked, robustness, given))
        step("page")
        said = summary(looked, robustness)
        title = f"{short(looked.target, 80)} in {short(looked.name, 80)}"
        html = page(title, said, sections, model.preprocessor, looked.table).encode("utf-8", "replace")
    put(out, html)
    return _report(out, len(html), sections, looked, said, robustness, modalities)


def _steps(tick: Callable[..., object]) -> Callable[[str], None]:
    done = iter(range(100))

    def step(note: str) -> None:
        tick(next(done), note)

    return step


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
    out: Path, size: int, sections: list[Section], looked: Study, said: list[str], robustness: Robustness | str,
    modalities: Overall | str,
) -> Report:  # fmt: skip
    shares = [] if isinstance(modalities, str) else modalities.summary.modalities
    return Report(
        path=str(out),
        bytes=size,
        sections=[s.key for s in sections],
        rows=looked.table.rows,
        total=looked.drawn.rows,
        summary=said,
        metrics={} if looked.scores is None else {k: v._asdict() for k, v in looked.scores.metrics.items()},
        robustness=[] if isinstance(robustness, str) else list(robustness.sentences),
        contributions={m.modality: m.size.value for m in shares},
    )
