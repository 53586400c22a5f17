"""The summary and the model card: what a person who has to decide must know, and what only a person can say.

The headings of the card are those of Mitchell et al. 2019.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from polymodal.errors import InputError
from polymodal.evaluate.compare import FEW
from polymodal.modalities import MODALITIES
from polymodal.report.results import comparisons
from polymodal.report.study import Study
from polymodal.robustness import Robustness
from polymodal.robustness.result import worst_noise, worst_subset
from polymodal.view.blocks import Block, Heading, Section, Words
from polymodal.view.text import interval, list_names, not_shown, short

PARTS = {  # the card's headings, by the names that a file gives them
    "details": "Model details",
    "intended_use": "Intended use",
    "factors": "Factors",
    "metrics": "Metrics",
    "training_data": "Training data",
    "evaluation_data": "Evaluation data",
    "analyses": "Quantitative analyses",
    "limitations": "Caveats, limitations and recommendations",
    "ethics": "Ethical considerations",
}
OPEN = "To be filled in by a person who knows what the model is for: give --card FILE.json or FILE.toml with {key!r}."
LIMIT, LABELS, BESIDE = 4000, 8, 4  # characters of what a person says; labels, rivals that are named


def read_card(path: Path | None) -> dict[str, str]:
    """What a person says of the model, by the names of `PARTS`. Raises InputError for a file that says otherwise."""
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        form = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as e:
        raise InputError(f"--card {path} can't be read: {e.strerror or e}") from None
    except ValueError as e:  # both parsers' errors are
        raise InputError(f"--card {path} is no {'TOML' if path.suffix.lower() == '.toml' else 'JSON'}: {e}") from None
    if not isinstance(form, dict):
        raise InputError(f"--card {path} holds a {type(form).__name__}, expected names and texts: {', '.join(PARTS)}")
    for key, value in form.items():
        if key not in PARTS:
            raise InputError(f"--card {path} has {key!r}, which is no part of the card; it may have {', '.join(PARTS)}")
        if not isinstance(value, str):
            raise InputError(f"--card {path}: {key!r} is a {type(value).__name__}, expected a text")
    return form


def summary(study: Study, robustness: Robustness | str) -> list[str]:
    """Three sentences: what it is, how good it is and beside what, what it can't do."""
    return [_what(study), _how_well(study), _cannot(study, robustness)]


def _what(study: Study) -> str:
    task, schema = study.model.task, study.model.preprocessor.schema
    kinds = {m: kind for m, (kind, _) in schema.modalities().items() if m in study.model.modalities}
    inputs = [f"{short(m, 30)} ({'plain columns' if MODALITIES[k].columns else k})" for m, k in list(kinds.items())[:6]]
    more = f" and {len(kinds) - 6} more modalities" if len(kinds) > 6 else ""
    of = f", one of {len(task.labels_):,} labels," if "confusion" in task.capabilities else ""
    does = f"writes {short(study.target, 60)}" if study.writes else f"predicts {short(study.target, 60)}{of}"
    rows = study.model.report.learned
    origin = f", and learned it from {rows:,} rows" if rows else ""
    return f"This model {does} from {', '.join(inputs)}{more}{origin}."


def _how_well(study: Study) -> str:
    score = study.score
    metric = study.model.task.metric
    if score is None:
        here = f"{study.name} has no labels, so how good its answers to these rows are is not known"
    else:
        few = " (too few rows for that to mean much)" if len(study.labelled) < FEW else ""
        here = f"Its {metric.name} is {interval(score)} on {study.of}{few}"
    tests = comparisons(study)
    if not tests:
        return f"{here}; what it was compared with is not known."
    c = tests[-1]
    rivals = [x for x in c.candidates[1:] if x.score.value == x.score.value]
    best = sorted(rivals, key=lambda x: x.score.value, reverse=metric.higher)[:BESIDE]
    beside = [f"{short(x.name, 40)} {interval(x.score)}" for x in best]
    if not beside:
        return f"{here}; it was compared with nothing else."
    return f"{here}; on {c.rows:,} {c.basis} it had {interval(c.candidates[0].score)}, beside {', '.join(beside)}."


def _cannot(study: Study, robustness: Robustness | str) -> str:
    clauses = [_loses(robustness)]
    if worst := _worst_label(study):
        clauses.append(worst)
    clauses.append("nothing here tells how it does on rows of another origin than these")
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."


def _loses(robustness: Robustness | str) -> str:
    """What absence costs most, or noise where there is one modality, as the part of a sentence."""
    if isinstance(robustness, str):
        return "what it loses where a modality is absent or noisy was not measured"
    subset, noise = worst_subset(robustness.subsets), worst_noise(robustness.noise)
    if robustness.rows < FEW:
        rows = "1 row is" if robustness.rows == 1 else f"{robustness.rows} rows are"
        return f"{rows} too few to say what it loses where a modality is absent or noisy"
    if subset is not None:
        where, x = f"with {list_names([short(m, 30) for m in subset.present])} alone", subset
    elif noise is not None:
        where, x = f"with {noise.kind} on {short(noise.modality, 30)} ({noise.severity})", noise  # type: ignore[assignment]
    else:
        return "what it loses where a modality is absent or noisy could not be measured"
    change = f"{robustness.metric} is {interval(x.score)} instead of {robustness.clean.value:.3f}"
    sure = "" if x.loss.low > 0 else f"; {not_shown('difference', robustness.rows)}"
    return f"it does worst {where}, where {change}{sure}"


def _worst_label(study: Study) -> str:
    if study.scores is None or study.scores.confusion is None:
        return ""
    labels, matrix = study.scores.confusion
    share = [(row[i] / sum(row), sum(row), labels[i]) for i, row in enumerate(matrix) if sum(row) >= FEW]
    if not share:
        return ""
    recall, rows, label = min(share, key=lambda x: x[0])
    return f"of the {rows:,} rows whose label is {short(label, 40)} it finds {recall:.0%}"


def model_card(study: Study, robustness: Robustness | str, fields: Mapping[str, str]) -> Section:
    """The card: facts of the model, and what was given in a file."""
    facts = _facts(study, robustness)
    blocks: list[Block] = [
        Words("After Mitchell et al. 2019. What can be known from the model and the rows is filled in; the rest only a "
              "person can say.")
    ]  # fmt: skip
    for key, title in PARTS.items():
        blocks.append(Heading(title))
        blocks += [Words(s) for s in facts.get(key, ())]
        if key in fields:
            blocks.append(Words(short(fields[key], LIMIT)))
        elif key not in facts or key in ("limitations", "ethics"):
            blocks.append(Words(OPEN.format(key=key)))
    return Section("card", "Model card", blocks)


def _facts(study: Study, robustness: Robustness | str) -> dict[str, Sequence[str]]:
    report, task = study.model.report, study.model.task
    learner = study.model.learner.kind
    settings = report.settings
    fusion = f", fusion {settings['fusion']}" if settings.get("fusion") else ""
    size = sum(p.numel() for p in study.model.learner.parameters())
    weights = f", {size:,} weights" if size else ", made of estimators"
    rows, group = report.rows, study.model.preprocessor.schema.group
    train = []
    if rows:
        train.append(f"{rows['train']:,} rows, of which {rows['unlabelled']:,} have no label; "
                     f"the model was chosen by {report.chosen_by}.")  # fmt: skip
    if bad := report.bad:
        cells = "1 cell" if len(bad) == 1 else f"{len(bad):,} cells"
        train.append(f"{cells} could not be read when it was fitted, and counted as absent.")
    if counts := _balance(study):
        train.append(counts)
    losses = [] if isinstance(robustness, str) else list(robustness.sentences)
    score = [f"{study.scores.metric} {interval(study.score)} on {study.of}."] if study.scores and study.score else []
    return {
        "details": [f"Task {task.name}, learner {learner}{fusion}{weights}; made with polymodal."],
        "metrics": [f"Chosen and compared by {task.metric.name} ({'higher' if task.metric.higher else 'lower'} is "
                    f"better), with 95% bootstrap intervals over {short(group or 'rows', 60)}."],
        "training_data": train or ["The model does not say."],
        "evaluation_data": [f"{study.of[0].upper()}{study.of[1:]}, of which {len(study.labelled):,} have a label."],
        "analyses": [*score, "See Result for each label, and for each pattern of absence."],
        "limitations": [*losses, "Rows of another origin than those it was fitted and scored on were not looked at."],
    }  # fmt: skip


def _balance(study: Study) -> str:
    labels, counts = study.model.task.labels_, study.model.task.counts_
    if not labels:
        return ""
    common = sorted(zip(counts, labels, strict=True), key=lambda x: -x[0])
    labels_text = ", ".join(f"{short(x, 30)} ({n:,})" for n, x in common[:LABELS])
    more = f" and {len(common) - LABELS:,} more labels" if len(common) > LABELS else ""
    return f"Training rows by label: {labels_text}{more}."
