"""The contract of a task, in prose: the only place that knows what the target means.

cell --encode--> Tensor or None --collate--> Masked      Output --decode--> columns of a prediction table

What every task can do is abstract. What only some can do stands in `capabilities`, and a verb asks there before it asks
for it: nobody outside this package asks what class a task has.

Axes: b or n row, c class or label, k quantity of an answer, r row of weights.
"""

import copy
import difflib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, NoReturn, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.output import Output

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
LOWER_IS_BETTER = frozenset({"mae", "rmse", "log_loss", "hamming_loss", "wer", "cer"})
Capability = Literal[
    "calibrate",  # `probabilities` and what follows from them: a temperature, log loss, Brier score, reliability
    "abstain",  # `confidence`: rows may be left unanswered
    "conformal",  # `nonconformity` and `region`: sets and intervals with a coverage that is asked for
    "explain_parts",  # `quantities` of an answer: modalities and their parts make them
    "confusion",  # one label a row: what is taken for what, how often it is right by how sure it is
    "residuals",  # numbers a row, in units of their own: prediction less truth
    "decode",  # answers are searched for step by step, so that many rows take long
]


class Metric(NamedTuple):
    """The metric by which models of this task are chosen, and whether more of it is better."""

    name: str
    higher: bool


class Quantity(NamedTuple):
    """A number of an answer that can be explained.

    meaning: what it is, for a reader, such as "the probability of cat". scale: that of `Task.evidence`; empty where it
    is the number itself.
    """

    name: str
    meaning: str
    scale: str = ""


class Quantities(NamedTuple):
    """All K quantities of an answer. usual: the meaning of the one that is explained of a row where none is asked for,
    whichever row it is."""

    every: Sequence[Quantity]
    usual: str

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [q.name for q in self.every]


class Region(ABC):
    """All answers that are no stranger than the limits: a set of labels or an interval a row.

    sizes: (B,) how large each is. unit: what a size counts, on average over rows.
    """

    unit: ClassVar[str]
    sizes: Array

    @abstractmethod
    def columns(self) -> dict[str, list[Any]]:
        """Columns of the prediction table."""


class Extreme(NamedTuple):
    """Rows of a kind that tell much of a model, such as those it gets most wrong.

    order: (N,) the smaller, the more telling. among: (N,) which rows are of the kind.
    """

    title: str
    definition: str
    order: Array
    among: Bools


class Task(ABC):
    """What the target is, how a prediction is scored against it, and how it is said.

    The target's cells arrive raw (None where the label is missing); with several target columns each cell is a
    mapping of column to value. Settings and fitted attributes are kept as in a codec.
    """

    name: ClassVar[str]  # "binary", "multiclass" ...
    objective: ClassVar[str] = "predict"  # what is learned where this is the target: see `objectives`
    whole: ClassVar[frozenset[str]] = frozenset()  # metrics of a set of rows, such as its variety: no sample has them
    link: ClassVar[str]  # from logits to the scale of the answer: "softmax", "sigmoid" or "identity"
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    labels_: Sequence[Any] = ()  # that an answer is made of, and how many training rows have each
    counts_: Sequence[int] = ()
    columns: Sequence[str] | None = None  # names of several targets; None: there is one
    thresholds_: Sequence[float] = ()  # of probabilities, above which labels are decided for; none: one half
    measure: str | None = None  # the metric that was asked for, one of `measures`

    @abstractmethod
    def fit(self, cells: Iterable[Any]) -> Self:
        """Learn classes, weights or the scale from training cells. Raises InputError where nothing can be learned
        from them (no label at all, a constant target), naming what was seen and the way out. Returns self."""

    # --- cells and their labels

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many logits a row has."""

    @abstractmethod
    def encode(self, cell: Any) -> Tensor | None:
        """The label as a tensor; None where it is missing. Raises InputError for one never seen in training."""

    @abstractmethod
    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """Labels of one batch: mask (B,), or (B, K) where each of K targets may be missing on its own."""

    def strata(self, cells: Sequence[Any]) -> list[Any] | None:
        """What a split should keep in proportion: a class or bin a cell (none missing); None where nothing."""
        return None

    def labels_of(self, cell: Any) -> list[str]:
        """The labels of a cell that is not missing, known or not, as `labels.key` spells them; of numbers and texts
        none."""
        return []

    def numbers_of(self, cell: Any) -> list[float]:
        """What is counted of a cell that has no labels: its numbers, NaN for one that is missing; of texts how many."""
        return []

    def differs(self, cell: Any, prediction: Any) -> bool:
        """Whether a cell holds a label, and another than this prediction."""
        return False

    # --- learning and scoring

    @abstractmethod
    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Scalar mean over labelled rows of weight times loss; 0, with a gradient of 0, where none is labelled."""

    @abstractmethod
    def answers(self, target: Masked) -> NDArray[Any]:
        """What a learner without a loss of its own is to answer: class positions (B,) where the link is softmax, else
        (B, outputs) zeros and ones for sigmoid, numbers for identity, NaN where one is missing."""

    def row_weights(self, target: Masked) -> NDArray[Any] | None:
        """(B,) how much each row counts for such a learner, or (B, outputs) for each question; None: all alike."""
        return None if target.weight is None else np.asarray(target.weight.cpu())

    @property
    @abstractmethod
    def measures(self) -> Sequence[str]:
        """Names of the metrics that models can be chosen by: those of `scores` but for `whole`."""

    @property
    @abstractmethod
    def usual_measure(self) -> str:
        """The one that they are chosen by where none is asked for."""

    @property
    def metric(self) -> Metric:
        """The metric of early stopping and of comparisons."""
        name = self.usual_measure if self.measure is None else self.measure
        return Metric(name, name.partition("[")[0] not in LOWER_IS_BETTER)

    def by(self, measure: str) -> Self:
        """A copy whose models are chosen by this metric. Raises InputError for one that the task does not have."""
        if measure not in self.measures:
            near = difflib.get_close_matches(str(measure), self.measures, 1)
            hint = f"did you mean {near[0]!r}? It" if near else "it"
            raise InputError(
                f"the task {self.name} has no metric {measure!r}; {hint} is one of {', '.join(self.measures)}"
            )
        out = copy.deepcopy(self)
        out.measure = measure
        return out

    def weighing(self, classes: str | Mapping[Any, float]) -> Self:
        """A copy in whose loss labels weigh as "balanced" or "none" says, or by label. Raises InputError for others."""
        raise InputError(f"--class-weight weighs labels, and the task {self.name} has none; leave it out")

    def check_thresholds(self) -> None:
        """Raises InputError for a task without decisions at thresholds, and for a metric that is not of decisions."""
        raise InputError(
            f"--optimize-threshold is for two labels, or sets of them, and the task is {self.name}; leave it out"
        )

    def margins(self, logits: Tensor) -> Array:
        """(B, K) log odds of what is decided at each of K thresholds."""
        self._lacks("thresholds")

    def moved(self, logits: Tensor, log_odds: Array) -> Tensor:
        """Logits whose decisions at one half are those of `logits` at these K thresholds."""
        self._lacks("thresholds")

    @abstractmethod
    def scores(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """Each metric under each row of `weights` (R, N), counts of bootstrap samples or ones, times rows' own weights.
        Values are (R,), NaN where a metric is undefined. Rows without a label are left out."""

    def score(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> NDArray[np.floating]:
        """(R,) `metric` alone, for those who ask often."""
        return self.scores(output, target, weights)[self.metric.name]

    def score_by(
        self, metric: str, output: Output, target: Masked, weights: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """(R,) one metric by name."""
        own = metric == self.metric.name
        return self.score(output, target, weights) if own else self.scores(output, target, weights)[metric]

    def confusion(self, output: Output, target: Masked) -> tuple[list[Any], list[list[int]]] | None:
        """Labels, and counts of labelled rows by (true, predicted); None for a task without "confusion"."""
        return None

    # --- how an answer is said

    @abstractmethod
    def decode(self, output: Output) -> Mapping[str, Sequence[Any]]:
        """Columns of the prediction table: "prediction", then "probability" and one
        "probability[label]" a class where the task has them."""

    def extremes(self, output: Output, target: Masked) -> tuple[list[Extreme], list[str]]:
        """Kinds of rows that tell most of a model, and what is said of each row; all rows are labelled.

        A row that is shown of one kind is not shown of a later one.
        """
        return [], [""] * output.rows

    # --- how sure it is: of tasks that can "calibrate"; all rows are labelled

    def probabilities(self, logits: Tensor) -> Array:
        """(B, C) of each label."""
        self._lacks("probabilities")

    def confidence(self, logits: Tensor) -> Array:
        """(B,) the probability of the prediction; of label sets, that of the label whose being there or not is least
        sure."""
        self._lacks("probabilities")

    def decisions(self, logits: Tensor, target: Masked) -> tuple[Array, Bools]:
        """(B, D) how sure each decision is, and whether it is right: one a row, or of label sets one a label."""
        self._lacks("probabilities")

    def log_loss(self, logits: Tensor, target: Masked, smoothing: float = 0.0) -> float:
        """Mean over rows, without class weights, of -log p of the truth; of sigmoids, the mean over those of a row
        too. smoothing: the share of the truth that all labels have alike."""
        self._lacks("probabilities")

    def brier(self, logits: Tensor, target: Masked) -> float:
        """Mean over rows of the sum over classes of (p - truth)^2 (Brier 1950); of label sets the mean over labels."""
        self._lacks("probabilities")

    # --- what else may be true: of tasks that are "conformal"

    def nonconformity(self, logits: Tensor, target: Masked) -> Array:
        """(B,) how strange the truth of a labelled row is, on a scale without ends, so that sure models have no ties;
        -inf for a set without labels."""
        self._lacks("sets of answers")

    def region(self, logits: Tensor, limits: Array) -> Region:
        """All answers whose nonconformity is at most the row's limit (B,)."""
        self._lacks("sets of answers")

    # --- what an answer is made of: of tasks that can "explain_parts"

    @property
    def quantities(self) -> Quantities:
        """The K numbers of an answer that can be explained. Raises InputError where an answer is no number."""
        raise InputError(f"an answer of the task {self.name} is no number; only models that answer are explained so")

    def values(self, logits: Tensor) -> Array:
        """(B, K) quantities: probabilities of labels, or numbers in units of their own."""
        self._lacks("quantities")

    def evidence(self, logits: Tensor, at: int) -> Tensor:
        """(B,) the quantity at this place on a scale that does not saturate, with gradients: log odds of a label."""
        self._lacks("quantities")

    def usual_quantity(self, logits: Tensor) -> NDArray[np.int64]:
        """(B,) which quantity of each row is explained where none is asked for: what the model says of the row."""
        return np.zeros(len(logits), dtype=np.int64)

    def _lacks(self, what: str) -> NoReturn:
        raise InputError(f"the task {self.name} has no {what}; it can {', '.join(sorted(self.capabilities)) or 'not'}")
