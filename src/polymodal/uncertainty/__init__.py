"""How sure a model is: what validation rows say of its probabilities, and of how far its answers are from the truth.

    logits / T --> probabilities                                  `temperature`
    validation rows, with other modalities hidden --> scores      one list a pattern of presence
    score of an answer <= the list's limit --> it is in the set   `conformal`

**What is promised.** Of rows that are exchangeable with the validation rows, at least the share asked for has its
truth in the set, whatever the model is worth; and so for each pattern of presence by itself (Mondrian; Vovk et al.
2005), since a list of scores is kept for each: those of validation rows that have at least these modalities, answered
with the others hidden. Rows that lack a modality of themselves count for their own pattern, and for those within it. So
the promise for a pattern rests on absence that has nothing to do with the row; where it has, it is one for modalities
that were hidden, and none for those that were lost. It is over rows, not for each row or each class. Rows of one group
(speaker, patient) are not exchangeable with rows of others: with groups, coverage is a hope that `evaluate` can check.

n scores promise n / (n + 1) at most; where more is asked, the set is all labels, the interval the whole line. The same
rows chose the epoch or the estimators, a choice among few. Scores are those of full precision; "int8" and "bf16" shift
them a little. A learner that is refitted on the validation rows is calibrated as it was before.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.data.preprocess import Rows
from polymodal.errors import InputError
from polymodal.learners.base import Learner
from polymodal.output import logits_of
from polymodal.tasks.base import Array, Task
from polymodal.uncertainty.conformal import Pattern, pattern, pattern_names
from polymodal.uncertainty.temperature import search_temperature

ROWS, PATTERNS, ANSWERS = 2000, 31, 30_000  # at most so many rows and patterns, and rows times patterns
ALL = 5  # modalities up to which every pattern is tried
BATCH = 128


class Calibration:
    """What validation rows say of a model's certainty; kept as JSON in `Model.report["calibration"]`.

    temperature: what logits are divided by. rows: how many it was found by. log_loss, ece: {"before", "after"}, each
    half's by the temperature of the other; None where there are none. modalities: all that the learner reads. grouped:
    whether rows come in groups, so that coverage is no promise.
    """

    def __init__(
        self, temperature: float, rows: int, log_loss: Mapping[str, float] | None, ece: Mapping[str, float] | None,
        modalities: Sequence[str], patterns: Iterable[Pattern], grouped: bool = False,
    ) -> None:  # fmt: skip
        self.temperature, self.rows, self.log_loss, self.ece = temperature, rows, log_loss, ece
        self.modalities, self.patterns, self.grouped = list(modalities), list(patterns), grouped

    def to_json(self) -> dict[str, Any]:
        """Plain containers; `Calibration(**form)` is `from_json`."""
        return {**vars(self), "patterns": [p._asdict() for p in self.patterns]}

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Calibration":
        """What `to_json` gave."""
        return cls(**{**form, "patterns": [Pattern(**p) for p in form["patterns"]]})

    def limits(self, here_bm: NDArray[np.bool_], coverage: float) -> Array:
        """(B,) the limit of each row's pattern; infinite where the pattern was not met. here_bm: by `modalities`."""
        by_pattern = {frozenset(p.present): p.limit(coverage) for p in self.patterns}
        rows, place = np.unique(here_bm, axis=0, return_inverse=True)
        each = np.array([by_pattern.get(frozenset(pattern_names(self.modalities, row)), np.inf) for row in rows])
        out: Array = each.reshape(-1)[place.reshape(-1)]
        return out


def calibrate(
    learner: Learner, rows: Rows, views: Mapping[str, str], groups: Sequence[Any] | None = None, seed: int = 0
) -> Calibration | None:
    """Find a learner's temperature and scores by rows that it was not fitted on; None where the task isn't "conformal".

    views: the modality that each input is a view of. At most ROWS labelled rows, drawn by the seed, and PATTERNS
    patterns are looked at, and fewer rows of many patterns (ANSWERS); encoders run once, whatever the patterns.
    """
    task = learner.task
    at = np.flatnonzero(rows.labelled())
    if "conformal" not in task.capabilities or not len(at):
        return None
    views = {v: views[v] for v in learner.reads}
    here = presence(rows, views)
    modalities = list(here)
    here_bm = np.stack([*here.values()], axis=1)
    shown_patterns = patterns(modalities, here_bm[at])
    size = min(ROWS, max(1, ANSWERS // len(shown_patterns)))
    at = np.sort(np.random.default_rng(seed).permutation(at)[:size])
    rows, here_bm = rows.take(at.tolist()).only(list(learner.reads)), here_bm[at]
    target = rows.target(range(len(rows)))
    outputs = answers(learner, rows, views, shown_patterns)
    grouped = groups is not None
    t, losses, eces = search_temperature(
        task, outputs[0], target, None if groups is None else [groups[i] for i in at.tolist()]
    )
    lists = []
    for present, logits in zip(shown_patterns, outputs, strict=True):
        fits = torch.from_numpy(here_bm[:, [m in present for m in modalities]].all(1))
        lists.append(pattern(present, task.nonconformity(logits[fits] / t, target.take(fits))))
    return Calibration(t, len(rows), losses, eces, modalities, lists, grouped)


def presence(rows: Rows, views: Mapping[str, str]) -> dict[str, NDArray[np.bool_]]:
    """By modality, (N,) whether any of its views has anything in the row."""
    of = {m: [v for v in views if views[v] == m] for m in dict.fromkeys(views.values())}
    return {m: np.any([rows.inputs[v].present() for v in vs], axis=0) for m, vs in of.items()}


def patterns(modalities: Sequence[str], here_bm: NDArray[np.bool_]) -> list[list[str]]:
    """The patterns of presence to look at, the whole first, at most PATTERNS.

    Of up to ALL modalities they are all; of more, those that lack one, and the commonest of the rows.
    """
    n = len(modalities)
    sizes = range(n, 0, -1) if n <= ALL else (n, n - 1)
    out = [list(p) for k in sizes for p in combinations(modalities, k)]
    if n > ALL:
        rows, counts = np.unique(here_bm, axis=0, return_counts=True)
        common = [pattern_names(modalities, rows[i]) for i in np.argsort(-counts, kind="stable")]
        out += [p for p in common if p and p not in out]
    return out[:PATTERNS]


@torch.inference_mode()
def answers(learner: Learner, rows: Rows, views: Mapping[str, str], subsets: Sequence[Sequence[str]]) -> list[Tensor]:
    """(N, outputs) float32 logits of the rows for each list of modalities in `subsets`, all others being hidden.

    Each cell is looked at once: what is hidden is the cell of an empty row beside the others (`Learner.recombine`).
    """
    device = next((p.device for p in learner.parameters()), torch.device("cpu"))
    learner.eval()
    out: list[list[Tensor]] = [[] for _ in subsets]
    for start in range(0, len(rows), BATCH):
        part = range(start, min(start + BATCH, len(rows)))
        cells: dict[str, list[Tensor | None]] = {v: [*(x[r] for r in part), None] for v, x in rows.inputs.items()}
        answer = learner.recombine({v: rows.codecs[v].collate(c).to(device) for v, c in cells.items()})
        real = torch.arange(len(part))
        empty = torch.full_like(real, len(part))
        for outputs, present in zip(out, subsets, strict=True):
            outputs.append(logits_of(answer({v: real if views[v] in present else empty for v in cells}).cpu()))
    return [torch.cat(parts) for parts in out]


def check(task: Task, calibration: Calibration | None, coverage: float | None, abstain: float | None) -> None:
    """Raises InputError for a coverage or confidence that can't be, or that this model can't give."""
    for option, share in (("--coverage", coverage), ("--abstain", abstain)):
        if share is not None and not 0 < share < 1:
            raise InputError(f"{option} can't be {share!r}; it must be a fraction between 0 and 1, such as 0.9")
        if share is not None and "conformal" not in task.capabilities:
            raise InputError(f"the model writes text, and {option} is for labels and numbers; leave it out")
    if abstain is not None and "abstain" not in task.capabilities:
        raise InputError(
            "a regression has no probability that --abstain could go by; ask for intervals with --coverage, and leave "
            "out the rows whose intervals are too wide"
        )
    if coverage is not None and calibration is None:
        raise InputError(
            "the model has no calibration, which --coverage goes by: it was made by an older polymodal, or otherwise "
            "than by fit; fit it again"
        )
