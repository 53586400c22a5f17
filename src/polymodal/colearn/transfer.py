"""Transfer: what one learner knows, as the beginning of another.

encoders of another learner --copied--> encoders of a fresh one; its fusion, or its decoder, where all shapes agree
"""

import copy
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from polymodal.errors import InputError
from polymodal.fusion.base import Fusion, Late
from polymodal.fusion.fill import Filler
from polymodal.learners.base import Generator, Learner, Trainable
from polymodal.learners.ensemble import Ensemble
from polymodal.learners.predictor import Predictor
from polymodal.modalities.base import Encoder
from polymodal.nn import Named
from polymodal.spec import spec

PARTS = {"place": "places", "origin": "places", "ctc": "the output layer", "context": "the layers over frames"}


class Start(NamedTuple):
    """What fresh learners begin with. encoders: by modality. fusion, filler: of a label's learner. writer: a learner
    that writes, whose encoders these are.
    """

    encoders: Mapping[str, Encoder]
    fusion: Fusion | None = None
    filler: Filler | None = None
    writer: Generator | None = None

    def encoder(self, modality: str) -> Encoder | None:
        """A copy of the modality's encoder, on the CPU; None where there is none."""
        found = self.encoders.get(modality)
        return None if found is None else copy.deepcopy(found).cpu().train()

    def into(self, learner: Trainable) -> list[str]:
        """Give a fresh learner all but encoders that fits it; says what. Weights of the same names, of which one has
        another shape, are left as they are.
        """
        if isinstance(learner, Generator):
            return [] if self.writer is None else _writer(self.writer, learner)
        if not isinstance(learner, Predictor):
            return []
        pairs = {"the fusion": (self.fusion, learner.fusion), "what stands in": (self.filler, learner.filler)}
        return [what for what, (old, new) in pairs.items() if old is not None and new is not None and given(old, new)]


def start(learner: Learner) -> Start:
    """What another can begin with. Of an ensemble, each encoder is that of its weightiest member which has one.

    Raises InputError where no part is an encoder: of estimators on features there is nothing to take over.
    """
    parts = list(networks(learner))
    encoders: dict[str, Encoder] = {}
    for part in parts:
        encoders |= {m: e for m, e in held(part).items() if m not in encoders}
    writer = learner if isinstance(learner, Generator) else None
    if not encoders and writer is None:
        raise InputError(
            f"the model has no encoders that could be taken over: it is {type(learner).__name__}, estimators on "
            "features; name a model that was fitted with a fusion (fit --fusion gated)"
        )
    first = next((p for p in parts if isinstance(p, Predictor)), None)
    # a late fusion's weights are answers to the target, and so no knowledge of the modalities
    fusion = None if first is None or isinstance(first.fusion, Late) else first.fusion
    return Start(encoders, fusion, None if first is None else first.filler, writer)


def networks(learner: Learner) -> Iterator[Learner]:
    """The learner, or of an ensemble its members, the weightiest first."""
    if not isinstance(learner, Ensemble):
        yield learner
        return
    members = dict(learner.members.items())
    for name in sorted(members, key=lambda k: -learner.weights[k]):
        member = members[name]
        if isinstance(member, Learner):
            yield from networks(member)


def held(learner: Learner) -> dict[str, Encoder]:
    """The learner's own encoders, by modality."""
    encoders = getattr(learner, "encoders", None)
    if not isinstance(encoders, Named):
        return {}
    return {m: e for m, e in encoders.items() if isinstance(e, Encoder)}


def given(old: nn.Module, new: nn.Module) -> bool:
    """Copy all weights of one module to another of the same class and, of fusions, of the same modalities in the same
    order, where each name has the same shape in both.
    """
    mine, theirs = new.state_dict(), old.state_dict()
    dims = [list(getattr(x, "dims", {}).items()) for x in (old, new)]
    if type(old) is not type(new) or dims[0] != dims[1] or not alike(mine, theirs):
        return False
    new.load_state_dict(theirs)
    return True


def alike(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Have both the same names, each with the same shape?"""
    return {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}


def _writer(old: Generator, new: Generator) -> list[str]:
    """What lies behind the encoders: decoder, places, layers over frames; only for the same words."""
    if type(old) is not type(new) or spec(old.task.vocabulary) != spec(new.task.vocabulary):
        return []
    mine, theirs = new.state_dict(), old.state_dict()
    same = list(old.reads) == list(new.reads)
    taken = {}
    for part in dict.fromkeys(k.partition(".")[0] for k in mine):
        if part in ("encoders", "steps") or (part in ("origin", "place") and not same):
            continue
        a, b = ({k: v for k, v in x.items() if k.partition(".")[0] == part} for x in (mine, theirs))
        modules = [getattr(x, part, None) for x in (old, new)]
        if alike(a, b) and type(modules[0]) is type(modules[1]):
            taken[part] = b
    new.load_state_dict({**mine, **{k: v for part in taken.values() for k, v in part.items()}})
    return list(dict.fromkeys(PARTS.get(part, f"the {part}") for part in taken))
