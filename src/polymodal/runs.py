"""What a run is about, beside its checkpoints: so that it goes on with the same input and options, or not at all."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polymodal.colearning import Colearning
from polymodal.data.table import Table, digest
from polymodal.errors import InputError
from polymodal.model import Model, load
from polymodal.problem import Problem, Reading
from polymodal.tasks.generate import Generation
from polymodal.train import Settings
from polymodal.writing import Writing


def prepare(folder: Path, resume: bool, overwrite: bool) -> None:
    """Make room for a run. Raises InputError rather than write over anything unasked."""
    finished, begun = (folder / "manifest.json").exists(), any(folder.glob("training/*.safetensors"))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder} is a file; name a folder")
    if (finished or begun) and not resume:
        if not overwrite:
            what = "a model" if finished else "an unfinished run"
            raise InputError(
                f"{folder} holds {what}; add --resume to go on with it, --overwrite to begin anew, or name another "
                "folder with --out"
            )
        shutil.rmtree(folder / "training", ignore_errors=True)


def plan(
    goal: Problem, valid: Table, reading: Reading, settings: Settings, fusion: str, preset: str, helped: Colearning
) -> dict[str, Any]:
    """What a run must have in common with the one that it resumes."""
    return {
        "table": digest(goal.table),
        "validation rows": digest(valid),
        "target": goal.schema.target,
        "group": goal.schema.group,
        "columns": {c.name: c.kind for c in goal.schema.columns.values()},
        "encoders": {m: encoder.__name__ for m, encoder in reading.encoders.items()},
        "codecs": {m: codec.fingerprint() for m, codec in reading.preprocessor.codecs.items()},
        "task": goal.task.name,
        "writing": plain(goal.writing) if isinstance(goal.task, Generation) else None,
        "fusion": fusion,
        "preset": preset,
        "colearning": helped.key(),
        "size": goal.size._asdict(),
        **settings._asdict(),
    }


def plain(how: Writing) -> dict[str, Any]:
    """What was asked of a model that writes, as JSON values."""
    return {**how._asdict(), "decoding": asdict(how.decoding)}


def remember(folder: Path, plan: Mapping[str, Any], resume: bool) -> Model | None:
    """Write the plan beside the checkpoints; to resume, see that it is the same; return what is finished already."""
    path = folder / "training" / "plan.json"
    if resume and (path.exists() or (folder / "manifest.json").exists()):
        done = None if path.exists() else load(folder)
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if done is None else done.report["plan"]
        except (ValueError, KeyError):
            raise InputError(f"{path} can't be read; begin anew with --overwrite") from None
        changed = [k for k in plan if before.get(k) != json.loads(json.dumps(plan[k]))]
        if changed:
            raise InputError(
                f"the run in {folder} can't be resumed: {', '.join(changed)} changed since it began; give the same "
                "input and options, or begin anew with --overwrite"
            )
        return done
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plan, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as e:
        raise InputError(f"--out {folder} can't be written to: {e.strerror or e}; name another folder") from None
    return None


def key(parts: Iterable[str]) -> str:
    """A short key of these texts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
