"""Many modalities -> a text: a caption, an answer, a transcript, a translation."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Self, cast

import numpy as np

from polymodal.data.preprocess import Rows, target_cells
from polymodal.data.references import gather_references, merge_references, refuse_shared, sharers
from polymodal.data.schema import Schema
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.heads.writer import Writer
from polymodal.learners.base import Learner, TrainableLearner
from polymodal.learners.network import Network
from polymodal.learners.self_critical import self_critical
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import Codec, Encoder
from polymodal.nn import SIZES, Size
from polymodal.objectives.base import Answers, Candidate, Parts, Stage, Supervised, Validation
from polymodal.objectives.colearning import Colearning
from polymodal.objectives.writing import CTC, WIDTHS, Writing, fits
from polymodal.sentences import Cider
from polymodal.tasks.base import Task
from polymodal.tasks.generate import Generation, references
from polymodal.tasks.labels import number

BATCH = 128  # recordings that are looked at together
SELF_CRITICAL_RATE = 0.03  # of the learning rate: words are known by then, and only their choice is refined
FIRST = 0.6  # of the time for cross-entropy, where self-critical epochs follow


class Write(Supervised):
    """Text with one or more references a row. writing: how it is written, with a decoder by name."""

    name: ClassVar[str] = "write"
    task: Generation

    def __init__(self, task: Generation, writing: Writing | None = None) -> None:
        self.task, self.writing = task, writing or Writing()

    @classmethod
    def resolve(
        cls, task: Any, final: bool, table: Table, schema: Schema, writing: Writing | None,
        colearning: Colearning,
    ) -> tuple[Self, Table, Schema]:  # fmt: skip
        """Without columns that number references, one row an input; the decoder and its words suit the texts."""
        colearning.check_writing()
        schema = merge_references(table, schema)
        table = gather_references(table, schema)
        cells = target_cells(table, schema)
        how = writing or Writing()
        how = how._replace(decoder=how.chosen(cells, schema))
        return cls(task if final else how.task(cells, schema), how), table, schema

    @property
    def capabilities(self) -> frozenset[str]:
        """Those of the task: texts are decoded."""
        return self.task.capabilities

    def fitted(self, cells: Sequence[Any]) -> Self:
        """With a copy of the task that has learned the vocabulary and the longest text."""
        return type(self)(copy.deepcopy(self.task).fit(cells), self.writing)

    def validate(self, answers: Answers, rows: Rows) -> Validation:
        """Metrics of the texts that it writes, and the loss of the true words."""
        output = answers.output()
        score = self.task.scores(output, rows.target(range(len(rows))), np.ones((1, len(rows))))
        loss = sum(float(x.total) * n for x, n in answers.losses()) / len(rows)
        return Validation({**{k: float(v[0]) for k, v in score.items()}, "valid_loss": loss}, output)

    def rows(self, table: Table, schema: Schema) -> Table:
        """Rows that differ in the target alone are one row with several references."""
        return gather_references(table, schema)

    def groups(self, table: Table, schema: Schema) -> Sequence[Any] | None:
        """The group column's, else rows that read the same file."""
        return super().groups(table, schema) or sharers(table, schema)

    def check_tables(self, train: Table, others: Mapping[str, Table], schema: Schema) -> None:
        """Raises InputError for a file that is in two tables: its texts would be known by heart."""
        for what, table in others.items():
            refuse_shared(train, table, schema, what)

    def size(self, name: str) -> Size:
        """Wider than those of a classifier."""
        return SIZES[name]._replace(**WIDTHS[name])

    def readings(self, schema: Schema, encoders: Mapping[str, str], finetune: Sequence[str]) -> Parts:
        """As in general; but a pretrained encoder-decoder reads in its own way."""
        kinds = {m: kind for m, (kind, _) in schema.modalities().items()}
        if own := self.writing.parts(self.decoder, kinds):
            if encoders:
                raise InputError("a pretrained encoder-decoder reads with its own encoder; leave --encoder out")
            return own
        return super().readings(schema, encoders, finetune)

    def adapt(self, codec: Codec) -> None:
        """A frozen network reads a picture as a grid of places, which words can look at."""
        codec.keep(MODALITIES[codec.kind].places)

    def default_encoder(self, kind: str) -> str | None:
        """For CTC the kind's own for transcripts."""
        return MODALITIES[kind].transcriber if self.decoder == CTC else None

    @property
    def decoder(self) -> str:
        """Its name, or that of a pretrained network."""
        return str(self.writing.decoder)

    def candidates(self, fusion: str, modalities: Mapping[str, str], baselines: bool) -> list[Candidate]:
        """The decoder on all modalities; then on each alone that it can write from."""
        if fusion != "auto":
            raise InputError(
                f"--fusion={fusion} joins modalities for a label; a model that writes text joins them by the attention "
                "of its decoder: leave --fusion out, and choose a --decoder"
            )
        alone = [m for m, kind in modalities.items() if baselines and len(modalities) > 1 and fits(self.decoder, kind)]
        first = Candidate(self.decoder, self.decoder, list(modalities))
        return [first, *(Candidate(f"{m} alone", self.decoder, [m]) for m in alone)]

    def build(
        self, join: str, modalities: Mapping[str, str], encoders: Callable[[], Mapping[str, Encoder]], size: Size
    ) -> TrainableLearner:
        """A learner with this decoder."""
        return self.writing.build(join, modalities, encoders, self.task, size)

    def stages(self, rows: Rows) -> list[Stage]:
        """Cross-entropy, and then, where asked for, self-critical epochs on CIDEr-D."""
        epochs = self.writing.self_critical
        if not epochs:
            return [Stage()]
        texts = [r for r in self.task.texts(rows.target(range(len(rows)))) if r]
        reward = Cider(texts)  # with the document frequencies of these references
        later = Stage(1 - FIRST, epochs, SELF_CRITICAL_RATE, 0.0, partial(rewarded, reward=reward))
        return [Stage(FIRST), later]

    def notes(self, table: Table, schema: Schema, learner: Learner, rows: Rows) -> list[str]:
        """Texts that were cut, numbers written as words, and texts too long for their recording."""
        notes, n_cut = [], self.task.cut_
        if n_cut:
            notes.append(f"{n_cut:,} texts are longer than {self.task.limit:,} words; they were learned up to there.")
        texts = [t for cell in target_cells(table, schema) for t in references(cell)]
        if sum(number(t) is not None for t in texts) > len(texts) / 2:
            notes.append(
                "The target holds numbers, which are written as words; --task=regression or multiclass predicts them."
            )
        if short := unlearnable(learner, rows):
            notes.append(
                f"{short:,} texts have more symbols than their recording has frames: nothing was learned of them."
            )
        return notes

    def adopt(self, other: Task, cells: Sequence[Any]) -> Self:
        """With the other model's vocabulary, where both are of one kind and it is no pretrained network's."""
        return type(self)(self.task.adopting(other, cells), self.writing)

    def refuses(self, encoder: Encoder, size: Size) -> str | None:
        """A decoder reads tokens of one width."""
        if encoder.dim == size.dim:
            return None
        return f"its tokens are {encoder.dim} wide, and {size.dim} of this --size"

    def options(self) -> dict[str, Any]:
        """The writing."""
        return self.writing.to_json()


@contextmanager
def rewarded(learner: TrainableLearner, reward: Cider) -> Iterator[None]:
    """The learner is trained by this reward of what it writes."""
    network = cast(Network, learner)  # `Writing.check` has seen to it
    network.criterion = partial(self_critical, head=cast(Writer, network.head), reward=reward)
    try:
        yield
    finally:
        network.criterion = None


def unlearnable(learner: Learner, rows: Rows) -> int:
    """How many texts have more symbols than their recording has frames."""
    if not learner.bounded:
        return 0
    rows, device = rows.only(learner.reads), next(learner.parameters()).device
    parts = [range(s, min(s + BATCH, len(rows))) for s in range(0, len(rows), BATCH)]
    return sum(learner.unlearnable(rows.batch(p).to(device)) for p in parts)
