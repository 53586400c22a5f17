"""What a person reads at the end of `polymodal robustness`, and the files of its folder."""

import csv
import io
import json
from pathlib import Path

from polymodal.errors import InputError
from polymodal.evaluate.intervals import Interval
from polymodal.robustness.plots import plots
from polymodal.robustness.result import COLUMNS, Area, Robustness
from polymodal.robustness.sentences import HOW
from polymodal.saving import put
from polymodal.view import plot
from polymodal.view.blocks import Block, Table, Words, small, unreadable
from polymodal.view.text import digits, ends, interval, many

WIDE = 110  # characters of a terminal in which severities are shown beside their levels
STAR = "* the loss against clean is more than noise: its paired 95% interval lies above 0"


def brief(of: Robustness, wide: bool = False) -> list[Block]:
    """The grid, cells removed, noise, and the worst of each. wide: whether severities are shown beside their levels."""
    by = f", intervals over {of.group}" if of.group else ""
    better = "higher" if of.higher else "lower"
    losses = [*(x.loss for x in of.subsets), *(x.loss for x in of.absence), *(x.loss for x in of.noise)]
    lines = [STAR] if any(loss.low > 0 for loss in losses) else []
    lines += [_areas(of)] if of.noise else []
    return [
        Words(f"{of.metric} on {many(of.rows, 'row')}{by} ({better} is better): clean {interval(of.clean)}"),
        _subsets(of),
        *(_absence(of) if of.absence else []),
        *([_noise(of, wide)] if of.noise else []),
        Words(""),
        *map(Words, [*lines, *of.sentences, *(f"note: {note}" for note in of.notes)]),
        *unreadable(of.bad),
    ]


def _subsets(of: Robustness) -> Table:
    rows = []
    for s in of.subsets:
        whole = len(s.present) == len(of.modalities)
        loss = ["", ""] if whole else [f"{digits(s.loss.value)}{_star(s.loss)}", ends(s.loss)]
        rows.append([" + ".join(s.present) + " (all)" * whole, digits(s.score.value), ends(s.score), *loss])
    head = ["modalities", of.metric, "95% interval", "loss", "95% interval"]
    return Table("With these modalities alone", head, rows)


def _absence(of: Robustness) -> list[Block]:
    shares = list(dict.fromkeys(x.share for x in of.absence))
    rows = []
    for how in dict.fromkeys(x.how for x in of.absence):
        points = [x for x in of.absence if x.how == how]
        rows.append([HOW[how].format(by=points[0].by), *(f"{digits(x.score.value)}{_star(x.loss)}" for x in points)])
    title, head = "With this share of the cells removed", ["removed", *(f"{s:.0%}" for s in shares)]
    seeds = max(x.seeds for x in of.absence)
    return [Table(title, head, rows), small(f"means of {seeds} drawings; the last cell of a row goes last")]


def _noise(of: Robustness, wide: bool) -> Table:
    ahead = ["clean", *map(str, range(1, of.levels))]
    more = ["relative", *(["effective"] if of.effective is not None else []), *(["at most"] if wide else [])]
    rows = []
    for i, area in enumerate(of.relative.curves):
        points = [x for x in of.noise if (x.modality, x.kind) == (area.modality, area.kind)]
        curves = [f"{digits(x.score.value)}{_star(x.loss)}" for x in points] + [_value(area)]
        curves += [] if of.effective is None else [_value(of.effective.curves[i], "+")]
        rows.append([f"{area.modality}: {area.kind}", *curves, *([points[-1].severity] if wide else [])])
    head = ["noise", *ahead, *more]
    words = frozenset({len(head) - 1}) if wide else frozenset[int]()
    return Table("With noise on one modality, level by level", head, rows, words)


def _areas(of: Robustness) -> str:
    text = f"relative robustness {_area(of.relative.mean)} (area under the curve over the clean score, mean of the "
    text += "curves; 1 is no loss)"
    if of.effective is not None:
        gain = _area(of.effective.mean, "+")
        text += f"\neffective robustness {gain} {of.metric} over the model of --against, at equal clean score"
    return text


def _area(area: Interval, sign: str = "") -> str:
    return interval(area, sign=sign) if area.value == area.value else "undefined"


def _value(area: Area, sign: str = "") -> str:
    return digits(area.value, sign=sign) if area.value == area.value else ""


def _star(loss: Interval) -> str:
    return "*" if loss.low > 0 else " "


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
    for name, figure in plots(of).items():
        files[f"{name}.png"], files[f"{name}.svg"] = plot.png(figure), plot.svg(figure)
    for name, paths in files.items():
        put(folder / name, paths)
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
