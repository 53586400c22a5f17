"""What a comparison is made of: the answers of each candidate to the rows of each fold, a file each.

codecs, networks and estimators are fitted on the other folds' rows alone -> logits on the fold's rows -> a `Part`
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from polymodal.data.preprocess import Rows
from polymodal.errors import InputError
from polymodal.experiment.budget import Budget
from polymodal.experiment.candidates import FeaturePath, Networks, Trial, outputs_of, plain
from polymodal.experiment.config import Config
from polymodal.experiment.fit import FEATURES
from polymodal.experiment.problem import Problem, Reading
from polymodal.experiment.search import PRESETS
from polymodal.learners.base import Learner
from polymodal.learners.library import Member
from polymodal.objectives.base import Candidate
from polymodal.output import logits_of
from polymodal.saving import put_tensors
from polymodal.training.settings import Settings
from polymodal.view.text import many

INNER = 0.2  # of the training rows of a fold: they choose a network's epoch


class Part(NamedTuple):
    """A candidate on one fold: its logits on the fold's rows, and what it cost. note: what else is to know of it."""

    name: str
    family: str
    modalities: list[str]
    logits: Tensor
    parameters: int
    seconds: float
    memory_mb: float | None
    note: str = ""


class Fold(NamedTuple):
    """Which rows are trained on and tested, in which repeat."""

    repeat: int
    number: int
    train: list[int]
    test: list[int]

    @property
    def name(self) -> str:
        """For a person, and for a file."""
        return f"repeat {self.repeat + 1}, fold {self.number + 1}"


class Maker:
    """Makes the parts of a fold, or finds them on disk.

    A job is what is trained together: a network, or all estimators on features. Those that there was time for on the
    first fold that they were fitted on are fitted on all others.
    """

    def __init__(
        self, problem: Problem, names: Sequence[str], preset: str, request: Config, seed: int, folder: Path | None
    ) -> None:
        self.problem, self.preset, self.request = problem, PRESETS[preset], request
        self.seed, self.folder = seed, folder
        every = list(problem.kinds)
        several = len(every) > 1
        self.features = FEATURES in names
        networks: list[Candidate] = []
        if others := [n for n in names if n != FEATURES]:
            networks += [Candidate(f"{m} alone", "concat", [m]) for m in every]
            networks += [Candidate("concat", "concat", every)] if several else []
            networks += [Candidate(f, f, every) for f in others if f != "concat"] if several else []
        self.networks = {c.name: c for c in networks}
        self.chosen = False  # have the estimators been tried on a fold?
        self.members: list[Member] | None = None  # those of them that are tried on all others; None for all
        self._open: tuple[Fold, Reading] | None = None

    @property
    def jobs(self) -> dict[str, list[str]]:
        """What each network reads, and before them features, by name."""
        networks = {c.name: list(c.modalities) for c in self.networks.values()}
        return {FEATURES: [], **networks} if self.features else networks

    def kept(self, fold: Fold) -> dict[str, list[Part]]:
        """The parts on disk, by job."""
        networks = {c: self._kept(fold, c) for c in self.networks}
        out = {c: [part] for c, part in networks.items() if part is not None}
        return out | ({FEATURES: parts} if self.features and (parts := self._kept_features(fold)) else {})

    def make(self, fold: Fold, job: str, seconds: float | None) -> list[Part]:
        """The parts of a job, which are kept; none where it would take longer than so many seconds."""
        reading, parts = self._read(fold), []  # cells are decoded on the first fold, for all of them
        if job == FEATURES:
            return self._by_features(fold, reading, Budget.of(seconds))
        trial = self._networks(fold, reading, self._place(fold)).train(self.networks[job], seconds)
        if trial.finished:
            parts = [_part(trial, logits_of(outputs_of(trial.learner(False), reading.rows.take(fold.test))))]
            self._keep(fold, parts[0])
        if (place := self._place(fold)) is not None:
            for checkpoint in place.glob(f"[0-9]-{plain(job)}.safetensors"):
                checkpoint.unlink()  # of a network that is trained, or that is trained anew with more time
        return parts

    def again(self, fold: Fold, part: Part) -> tuple[Learner, Rows, Mapping[str, str]]:
        """The learner of a candidate, trained as it was on a fold, and the fold's rows."""
        reading = self._read(fold)
        test, views = reading.rows.take(fold.test), reading.preprocessor.views
        if part.name in self.networks:
            trial = self._networks(fold, reading, None).train(self.networks[part.name])
        else:
            path = self._path(fold, reading)
            path.grow(self.preset.kinds, Budget.of(None))
            trial = next(t for t in path.trials() if t.result.name == part.name)
        return trial.learner(False), test, views

    def _read(self, fold: Fold) -> Reading:
        """The table, by codecs that are fitted on the fold's training rows; the last one is kept for the next job."""
        if self._open is None or self._open[0] is not fold:
            self._open = None  # both at once would need twice the memory
            try:
                reading = self.problem.read(
                    fold.train, features=self.features, networks=bool(self.networks),
                    cache=self.request.run.cache_folder,
                )  # fmt: skip
            except InputError as e:
                raise InputError(f"{fold.name}: {e}; or give fewer folds, or another --seed") from None
            self._open = fold, reading
        return self._open[1]

    def _networks(self, fold: Fold, reading: Reading, folder: Path | None) -> Networks:
        fit_at, valid_at = self._inner(fold)
        rows = reading.rows.take(fold.train)
        learn = rows.take(fit_at)
        settings = Settings.of(learn, epochs=self.request.training.epochs, seed=self.seed)
        return Networks(
            self.problem, reading.encoders, settings, learn, rows.take(valid_at), groups=None,
            folder=folder, quiet=True,
        )  # fmt: skip

    def _path(self, fold: Fold, reading: Reading) -> FeaturePath:
        path = FeaturePath(
            self.problem, reading, self.problem.table.take(fold.train), reading.rows.take(fold.train),
            reading.rows.take(fold.test), seed=self.seed, folder=self._place(fold), quiet=True, given=True,
            most=self.preset.folds,
        )  # fmt: skip
        path.library.among = self.members
        return path

    def _by_features(self, fold: Fold, reading: Reading, budget: Budget) -> list[Part]:
        path = self._path(fold, reading)
        whole = path.grow(self.preset.kinds, budget)
        if not whole and self.chosen:
            return []
        if not self.chosen:
            self.chosen, self.members = True, None if whole else path.library.tried
        note = "" if self.members is None else f"there was time for {many(len(self.members), 'estimator')} alone"
        parts = [_part(t, logits_of(t.result.output))._replace(note=note) for t in path.trials()]
        for part in parts:
            self._keep(fold, part)
        if (place := self._place(fold)) is not None:
            form = {"names": [p.name for p in parts], "members": self.members}
            (place / "features.json").write_text(json.dumps(form), encoding="utf-8")
        return parts

    def _inner(self, fold: Fold) -> tuple[list[int], list[int]]:
        """Places among the fold's training rows to fit a network on, and to choose its epoch by."""
        groups = self.problem.groups(self.problem.table)
        of = None if groups is None else [groups[i] for i in fold.train]
        return self.problem.hold_out(self.problem.table.take(fold.train), of, INNER, self.seed)

    def _place(self, fold: Fold) -> Path | None:
        if self.folder is None:
            return None
        place = self.folder / "parts" / f"{fold.repeat + 1}-{fold.number + 1}"
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _keep(self, fold: Fold, part: Part) -> None:
        if (place := self._place(fold)) is None:
            return
        form = {k: v for k, v in part._asdict().items() if k != "logits"}
        path = place / f"{plain(part.name)}.part"
        put_tensors(path, {"logits": part.logits}, {"part": json.dumps(form)})

    def _kept(self, fold: Fold, name: str) -> Part | None:
        place = self._place(fold)
        if place is None or not (path := place / f"{plain(name)}.part").exists():
            return None
        try:
            with safe_open(path, "pt") as f:
                return Part(**json.loads(f.metadata()["part"]), logits=f.get_tensor("logits"))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            return None

    def _kept_features(self, fold: Fold) -> list[Part]:
        place = self._place(fold)
        if place is None or not (place / "features.json").exists():
            return []
        form = json.loads((place / "features.json").read_text(encoding="utf-8"))
        parts = [self._kept(fold, n) for n in form["names"]]
        if not all(parts):
            return []
        self.chosen, members = True, form["members"]
        self.members = members and [Member(tuple(m), *rest) for m, *rest in members]
        return [p for p in parts if p is not None]


def _part(trial: Trial, logits: Tensor) -> Part:
    r = trial.result
    return Part(r.name, r.family, trial.modalities, logits, r.parameters, r.seconds, r.memory_mb)
