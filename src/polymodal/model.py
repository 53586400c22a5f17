"""A trained model: schema, codecs and learner, from a table to predictions and scores."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from polymodal import folder as folder_format
from polymodal import objectives
from polymodal.aligned import AlignedModel
from polymodal.data.encode import Bad
from polymodal.data.preprocess import Preprocessor, Rows
from polymodal.data.table import Table, chunks
from polymodal.decoders.base import Decoding
from polymodal.errors import InputError
from polymodal.heads.base import no_texts
from polymodal.learners.base import Learner
from polymodal.objectives import Supervised
from polymodal.objectives.align import Align
from polymodal.output import Output, Scores, logits_of
from polymodal.progress import silent
from polymodal.quantize import int8
from polymodal.scoring import Evaluation, Scorer
from polymodal.summary import Report
from polymodal.tasks.base import Task
from polymodal.training.inference import predict
from polymodal.uncertainty import Calibration, check
from polymodal.uncertainty.conformal import pattern_names
from polymodal.view.text import some

if TYPE_CHECKING:
    import pandas as pd

BATCH = 128
PRECISIONS = ("no", "bf16", "int8")  # of prediction
TEXTS = 32  # rows whose texts are written together
CHUNK = 1024  # rows that are in memory at a time when predicting


class Model:
    """What `fit` returns and `load` reads. report: what training had to tell; by default nothing."""

    predicts: ClassVar[bool] = True

    def __init__(self, preprocessor: Preprocessor, learner: Learner, report: Report | None = None) -> None:
        self.preprocessor, self.learner, self.report = preprocessor, learner, report or Report()
        self.precision = "no"

    def __repr__(self) -> str:
        schema = self.preprocessor.schema
        kinds = {m: kind for m, (kind, _) in schema.modalities().items()}
        reads = some(m if m == kinds[m] else f"{m} ({kinds[m]})" for m in self.modalities)
        how = self.report.comparison.chosen if self.report.comparison else f"a {self.learner.kind}"
        return f"<Model of {some(schema.target)} ({self.task.name}) from {reads}: {how}>"

    @property
    def task(self) -> Task:
        """What the target means."""
        return self.learner.task

    @property
    def modalities(self) -> list[str]:
        """Names of the modalities that the model reads."""
        return self.preprocessor.modalities

    def to(self, device: torch.device | str) -> "Model":
        """Move the learner."""
        self.learner.to(device)
        return self

    def lighter(self, precision: str) -> "Model":
        """The same model for prediction alone: "bf16" computes in bfloat16, "int8" has large linear maps as integers.

        Raises InputError for another precision.
        """
        if precision not in PRECISIONS:
            raise InputError(f"precision can't be {precision!r}; it must be one of {', '.join(PRECISIONS)}")
        learner = cast(Learner, int8(self.learner)) if precision == "int8" else self.learner
        out = Model(self.preprocessor, learner, self.report)
        out.precision = precision
        return out

    def _cast(self) -> torch.autocast:
        device = next((p.device.type for p in self.learner.parameters()), "cpu")
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def objective(self) -> Supervised:
        """What was learned."""
        return objectives.of(self.task)

    @property
    def calibration(self) -> Calibration | None:
        """What validation rows say of the model's certainty; None where none were asked, as of a model that writes."""
        return self.report.calibration

    @property
    def scorer(self) -> Scorer:
        """What scores the model's answers."""
        return Scorer(self.preprocessor, self.task, self.calibration)

    def outputs(self, rows: Rows) -> Output:
        """The answers to encoded rows, calibrated, on the CPU."""
        with self._cast():
            return self.scorer.calibrated(predict(self.learner, rows.only(self.learner.reads), BATCH))

    def texts(self, rows: Rows, decoding: Decoding | None = None) -> Output:
        """The texts of encoded rows, on the CPU. decoding: how they are searched for, where not as the model does.

        Raises InputError of a model that writes none.
        """
        learner = self.learner
        with self._cast():
            return predict(learner, rows.only(learner.reads), TEXTS, infer=lambda x: learner.write(x, decoding))

    def logits(self, rows: Rows) -> Tensor:
        """(N, outputs) of the answers to encoded rows, of a model of labels or numbers."""
        return logits_of(self.outputs(rows))

    def predict(
        self,
        table: Any,
        *,
        without: Sequence[str] = (),
        cache: Path | str | None = None,
        decoding: Decoding | None = None,
        coverage: float | None = None,
        abstain: float | None = None,
        keep: Sequence[str] = (),
    ) -> "pd.DataFrame":
        """One row for each row of the table, in order: "prediction", and the probabilities where there are any.

        table: a path, a DataFrame (whose index the answer has), a list of dicts. The target need not be there.
        Modalities in `without` are hidden. decoding: how a model that writes text searches, and how many texts of each
        row it gives: the columns "prediction", "log_probability", "prediction_2" ... coverage: the share of rows whose
        truth is to be in the column "set", or between "low" and "high"; see `uncertainty` for what that promises.
        abstain: the probability below which "prediction" is None and "abstained" True. keep: columns of the table that
        come first in the answer, such as ids. Raises InputError where a column is missing or holds something else than
        in training, and for a share that can't be, or that this model can't give.
        """
        import pandas as pd

        keep = [keep] if isinstance(keep, str) else keep
        parts = self.predictions(
            table, without=without, cache=cache, decoding=decoding, coverage=coverage, abstain=abstain, keep=keep
        )
        return pd.concat(list(parts))

    def predictions(
        self,
        table: Any,
        *,
        without: Sequence[str] = (),
        cache: Path | str | None = None,
        decoding: Decoding | None = None,
        coverage: float | None = None,
        abstain: float | None = None,
        keep: Sequence[str] = (),
        bad: list[Bad] | None = None,
        unmet: Counter[str] | None = None,
    ) -> Iterator["pd.DataFrame"]:
        """`predict` by parts, so that memory does not grow with the table.

        Unreadable cells are added to `bad`; to `unmet`, by what is present, rows that got every label or the whole
        line, since too few validation rows tell of such rows.
        """
        import pandas as pd

        check(self.task, self.calibration, coverage, abstain)
        writes = "decode" in self.task.capabilities
        if decoding is not None and not writes:
            raise no_texts(self.task)
        index, start = table.index if isinstance(table, pd.DataFrame) else None, 0
        for part in chunks(table, CHUNK):
            rows = self.preprocessor.encode(part, None, cache=_folder(cache), without=without, quiet=True)
            if bad is not None:
                bad += rows.bad
            answers: Mapping[str, Any]
            if writes:
                answers = self.task.decode(self.texts(rows, decoding))
            else:
                answers = self._columns(rows, coverage, abstain, unmet)
            stop = start + len(rows)
            places = pd.RangeIndex(start, stop) if index is None else index[start:stop]
            yield pd.DataFrame({**_kept(part, keep, answers), **answers}).set_index(places)
            start = stop

    def _columns(
        self, rows: Rows, coverage: float | None, abstain: float | None, unmet: Counter[str] | None
    ) -> dict[str, Any]:
        """Columns of the prediction table: the task's, then what was asked for of certainty."""
        import pandas as pd

        logits = self.logits(rows)
        out: dict[str, Any] = dict(self.task.decode(Scores(logits)))
        if coverage is not None:
            here = self.scorer.present(rows)
            limits = self.scorer.limits(here, coverage)
            out |= self.task.region(logits, limits).columns()
            if unmet is not None:
                unmet.update(" + ".join(pattern_names(self.modalities, row)) for row in here[np.isinf(limits)])
        if abstain is not None:
            unsure = self.task.confidence(logits) < abstain
            answers = [None if no else x for x, no in zip(out["prediction"], unsure, strict=True)]
            # of objects, or numbers with a gap would become fractions
            out |= {"prediction": pd.Series(answers, dtype=object), "abstained": unsure}
        return out

    def evaluate(
        self,
        table: Any,
        *,
        without: Sequence[str] = (),
        cache: Path | str | None = None,
        decoding: Decoding | None = None,
        coverage: float | None = None,
        abstain: float | None = None,
        progress: bool | None = None,
    ) -> Evaluation:
        """The task's metrics on a table that has the target, with 95% bootstrap intervals.

        coverage: also how often the sets or intervals that `predict` gives for it hold the truth, by what is present.
        abstain: also the metrics of the rows that `predict` then answers, and their share.

        Intervals are over whole groups where the model was trained with a group column and the table has it.
        Raises InputError where the table lacks the target, or no row has a label.
        """
        check(self.task, self.calibration, coverage, abstain)
        table = self.objective.rows(Table.read(table), self.preprocessor.schema)
        rows = self.preprocessor.encode(
            table, self.task, cache=_folder(cache), without=without, need_target=True, quiet=silent(progress)
        )
        group = self.preprocessor.schema.group
        groups = table.cells(group) if group in table.columns else None
        output = None if decoding is None else self.texts(rows, decoding)
        return self.score(rows, groups, without, output, coverage=coverage, abstain=abstain)

    def score(
        self,
        rows: Rows,
        groups: Sequence[Any] | None = None,
        without: Sequence[str] = (),
        output: Output | None = None,
        *,
        coverage: float | None = None,
        abstain: float | None = None,
    ) -> Evaluation:
        """`evaluate` on rows that are encoded already, or, with (calibrated) `output`, answered already."""
        check(self.task, self.calibration, coverage, abstain)
        answers = self.outputs(rows) if output is None else output
        return self.scorer.score(rows, answers, groups, without, coverage=coverage, abstain=abstain)

    def save(self, folder: Path | str) -> Path:
        """Write the model folder (JSON and safetensors). Raises InputError where the folder can't be written."""
        return folder_format.write(Path(folder), self.preprocessor, self.learner, self.report.to_json())


def load(folder: Path | str, custom_classes: Sequence[type] = ()) -> Model:
    """Read a model folder; one that `align` wrote gives an `AlignedModel`. custom_classes: your own, where the model
    was built with any.

    Raises InputError for a folder that is no model, is damaged, or was written by another version of the format.
    """
    preprocessor, learner, report = folder_format.read(Path(folder), custom_classes)
    kind: Any = Model if learner.predicts else AlignedModel
    try:
        return cast(Model, kind(preprocessor, learner, Report.from_json(report)))
    except (KeyError, TypeError, ValueError) as e:
        raise InputError(
            f"the report of the model in {folder} can't be read ({type(e).__name__}: {e}); it was altered: fit it again"
        ) from None


def is_aligned(folder: Path | str) -> bool:
    """Whether `align` wrote this model folder."""
    try:
        form = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
        return bool(form["report"]["task"] == Align.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False  # reading it says what is wrong


def _folder(cache: Path | str | None) -> Path | None:
    return None if cache is None else Path(cache)


def _kept(table: Table, keep: Sequence[str], answers: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of the columns to keep. Raises InputError where there is no such column, or an answer has its name."""
    import pandas as pd

    for column in keep:
        if column in answers:
            raise InputError(
                f"column {column!r} can't be kept, since an answer has this name; rename it in {table.name}"
            )
    out: dict[str, Any] = {}
    for column in keep:
        cells = table.cells(column)
        # of objects where some are missing, or whole numbers would become fractions
        out[column] = pd.Series(cells, dtype=object if any(c is None for c in cells) else None)
    return out
