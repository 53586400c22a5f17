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
NAMES = {"loss": "training", "valid_loss": "validation"}  # of losses
JOINT = "all modalities"  # the part of the loss that is the joint answer's


def training(study: Study) -> Section:
    """How the model came to be."""
    report = study.model.report
    rows = report.rows
    blocks: list[Block] = []
    if rows:
        blocks.append(
            Words(f"It was trained on {rows['train']:,} rows, {rows['unlabelled']:,} of them without a label, "
                  f"and chosen by {report.chosen_by}.")
        )  # fmt: skip
    blocks += [Words(short(line, 400)) for line in report.notes]
    if report.seconds:
        blocks.append(
            Words(f"It took {report.seconds:,.0f} seconds and at most {report.peak_memory_mb:,.0f} MB of memory.")
        )
    blocks += _curves(study, report.history)
    settings = {k: v for k, v in report.settings.items() if v is not None}
    if settings:
        facts = [(short(k.replace("_", " "), 60), _value(v)) for k, v in list(settings.items())[:SETTINGS]]
        blocks += [Heading("Settings"), Facts(facts)]
    return Section("training", "Training", blocks or [Words("The model does not say how it was trained.")])


def _curves(study: Study, history: Sequence[Mapping[str, Any]]) -> list[Block]:
    metric = study.model.task.metric.name
    if not history:
        return [Words("There are no curves by epoch: the chosen learner is made of estimators, which have none.")]
    if len(history) == 1:
        return [small("It was trained for one epoch, so there is no curve."), _table(history, metric)]
    out: list[Block] = [Heading("Epoch by epoch")]
    families = {
        "loss": [_losses(line) for line in history],
        f"{metric} of validation rows": [_scores(line, metric) for line in history],
    }
    for what, values in families.items():
        lines = [_line(name, values, history) for name in values[-1]][:CURVES]
        if lines:
            title = f"{what[0].upper()}{what[1:]} by epoch"
            out.append(Picture(f"{title}.", plot.curves(title, lines, "epoch", what)))
    return [*out, _table(history, metric)]


def _losses(line: Mapping[str, Any]) -> dict[str, float]:
    """The losses of an epoch by what they are called, with those of heads for single modalities."""
    out = {name: line[k] for k, name in NAMES.items() if k in line}
    own = line.get("unimodal", {})
    if own:
        out |= {f"training, {JOINT if k == 'loss' else k}": v for k, v in line["parts"].items()}
    return out | {f"training, {m} alone": x["loss"] for m, x in own.items()}


def _scores(line: Mapping[str, Any], metric: str) -> dict[str, float]:
    """The metric; that of each target or label; that of each modality's own head."""
    out = {k: v for k, v in line.items() if k == metric or k.startswith(f"{metric}[")}
    return out | {f"{m} alone": x[metric] for m, x in line.get("unimodal", {}).items() if metric in x}


def _line(name: str, values: Sequence[Mapping[str, float]], history: Sequence[Mapping[str, Any]]) -> Line:
    points = [(line["epoch"] + 1, x[name]) for line, x in zip(history, values, strict=True) if x.get(name) is not None]
    return Line(short(name, 60), [x for x, _ in points], [y for _, y in points])


def _table(history: Sequence[Mapping[str, Any]], metric: str) -> Table:
    """At most `EPOCHS` lines, evenly spread, the last among them."""
    step = -(-len(history) // EPOCHS)
    epochs = history[::-1][::step][::-1]
    keys, scores = [k for k in NAMES if k in history[-1]], list(_scores(history[-1], metric))[: 1 + CURVES]
    nan = float("nan")
    lines = []
    for x in epochs:
        own = _scores(x, metric)
        values = [*(x.get(k, nan) for k in keys), *(own.get(k, nan) for k in scores)]
        lines.append([f"{x['epoch'] + 1:.0f}", *(number(float(v)) for v in values)])
    more = f", every {step}th" if step > 1 else ""
    head = ["epoch", *(f"{NAMES[k]} loss" for k in keys), *(short(k, 60) for k in scores)]
    return Table(f"Epochs{more}", head, lines, folded=len(lines) > 8 or None)


def repeat(study: Study, command: str) -> Section:
    """How model and page are made again."""
    report, prep = study.model.report, study.model.preprocessor
    plan, settings, line = report.plan, report.settings, report.command
    same = "The same table, options and seed make the same model on the same machine."
    by_hand = " TABLE is the training table; options of encoders, columns and co-learning given by hand are not here."
    blocks: list[Block] = [Words(same if line else same + by_hand), Code(line or _command(study, settings))]
    if command:
        blocks += [Words("This page was made by"), Code(command)]
    facts = [("seed of the training", _value(settings.get("seed", "unknown"))), ("seed of this page", str(study.seed))]
    keys = (("digest of the training table", "table"), ("digest of the validation rows", "validation rows"))
    facts += [(name, _value(plan[k])) for name, k in keys if k in plan]
    libraries = [f"{name} {version}" for name in LIBRARIES if (version := version_of(name))]
    facts += [("versions", ", ".join([f"Python {platform.python_version()}", *libraries]))]
    facts += [("fusion and learner", f"{_value(plan.get('fusion', 'unknown'))}, {study.model.learner.kind}")]
    columns = plan.get("columns") or {c.name: c.kind for c in prep.schema.columns.values()}
    kinds = ", ".join(f"{short(c, 40)}: {k}" for c, k in list(columns.items())[:SETTINGS])
    more = f" and {len(columns) - SETTINGS:,} more" if len(columns) > SETTINGS else ""
    facts.append(("columns", kinds + more))
    if encoders := plan.get("encoders"):
        names = [f"{short(m, 40)}: {short(e, 40)}" for m, e in list(encoders.items())[:SETTINGS]]
        facts.append(("encoders", ", ".join(names)))
    return Section("repeat", "How to repeat it", [*blocks, Facts(facts)])


def _command(study: Study, settings: Mapping[str, Any]) -> str:
    schema = study.model.preprocessor.schema
    words = ["polymodal", "fit", "TABLE", *(w for t in schema.target for w in ("--target", t))]
    words += ["--group", schema.group] if schema.group else []
    words += ["--weight", schema.weight] if schema.weight else []
    words += ["--metric", measure] if (measure := study.model.task.measure) else []
    words += [w for k in ("fusion", "preset", "size", "seed") if k in settings for w in (f"--{k}", str(settings[k]))]
    words += ["--epochs", str(settings["epochs"])] if "epochs" in settings and study.model.report.history else []
    return shlex.join([*words, "--out", "MODEL"])


def version_of(name: str) -> str:
    """The version of a library that is installed, or ""."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _value(value: Any) -> str:
    return short(f"{value:g}" if isinstance(value, float) else value, VALUE)
