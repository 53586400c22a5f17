"""What a run is about, beside its checkpoints: so that it goes on with the same input and options, or not at all."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polymodal.data.table import digest
from polymodal.errors import InputError
from polymodal.experiment.config import Run, Search
from polymodal.experiment.prepare import Prepared
from polymodal.model import Model, load
from polymodal.objectives.colearning import Colearning
from polymodal.objectives.target import Target
from polymodal.saving import json_text
from polymodal.training.settings import Settings

SHORT = 24  # characters of a value that an error shows: digests are longer


def prepare(folder: Path, run: Run) -> None:
    """Make room for a run. Raises InputError rather than write over anything unasked."""
    has_model, has_checkpoint = (folder / "manifest.json").exists(), any(folder.glob("training/*.safetensors"))
    check_place(folder)
    if (has_model or has_checkpoint) and not run.resume:
        if not run.overwrite:
            what = "a model" if has_model else "an unfinished run"
            raise InputError(
                f"{folder} holds {what}; add --resume to go on with it, --overwrite to begin anew, or name another "
                "folder with --out"
            )
        shutil.rmtree(folder / "training", ignore_errors=True)


def check_place(folder: Path) -> None:
    """Raises InputError where there can be no such folder: it, or what it would lie in, is a file."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if not there.is_dir():
        why = "is a file" if there == folder else f"can be no folder, since {there} is a file"
        raise InputError(f"--out={folder} {why}; name a folder")


def plan(
    prepared: Prepared, settings: Settings, search: Search, preset: str, colearning: Colearning, target: Target
) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes."""
    problem, reading = prepared.problem, prepared.reading
    return {
        "table": digest(problem.table),
        "validation rows": digest(prepared.held_table),
        "target": problem.schema.target,
        "group": problem.schema.group,
        "chronology": problem.chronology and {**problem.chronology._asdict(), "formats": [*problem.chronology.formats]},
        "columns": {c.name: c.kind for c in problem.schema.columns.values()},
        "encoders": {m: encoder.__name__ for m, encoder in reading.encoders.items()},
        "codecs": {m: codec.fingerprint() for m, codec in reading.preprocessor.codecs.items()},
        "task": problem.task.name,
        **target._asdict(),
        "writing": problem.objective.options(),
        "fusion": search.fusion,
        "preset": preset,
        "folds": search.folds,
        "colearning": colearning.key(),
        "size": problem.size._asdict(),
        **settings._asdict(),
    }


def remember(folder: Path, plan: Mapping[str, Any], resume: bool) -> Model | None:
    """Write the plan beside the checkpoints; to resume, see that it is the same; return what is finished already."""
    path = folder / "training" / "plan.json"
    if resume and (path.exists() or (folder / "manifest.json").exists()):
        model = None if path.exists() else load(folder)
        before = read_plan(path) if model is None else model.report.plan
        if not before:
            raise InputError(f"the plan of the model in {folder} can't be read; begin anew with --overwrite")
        refuse_changes(f"the run in {folder}", before, plan)
        return model
    write_plan(path, plan, folder)
    return None


def read_plan(path: Path) -> dict[str, Any]:
    """The plan in a file. Raises InputError where it can't be read."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:
        raise InputError(f"{path} can't be read; begin anew with --overwrite") from None


def write_plan(path: Path, plan: Mapping[str, Any], folder: Path) -> None:
    """Write the plan. Raises InputError where the folder that it belongs to can't be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json_text(plan), encoding="utf-8")
    except OSError as e:
        raise InputError(f"--out={folder} can't be written to: {e.strerror or e}; name another folder") from None


def refuse_changes(what: str, before: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Raises InputError where a plan differs from the one before, naming in what, and short values as they were."""
    differences = [k for k in plan if before.get(k) != json.loads(json.dumps(plan[k]))]
    if differences:
        was = {k: repr(before.get(k)) for k in differences}
        examples = ", ".join(k if len(was[k]) > SHORT else f"{k} (it was {was[k]})" for k in differences)
        raise InputError(
            f"{what} can't be resumed: {examples} changed since it began; give the same input and options, or begin "
            "anew with --overwrite"
        )


def key(parts: Iterable[str]) -> str:
    """A short key of these texts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
