"""Numbers: one target, or several at once."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import huber_loss

from polymodal import metrics
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.output import Output, logits_of
from polymodal.tasks.base import Array, Capability, Extreme, Quantities, Quantity, Region, Task
from polymodal.tasks.classify import labelled_mean, numpy, weighted
from polymodal.tasks.labels import label_text, missing, number
from polymodal.tasks.regions import Intervals

IQR = 1.3489795003921634  # interquartile range of a standard normal


class Regression(Task):
    """One real number a row, or one for each of `columns`.

    A target is standardised by its median and its interquartile range (as a share of a normal's), so that
    neither its unit nor a few wild values decide the step size. The loss is Huber's, quadratic up to `delta`
    such units: the mean in the bulk, bounded gradients in the tails; delta = inf is the squared error. Huber
    1964.

    columns: names of several targets, whose cells are then mappings of name to number; a missing one is left
    out alone.
    """

    name = "regression"
    link = "identity"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"conformal", "explain_parts", "residuals"})

    columns: list[str] | None

    def __init__(self, columns: list[str] | None = None, delta: float = 3.0, measure: str | None = None) -> None:
        self.columns, self.delta, self.measure = columns, delta, measure
        self.center_: list[float] = []
        self.scale_: list[float] = []

    def fit(self, cells: Iterable[Any]) -> Self:
        """Learn the centre and scale of each target."""
        rows = np.array([self._numbers(c) for c in cells], dtype=np.float64).reshape(-1, len(self._names))
        moments = [_center_scale(x[~np.isnan(x)], name) for x, name in zip(rows.T, self._names, strict=True)]
        self.center_, self.scale_ = [c for c, _ in moments], [s for _, s in moments]
        return self

    @property
    def _names(self) -> list[str]:
        return ["the target"] if self.columns is None else self.columns

    def _numbers(self, cell: Any) -> list[float]:
        if self.columns is None:
            return [parse(cell, "the target")]
        if missing(cell):
            return [math.nan] * len(self.columns)
        if not isinstance(cell, Mapping):
            raise InputError(f"{label_text(cell)} is no mapping of {', '.join(self.columns)} to numbers")
        return [parse(cell.get(c), c) for c in self.columns]

    @property
    def outputs(self) -> int:
        """One logit a target."""
        return len(self._names)

    def encode(self, cell: Any) -> Tensor | None:
        """(K,) float32 in standard units, NaN where one of several is missing; None where all are."""
        numbers = self._numbers(cell)
        if all(math.isnan(x) for x in numbers):
            return None
        # standardised in double: a float32 has no room for small differences of large numbers
        out = [(x - c) / s for x, c, s in zip(numbers, self.center_, self.scale_, strict=True)]
        y = torch.tensor(out, dtype=torch.float32)
        if y.isinf().any():
            raise InputError(f"{label_text(cell)} is too far from the training targets to be computed with")
        return y

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """(B, 1) float32 and the (B,) mask of one target; (B, K) float32 and the (B, K) mask of several."""
        empty = torch.full((self.outputs,), math.nan)
        values = torch.stack([empty if c is None else c for c in cells]) if cells else empty[None][:0]
        mask = ~values.isnan()
        return Masked(values.nan_to_num(), mask[:, 0] if self.columns is None else mask)

    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Mean over labelled cells of Huber's loss, in standard units."""
        mask_bk = target.mask[:, None] if target.mask.ndim == 1 else target.mask
        y_bk = torch.where(mask_bk, target.values, 0).to(logits.dtype)
        if math.isinf(self.delta):
            loss_bk = (logits - y_bk) ** 2 / 2
        else:
            loss_bk = huber_loss(logits, y_bk, reduction="none", delta=self.delta)
        return labelled_mean(loss_bk, target.under(mask_bk))

    def answers(self, target: Masked) -> NDArray[Any]:
        """(B, K) numbers in standard units, NaN where missing."""
        mask = numpy(target.mask).reshape(len(target.values), -1)
        return np.where(mask, numpy(target.values), np.nan)

    def decode(self, output: Output) -> Mapping[str, Sequence[Any]]:
        """prediction; or prediction[name] for each of several targets."""
        y_bk = self._in_units(numpy(logits_of(output)))
        if self.columns is None:
            return {"prediction": y_bk[:, 0].tolist()}
        return {f"prediction[{c}]": y_bk[:, i].tolist() for i, c in enumerate(self.columns)}

    def _in_units(self, x: NDArray[Any]) -> NDArray[np.float64]:
        y: NDArray[np.float64] = np.asarray(x, dtype=np.float64) * self.scale_ + self.center_
        return y

    def scores(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """mae, rmse, r2, pearson and spearman; of several targets their mean over targets, and name[target]
        each.

        r2 and the correlations of several targets weigh each target alike, whatever its unit; see
        `metrics.of_numbers`.
        """
        truth, guess = self._in_units(numpy(target.values)), self._in_units(numpy(logits_of(output)))
        weights = weighted(weights, target)
        mask = numpy(target.mask).reshape(len(truth), -1) & np.ones((1, self.outputs), dtype=bool)
        each = [metrics.of_numbers(truth[m, k], guess[m, k], weights[:, m]) for k, m in enumerate(mask.T)]
        out = {name: np.mean([s[name] for s in each], axis=0) for name in each[0]}
        if self.columns is not None:
            out |= {f"{name}[{c}]": s[name] for name in each[0] for c, s in zip(self.columns, each, strict=True)}
        return out

    def strata(self, cells: Sequence[Any]) -> list[Any] | None:
        """Fifths of the target, by rank; None for several targets, or too few rows."""
        if self.columns is not None or len(cells) < 50:
            return None
        x = np.array([parse(c, "the target") for c in cells])
        edges = np.nanquantile(x, [0.2, 0.4, 0.6, 0.8])
        return [None if math.isnan(v) else int(i) for v, i in zip(x, np.searchsorted(edges, x), strict=True)]

    @property
    def measures(self) -> Sequence[str]:
        """See `scores`."""
        return [*metrics.OF_NUMBERS, *(f"{name}[{c}]" for name in metrics.OF_NUMBERS for c in self.columns or ())]

    @property
    def usual_measure(self) -> str:
        """r2: the share of the variance that is explained."""
        return "r2"

    def score(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> NDArray[np.floating]:
        """(R,) the metric alone: the ranks that some need take far longer than the others."""
        if self.columns is not None or not bool(target.mask.all()):
            return super().score(output, target, weights)
        truth, guess = (self._in_units(numpy(x.double()))[:, 0] for x in (target.values, logits_of(output)))
        return metrics.OF_NUMBERS[self.metric.name](truth, guess, weighted(weights, target))

    def numbers_of(self, cell: Any) -> list[float]:
        """Of each target."""
        cells = [cell] if self.columns is None else [cell.get(c) for c in self.columns]
        values = [None if missing(c) else number(c) for c in cells]
        return [math.nan if x is None else x for x in values]

    def differs(self, cell: Any, prediction: Any) -> bool:
        """Whether one number is further away than the targets' usual spread; of several, none is."""
        return self.columns is None and abs(self.numbers_of(cell)[0] - float(prediction)) > self.scale_[0]

    def nonconformity(self, logits: Tensor, target: Masked) -> Array:
        """(B,) the greatest distance of a target that is known, in units of its spread."""
        error_bk = (logits.double() - target.values.double()).abs()
        mask = target.mask[:, None] if target.mask.ndim == 1 else target.mask
        return numpy(torch.where(mask, error_bk, -torch.inf).amax(1))

    def region(self, logits: Tensor, limits: Array) -> Region:
        """An interval around each number, as wide in units of its spread as those beside it."""
        middle, half = numpy(logits.double()), limits[:, None] * np.ones((1, self.outputs))
        widths = 2 * limits * (self.scale_[0] if self.columns is None else 1.0)
        low, high = self._in_units(middle - half), self._in_units(middle + half)
        return Intervals(self.columns, low, high, widths)

    @property
    def quantities(self) -> Quantities:
        """Each target in its unit."""
        if self.columns is None:
            return Quantities([Quantity("the value", "the predicted value")], "the predicted value")
        return Quantities([Quantity(c, f"the predicted {c}") for c in self.columns], "each row's predicted answer")

    def values(self, logits: Tensor) -> Array:
        """(B, K) each target in its unit."""
        return self._in_units(numpy(logits))

    def evidence(self, logits: Tensor, at: int) -> Tensor:
        """(B,) the target in its unit."""
        return logits.double()[:, at] * self.scale_[at] + self.center_[at]

    def extremes(self, output: Output, target: Masked) -> tuple[list[Extreme], list[str]]:
        """By how far the prediction is from the truth."""
        logits = logits_of(output)
        mask = numpy(target.mask).reshape(len(logits), -1)
        error_nk = np.where(mask, numpy(logits.double()) - numpy(target.values.double()), np.nan)
        size, way, every = np.nanmean(np.abs(error_nk), axis=1), error_nk[:, 0], np.ones(len(logits), bool)
        units = [[f"{u:+.4g}" for u in row if u == u] for row in error_nk * np.asarray(self.scale_)]
        names = [f"Prediction less truth: {', '.join(e[:4])}." for e in units]
        if self.columns is not None:
            why = ", on average over the targets, each in units of its spread"
            return [
                Extreme("Best", f"The prediction is nearest to the truth{why}.", size, every),
                Extreme("Worst, and most surprising", f"The prediction is furthest from the truth{why}.", -size, every),
            ], names
        return [
            Extreme("Best", "The prediction is nearest to the truth.", size, every),
            Extreme("Worst, and most surprising: far too high", "The prediction is furthest above the truth.",
                    -way, way > 0),
            Extreme("Worst, and most surprising: far too low", "The prediction is furthest below the truth.",
                    way, way < 0),
        ], names  # fmt: skip


def parse(cell: Any, name: str) -> float:
    """The number of a cell; NaN where it is missing. Raises InputError for text that is no number, and for
    infinity.
    """
    if missing(cell):
        return math.nan
    try:
        x = float(cell)
    except (TypeError, ValueError):
        raise InputError(
            f"{label_text(cell)} in {name} is no number; mend the cell or empty it, or take a task of classes"
        ) from None
    if math.isinf(x):
        raise InputError(f"{label_text(cell)} in {name} is infinite; mend the cell or empty it")
    return x


def _center_scale(x: NDArray[np.float64], name: str) -> tuple[float, float]:
    if not len(x):
        raise InputError(f"no row has a label in {name}, so there is nothing to learn; name another target column")
    low, middle, high = (float(q) for q in np.quantile(x, [0.25, 0.5, 0.75]))
    scale = (high - low) / IQR
    if scale == 0:
        scale = float(np.abs(x - middle).mean())  # over half of the values are one and the same
    if scale == 0:
        raise InputError(
            f"{name} is constant: {middle:g} in all {len(x):,} labelled rows; there is nothing to learn from "
            "it, so name another target column"
        )
    return middle, scale
