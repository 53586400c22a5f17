"""What spoils a vector: noise in units of the spread of each dimension that training saw.

Axes: t vector, c dimension.
"""

from typing import Any

from polymodal.modalities.arrays import array
from polymodal.modalities.noise import Noise, Noises, with_context
from polymodal.modalities.series.noise import Array, finite, jitter, scale


def load(cell: Any) -> Array:
    """A vector, or a sequence of them, (T, C). Raises Unreadable for what is none."""
    x = finite(array(cell))
    return x.reshape(-1, x.shape[-1])


NOISES = Noises(
    load, {"gaussian": Noise((0, 0.1, 0.25, 0.5, 1, 2), "deviation {:.2f} spreads", with_context(jitter))}, scale
)
