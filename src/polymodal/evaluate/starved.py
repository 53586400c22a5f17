"""Is a modality starved in joint training? From its learning curve beside the one that it has when trained alone.

A modality is starved where the joint training has stopped improving while the modality's own head, inside the joint
model, is still below what the modality reaches when trained alone: another one, learned sooner, has taken away the
error that it would have learned from (Wang, Tran & Feiszli 2020; Peng et al. 2022).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from polymodal.tasks.base import Metric

MARGIN = 0.05  # of what is reached alone: a smaller gap is no starvation
QUIET = 0.25  # of the epochs without a better one: the training has stopped improving


def curves(history: Sequence[Mapping[str, Any]], metric: Metric) -> dict[str, list[float]]:
    """The metric of each modality's own head after each epoch."""
    out: dict[str, list[float]] = {}
    for line in history:
        for m, own in line.get("unimodal", {}).items():
            if metric.name in own:
                out.setdefault(m, []).append(own[metric.name])
    return out


def starved(history: Sequence[Mapping[str, Any]], metric: Metric, apart: Mapping[str, float]) -> str:
    """One sentence on which modality is starved, if any.

    history: of a learner with heads of their own, as `Trained.history` has it. apart: the score of each modality that
    was trained alone, on the same rows. Compared is the head's score in the joint model's best epoch (the one that is
    kept). "" where the history has no such heads, or nothing to compare them with.
    """
    lines = {m: line for m, line in curves(history, metric).items() if m in apart and len(line) == len(history)}
    if not lines or not history:
        return ""
    sign = 1 if metric.higher else -1
    joint = [sign * line[metric.name] for line in history]
    best = joint.index(max(joint))
    quiet = len(history) - 1 - best >= max(1, QUIET * len(history))
    gap = {m: sign * (apart[m] - line[best]) / max(abs(apart[m]), 1e-12) for m, line in lines.items()}
    worst = max(gap, key=lambda m: gap[m])
    at = (
        f"in the best epoch, {best + 1} of {len(history)}, its own head has {metric.name} {lines[worst][best]:.3f}, "
        f"and {apart[worst]:.3f} when it is trained alone"
    )
    if gap[worst] <= MARGIN:
        return f"No modality is starved: the nearest to it is {worst!r}; {at}."
    if not quiet:
        return f"{worst!r} lags behind in joint training, which was still improving when it ended: {at}."
    return f"{worst!r} is starved in joint training, which has stopped improving: {at}; see --balance."
