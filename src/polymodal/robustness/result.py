"""What is known of a model's robustness, as numbers, and the two areas that sum a curve up.

Relative and effective robustness follow MultiBench (Liang et al. 2021), whose effective robustness is that of Taori et
al. 2020. x is the place of a level along the curve, 0 (clean) to 1 (the most noise), f the metric:

    relative  = area of f(x) / f(0)                          1 is no loss; of errors f(0) / f(x)
    effective = area of f(x) - (b(x) + f(0) - b(0))          b: late fusion, shifted to the same clean score

MultiBench's code adds up the levels and then rescales over the methods that it compares; here both are means over the
curve (trapezoids), so that they can be read by themselves.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.data.encode import Bad
from polymodal.evaluate.intervals import Interval


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
    """Relative or effective robustness of one curve; None where it is undefined."""

    modality: str
    kind: str
    value: float | None


class Robustness(NamedTuple):
    """The whole answer. relative, effective: by curve; effective is None where there is nothing to compare with."""

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
    relative: list[Area]
    effective: list[Area] | None
    against: str | None
    sentences: list[str]
    notes: list[str]
    bad: list[Bad]

    def to_json(self) -> dict[str, Any]:
        """Plain containers and finite numbers; None for what is undefined."""
        worst = {"subset": worst_subset(self.subsets), "noise": worst_noise(self.noise)}
        out = {
            **self._asdict(),
            "clean": self.clean._asdict(),
            "subsets": [_scored(self.metric, x) for x in self.subsets],
            "absence": [_scored(self.metric, x) for x in self.absence],
            "noise": [_scored(self.metric, x) for x in self.noise],
            "relative": _areas(self.relative),
            "effective": None if self.effective is None else _areas(self.effective),
            "worst": {k: None if x is None else _scored(self.metric, x) for k, x in worst.items()},
            "bad": [b._asdict() for b in self.bad],
        }
        return {k: finite(v) for k, v in out.items()}

    def lines(self) -> Iterator[dict[str, Any]]:
        """One flat mapping a measurement, as the CSV file has it."""
        for part, found in (("subset", self.subsets), ("absence", self.absence), ("noise", self.noise)):
            for x in found:
                form = x._asdict()  # type: ignore[attr-defined]
                score, loss = form.pop("score"), form.pop("loss")
                form |= {"present": " + ".join(form["present"])} if "present" in form else {}
                ends = {f"loss_{k}" if k != "value" else "loss": v for k, v in loss._asdict().items()}
                yield finite({"part": part, **form, "metric": self.metric, **score._asdict(), **ends})


COLUMNS = "part present how by share modality kind level severity place metric value low high loss loss_low loss_high"
COLUMNS += " rows seen empty seeds"


def relative(places: Sequence[float], scores: Sequence[float], higher: bool) -> float | None:
    """Mean over the curve of f / f(0), or f(0) / f of an error; None where f(0) is not above 0, or a score undefined.

    >>> relative([0, 0.5, 1], [0.8, 0.8, 0.4], True)
    0.875
    """
    f = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(f).all() or f[0] <= 0 or (not higher and (f <= 0).any()):
        return None
    return _area(places, f / f[0] if higher else f[0] / f)


def effective(
    places: Sequence[float], scores: Sequence[float], baseline: Sequence[float], higher: bool
) -> float | None:
    """Mean over the curve of what is gained over a baseline shifted to the same clean score; positive is better.

    >>> round(effective([0, 1], [0.9, 0.7], [0.8, 0.4], True), 3)
    0.1
    """
    f, b = (np.asarray(x, dtype=np.float64) for x in (scores, baseline))
    if not (np.isfinite(f).all() and np.isfinite(b).all()):
        return None
    gain = (f - f[0]) - (b - b[0])
    return _area(places, gain if higher else -gain)


def _area(places: Sequence[float], f: NDArray[np.float64]) -> float:
    """Mean height over the places, by trapezoids."""
    width = np.diff(places)
    return float(np.sum(width * (f[1:] + f[:-1]) / 2) / np.sum(width))


def overall(areas: Sequence[Area]) -> float | None:
    """The mean over curves that have a value."""
    known = [a.value for a in areas if a.value is not None]
    return float(np.mean(known)) if known else None


def worst_subset(subsets: Sequence[Subset]) -> Subset | None:
    """Of those that lack something, the one that loses most."""
    found: Subset | None = _worst(subsets[1:])
    return found


def worst_noise(noise: Sequence[Noisy], mismatch: bool = False) -> Noisy | None:
    """What costs most: of noise proper, or of modalities that were swapped with another row's."""
    found: Noisy | None = _worst([x for x in noise if x.level and (x.kind == "mismatch") == mismatch])
    return found


def _worst(found: Sequence[Any]) -> Any:
    known = [x for x in found if x.loss.value == x.loss.value]
    return max(known, key=lambda x: x.loss.value, default=None)


def _scored(metric: str, x: Any) -> dict[str, Any]:
    form: dict[str, Any] = x._asdict()
    score, loss = form.pop("score"), form.pop("loss")
    return {**form, "metric": metric, **score._asdict(), "loss": loss._asdict()}


def _areas(areas: Sequence[Area]) -> dict[str, Any]:
    return {"value": overall(areas), "curves": [a._asdict() for a in areas]}


def finite(form: Any) -> Any:
    """NaN and infinity as None, in plain containers."""
    if isinstance(form, dict):
        return {k: finite(v) for k, v in form.items()}
    if isinstance(form, list | tuple):
        return [finite(v) for v in form]
    return None if isinstance(form, float) and not math.isfinite(form) else form
