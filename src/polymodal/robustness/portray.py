"""What a person reads at the end of `polymodal robustness`, and the files of its folder."""

import csv
import io
import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from polymodal.errors import InputError
from polymodal.evaluate.intervals import Interval
from polymodal.robustness.plots import plots
from polymodal.robustness.result import COLUMNS, Area, Robustness
from polymodal.robustness.sentences import HOW
from polymodal.saving import put
from polymodal.view import plot
from polymodal.view.text import digits, ends, interval

WIDE = 110  # characters of a terminal in which severities are shown beside their levels
SHOWN = 10  # unreadable cells that are listed
STARRED = "* the loss against clean is more than noise: its paired 95% interval lies above 0"


def portray(of: Robustness) -> None:
    """The grid, cells removed, noise, and the worst of each, on standard output."""
    console = Console()
    by = f", intervals over {escape(of.group)}" if of.group else ""
    better = "higher" if of.higher else "lower"
    clean = f"clean {interval(of.clean)}"
    console.print(
        f"[bold]{of.metric}[/] on {of.rows:,} rows{by} ({better} is better): {escape(clean)}",
        highlight=False,
        soft_wrap=True,
    )
    for table in (_subsets(of), _absence(of), _noise(of, console.width >= WIDE)):
        if table is not None:
            console.print()
            console.print(table)
    console.print()
    losses = [*(x.loss for x in of.subsets), *(x.loss for x in of.absence), *(x.loss for x in of.noise)]
    if any(loss.low > 0 for loss in losses):
        console.print(STARRED, highlight=False, soft_wrap=True)
    if of.noise:
        console.print(escape(_areas(of)), highlight=False, soft_wrap=True)
    for sentence in of.sentences:
        console.print(escape(sentence), highlight=False, soft_wrap=True, style="bold")
    for note in of.notes:
        console.print(escape(f"note: {note}"), highlight=False, soft_wrap=True)
    _bad(console, of)


def _subsets(of: Robustness) -> Table:
    grid = _table("With these modalities alone", "modalities", of.metric, "95% interval", "loss", "95% interval")
    for s in of.subsets:
        whole = len(s.present) == len(of.modalities)
        loss = ("", "") if whole else (f"{digits(s.loss.value)}{_star(s.loss)}", ends(s.loss))
        name = escape(" + ".join(s.present)) + (" (all)" if whole else "")
        grid.add_row(name, digits(s.score.value), escape(ends(s.score)), loss[0], escape(loss[1]))
    return grid


def _absence(of: Robustness) -> Table | None:
    if not of.absence:
        return None
    shares = list(dict.fromkeys(x.share for x in of.absence))
    grid = _table("With this share of the cells removed", "removed", *(f"{s:.0%}" for s in shares))
    for how in dict.fromkeys(x.how for x in of.absence):
        points = [x for x in of.absence if x.how == how]
        name = escape(HOW[how].format(by=points[0].by))
        grid.add_row(name, *(f"{digits(x.score.value)}{_star(x.loss)}" for x in points))
    seeds = max(x.seeds for x in of.absence)
    grid.caption = f"means of {seeds} drawings; the last cell of a row goes last"
    grid.caption_justify = "left"
    return grid


def _noise(of: Robustness, wide: bool) -> Table | None:
    if not of.noise:
        return None
    ahead = ["clean", *map(str, range(1, of.levels))]
    more = ["relative", *(["effective"] if of.effective is not None else []), *(["at most"] if wide else [])]
    grid = _table("With noise on one modality, level by level", "noise", *ahead, *more)
    for i, area in enumerate(of.relative.curves):
        points = [x for x in of.noise if (x.modality, x.kind) == (area.modality, area.kind)]
        found = [f"{digits(x.score.value)}{_star(x.loss)}" for x in points] + [_value(area)]
        found += [] if of.effective is None else [_value(of.effective.curves[i], "+")]
        found += [escape(points[-1].severity)] if wide else []
        grid.add_row(escape(f"{area.modality}: {area.kind}"), *found)
    return grid


def _areas(of: Robustness) -> str:
    text = f"relative robustness {_shown(of.relative.mean)} (area under the curve over the clean score, mean of the "
    text += "curves; 1 is no loss)"
    if of.effective is not None:
        gain = _shown(of.effective.mean, "+")
        text += f"\neffective robustness {gain} {of.metric} over the model of --against, at equal clean score"
    return text


def _shown(area: Interval, sign: str = "") -> str:
    return interval(area, sign=sign) if area.value == area.value else "undefined"


def _value(area: Area, sign: str = "") -> str:
    return digits(area.value, sign=sign) if area.value == area.value else ""


def _table(title: str, *columns: str) -> Table:
    grid = Table(title=title, title_justify="left", box=None)
    for i, name in enumerate(columns):
        grid.add_column(escape(name), justify="left" if i == 0 or name in LEFT else "right", no_wrap=i > 0)
    return grid


LEFT = ("95% interval", "at most")


def _star(loss: Interval) -> str:
    return "*" if loss.low > 0 else " "


def _bad(console: Console, of: Robustness) -> None:
    if of.bad:
        console.print(f"[yellow]{len(of.bad):,} unreadable cells were treated as absent:[/]")
        for b in of.bad[:SHOWN]:
            console.print(f"  {escape(str(b))}", highlight=False, soft_wrap=True)
        if len(of.bad) > SHOWN:
            console.print(f"  and {len(of.bad) - SHOWN:,} more; --json lists them all", highlight=False)


def write(of: Robustness, folder: Path) -> list[str]:
    """robustness.json, robustness.csv, and each picture as .png and .svg; returns their names.

    Raises InputError where the folder can't be made or written, ImportError where matplotlib is missing.
    """
    usable(folder)
    texts = {
        "robustness.json": json.dumps(of.to_json(), indent=1, ensure_ascii=False) + "\n",
        "robustness.csv": table(of),
    }
    files = {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    for name, drawn in plots(of).items():
        files[f"{name}.png"], files[f"{name}.svg"] = plot.png(drawn), plot.svg(drawn)
    for name, made in files.items():
        put(folder / name, made)
    return list(files)


def usable(folder: Path) -> None:
    """Make the folder. Raises InputError where that can't be done: it is a file, or may not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"--out {folder} is a file; name a folder, which is made where there is none") from None
    except OSError as e:
        raise InputError(f"--out {folder} can't be made: {e.strerror or e}") from None


def table(of: Robustness) -> str:
    """One line a measurement, as CSV."""
    out = io.StringIO()
    rows = csv.DictWriter(out, COLUMNS.split(), lineterminator="\n")
    rows.writeheader()
    rows.writerows(of.lines())
    return out.getvalue()
