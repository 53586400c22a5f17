"""What a learner gives for the rows of a batch: nothing else passes between a learner and the rest.

    Output = Scores | Texts | Points

The union is closed: whoever reads an output knows each member. To add one, write a small NamedTuple here with the
methods that these have, name it in `Output`, `cat` and `output_of`, and let the task that reads it take it apart.

Axes: b row, n text of a row, t word.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class Scores(NamedTuple):
    """A number for each output of a task. values: (B, outputs) logits."""

    values: Tensor

    @property
    def rows(self) -> int:
        """How many rows it is of."""
        return len(self.values)

    def take(self, rows: Tensor) -> "Scores":
        """The rows at these positions (or under this mask), in this order."""
        return Scores(self.values[rows.to(self.values.device)])

    def cpu(self) -> "Scores":
        """As it is kept: on the CPU, in float32."""
        return Scores(self.values.cpu().float())

    def tensors(self) -> dict[str, Tensor]:
        """What `output_of` reads."""
        return {"values": self.values}


class Texts(NamedTuple):
    """Texts of each row, the best first.

    ids: (B, N, T) int64 of words, without the mark of the beginning, filled with `end`. logprob: (B, N) sum of the
    log-probabilities of a text's words and of its end; -inf, with no word, where a row has fewer texts than N. end: the
    id of the mark of the end.
    """

    ids: Tensor
    logprob: Tensor
    end: int

    @property
    def rows(self) -> int:
        """How many rows it is of."""
        return len(self.ids)

    @property
    def best(self) -> Tensor:
        """(B, T) ids of the best text of each row."""
        return self.ids[:, 0]

    def take(self, rows: Tensor) -> "Texts":
        """The rows at these positions (or under this mask), in this order."""
        rows = rows.to(self.ids.device)
        return Texts(self.ids[rows], self.logprob[rows], self.end)

    def cpu(self) -> "Texts":
        """As it is kept: on the CPU, log-probabilities in float32."""
        return Texts(self.ids.cpu(), self.logprob.cpu().float(), self.end)

    def tensors(self) -> dict[str, Tensor]:
        """What `output_of` reads."""
        return {"ids": self.ids, "logprob": self.logprob, "end": torch.tensor(self.end)}

    @classmethod
    def joined(cls, parts: Sequence["Texts"]) -> "Texts":
        """The rows of all parts, one part after another, as long as the longest."""
        longest, end = max(p.ids.shape[2] for p in parts), parts[0].end
        ids = [pad(p.ids, (0, longest - p.ids.shape[2]), value=end) for p in parts]
        return cls(torch.cat(ids), torch.cat([p.logprob for p in parts]), end)


class Points(NamedTuple):
    """A point of one space for each modality. values: (B, M, D), 0 where a modality is absent. present: (B, M) bool."""

    values: Tensor
    present: Tensor

    @property
    def rows(self) -> int:
        """How many rows it is of."""
        return len(self.values)

    def take(self, rows: Tensor) -> "Points":
        """The rows at these positions (or under this mask), in this order."""
        rows = rows.to(self.values.device)
        return Points(self.values[rows], self.present[rows])

    def cpu(self) -> "Points":
        """As it is kept: on the CPU, in float32."""
        return Points(self.values.cpu().float(), self.present.cpu())

    def tensors(self) -> dict[str, Tensor]:
        """What `output_of` reads."""
        return {"values": self.values, "present": self.present}


Output = Scores | Texts | Points


def cat(parts: Sequence[Output]) -> Output:
    """The rows of outputs of one kind, one part after another. Raises TypeError for parts of several kinds."""
    if isinstance(parts[0], Texts):
        return Texts.joined([texts_of(p) for p in parts])
    if isinstance(parts[0], Points):
        points = [points_of(p) for p in parts]
        return Points(torch.cat([p.values for p in points]), torch.cat([p.present for p in points]))
    return Scores(torch.cat([logits_of(p) for p in parts]))


def logits_of(output: Output) -> Tensor:
    """(B, outputs) of an output that is scores. Raises TypeError for another."""
    if not isinstance(output, Scores):
        raise TypeError(f"logits were expected and {type(output).__name__} came: only labels and numbers have logits")
    return output.values


def texts_of(output: Output) -> Texts:
    """An output that is texts. Raises TypeError for another."""
    if not isinstance(output, Texts):
        raise TypeError(f"texts were expected and {type(output).__name__} came: only a model that writes gives texts")
    return output


def points_of(output: Output) -> Points:
    """An output that is points. Raises TypeError for another."""
    if not isinstance(output, Points):
        raise TypeError(f"points were expected and {type(output).__name__} came: only an aligned model gives points")
    return output


def output_of(tensors: Mapping[str, Tensor]) -> Output:
    """The output whose `tensors` these are."""
    if "present" in tensors:
        return Points(tensors["values"], tensors["present"])
    if "values" in tensors:
        return Scores(tensors["values"])
    return Texts(tensors["ids"], tensors["logprob"], int(tensors["end"]))
