"""`--init-from MODEL`: which parts of another model initialise a new one, and why others are left.

columns of the same name and kind take the other's fitted codec and encoder; fusion, decoder and words where they fit
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from polymodal.colearn.transfer import Start, start
from polymodal.data.schema import Schema
from polymodal.data.table import Table, digest
from polymodal.errors import InputError
from polymodal.experiment.problem import Problem
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import Codec, Encoder
from polymodal.model import Model, load
from polymodal.objectives.base import Parts
from polymodal.objectives.writing import Writing, pretrained


class WarmStart(NamedTuple):
    """What a model begins with. parts: by modality, the fitted codec, and its encoder's class. left: by modality, why
    not."""

    folder: str
    start: Start
    parts: Parts
    left: dict[str, str]

    def describe(self, more: Sequence[str]) -> str:
        """One sentence for a person: what was begun with, and what not. more: parts beside the encoders."""
        exceptions = "".join(f"; not {m} ({why})" for m, why in self.left.items())
        return f"begun with {self.folder}: {', '.join([*self.start.encoders, *more]) or 'nothing'}{exceptions}"


class Origin:
    """A model to begin with. Raises InputError for a folder that is no model, or has no encoders."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.model: Model = load(Path(folder))
        try:
            self.start = start(self.model.learner)
        except InputError as e:
            raise InputError(f"--init-from={folder}: {e}") from None

    def writing(self, writing: Writing | None, problem: Problem) -> Writing | None:
        """How text is to be written: by the other model's decoder, where none is asked for."""
        before = self.model.report.writing
        is_chosen = writing is not None and writing.decoder is not None
        if "decode" not in problem.objective.capabilities or not before or is_chosen:
            return writing
        decoder = str(before["decoder"])
        if pretrained(decoder) and not Path(decoder).exists():  # its copy is in the model folder
            return writing
        return (writing or Writing())._replace(decoder=decoder)

    def begin(self, problem: Problem, learn: Table, held_table: Table) -> tuple[Problem, WarmStart]:
        """A problem that is fitted on the training rows `learn`, with what the model knows of targets (its
        vocabulary), and what its learners begin with.

        Raises InputError where there is nothing, or the model has learned from labels of rows of `held_table`.
        """
        self._check_unseen(problem.table, held_table, problem.schema)
        objective = problem.objective.adopt(self.model.task, problem.cells(learn))
        return problem._replace(objective=objective), self._taken(problem)

    def _taken(self, problem: Problem) -> WarmStart:
        """What the modalities of this problem take over. Raises InputError where nothing is common to both."""
        requested = problem.parts() if problem.columns.encoders else {}
        parts: Parts = {}
        encoders: dict[str, Encoder] = {}
        exceptions: dict[str, str] = {}
        for m in problem.schema.modalities():
            if why := self._differs(m, problem):
                exceptions[m] = why
                continue
            codec, encoder = self._part(m, requested.get(m) if m in problem.columns.encoders else None)
            if encoder is None:
                exceptions[m] = "another encoder is asked for with --encoder"
                continue
            encoders[m] = encoder
            if codec is not None:
                problem.objective.adapt(codec)
                parts[m] = codec, type(encoder)
        whole = not self.start.encoders and set(self.model.modalities) & set(problem.schema.modalities())
        if not encoders and not whole:  # a whole pretrained network that writes has no encoder of its own
            reasons = "; ".join(f"{m}: {why}" for m, why in exceptions.items())
            raise InputError(f"--init-from={self.folder} has nothing for this table to begin with. {reasons}")
        return WarmStart(self.folder, self.start._replace(encoders=encoders), parts, exceptions)

    def _check_unseen(self, table: Table, valid: Table, schema: Schema) -> None:
        """Raises InputError where the model has learned from labels of the rows that are to judge now."""
        before = self.model.report.plan
        if before.get("target") != schema.target:
            return
        split = before.get("table") == digest(table) and before.get("validation rows") != digest(valid)
        if split or before.get("table") == digest(valid):
            raise InputError(
                f"--init-from={self.folder}: that model was trained on rows which are validation rows now, for "
                "the same target, so no score on them would mean anything; give the --seed, --group and --valid that "
                "it was trained with, or other rows with --valid"
            )

    def _differs(self, modality: str, problem: Problem) -> str | None:
        """Why the modality can't be begun with what the model has; None where it can."""
        kind, columns = problem.schema.modalities()[modality]
        before = self.model.preprocessor.schema
        modalities = before.modalities()
        if modality not in modalities:
            return f"the model reads no column of this name, but {', '.join(modalities)}"
        if modalities[modality][0] != kind:
            return f"it is {kind} here, and {modalities[modality][0]} in the model"
        if MODALITIES[kind].columns:
            now, then = (
                {c: s.columns[c].kind for c in cs}
                for s, cs in ((problem.schema, columns), (before, modalities[modality][1]))
            )
            if now != then:
                return f"its columns differ: {', '.join(now)} here, and {', '.join(then)} in the model"
        if modality not in self.start.encoders:
            return "the model has no encoder of it"
        if modality not in self.model.preprocessor.codecs:  # it has learned from the modality, such as --cyclic
            return f"the model reads {', '.join(self.model.modalities)} alone"
        return problem.objective.refuses(self.start.encoders[modality], problem.size)

    def _part(self, modality: str, own: tuple[Codec, type[Encoder]] | None) -> tuple[Codec | None, Encoder | None]:
        """The fitted codec and the encoder that the modality begins with; no codec where the one that is asked for
        stays; nothing where what is asked for has nothing in common with the model's.
        """
        codec, encoder = self.model.preprocessor.codecs[modality], self.start.encoders[modality]
        if own is None:
            return copy.deepcopy(codec), encoder
        if (type(codec), type(encoder)) == (type(own[0]), own[1]):
            return (copy.deepcopy(codec), encoder) if codec.same(own[0]) else (None, None)
        return None, codec.thawed(encoder, *own)
