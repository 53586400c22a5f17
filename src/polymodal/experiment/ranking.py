"""How candidates rank after a comparison: scores a fold, tests, and what the modalities have to do together."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked, Weighted
from polymodal.data.preprocess import Rows, weights_of
from polymodal.data.splits import own
from polymodal.evaluate.compare import BASELINES
from polymodal.evaluate.emap import cost, emap
from polymodal.evaluate.information import information
from polymodal.evaluate.leaderboard import SINGLE, Entry, Leaderboard, leaderboard
from polymodal.evaluate.significance import PairedTest, paired_bootstrap
from polymodal.experiment.compare import Run
from polymodal.experiment.parts import INNER, Fold, Part
from polymodal.learners.base import Learner
from polymodal.output import Scores, logits_of

SAMPLE = 64  # rows that the additive projection is made of


def standing(run: Run) -> Leaderboard:
    """Scores a fold, tests against the best single modality and concat, and what the modalities have to do together.

    Differences are tested by the corrected resampled t-test over folds, or, where rows come in groups, by the bootstrap
    over groups of the out-of-fold answers. Candidates that were dropped stand with the folds that they have; those that
    a time limit left without some are named, not ranked.
    The additive projection is of the best fused candidate, trained once more on the first fold.
    """
    task, n = run.problem.task, len(run.folds)
    cells = run.problem.cells(run.problem.table)
    rows = sorted({i for f in run.folds for i in f.test})
    place = {row: i for i, row in enumerate(rows)}
    weight = weights_of(run.problem.table, run.problem.schema)
    target = task.collate([task.encode(cells[i]) for i in rows])
    target = target if weight is None else Weighted(*target, weight[rows])
    whole = {name: parts for name, parts in run.parts.items() if len(parts) == n}
    answers = {name: _answers(run.folds, parts, place, task.outputs) for name, parts in whole.items()}
    ranked = {name: parts for name, parts in run.parts.items() if name in whole or name in run.dropped}
    entries = [_entry(run, name, parts, target, place) for name, parts in ranked.items()]
    groups = run.problem.groups(run.problem.table)
    of = None if groups is None else [groups[i] for i in rows]
    metric = task.metric

    def pair(a: str, b: str) -> PairedTest:
        return paired_bootstrap(task, [*map(Scores, answers[a])], [*map(Scores, answers[b])], target, metric.name, of)

    n_tested = sum(len(f.test) for f in run.folds)
    # networks are fitted on the part of the training rows that does not choose their epoch
    share = n_tested / (n_tested + (1 - INNER) * sum(len(f.train) for f in run.folds))
    more: dict[str, Any] = {"left_out": run.left_out}
    if of is not None:
        more |= {"pair_test": pair, "method": "bootstrap over groups", "groups": len(set(own(of)))}
    out = leaderboard(metric.name, metric.higher, entries, share, len(rows), **more)
    if rare := _rare(run, cells):
        out = out._replace(verdict=f"{out.verdict} {rare}")
    finished = [e for e in out.entries if not e.dropped]
    best_fused = next((e for e in finished if e.fused), None)
    if best_fused is None:
        return out
    single = [e for e in reversed(finished) if e.family == SINGLE]
    alone = {e.modalities[0]: torch.stack(answers[e.name]).mean(0) for e in single}
    if set(alone) == set(run.problem.schema.modalities()):  # with one missing, the others would get its part
        together = torch.stack(answers[best_fused.name]).mean(0)
        out = out._replace(information=information(task, target, alone, together, of))
    learner, test, views = run.again(whole[best_fused.name][0])
    modalities = list(dict.fromkeys(views[v] for v in learner.reads))
    if len(modalities) < 2:
        return out
    sample = np.random.default_rng(0).permutation(len(test))[:SAMPLE].tolist()
    projection = emap(recombine(learner, test.take(sample), views), len(sample), modalities, SAMPLE)
    at = torch.tensor([place[run.folds[0].test[sample[r]]] for r in projection.rows])
    those = None if of is None else [of[i] for i in at.tolist()]
    return out._replace(emap=cost(best_fused.name, task, projection, target.take(at), those))


def _rare(run: Run, cells: Sequence[Any]) -> str:
    """Which labels are too few for the folds, in words."""
    strata = run.problem.task.strata(cells) or []
    k = run.settings["folds"]
    few = {label: n for label, n in Counter(s for s in strata if s is not None).items() if n < k}
    examples = ", ".join(f"{label} ({n})" for label, n in list(few.items())[:5]) + (" ..." if len(few) > 5 else "")
    return f"Labels with fewer rows than there are folds are tested in some of them only: {examples}." if few else ""


def recombine(
    learner: Learner, rows: Rows, views: Mapping[str, str]
) -> Callable[[Mapping[str, Sequence[int]]], Tensor]:
    """A function from places among the rows, chosen for each modality apart, to the logits of what they make."""
    device = next((p.device for p in learner.parameters()), torch.device("cpu"))
    batch = rows.only(learner.reads).batch(range(len(rows))).to(device)
    with torch.no_grad():
        answer = learner.recombine(batch.inputs)

    @torch.no_grad()
    def logits(at: Mapping[str, Sequence[int]]) -> Tensor:
        return logits_of(answer({v: torch.tensor(at[views[v]]) for v in learner.reads}).cpu())

    return logits


def _answers(folds: Sequence[Fold], parts: Mapping[int, Part], place: Mapping[int, int], outputs: int) -> list[Tensor]:
    """(N, outputs) out-of-fold logits of each repeat."""
    out = [torch.zeros(len(place), outputs) for _ in range(folds[-1].repeat + 1)]
    for i, fold in enumerate(folds):
        out[fold.repeat][torch.tensor([place[row] for row in fold.test])] = parts[i].logits
    return out


def _entry(run: Run, name: str, parts: Mapping[int, Part], target: Masked, place: Mapping[int, int]) -> Entry:
    task, first = run.problem.task, next(iter(parts.values()))
    scores: list[list[float]] = [[] for _ in range(run.folds[-1].repeat + 1)]
    for i, fold in enumerate(run.folds):
        value = math.nan
        if i in parts:
            truth = target.take(torch.tensor([place[row] for row in fold.test]))
            value = task.scores(Scores(parts[i].logits), truth, np.ones((1, len(fold.test))))[task.metric.name][0]
        scores[fold.repeat].append(float(value))
    behind = run.dropped.get(name)
    peaks = [p.memory_mb for p in parts.values() if p.memory_mb is not None]
    return Entry(
        name,
        first.family,
        first.family not in (SINGLE, *BASELINES),
        list(dict.fromkeys(m for p in parts.values() for m in p.modalities)),
        scores,
        first.parameters or None,
        None if first.family in BASELINES else sum(p.seconds for p in parts.values()) / len(parts),
        max(peaks) if peaks else None,
        first.note,
        behind.describe() if behind else "",
    )
