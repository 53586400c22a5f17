"""The contract of an objective: what is learned from a table, which learner does it, and what it is compared with.

table, schema --rows, readings--> encoded rows --candidates, build, stages--> trained learners
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Losses
from polymodal.data.preprocess import Rows
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.learners.base import Learner, TrainableLearner
from polymodal.modalities import MODALITIES, choose
from polymodal.modalities.base import Codec, Encoder
from polymodal.nn import SIZES, Size
from polymodal.objectives.colearning import Colearning
from polymodal.objectives.writing import Writing
from polymodal.output import Output
from polymodal.tasks.base import Metric, Task

Parts = dict[str, tuple[Codec, type[Encoder]]]  # by modality, how networks read it


class Candidate(NamedTuple):
    """What may become the model. name: for a person. join: the fusion or decoder that joins the modalities."""

    name: str
    join: str
    modalities: list[str]


class Stage(NamedTuple):
    """One run of the training loop. fraction: of the candidate's time. epochs: None for those of the settings. lr,
    warmup: factors of the settings. during: what holds for the learner while it lasts."""

    fraction: float = 1.0
    epochs: int | None = None
    lr: float = 1.0
    warmup: float = 1.0
    during: Callable[[TrainableLearner], AbstractContextManager[object]] = nullcontext


class Answers(Protocol):
    """What a learner in training says of validation rows; each thing is computed when it is asked for."""

    def output(self) -> Output:
        """Its answers to all rows."""

    def losses(self) -> Sequence[tuple[Losses, int]]:
        """Its loss on each batch, and how many rows that is of."""

    def unimodal(self) -> Mapping[str, tuple[Tensor, Tensor]]:
        """By modality, logits of the head that answers from it alone, and which rows have it."""


class Validation(NamedTuple):
    """How a learner does on validation rows. scores: metrics by name, and "valid_loss". output: its answers, where the
    objective asks for any. unimodal: by modality, the scores of a head that answers from it alone."""

    scores: dict[str, float]
    output: Output | None
    unimodal: Mapping[str, Mapping[str, float]] = {}


class Objective(ABC):
    """What is learned: which rows count, and how a learner is judged. This is all that the trainer knows."""

    name: ClassVar[str]  # "predict", "write", "pretrain"

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """The metric of early stopping and of comparisons: one of the scores."""

    @abstractmethod
    def usable(self, rows: Rows) -> NDArray[np.bool_]:
        """(N,) True for the rows that can be learned from."""

    @abstractmethod
    def validate(self, answers: Answers, rows: Rows) -> Validation:
        """Judge a learner by what it says of these validation rows."""

    def size(self, name: str) -> Size:
        """Widths and depths of networks at this step of the dial."""
        return SIZES[name]

    def readings(self, schema: Schema, encoders: Mapping[str, str], finetune: Sequence[str]) -> Parts:
        """Each modality's codec and encoder class for networks. encoders: by modality, the one that is asked for;
        finetune: modalities whose pretrained network learns too."""
        out: Parts = {}
        for m, (kind, columns) in schema.modalities().items():
            settings = MODALITIES[kind].settings({c: schema.columns[c].kind for c in columns})
            name = encoders.get(m, self.default_encoder(kind))
            out[m] = choose(kind, name, finetune=m in finetune, settings=settings)
            self.adapt(out[m][0])
        return out

    def adapt(self, codec: Codec) -> None:
        """Let a codec give what is read here, such as places of a picture in place of one vector."""
        return

    def default_encoder(self, kind: str) -> str | None:
        """The encoder of a kind of modality where none is asked for; None for the kind's own default."""
        return None


class Supervised(Objective):
    """A target of a table is learned. task: what the target means."""

    task: Task

    @property
    def metric(self) -> Metric:
        """The task's."""
        return self.task.metric

    def usable(self, rows: Rows) -> NDArray[np.bool_]:
        """Those that have a label."""
        return rows.labelled()

    @classmethod
    @abstractmethod
    def resolve(
        cls, task: Any, final: bool, table: Table, schema: Schema, writing: Writing | None, colearning: Colearning
    ) -> tuple[Self, Table, Schema]:
        """The objective for a table, and both as it reads them. final: the task is not to be made anew.

        Raises InputError for a config that means nothing to it."""

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[str]:
        """What verbs may do with it: "compare" candidates on folds, "search", "distill" ..."""

    def require(self, capability: str, otherwise: str) -> None:
        """Raises InputError with this text for an objective that lacks a capability."""
        if capability not in self.capabilities:
            raise InputError(otherwise)

    @abstractmethod
    def fitted(self, cells: Sequence[Any]) -> Self:
        """The same objective, whose task has learned its classes, scale or vocabulary from these target cells."""

    def rows(self, table: Table, schema: Schema) -> Table:
        """The table with one row an example."""
        return table

    def groups(self, table: Table, schema: Schema) -> Sequence[Any] | None:
        """A group a row, whose rows must not part between training and validation; None where there are none."""
        return table.cells(schema.group) if schema.group is not None and schema.group in table.columns else None

    def check_tables(self, train: Table, others: Mapping[str, Table], schema: Schema) -> None:
        """Raises InputError where a table to score on ("validation", "test") shares what it must not with training."""
        return

    @abstractmethod
    def candidates(self, fusion: str, modalities: Mapping[str, str], baselines: bool) -> list[Candidate]:
        """The model, then what it is compared with. modalities: the kind of each. Raises InputError for a fusion that
        means nothing here."""

    @abstractmethod
    def build(
        self, join: str, modalities: Mapping[str, str], encoders: Callable[[], Mapping[str, Encoder]], size: Size
    ) -> TrainableLearner:
        """A fresh learner of these modalities; the kind of each is given. Raises InputError where parts don't fit."""

    def stages(self, rows: Rows) -> list[Stage]:
        """The runs of the training loop that make a candidate, the best of which is kept. rows: those to train on."""
        return [Stage()]

    def notes(self, table: Table, schema: Schema, learner: Learner, rows: Rows) -> list[str]:
        """What a reader must know of the target and of what could not be learned, a sentence each."""
        return []

    def adopt(self, other: Task, cells: Sequence[Any]) -> Self:
        """The same objective with what a learner of another model already knows of targets, such as its words.

        cells: the target's, of the training rows."""
        return self

    def refuses(self, encoder: Encoder, size: Size) -> str | None:
        """Why an encoder of another model can't be begun with; None where it can."""
        return None

    def options(self) -> dict[str, Any] | None:
        """What was asked of the objective beside its task, as JSON values; None for nothing."""
        return None
