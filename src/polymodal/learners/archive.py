"""What a learner has fitted beside weights, in a file: JSON and arrays in one archive (skops), never pickle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polymodal.errors import InputError

TRUSTED = (
    "collections.OrderedDict",
    "collections.defaultdict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "polymodal.learners.matrix.Block",
    "polymodal.learners.categories.Categories",
    "polymodal.learners.matrix.Join",
    "polymodal.learners.matrix.Raw",
    "polymodal.learners.perceptron.PerceptronClassifier",
    "polymodal.learners.perceptron.PerceptronRegressor",
    "polymodal.modalities.extractor.Tokens",
    "polymodal.modalities.tabular.features.Fields",
    "sklearn.tree._tree.Tree",
)


def write(path: Path, state: dict[str, Any]) -> None:
    """Write it."""
    import skops.io as sio

    sio.dump(state, path)


def read(path: Path, classes: Sequence[type]) -> dict[str, Any]:
    """Read it. classes: the extractors that it may hold. Raises InputError for a file that holds other code."""
    import skops.io as sio

    types = {*TRUSTED, *(f"{c.__module__}.{c.__qualname__}" for c in classes)}
    if strange := set(sio.get_untrusted_types(file=path)) - types:
        raise InputError(f"{path} holds parts that polymodal does not write: {', '.join(sorted(strange))}")
    state: dict[str, Any] = sio.load(path, trusted=sorted(types))
    return state
