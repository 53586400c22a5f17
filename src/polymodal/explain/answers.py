"""What of an answer is explained: a number a row, made of the logits.

Axes: n row, k output that can be explained.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from polymodal.errors import InputError
from polymodal.learners.base import Learner
from polymodal.tasks.base import Task
from polymodal.tasks.classify import Labelled, MultiLabel, numpy
from polymodal.tasks.labels import key, listed
from polymodal.tasks.ordinal import Ordinal
from polymodal.tasks.regress import Regression

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SMALL = 1e-9  # a change of the answer that is none
RANK = "expected rank"  # of ordinal labels, the least of which has rank 1


def names(task: Task) -> list[str]:
    """Names of the K numbers of an answer: labels; the expected rank and then labels; or targets.

    Raises InputError for a task whose answer is a text.
    """
    if isinstance(task, Ordinal):
        return [RANK, *map(key, task.labels_)]
    if isinstance(task, Labelled | MultiLabel):
        return [key(label) for label in task.labels_]
    if isinstance(task, Regression):
        return ["the value"] if task.columns is None else list(task.columns)
    raise InputError(f"an answer of the task {task.name} is no number; only models that answer are explained so")


def values(task: Task, logits: Tensor) -> Floats:
    """(N, outputs) logits -> (N, K): the probability of each label, or each target in its own unit.

    Of ordered labels the first is the expected rank, 1 + sum over k of P(y > k), and the others are probabilities.
    """
    columns = task.decode(logits)
    if isinstance(task, Regression):
        return np.array([columns[c] for c in columns], dtype=np.float64).T.reshape(len(logits), -1)
    assert isinstance(task, Labelled | MultiLabel)
    p_nk = np.array([columns[f"probability[{x}]"] for x in task.labels_], dtype=np.float64).T.reshape(len(logits), -1)
    if not isinstance(task, Ordinal):
        return p_nk
    rank_n = p_nk @ np.arange(1.0, len(task.labels_) + 1)
    return np.concatenate([rank_n[:, None], p_nk], axis=1)


def chosen(task: Task, logits: Tensor, output: str | None = None) -> Ints:
    """(N,) which of the K numbers is explained of each row: the asked one, or the row's own.

    That is the predicted label, of several labels the likeliest, of ordered labels the expected rank, and of several
    targets the first. Raises InputError for an output that there is not, naming those that there are.
    """
    if output is not None:
        return np.full(len(logits), position(task, output))
    if isinstance(task, Labelled) and not isinstance(task, Ordinal):
        return numpy(task.classes(logits)).astype(np.int64)
    if isinstance(task, MultiLabel):
        return np.asarray(values(task, logits).argmax(1), dtype=np.int64)
    return np.zeros(len(logits), dtype=np.int64)


@contextmanager
def answering(learner: Learner) -> Iterator[None]:
    """Without dropout, and as it was before afterwards."""
    was = learner.training
    learner.eval()
    try:
        yield
    finally:
        learner.train(was)


def position(task: Task, output: str) -> int:
    """The place of an output among `names`. Raises InputError for one that there is not."""
    there = names(task)
    wanted = key(output.strip() if isinstance(output, str) else output)
    if wanted in there:
        return there.index(wanted)
    if isinstance(task, Regression) and task.columns is None:
        raise InputError(f"the model answers with one number, so there is no class {output!r} to explain; leave it out")
    raise InputError(f"the model has no class {output!r}; it has: {listed(there)}")


def unit(task: Task, output: str) -> str:
    """What a number that is explained is, for a reader."""
    if isinstance(task, Regression):
        return "the predicted value" if task.columns is None else f"the predicted {output}"
    return "the expected rank" if isinstance(task, Ordinal) and output == RANK else f"the probability of {output}"


def truth(task: Task, cell: Any) -> str | None:
    """A label as a reader writes it; None where it is missing."""
    if isinstance(cell, list | tuple | set):
        return ", ".join(map(str, cell))
    try:
        return None if task.encode(cell) is None else str(cell).strip()
    except InputError:
        return str(cell).strip()  # one that training never saw is shown all the same


# --- numbers in words ---------------------------------------------------------------------------------


def figure(x: Any) -> str:
    """A number in four places, or what it is.

    >>> figure(0.25), figure(1234567.0), figure("red")
    ('0.25', '1.235e+06', 'red')
    """
    return f"{x:.4g}" if isinstance(x, float) else str(x)


def signed(x: float) -> str:
    """A change of the answer, with its sign.

    >>> signed(0.25), signed(-1e-12), signed(float("nan"))
    ('+0.250', '0.000', 'unknown')
    """
    if x != x:
        return "unknown"
    size = max(3, 3 - int(np.floor(np.log10(abs(x))))) if SMALL < abs(x) < 0.001 else 3
    return "0.000" if abs(x) <= SMALL else f"{x:+.{min(size, 6)}f}" if abs(x) < 1000 else f"{x:+.4g}"
