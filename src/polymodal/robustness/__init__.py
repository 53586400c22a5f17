"""What a model loses when modalities are absent, cells are removed, or what they hold is noisy.

>>> from polymodal.robustness import robustness
>>> robustness(polymodal.load("model"), "test.csv").sentences       # doctest: +SKIP
"""

from polymodal.robustness.result import Robustness
from polymodal.robustness.run import robustness

__all__ = ["Robustness", "robustness"]
