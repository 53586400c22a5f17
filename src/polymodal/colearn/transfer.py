"""Transfer: what one learner knows, as the beginning of another.

encoders of another learner --copied--> encoders of a fresh one; its fusion, or its decoder, where all shapes agree
"""

import copy
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from polymodal.errors import InputError
from polymodal.heads.base import Shared
from polymodal.learners.base import Learner
from polymodal.modalities.base import Encoder


class Start(NamedTuple):
    """What fresh learners begin with. encoders: by modality. shared: by what it is called, what joins them."""

    encoders: Mapping[str, Encoder]
    shared: Mapping[str, Shared] = {}

    def encoder(self, modality: str) -> Encoder | None:
        """A copy of the modality's encoder, on the CPU; None where there is none."""
        known_encoder = self.encoders.get(modality)
        return None if known_encoder is None else copy.deepcopy(known_encoder).cpu().train()

    def into(self, learner: Learner) -> list[str]:
        """Give a fresh learner all but encoders that fits it; says what. Weights of the same names, of which one has
        another shape, are left as they are.
        """
        if not self.shared:
            return []
        fresh = learner.shared()
        return [what for what, new in fresh.items() if what in self.shared and transferable(self.shared[what], new)]


def start(learner: Learner) -> Start:
    """What another can begin with. Of an ensemble, each encoder is that of its weightiest member which has one.

    Raises InputError where no part is an encoder: of estimators on features there is nothing to take over.
    """
    parts = [p.learner for p in learner.parts()]
    encoders: dict[str, Encoder] = {}
    for part in parts:
        encoders |= {m: e for m, e in part.sources().items() if m not in encoders}
    shared = next((part.shared() for part in parts if part.sources() or part.shared()), {})
    if not encoders and not shared:
        raise InputError(
            f"the model has no encoders that could be taken over: it is {learner.kind}, estimators on "
            "features; name a model that was fitted with a fusion (fit --fusion=gated)"
        )
    return Start(encoders, shared)


def transferable(old: Shared, new: Shared) -> bool:
    """Copy all weights of one module to another of the same class and key, where all names have the same shapes."""
    mine, theirs = new.module.state_dict(), old.module.state_dict()
    if type(old.module) is not type(new.module) or old.key != new.key or not alike(mine, theirs):
        return False
    new.module.load_state_dict(theirs)
    return True


def alike(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Have both the same names, each with the same shape?"""
    return {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
