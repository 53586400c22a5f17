"""`--from MODEL`: which parts of another model a new one begins with, and why others are left.

columns of the same name and kind take the other's fitted codec and encoder; fusion, decoder and words where they fit
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polymodal.colearn.transfer import Start, start
from polymodal.data.preprocess import target_cells
from polymodal.data.schema import Schema
from polymodal.data.table import Table, digest
from polymodal.errors import InputError
from polymodal.fitting.problem import Problem
from polymodal.fitting.writing import GRID, Writing, pretrained
from polymodal.modalities.base import Codec, Encoder
from polymodal.modalities.pretrained.hub import Frozen, Hub
from polymodal.modalities.pretrained.source import digest as digest_of
from polymodal.modalities.vector.encoders import Projection
from polymodal.model import Model, load
from polymodal.tasks.base import Task
from polymodal.tasks.generate import Generation, references


class Taken(NamedTuple):
    """What is taken over. parts: by modality, the fitted codec, and its encoder's class. left: by modality, why not."""

    start: Start
    parts: dict[str, tuple[Codec, type[Encoder]]]
    left: dict[str, str]

    def said(self, folder: str, more: Sequence[str]) -> str:
        """One sentence for a person: what was begun with, and what not."""
        left = "".join(f"; not {m} ({why})" for m, why in self.left.items())
        return f"begun with {folder}: {', '.join([*self.start.encoders, *more]) or 'nothing'}{left}"


class Origin:
    """A model to begin with. Raises InputError for a folder that is no model, or has no encoders."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.model: Model = load(Path(folder))
        try:
            self.start = start(self.model.learner)
        except InputError as e:
            raise InputError(f"--from {folder}: {e}") from None

    def writing(self, asked: Writing | None, goal: Problem) -> Writing | None:
        """How text is to be written: by the other model's decoder, where none is asked for."""
        before = self.model.report.get("writing")
        if not isinstance(goal.task, Generation) or not before or (asked is not None and asked.decoder is not None):
            return asked
        decoder = str(before["decoder"])
        if pretrained(decoder) and not Path(decoder).exists():  # its copy is in the model folder
            return asked
        return (asked or Writing())._replace(decoder=decoder)

    def begin(self, goal: Problem, learn: Table, held: Table) -> Taken:
        """What a problem begins with, whose task is fitted on the training rows `learn`; its vocabulary with it.

        Raises InputError where there is nothing, or the model has learned from labels of the validation rows `held`.
        """
        self._check_unseen(goal.table, held, goal.schema)
        self._teach(goal.task, target_cells(learn, goal.schema))
        return self._taken(goal)

    def _teach(self, task: Task, cells: list[Any]) -> None:
        """Give a task that writes, fitted on these cells, the other model's vocabulary where both are of one kind."""
        other = self.model.task
        if not (isinstance(task, Generation) and isinstance(other, Generation)):
            return
        if type(task.vocabulary) is not type(other.vocabulary) or hasattr(task.vocabulary, "source"):
            return
        task.vocabulary = copy.deepcopy(other.vocabulary)
        lengths = [len(task.vocabulary.ids(t)) for c in cells for t in references(c)]
        task.cut_, task.longest_ = sum(n > task.limit for n in lengths), min(task.limit, max(lengths)) + 1

    def _taken(self, goal: Problem) -> Taken:
        """What the modalities of this problem take over. Raises InputError where nothing is common to both."""
        asked = goal.parts() if goal.encoders else {}
        parts: dict[str, tuple[Codec, type[Encoder]]] = {}
        encoders: dict[str, Encoder] = {}
        left: dict[str, str] = {}
        for m in goal.schema.modalities():
            if why := self._differs(m, goal):
                left[m] = why
                continue
            codec, encoder = self._part(m, asked.get(m) if m in goal.encoders else None)
            if encoder is None:
                left[m] = "another encoder is asked for with --encoder"
                continue
            encoders[m] = encoder
            if codec is not None:
                parts[m] = codec, type(encoder)
                if isinstance(goal.task, Generation) and codec.kind == "image" and hasattr(codec, "tokens"):
                    codec.tokens = GRID  # words look at parts of a picture
        whole = not self.start.encoders and set(self.model.modalities) & set(goal.schema.modalities())
        if not encoders and not whole:  # a whole pretrained network that writes has no encoder of its own
            said = "; ".join(f"{m}: {why}" for m, why in left.items())
            raise InputError(f"--from {self.folder} has nothing for this table to begin with. {said}")
        return Taken(self.start._replace(encoders=encoders), parts, left)

    def _check_unseen(self, table: Table, valid: Table, schema: Schema) -> None:
        """Raises InputError where the model has learned from labels of the rows that are to judge now."""
        before = self.model.report.get("plan", {})
        if before.get("target") != schema.target:
            return
        split = before.get("table") == digest(table) and before.get("validation rows") != digest(valid)
        if split or before.get("table") == digest(valid):
            raise InputError(
                f"--from {self.folder}: that model was trained on rows which are validation rows now, for the same "
                "target, so no score on them would mean anything; give the --seed, --group and --valid that it was "
                "trained with, or other rows with --valid"
            )

    def _differs(self, modality: str, goal: Problem) -> str | None:
        """Why the modality can't be begun with what the model has; None where it can."""
        kind, columns = goal.schema.modalities()[modality]
        before = self.model.preprocessor.schema
        known = before.modalities()
        if modality not in known:
            return f"the model reads no column of this name, but {', '.join(known)}"
        if known[modality][0] != kind:
            return f"it is {kind} here, and {known[modality][0]} in the model"
        if kind == "tabular":
            now, then = (
                {c: s.columns[c].kind for c in cs} for s, cs in ((goal.schema, columns), (before, known[modality][1]))
            )
            if now != then:
                return f"its columns differ: {', '.join(now)} here, and {', '.join(then)} in the model"
        if modality not in self.start.encoders:
            return "the model has no encoder of it"
        if modality not in self.model.preprocessor.codecs:  # it has learned from the modality, such as --cyclic
            return f"the model reads {', '.join(self.model.modalities)} alone"
        width = self.start.encoders[modality].dim
        if isinstance(goal.task, Generation) and width != goal.size.dim:
            return f"its tokens are {width} wide, and {goal.size.dim} of this --size"
        return None

    def _part(self, modality: str, asked: tuple[Codec, type[Encoder]] | None) -> tuple[Codec | None, Encoder | None]:
        """The fitted codec and the encoder that the modality begins with; no codec where the one that is asked for
        stays; nothing where what is asked for has nothing in common with the model's.
        """
        codec, encoder = self.model.preprocessor.codecs[modality], self.start.encoders[modality]
        if asked is None:
            return copy.deepcopy(codec), encoder
        if (type(codec), type(encoder)) == (type(asked[0]), asked[1]):
            same = not isinstance(codec, Frozen) or _one_network(codec, asked[0])
            return (copy.deepcopy(codec), encoder) if same else (None, None)
        known = isinstance(codec, Frozen) and asked[1] is Hub and _one_network(codec, asked[0])
        if known and isinstance(encoder, Projection):  # it was frozen, and learns now: what maps its tokens goes on
            return None, Hub(_source(asked[0]), encoder.dim, kind=codec.kind, head=copy.deepcopy(encoder))
        return None, None


def _source(codec: Codec) -> str:
    return str(getattr(codec, "source"))  # noqa: B009


def _one_network(a: Codec, b: Codec) -> bool:
    return digest_of(_source(a), weights=True) == digest_of(_source(b), weights=True)
