"""Machine learning on several modalities at once: one table in, one model out.

>>> import polymodal
>>> model = polymodal.fit("reviews.csv", target="stars", out="model")       # doctest: +SKIP
>>> model.evaluate("test.csv").metrics["accuracy"]                          # doctest: +SKIP

Importing polymodal is light: each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal import alignment as alignment
    from polymodal import explain as explain
    from polymodal import fusion as fusion
    from polymodal import modalities as modalities
    from polymodal import report as report
    from polymodal import robustness as robustness
    from polymodal import tasks as tasks
    from polymodal.aligned import AlignedModel as AlignedModel
    from polymodal.batch import Batch as Batch
    from polymodal.batch import Losses as Losses
    from polymodal.batch import Masked as Masked
    from polymodal.data.inspect import inspect as inspect
    from polymodal.data.schema import Schema as Schema
    from polymodal.data.table import Table as Table
    from polymodal.decoders.base import Decoding as Decoding
    from polymodal.errors import InputError as InputError
    from polymodal.errors import Unreadable as Unreadable
    from polymodal.estimators import MultimodalClassifier as MultimodalClassifier
    from polymodal.estimators import MultimodalRegressor as MultimodalRegressor
    from polymodal.experiment.align import align as align
    from polymodal.experiment.config import Columns as Columns
    from polymodal.experiment.config import Run as Run
    from polymodal.experiment.config import Search as Search
    from polymodal.experiment.config import Training as Training
    from polymodal.experiment.distill import distill as distill
    from polymodal.experiment.fit import fit as fit
    from polymodal.experiment.learning_curve import learning_curve as learning_curve
    from polymodal.learners.network import Predictor as Predictor
    from polymodal.model import Model as Model
    from polymodal.model import load as load
    from polymodal.objectives.colearning import Colearning as Colearning
    from polymodal.objectives.target import Target as Target
    from polymodal.objectives.writing import Writing as Writing
    from polymodal.scoring import Evaluation as Evaluation

__version__ = "0.1.0"

_HOMES = {
    "AlignedModel": "polymodal.aligned",
    "Batch": "polymodal.batch",
    "Colearning": "polymodal.objectives.colearning",
    "Columns": "polymodal.experiment.config",
    "Decoding": "polymodal.decoders.base",
    "Evaluation": "polymodal.scoring",
    "InputError": "polymodal.errors",
    "Losses": "polymodal.batch",
    "Masked": "polymodal.batch",
    "Model": "polymodal.model",
    "MultimodalClassifier": "polymodal.estimators",
    "MultimodalRegressor": "polymodal.estimators",
    "Predictor": "polymodal.learners.network",
    "Run": "polymodal.experiment.config",
    "Schema": "polymodal.data.schema",
    "Search": "polymodal.experiment.config",
    "Table": "polymodal.data.table",
    "Target": "polymodal.objectives.target",
    "Training": "polymodal.experiment.config",
    "Unreadable": "polymodal.errors",
    "Writing": "polymodal.objectives.writing",
    "align": "polymodal.experiment.align",
    "distill": "polymodal.experiment.distill",
    "fit": "polymodal.experiment.fit",
    "inspect": "polymodal.data.inspect",
    "learning_curve": "polymodal.experiment.learning_curve",
    "load": "polymodal.model",
}

__all__ = [
    "AlignedModel",
    "Batch",
    "Colearning",
    "Columns",
    "Decoding",
    "Evaluation",
    "InputError",
    "Losses",
    "Masked",
    "Model",
    "MultimodalClassifier",
    "MultimodalRegressor",
    "Predictor",
    "Run",
    "Schema",
    "Search",
    "Table",
    "Target",
    "Training",
    "Unreadable",
    "Writing",
    "align",
    "alignment",
    "distill",
    "explain",
    "fit",
    "fusion",
    "inspect",
    "learning_curve",
    "load",
    "modalities",
    "report",
    "robustness",
    "tasks",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"polymodal.{name}")
    raise AttributeError(f"module 'polymodal' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
