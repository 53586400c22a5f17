"""The functions that train, with the fields of their config's records as keywords: tests set one at a time."""

import inspect
from collections.abc import Callable
from typing import Any

import polymodal
from polymodal.experiment import compare, distill, learning_curve
from polymodal.experiment import fit as fitting
from polymodal.experiment.config import records


def flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which takes `fusion="gated"` in place of `config=Search(fusion="gated")`, and records as they are."""
    known = inspect.signature(function).parameters

    def call(*args: Any, **given: Any) -> Any:
        whole = [given.pop(k) for k in ("writing", "colearning") if k in given]
        own = {k: given.pop(k) for k in [*given] if k in known}
        return function(*args, **own, config=[*(x for x in whole if x is not None), *records(**given)])

    return call


fit = flat(fitting.fit)
run = flat(compare.run)
distil = flat(distill.distill)
curve = flat(learning_curve.learning_curve)
assert polymodal.fit is fitting.fit
