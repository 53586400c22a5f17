"""What a run is about, beside its checkpoints: so that it goes on with the same input and options, or not at all."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polymodal.data.table import Table, digest
from polymodal.errors import InputError
from polymodal.fitting.colearning import Colearning
from polymodal.fitting.problem import Problem, Reading
from polymodal.fitting.writing import Writing
from polymodal.model import Model, load
from polymodal.tasks.generate import Generation
from polymodal.train import Settings


def check(chosen: Mapping[str, Any]) -> None:
    """Raises InputError for a setting that no training can have."""
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "epochs": (lambda x: x >= 1, "a whole number from 1"),
        "batch_size": (lambda x: x >= 1, "a whole number from 1"),
        "lr": (lambda x: 0 < x < float("inf"), "a finite number above 0, such as 0.001"),
        "precision": (lambda x: x in ("no", "bf16", "fp16"), "no, bf16 or fp16"),
        "seed": (lambda x: 0 <= x < 2**32, "a whole number from 0 to 4294967295"),
        "modality_dropout": (lambda x: 0 <= x < 1, "a chance from 0 to below 1"),
    }
    for name, (good, expected) in rules.items():
        if (value := chosen.get(name)) is not None and not good(value):
            raise InputError(f"{name.replace('_', '-')} can't be {value!r}; it must be {expected}")


def prepare(folder: Path, resume: bool, overwrite: bool) -> None:
    """Make room for a run. Raises InputError rather than write over anything unasked."""
    finished, begun = (folder / "manifest.json").exists(), any(folder.glob("training/*.safetensors"))
    roomy(folder)
    if (finished or begun) and not resume:
        if not overwrite:
            what = "a model" if finished else "an unfinished run"
            raise InputError(
                f"{folder} holds {what}; add --resume to go on with it, --overwrite to begin anew, or name another "
                "folder with --out"
            )
        shutil.rmtree(folder / "training", ignore_errors=True)


def roomy(folder: Path) -> None:
    """Raises InputError where there can be no such folder: it, or what it would lie in, is a file."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if not there.is_dir():
        why = "is a file" if there == folder else f"can be no folder, since {there} is a file"
        raise InputError(f"--out {folder} {why}; name a folder")


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
            unread = path if done is None else f"the plan of the model in {folder}"
            raise InputError(f"{unread} can't be read; begin anew with --overwrite") from None
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
