"""What is known of a model's robustness, as numbers, and the two areas that sum a curve up.

Relative and effective robustness follow MultiBench (Liang et al. 2021), whose effective robustness is that of Taori et
al. 2020. x is the place of a level along the curve, 0 (clean) to 1 (the most noise), f the metric:

    relative  = area of f(x) / f(0)                          1 is no loss; of errors f(0) / f(x)
    effective = area of f(x) - (b(x) + f(0) - b(0))          b: late fusion, shifted to the same clean score

MultiBench's code adds up the levels and then rescales over the methods that it compares; here both are means over the
curve (trapezoids), so that they can be read by themselves. Both are of noise (mismatch too), not of absent cells. Their
intervals come from the bootstrap samples of rows that all other intervals come from: a sample has a curve, and so an
area, and both models are scored on the same samples.

Axes: k level, r the score on all rows, then each bootstrap sample.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.data.encode import Bad
from polymodal.evaluate.intervals import Interval
from polymodal.robustness.measure import Sample, interval, mean
from polymodal.robustness.noise import MISMATCH
from polymodal.view.text import Note, digits, ends, many

Floats = NDArray[np.float64]


class Subset(NamedTuple):
    """The score with these modalities alone. loss: against all of them, paired; positive is worse. seen: rows that have
    any of them; the others are scored all the same."""

    present: list[str]
    score: Interval
    loss: Interval
    rows: int
    seen: int


class Absence(NamedTuple):
    """The score where a share of all cells is gone. how: mcar, mar, mnar. by: what it depends on. empty: the share of
    rows that are left with nothing. seeds: over how many drawings the score is a mean."""

    how: str
    by: str
    share: float
    score: Interval
    loss: Interval
    rows: int
    empty: float
    seeds: int


class Noisy(NamedTuple):
    """The score where one modality is spoiled. severity: in words. place: place on the curve, 0 to 1."""

    modality: str
    kind: str
    level: int
    severity: str
    place: float
    score: Interval
    loss: Interval
    rows: int


class Area(NamedTuple):
    """Relative or effective robustness of one curve, and its 95% interval; NaN where it is undefined."""

    modality: str
    kind: str
    value: float
    low: float
    high: float


class Areas(NamedTuple):
    """Of each curve, and the mean over those that have a value."""

    mean: Interval
    curves: list[Area]


class Robustness(NamedTuple):
    """The whole answer. effective: None where there is nothing to compare with."""

    task: str
    metric: str
    higher: bool
    modalities: list[str]
    rows: int
    group: str | None
    seed: int
    levels: int
    clean: Interval
    subsets: list[Subset]
    absence: list[Absence]
    noise: list[Noisy]
    relative: Areas
    effective: Areas | None
    against: str | None
    sentences: list[str]
    notes: list[Note]
    bad: list[Bad]

    def __repr__(self) -> str:
        clean = f"{self.metric} {digits(self.clean.value)} {ends(self.clean)} on {many(self.rows, 'row')}"
        return f"<Robustness: {clean}. {' '.join(self.sentences)}>"

    def to_json(self) -> dict[str, Any]:
        """Plain containers and finite numbers; None for what is undefined."""
        worst = {"subset": worst_subset(self.subsets), "noise": worst_noise(self.noise)}
        out = {
            **self._asdict(),
            "clean": self.clean._asdict(),
            "subsets": [_json(self.metric, x) for x in self.subsets],
            "absence": [_json(self.metric, x) for x in self.absence],
            "noise": [_json(self.metric, x) for x in self.noise],
            "relative": _areas(self.relative),
            "effective": None if self.effective is None else _areas(self.effective),
            "worst": {k: None if x is None else _json(self.metric, x) for k, x in worst.items()},
            "notes": [str(n) for n in self.notes],
            "bad": [b._asdict() for b in self.bad],
        }
        return {k: finite(v) for k, v in out.items()}

    def lines(self) -> Iterator[dict[str, Any]]:
        """One flat mapping a measurement, as the CSV file has it."""
        for part, rows in (("subset", self.subsets), ("absence", self.absence), ("noise", self.noise)):
            for x in rows:
                form = x._asdict()  # type: ignore[attr-defined]
                score, loss = form.pop("score"), form.pop("loss")
                form |= {"present": " + ".join(form["present"])} if "present" in form else {}
                ends = {f"loss_{k}" if k != "value" else "loss": v for k, v in loss._asdict().items()}
                yield finite({"part": part, **form, "metric": self.metric, **score._asdict(), **ends})


COLUMNS = "part present how by share modality kind level severity place metric value low high loss loss_low loss_high"
COLUMNS += " rows seen empty seeds"


def areas(
    scores: Mapping[tuple[str, str], Sequence[Sample]],
    higher: bool,
    baseline: Mapping[tuple[str, str], Sequence[Sample]] | None = None,
) -> Areas:
    """From the scores of each curve, level by level: relative robustness; with those of a baseline, effective."""
    spans = {}
    for key, levels in scores.items():
        f_kr = _stack(levels)
        area_r = relative(f_kr, higher) if baseline is None else effective(f_kr, _stack(baseline[key]), higher)
        spans[key] = Sample(float(area_r[0]), area_r[1:])
    values = [x for x in spans.values() if x.value == x.value]
    whole = interval(mean(values)) if values else Interval(math.nan, math.nan, math.nan)
    return Areas(whole, [Area(*key, *interval(x)) for key, x in spans.items()])


def _stack(levels: Sequence[Sample]) -> Floats:
    return np.stack([np.append(x.value, x.draws) for x in levels])


def relative(f_kr: Floats, higher: bool) -> Floats:
    """(R,) mean over the curve of f / f(0), or f(0) / f of an error; NaN where what it is over is not above 0.

    >>> relative(np.array([[0.8], [0.8], [0.4]]), True)
    array([0.875])
    """
    clean_kr = np.broadcast_to(f_kr[0], f_kr.shape)
    over_kr, under_kr = (f_kr, clean_kr) if higher else (clean_kr, f_kr)
    return _area(over_kr / np.where(under_kr > 0, under_kr, np.nan))


def effective(f_kr: Floats, b_kr: Floats, higher: bool) -> Floats:
    """(R,) mean over the curve of what f gains over a baseline shifted to the same clean score; positive is better.

    >>> effective(np.array([[0.9], [0.7]]), np.array([[0.8], [0.4]]), True).round(3)
    array([0.1])
    """
    gain_kr = (f_kr - f_kr[0]) - (b_kr - b_kr[0])
    return _area(gain_kr if higher else -gain_kr)


def _area(f_kr: Floats) -> Floats:
    """(R,) mean height over levels that are equally far apart, by trapezoids."""
    out: Floats = ((f_kr[1:] + f_kr[:-1]) / 2).mean(axis=0)
    return out


def worst_subset(subsets: Sequence[Subset]) -> Subset | None:
    """Of those that lack something, the one that loses most; of equal ones the first, which lacks least."""
    losses: Subset | None = _worst(subsets[1:])
    return losses


def worst_noise(noise: Sequence[Noisy], mismatch: bool = False) -> Noisy | None:
    """What costs most: of noise proper, or of modalities that were swapped with another row's.

    Of equal ones it is the first: of a curve the lowest level, of several the modality that comes first.
    """
    losses: Noisy | None = _worst([x for x in noise if x.level and (x.kind == MISMATCH) == mismatch])
    return losses


def _worst(losses: Sequence[Any]) -> Any:
    finite = [x for x in losses if x.loss.value == x.loss.value]
    return max(finite, key=lambda x: x.loss.value, default=None)


def _json(metric: str, x: Any) -> dict[str, Any]:
    form: dict[str, Any] = x._asdict()
    score, loss = form.pop("score"), form.pop("loss")
    return {**form, "metric": metric, **score._asdict(), "loss": loss._asdict()}


def _areas(curves: Areas) -> dict[str, Any]:
    return {**curves.mean._asdict(), "curves": [a._asdict() for a in curves.curves]}


def finite(form: Any) -> Any:
    """NaN and infinity as None, in plain containers."""
    if isinstance(form, dict):
        return {k: finite(v) for k, v in form.items()}
    if isinstance(form, list | tuple):
        return [finite(v) for v in form]
    return None if isinstance(form, float) and not math.isfinite(form) else form
