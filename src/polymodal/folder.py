"""The folder of a saved model: JSON and safetensors, never pickle.

model.json            schema, codecs and learner as specifications (see `spec`), what training had to say
weights.safetensors   the learner's parameters and buffers
fitted/N.skops        estimators of the small-data path: JSON and arrays in one archive
pretrained/NAME/      configuration (and weights, where frozen) of a pretrained network, so that nothing is fetched
manifest.json         format version, and the SHA-256 of every other file
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from polymodal import decoders, fusion, heads, modalities, tasks
from polymodal.data.preprocess import Preprocessor
from polymodal.data.schema import Schema
from polymodal.decoders.base import Decoding
from polymodal.decoders.pretrained import HubDecoder
from polymodal.decoders.tokens import HubTokens
from polymodal.errors import InputError
from polymodal.heads.space import Space
from polymodal.learners.aligner import Aligner
from polymodal.learners.base import Learner
from polymodal.learners.correlated import Correlated
from polymodal.learners.encoders import Encoders
from polymodal.learners.ensemble import Ensemble
from polymodal.learners.network import Network
from polymodal.learners.seq2seq import Seq2Seq
from polymodal.learners.stacked import Stacked
from polymodal.modalities.audio.voices import Voices
from polymodal.modalities.features import Features
from polymodal.saving import json_text, put_tensors
from polymodal.spec import build, objects, spec, table
from polymodal.tasks.vocabulary import VOCABULARIES

VERSION = 6
MANIFEST = "manifest.json"


def classes(custom_classes: Sequence[type] = ()) -> dict[str, type]:
    """Every class that a specification may name: the library's tables, and the user's own `custom_classes`."""
    kinds = modalities.MODALITIES.values()
    return table(
        *(m.codecs.values() for m in kinds),
        *(m.encoders.values() for m in kinds),
        (m.hub for m in kinds if m.hub),
        modalities.PRETRAINED,
        (e for m in kinds for e in m.extractors.values()),
        (Features,),
        fusion.FUSIONS.values(),
        fusion.FILLERS.values(),
        tasks.TASKS.values(),
        heads.HEADS,
        (
            Network,
            Aligner,
            Correlated,
            Space,
            Encoders,
            Stacked,
            Ensemble,
            Seq2Seq,
            Decoding,
            HubDecoder,
            HubTokens,
            Voices,
        ),
        decoders.CLASSES,
        VOCABULARIES.values(),
        custom_classes,
    )


def write(folder: Path, preprocessor: Preprocessor, learner: Learner, report: Mapping[str, Any]) -> Path:
    """Write the folder: it is made beside its place, then moved there file by file, the manifest last.

    Raises InputError where it can't be written.
    """
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        temporary.mkdir(parents=True)
        _fill(temporary, preprocessor, learner, report)
        folder.mkdir(exist_ok=True)
        for name in ("model.json", "weights.safetensors", "pretrained", "fitted", MANIFEST):
            old, new = folder / name, temporary / name
            if old.is_dir():
                shutil.rmtree(old)
            if new.exists():
                new.replace(old)
    except OSError as e:
        raise InputError(f"the model can't be written to {folder}: {e.strerror or e}; choose another --out") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _fill(folder: Path, preprocessor: Preprocessor, learner: Learner, report: Mapping[str, Any]) -> None:
    codecs = {m: spec(c) for m, c in preprocessor.codecs.items()}
    form = spec(learner)
    every = [({"items": codecs}, preprocessor.codecs), (form, learner)]
    sources = [source for f, x in every for source in objects(f, x, "save_source")]
    for i, (inner, part) in enumerate(sources):
        part.save_source(folder / f"pretrained/{i}")
        _relocate(inner, f"pretrained/{i}")
    for i, part in enumerate(_fitted_parts(form, learner)):
        (folder / "fitted").mkdir(exist_ok=True)
        part.save_fitted(folder / f"fitted/{i}.skops")
    whole = {
        "schema": preprocessor.schema.to_json(),
        "codecs": codecs,
        "views": preprocessor.views,
        "learner": form,
        "report": dict(report),
    }
    (folder / "model.json").write_text(json_text(whole), encoding="utf-8")
    put_tensors(folder / "weights.safetensors", learner.state_dict())
    sums = {str(p.relative_to(folder)): _sum(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    manifest = {"format": "polymodal", "version": VERSION, "sha256": sums}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _fitted_parts(form: Any, learner: Learner) -> list[Any]:
    """The parts of a learner that keep more than weights."""
    return [x for _, x in objects(form, learner, "save_fitted")]


def _relocate(form: Any, source: str) -> None:
    """Name the copy in the model folder wherever a specification names its source."""
    if isinstance(form, dict):
        for k, v in form.items():
            if k == "source":
                form[k] = source
            else:
                _relocate(v, source)


def read(folder: Path, custom_classes: Sequence[type] = ()) -> tuple[Preprocessor, Learner, dict[str, Any]]:
    """What `write` was given. custom_classes: the user's own, where the model was built with any.

    Raises InputError for a folder that is no model, is damaged, or was written by another version of the format.
    """
    _check(folder)
    table_of_classes = classes(custom_classes)
    try:
        form = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        _absolute(form["codecs"], folder)
        _absolute(form["learner"], folder)
        schema = Schema.from_json(form["schema"])
        codecs = {m: build(c, table_of_classes) for m, c in form["codecs"].items()}
        learner: Learner = build(form["learner"], table_of_classes)
        learner.load_state_dict(load_file(folder / "weights.safetensors"))
        extractors = [e for m in modalities.MODALITIES.values() for e in m.extractors.values()]
        for i, part in enumerate(_fitted_parts(form["learner"], learner)):
            part.load_fitted(folder / f"fitted/{i}.skops", extractors)
    except InputError:
        raise
    except (RuntimeError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as e:
        raise InputError(
            f"{folder} is no whole model ({type(e).__name__}: {' '.join(str(e).split())}); it was altered, or written "
            "by another version of polymodal: fit it again"
        ) from None
    learner.eval()
    return Preprocessor(schema, codecs, form["views"]), learner, form["report"]


def _absolute(form: Any, folder: Path) -> None:
    if isinstance(form, dict):
        for k, v in form.items():
            if k == "source" and isinstance(v, str) and v.startswith("pretrained/"):
                form[k] = str(folder / v)
            else:
                _absolute(v, folder)


def _check(folder: Path) -> None:
    """Is it a whole, untouched folder of this version of the format?"""
    path = folder / MANIFEST
    if not folder.is_dir() or not path.is_file():
        state = (
            "is not a folder"
            if folder.exists() and not folder.is_dir()
            else (f"has no {MANIFEST}" if folder.exists() else "does not exist")
        )
        raise InputError(f"{folder} is not a polymodal model: it {state}; give the folder that fit wrote (--out)")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, sums = int(manifest["version"]), manifest["sha256"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} can't be read: the model folder is damaged; restore it, or fit it again") from None
    if version != VERSION:
        way = "fit it again with this version" if version < VERSION else "update polymodal"
        raise InputError(f"{folder} has format version {version}, and this polymodal reads version {VERSION}; {way}")
    for name in {"model.json", "weights.safetensors"} - {name for name, _ in sums}:
        raise InputError(f"{folder} is damaged: its manifest does not list {name}; restore it, or fit the model again")
    for name, checksum in sums:
        file = folder / name
        if not file.is_file():
            raise InputError(f"{folder} is damaged: {name} is missing; restore it, or fit the model again")
        if _sum(file) != checksum:
            raise InputError(
                f"{folder} is damaged: {name} is not what was saved (its checksum differs); restore it, or fit again"
            )


def _sum(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
