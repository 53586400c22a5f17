"""A trained model: schema, codecs and learner, from a table to predictions and scores."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from polymodal import folder as folder_format
from polymodal import objectives
from polymodal.batch import Masked
from polymodal.data.encode import Bad
from polymodal.data.preprocess import Preprocessor, Rows
from polymodal.data.table import Table, chunks
from polymodal.decoders.base import Decoding
from polymodal.errors import InputError
from polymodal.evaluate.intervals import Interval, intervals
from polymodal.learners.base import Generator, Learner
from polymodal.output import Output, Scores, logits_of
from polymodal.quantize import int8
from polymodal.tasks.base import Task
from polymodal.train import predict
from polymodal.uncertainty import Calibration, check, presence
from polymodal.uncertainty.conformal import Coverage, coverage_of, named
from polymodal.uncertainty.temperature import quality_of_probabilities

if TYPE_CHECKING:
    import pandas as pd

BATCH = 128
PRECISIONS = ("no", "bf16", "int8")  # of prediction
WRITTEN = 32  # rows whose texts are written together
CHUNK = 1024  # rows that are in memory at a time when predicting
METEOR = (
    "meteor_exact_stem is METEOR 1.5 with two of its four stages, equal words and equal stems; figures of the full "
    "METEOR, which also matches WordNet's synonyms and paraphrases, are higher and can't be compared with it"
)


class Selective(NamedTuple):
    """Scores on the rows whose confidence is at least what `abstain` asks; share: of the labelled ones. No row, no
    metrics."""

    abstain: float
    rows: int
    share: float
    metrics: dict[str, Interval]


class Evaluation(NamedTuple):
    """Scores of a model on a table.

    metrics: each with its 95% bootstrap interval, over groups where there are any. confusion: labels, and counts by
    (true, predicted); None for tasks without classes. absent: rows that lack each modality. bad: unreadable cells.
    probabilities: the temperature, and log loss, Brier score and calibration error under it; None for numbers and
    texts. coverage, selective: where they were asked for.
    """

    task: str
    rows: int
    unlabelled: int
    metrics: dict[str, Interval]
    metric: str
    group: str | None
    without: list[str]
    absent: dict[str, int]
    confusion: tuple[list[Any], list[list[int]]] | None
    bad: list[Bad]
    probabilities: dict[str, float] | None = None
    coverage: Coverage | None = None
    selective: Selective | None = None

    @property
    def notes(self) -> list[str]:
        """What a reader must know before comparing a score with one that was computed elsewhere."""
        return [METEOR] if "meteor_exact_stem" in self.metrics else []

    def to_json(self) -> dict[str, Any]:
        """Plain containers: ``{"task", "rows", "metrics": {name: {"value", "low", "high"}}, "notes", ...}``."""
        labels_matrix = dict(zip(("labels", "matrix"), self.confusion, strict=True)) if self.confusion else None
        sets = self.coverage
        return {
            **self._asdict(),
            "metrics": _spans(self.metrics),
            "coverage": None if sets is None else [c._asdict() for c in sets.patterns],
            "coverage_overall": None if sets is None else _without_present(sets),
            "selective": self.selective and {**self.selective._asdict(), "metrics": _spans(self.selective.metrics)},
            "confusion": labels_matrix,
            "bad": [b._asdict() for b in self.bad],
            "notes": self.notes,
        }


class Model:
    """What `fit` returns and `load` reads. `report` is what training had to say, as JSON values."""

    def __init__(self, preprocessor: Preprocessor, learner: Learner, report: Mapping[str, Any]) -> None:
        self.preprocessor, self.learner, self.report = preprocessor, learner, dict(report)
        self.precision = "no"

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
    def calibration(self) -> Calibration | None:
        """What validation rows say of the model's certainty; None where none were asked, as of a model that writes."""
        form = self.report.get("calibration")
        return None if form is None else Calibration.from_json(form)

    @property
    def temperature(self) -> float:
        """What logits are divided by so that probabilities mean what they say; 1 of a model that writes."""
        form = self.report.get("calibration")
        return 1.0 if form is None else float(form["temperature"])

    def calibrated(self, output: Output) -> Output:
        """What the learner gives, over the temperature."""
        t = self.temperature
        return output if t == 1 else Scores(logits_of(output) / t)

    def outputs(self, rows: Rows, decoding: Decoding | None = None) -> Output:
        """The answers to encoded rows, calibrated, on the CPU. decoding: how a model that writes searches.

        Raises InputError for a decoding of a model that writes no text.
        """
        rows = rows.only(self.learner.reads)
        with self._cast():
            if decoding is None:
                return self.calibrated(predict(self.learner, rows, BATCH))
            learner = self._generator()
            return predict(learner, rows, WRITTEN, infer=lambda inputs: learner.write(inputs, decoding))

    def logits(self, rows: Rows) -> Tensor:
        """(N, outputs) of the answers to encoded rows, of a model of labels or numbers."""
        return logits_of(self.outputs(rows))

    def here(self, rows: Rows) -> np.ndarray:
        """(N, M) whether the row has each of `modalities`."""
        return np.stack([*presence(rows, self.preprocessor.views).values()], axis=1)

    def predict(
        self,
        table: Any,
        *,
        without: Sequence[str] = (),
        cache: Path | str | None = None,
        decoding: Decoding | None = None,
        coverage: float | None = None,
        abstain: float | None = None,
    ) -> "pd.DataFrame":
        """One row for each row of the table, in order: "prediction", and the probabilities where there are any.

        table: a path, a DataFrame, a list of dicts. The target need not be there. Modalities in `without` are
        hidden. decoding: how a model that writes text searches, and how many texts of each row it gives: the columns
        "prediction", "log_probability", "prediction_2" ... coverage: the share of rows whose truth is to be in the
        column "set", or between "low" and "high"; see `uncertainty` for what that promises. abstain: the probability
        below which "prediction" is None and "abstained" True. Raises InputError where a column is missing or holds
        something else than in training, and for a share that can't be, or that this model can't give.
        """
        import pandas as pd

        parts = self.predictions(
            table, without=without, cache=cache, decoding=decoding, coverage=coverage, abstain=abstain
        )
        return pd.concat(list(parts), ignore_index=True)

    def predictions(
        self,
        table: Any,
        *,
        without: Sequence[str] = (),
        cache: Path | str | None = None,
        decoding: Decoding | None = None,
        coverage: float | None = None,
        abstain: float | None = None,
        bad: list[Bad] | None = None,
        unmet: Counter[str] | None = None,
    ) -> Iterator["pd.DataFrame"]:
        """`predict` by parts, so that memory does not grow with the table.

        Unreadable cells are added to `bad`; to `unmet`, by what is present, rows that got every label or the whole
        line, since too few validation rows tell of such rows.
        """
        import pandas as pd

        check(self.task, self.calibration, coverage, abstain)
        if decoding is not None:
            self._generator()
        for part in chunks(table, CHUNK):
            rows = self.preprocessor.encode(part, None, cache=_folder(cache), without=without, quiet=True)
            if bad is not None:
                bad += rows.bad
            if isinstance(self.learner, Generator):
                yield pd.DataFrame(self.task.decode(self.outputs(rows, decoding or self.learner.decoding)))
            else:
                yield pd.DataFrame(self._columns(rows, coverage, abstain, unmet))

    def _columns(
        self, rows: Rows, coverage: float | None, abstain: float | None, unmet: Counter[str] | None
    ) -> dict[str, Any]:
        """Columns of the prediction table: the task's, then what was asked for of certainty."""
        import pandas as pd

        logits = self.logits(rows)
        out: dict[str, Any] = dict(self.task.decode(Scores(logits)))
        if coverage is not None:
            here = self.here(rows)
            limits = self._limits(here, coverage)
            out |= self.task.region(logits, limits).columns()
            if unmet is not None:
                unmet.update(" + ".join(named(self.modalities, row)) for row in here[np.isinf(limits)])
        if abstain is not None:
            unsure = self.task.confidence(logits) < abstain
            kept = [None if no else x for x, no in zip(out["prediction"], unsure, strict=True)]
            # of objects, or numbers with a gap would become fractions
            out |= {"prediction": pd.Series(kept, dtype=object), "abstained": unsure}
        return out

    def _limits(self, here: np.ndarray, coverage: float) -> np.ndarray:
        """(N,) up to which score an answer is in the set, by what is present."""
        found = self.calibration
        assert found is not None  # `check` has seen to it
        return found.limits(here[:, [self.modalities.index(m) for m in found.modalities]], coverage)

    def evaluate(
        self,
        table: Any,
        *,
        without: Sequence[str] = (),
        cache: Path | str | None = None,
        decoding: Decoding | None = None,
        coverage: float | None = None,
        abstain: float | None = None,
        quiet: bool = True,
    ) -> Evaluation:
        """The task's metrics on a table that has the target, with 95% bootstrap intervals.

        coverage: also how often the sets or intervals that `predict` gives for it hold the truth, by what is present.
        abstain: also the metrics of the rows that `predict` then answers, and their share.

        Intervals are over whole groups where the model was trained with a group column and the table has it.
        Raises InputError where the table lacks the target, or no row has a label.
        """
        check(self.task, self.calibration, coverage, abstain)
        table = objectives.of(self.task).rows(Table.read(table), self.preprocessor.schema)
        rows = self.preprocessor.encode(
            table, self.task, cache=_folder(cache), without=without, need_target=True, quiet=quiet
        )
        group = self.preprocessor.schema.group
        groups = table.cells(group) if group in table.columns else None
        output = None if decoding is None else self.outputs(rows, decoding)
        return self.score(rows, groups, without, output, coverage=coverage, abstain=abstain)

    def _generator(self) -> Generator:
        if not isinstance(self.learner, Generator):
            raise InputError(f"the model writes no text: its task is {self.task.name}; leave the decoding out")
        return self.learner

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
        unlabelled = int((~rows.labelled()).sum())
        if unlabelled == len(rows):
            raise InputError(
                f"none of the {len(rows)} rows has a label in {', '.join(self.preprocessor.schema.target)!r}, so "
                "there is nothing to score; use predict"
            )
        output = self.outputs(rows) if output is None else output
        target = rows.target(range(len(rows)))
        return Evaluation(
            task=self.task.name,
            rows=len(rows),
            unlabelled=unlabelled,
            metrics=intervals(self.task, output, target, groups),
            metric=self.task.metric.name,
            group=self.preprocessor.schema.group if groups is not None else None,
            without=list(without),
            absent=self._absent(rows),
            confusion=self.task.confusion(output, target),
            bad=list(rows.bad),
            probabilities=self._probabilities(output, target),
            coverage=None if coverage is None else self._covered(rows, logits_of(output), target, coverage),
            selective=None if abstain is None else self._selective(logits_of(output), target, groups, abstain),
        )

    def _absent(self, rows: Rows) -> dict[str, int]:
        """By modality, rows in which none of its views has anything."""
        return {m: int((~here).sum()) for m, here in presence(rows, self.preprocessor.views).items()}

    def _probabilities(self, output: Output, target: Masked) -> dict[str, float] | None:
        if "calibrate" not in self.task.capabilities:
            return None
        keep, found = target.present(), self.calibration
        good = quality_of_probabilities(self.task, logits_of(output.take(keep)), target.take(keep))
        return {"temperature": 1.0 if found is None else found.temperature, **good}

    def _covered(self, rows: Rows, logits: Tensor, target: Masked, coverage: float) -> Coverage:
        here = self.here(rows)
        return coverage_of(self.task, logits, target, here, self._limits(here, coverage), self.modalities, coverage)

    def _selective(self, logits: Tensor, target: Masked, groups: Sequence[Any] | None, abstain: float) -> Selective:
        labelled = target.present().numpy()
        sure = np.flatnonzero(labelled & (self.task.confidence(logits) >= abstain))
        at = torch.from_numpy(sure)
        of = None if groups is None else [groups[i] for i in sure.tolist()]
        metrics = intervals(self.task, Scores(logits[at]), target.take(at), of) if len(sure) else {}
        return Selective(abstain, len(sure), len(sure) / int(labelled.sum()), metrics)

    def save(self, folder: Path | str) -> Path:
        """Write the model folder (JSON and safetensors). Raises InputError where the folder can't be written."""
        return folder_format.write(Path(folder), self.preprocessor, self.learner, self.report)


def load(folder: Path | str, parts: Sequence[type] = ()) -> Model:
    """Read a model folder. parts: your own classes, where the model was built with any.

    Raises InputError for a folder that is no model, is damaged, or was written by another version of the format.
    """
    return Model(*folder_format.read(Path(folder), parts))


def _spans(scores: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    return {name: score._asdict() for name, score in scores.items()}


def _without_present(sets: Coverage) -> dict[str, float]:
    overall = sets.overall._asdict()
    del overall["present"]  # all rows are meant, whatever they have
    return {"asked": sets.asked, **overall}


def _folder(cache: Path | str | None) -> Path | None:
    return None if cache is None else Path(cache)
