"""Co-learning: how a learner whose modalities help each other is put together from what a user asks for.

Colearning (the config) --build--> a network with a Fused head (and a filler), Balanced or Cyclic
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polymodal import fusion as fusions
from polymodal.data.table import Table, digest
from polymodal.errors import InputError
from polymodal.heads.balanced import Balanced
from polymodal.heads.cyclic import Cyclic
from polymodal.heads.fused import Fused
from polymodal.heads.pretraining import KINDS
from polymodal.learners.base import TrainableLearner
from polymodal.learners.encoders import Encoders
from polymodal.learners.network import Network
from polymodal.modalities.base import Encoder
from polymodal.nn import Size
from polymodal.tasks.base import Task

CYCLIC = "cyclic"  # beside the names of fusions: what joins modalities is their translation into each other
IMPUTATION = ("none", "tokens", "predicted")
BALANCE = ("none", "watch", "ogm-ge", "blending")


class Colearning(NamedTuple):
    """How modalities are to help each other. By default they only are hidden now and then (modality dropout).

    imputation: what stands in for a modality that a row lacks: "none" (it is masked), "tokens" (learned ones) or
    "predicted" (from the others). balance: what keeps one modality from starving the others: "none", "ogm-ge"
    (gradients are modulated), "blending" (losses are weighed), or "watch" (nothing does, but the curve of each modality
    is there). cyclic: the modality that is translated to the others and back, and that alone is read in prediction.
    init_from: folder of a model whose encoders initialise the new one's. pretrain: what is learned first, without
    labels: "masked", "matching" or "contrastive". unlabelled: a table of further rows for it.
    """

    imputation: str = "none"
    balance: str = "none"
    cyclic: str | None = None
    init_from: str | None = None
    pretrain: str | None = None
    unlabelled: str | None = None

    def options(self) -> list[str]:
        """The options that differ from their defaults, as they are written on the command line."""
        default = Colearning()
        names = [k for k in self._fields if getattr(self, k) != getattr(default, k)]
        return [f"--{k.replace('_', '-')}" for k in names]

    def check(self, fusion: str, dropout: float | None = None) -> None:
        """Raises InputError for what can't be asked for, or means nothing with this fusion.

        fusion: a fusion's name, "auto" or "features". dropout: the chance of modality dropout, where one was given.
        """
        for name, values in (("imputation", IMPUTATION), ("balance", BALANCE), ("pretrain", (None, *KINDS))):
            value = getattr(self, name)
            if value not in values:
                choice = ", ".join(k for k in values if k is not None)
                raise InputError(f"--{name} can't be {value!r}; it is one of {choice}")
        options = self.options() + (["--modality-dropout"] if dropout is not None else [])
        if fusion == "features" and options:
            raise InputError(
                f"{', '.join(options)} {'is' if len(options) == 1 else 'are'} of networks, and --fusion=features "
                "trains none; name a fusion, such as --fusion=gated"
            )
        if self.unlabelled is not None and self.pretrain is None:
            raise InputError(
                f"--unlabelled={self.unlabelled} is for pretraining, and none is asked for; add "
                f"--pretrain={'|'.join(KINDS)}"
            )
        if self.cyclic is not None:
            self._check_cyclic(fusion)
        is_late = fusion not in ("auto", "features") and fusions.find(fusion).is_late
        if self.imputation != "none" and is_late:
            raise InputError(
                f"--imputation={self.imputation}: {fusion} is a late fusion, which leaves out what is absent, so "
                "nothing can stand in for it; take an early or sequence fusion, or leave --imputation out"
            )

    def _check_cyclic(self, fusion: str) -> None:
        if fusion != "auto":
            raise InputError(
                f"--cyclic={self.cyclic} joins modalities by translating one into the others, so --fusion={fusion} has "
                "no place in it; leave one of them out"
            )
        if idle := [o for o in self.options() if o in ("--imputation", "--balance")]:
            raise InputError(
                f"--cyclic={self.cyclic} reads one modality in prediction, so {' and '.join(idle)} "
                + ("means nothing to it; leave it out" if len(idle) == 1 else "mean nothing to it; leave them out")
            )

    def check_modalities(self, modalities: Sequence[str]) -> None:
        """Raises InputError where there are too few modalities for what is asked, or `cyclic` is none of them."""
        if self.cyclic is not None and self.cyclic not in modalities:
            raise InputError(f"--cyclic={self.cyclic}: no modality has this name; there are: {', '.join(modalities)}")
        several = [o for o in self.options() if o != "--init-from"]
        if several and len(modalities) < 2:
            raise InputError(
                f"{', '.join(several)} need{'s' * (len(several) == 1)} at least two modalities that help each other, "
                f"and there is one, {modalities[0]!r}; leave {'it' if len(several) == 1 else 'them'} out, or see with "
                "`polymodal inspect` why other columns are not read"
            )

    def check_writing(self) -> None:
        """Raises InputError for all that a model which writes text does not know."""
        if wrong := [o for o in self.options() if o != "--init-from"]:
            raise InputError(
                f"{', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} for models that predict a label, and this "
                "one writes text; leave it out. --init-from and --modality-dropout work here too"
            )

    def key(self) -> dict[str, Any] | None:
        """What decides a run, of the origin and of further rows their contents; None where nothing is asked for."""
        if not self.options():
            return None
        origin = None if self.init_from is None else contents(Path(self.init_from))
        more = None if self.unlabelled is None else digest(Table.read(self.unlabelled))
        return {**self._asdict(), "init_from": origin, "unlabelled": more}

    def build(self, name: str, encoders: Mapping[str, Encoder], task: Task, size: Size) -> TrainableLearner:
        """A fresh learner with this fusion. One modality has no other to help it, and a late fusion leaves out what is
        absent, so there nothing stands in.
        """
        if name == CYCLIC:
            return self._cyclic(encoders, task, size)
        dims = {m: e.dim for m, e in encoders.items()}
        fusion = fusions.make(name, dims, size, task)
        several = len(encoders) > 1
        filler = None
        if several and self.imputation != "none" and not fusion.is_late:
            filler = fusions.FILLERS[self.imputation](dims)
        head = Fused(fusion, task, filler=filler)
        balanced = several and self.balance != "none"
        return Network(Encoders(encoders), Balanced(head, how=self.balance) if balanced else head)

    def _cyclic(self, encoders: Mapping[str, Encoder], task: Task, size: Size) -> TrainableLearner:
        assert self.cyclic is not None
        parts, depth = Encoders(encoders), max(1, size.layers // 2)
        return Network(parts, Cyclic(parts.dims, self.cyclic, task, dim=size.dim, heads=size.heads, layers=depth))


def contents(folder: Path) -> str:
    """A key of what a model folder holds: its manifest has a checksum of every file."""
    try:
        return hashlib.blake2b((folder / "manifest.json").read_bytes(), digest_size=16).hexdigest()
    except OSError:
        raise InputError(
            f"--init-from={folder} is not a polymodal model: it has no manifest.json; give the folder that fit wrote "
            "(--out)"
        ) from None
