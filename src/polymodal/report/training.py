"""The sections about how the model was trained, and how all of it is done again."""

import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from polymodal.report.study import VALUE, Study
from polymodal.view import plot
from polymodal.view.blocks import Block, Code, Facts, Heading, Picture, Section, Table, Words, small
from polymodal.view.plot import Line
from polymodal.view.text import number, short

EPOCHS, CURVES, SETTINGS = 40, 6, 40
LIBRARIES = ("polymodal", "torch", "numpy", "scikit-learn", "transformers", "lightgbm")
LOSSES = ("loss", "valid_loss")
NAMES = {"loss": "training", "valid_loss": "validation"}


def training(study: Study) -> Section:
    """How the model came to be."""
    report = study.model.report
    rows = report.rows
    blocks: list[Block] = []
    if rows:
        given = "given" if report.valid_given else "held out"
        blocks.append(
            Words(f"It was trained on {rows['train']:,} rows, {rows['unlabelled']:,} of them without a label, "
                  f"and chosen by {rows['valid']:,} validation rows ({given}).")
        )  # fmt: skip
    blocks += [Words(short(line, 400)) for line in report.notes]
    if report.seconds:
        blocks.append(
            Words(f"It took {report.seconds:,.0f} seconds and at most {report.peak_memory_mb:,.0f} MB of memory.")
        )
    blocks += _curves(study, report.history)
    settings = {k: v for k, v in report.settings.items() if v is not None}
    if settings:
        facts = [(short(k.replace("_", " "), 60), _said(v)) for k, v in list(settings.items())[:SETTINGS]]
        blocks += [Heading("Settings"), Facts(facts)]
    return Section("training", "Training", blocks or [Words("The model does not say how it was trained.")])


def _curves(study: Study, history: Sequence[Mapping[str, float]]) -> list[Block]:
    metric = study.model.task.metric.name
    if not history:
        return [Words("There are no curves by epoch: the chosen learner is made of estimators, which have none.")]
    if len(history) == 1:
        return [small("It was trained for one epoch, so there is no curve."), _table(history, metric)]
    out: list[Block] = [Heading("Epoch by epoch")]
    own = [k for k in history[-1] if k == metric or _part(k, metric)]
    losses = [*LOSSES, *(k for k in history[-1] if k.startswith("loss of "))]
    for names, what in ((losses, "loss"), (own, f"{metric} of validation rows")):
        lines = [_line(NAMES.get(k) or short(k, 60), k, history) for k in names if k in history[-1]][:CURVES]
        if lines:
            title = f"{what[0].upper()}{what[1:]} by epoch"
            out.append(Picture(f"{title}.", plot.curves(title, lines, "epoch", what)))
    return [*out, _table(history, metric)]


def _part(key: str, metric: str) -> bool:
    """Whether it is the metric of one target, of one label, or of one modality alone."""
    return key.startswith((f"{metric} of ", f"{metric}[")) or (key != metric and metric in key and "alone" in key)


def _line(name: str, key: str, history: Sequence[Mapping[str, float]]) -> Line:
    known = [(line["epoch"] + 1, line[key]) for line in history if line.get(key) is not None]
    return Line(name, [x for x, _ in known], [y for _, y in known])


def _table(history: Sequence[Mapping[str, float]], metric: str) -> Table:
    """At most `EPOCHS` lines, evenly spread, the last among them."""
    step = -(-len(history) // EPOCHS)
    shown = history[::-1][::step][::-1]
    keys = [k for k in ("epoch", *LOSSES, metric) if k in history[-1]]
    keys += [k for k in history[-1] if _part(k, metric)][:CURVES]
    nan = float("nan")
    lines = [[f"{x['epoch'] + 1:.0f}", *(number(float(x.get(k, nan))) for k in keys[1:])] for x in shown]
    more = f", every {step}th" if step > 1 else ""
    head = [f"{NAMES[k]} loss" if k in NAMES else short(k, 60) for k in keys]
    return Table(f"Epochs{more}", head, lines, folded=len(lines) > 8)


def repeat(study: Study, command: str) -> Section:
    """How model and page are made again."""
    report, prep = study.model.report, study.model.preprocessor
    plan, settings, typed = report.plan, report.settings, report.command
    same = "The same table, options and seed make the same model on the same machine."
    by_hand = " TABLE is the training table; options of encoders, columns and co-learning given by hand are not here."
    blocks: list[Block] = [Words(same if typed else same + by_hand), Code(typed or _command(study, settings))]
    if command:
        blocks += [Words("This page was made by"), Code(command)]
    facts = [("seed of the training", _said(settings.get("seed", "unknown"))), ("seed of this page", str(study.seed))]
    keys = (("digest of the training table", "table"), ("digest of the validation rows", "validation rows"))
    facts += [(name, _said(plan[k])) for name, k in keys if k in plan]
    libraries = [f"{name} {found}" for name in LIBRARIES if (found := installed(name))]
    facts += [("versions", ", ".join([f"Python {platform.python_version()}", *libraries]))]
    facts += [("fusion and learner", f"{_said(plan.get('fusion', 'unknown'))}, {type(study.model.learner).__name__}")]
    columns = plan.get("columns") or {c.name: c.kind for c in prep.schema.columns.values()}
    shown = ", ".join(f"{short(c, 40)}: {k}" for c, k in list(columns.items())[:SETTINGS])
    more = f" and {len(columns) - SETTINGS:,} more" if len(columns) > SETTINGS else ""
    facts.append(("columns", shown + more))
    if encoders := plan.get("encoders"):
        said = [f"{short(m, 40)}: {short(e, 40)}" for m, e in list(encoders.items())[:SETTINGS]]
        facts.append(("encoders", ", ".join(said)))
    return Section("repeat", "How to repeat it", [*blocks, Facts(facts)])


def _command(study: Study, settings: Mapping[str, Any]) -> str:
    schema = study.model.preprocessor.schema
    words = ["polymodal", "fit", "TABLE", *(w for t in schema.target for w in ("--target", t))]
    words += ["--group", schema.group] if schema.group else []
    words += [w for k in ("fusion", "preset", "size", "seed") if k in settings for w in (f"--{k}", str(settings[k]))]
    words += ["--epochs", str(settings["epochs"])] if "epochs" in settings and study.model.report.history else []
    return shlex.join([*words, "--out", "MODEL"])


def installed(name: str) -> str:
    """The version of a library that is installed, or ""."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _said(value: Any) -> str:
    return short(f"{value:g}" if isinstance(value, float) else value, VALUE)
