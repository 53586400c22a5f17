"""The target is a text: a caption, an answer, a transcript, a translation.

cell --references--> texts --encode--> UTF-8 bytes (R, L)      Texts --decode--> texts

A reference travels as text, not as ids, so that words which the vocabulary lacks still count when it is scored.

Axes: b row, r reference of a row, l byte, n reference of the batch, t word, v word of the vocabulary.
"""

import copy
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.output import Output, texts_of
from polymodal.sentences import fingerprint, scores
from polymodal.tasks.base import Capability, Extreme, Task
from polymodal.tasks.labels import is_json_list, missing
from polymodal.tasks.vocabulary import Vocabulary, WordList

CHARACTERS = 64  # read of a text for each word that is written at most: a cell of 10 MB costs no more than a page
MEASURES = ("cider_d", "bleu_4", "meteor_exact_stem", "rouge_l", "chrf", "exact_match", "wer", "cer")


class Generation(Task):
    """Text as the target, with one or more references a row.

    vocabulary: what a text is made of. limit: the longest text that is learned and written, in words of the vocabulary;
    longer references are cut there. measure: the metric of early stopping, one of `MEASURES`. smoothing: share of the
    probability that the loss spreads over all words (Szegedy et al. 2016).
    """

    name: ClassVar[str] = "generate"
    objective: ClassVar[str] = "write"
    link: ClassVar[str] = "softmax"
    whole: ClassVar[frozenset[str]] = frozenset({"distinct_1", "distinct_2", "vocabulary"})
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"decode"})

    def __init__(
        self,
        vocabulary: Vocabulary | None = None,
        limit: int = 64,
        measure: str = "cider_d",
        smoothing: float = 0.1,
    ) -> None:
        self.vocabulary = WordList() if vocabulary is None else vocabulary
        self.limit, self.measure, self.smoothing = limit, measure, smoothing
        self.longest_ = limit
        self.cut_ = 0
        self.seen_: list[int] = []

    def fit(self, cells: Iterable[Any]) -> Self:
        """Learn the vocabulary, the length of the longest text (`longest_`, the end included), how many references were
        cut (`cut_`), and keys of all texts, by which new ones are known to be new (`seen_`)."""
        cells = list(cells)
        texts = [t for cell in cells for t in self._references(cell)]
        if not texts:
            raise InputError(
                f"none of the {len(cells):,} rows has a text in the target, so there is nothing to learn to write; "
                "name another target column"
            )
        self.vocabulary.fit(texts)
        self._measure(texts)
        self.seen_ = sorted({fingerprint(t) for t in texts})
        return self

    def adopting(self, other: Task, cells: Iterable[Any]) -> Self:
        """The same task with another's vocabulary, where both are of one kind and it is no pretrained network's.

        cells: of training, by whose texts lengths are measured anew.
        """
        if not isinstance(other, Generation) or self.vocabulary.pretrained:
            return self
        if type(self.vocabulary) is not type(other.vocabulary):
            return self
        out = copy.deepcopy(self)
        out.vocabulary = copy.deepcopy(other.vocabulary)
        out._measure([t for c in cells for t in references(c)])
        return out

    def _measure(self, texts: Sequence[str]) -> None:
        lengths = [len(self.vocabulary.ids(t)) for t in texts]
        self.cut_, self.longest_ = sum(n > self.limit for n in lengths), min(self.limit, max(lengths)) + 1

    @property
    def outputs(self) -> int:
        """How many ids the vocabulary has."""
        return self.vocabulary.size

    def encode(self, cell: Any) -> Tensor | None:
        """uint8 (R, L): each reference in UTF-8, NFC, filled with 0; None where there is no text."""
        rows = [np.frombuffer(t.encode("utf-8", "replace"), dtype=np.uint8) for t in self._references(cell)]
        if not rows:
            return None
        out = np.zeros((len(rows), max(map(len, rows))), dtype=np.uint8)
        for line, row in zip(out, rows, strict=True):
            line[: len(row)] = row
        return torch.from_numpy(out)

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """uint8 (B, R, L) and the (B, R, L) mask."""
        there = [c for c in cells if c is not None]
        r, length = (max((c.shape[i] for c in there), default=1) for i in (0, 1))
        values = torch.zeros(len(cells), r, length, dtype=torch.uint8)
        for i, c in enumerate(cells):
            if c is not None:
                values[i, : c.shape[0], : c.shape[1]] = c
        return Masked(values, values > 0)

    def numbers_of(self, cell: Any) -> list[float]:
        """How many references it has."""
        return [float(len(references(cell)))]

    def texts(self, target: Masked) -> list[list[str]]:
        """The references of each row; an empty list where there is none."""
        rows = []
        for row, real in zip(target.values.cpu().numpy(), target.mask.cpu().numpy(), strict=True):
            rows.append([x[m].tobytes().decode() for x, m in zip(row, real, strict=True) if m.any()])
        return rows

    def captions(self, target: Masked) -> tuple[Tensor, Masked]:
        """Every reference as ids, the mark of the end included: the row (N,) that each belongs to, and ids (N, T)."""
        rows, out = [], []
        for i, texts in enumerate(self.texts(target)):
            for text in texts:
                rows.append(i)
                out.append([*self.vocabulary.ids(text)[: self.longest_ - 1], self.vocabulary.end])
        values = torch.full((len(out), max(map(len, out), default=1)), self.vocabulary.end)
        mask = torch.zeros(values.shape, dtype=torch.bool)
        for i, ids in enumerate(out):
            values[i, : len(ids)] = torch.tensor(ids)
            mask[i, : len(ids)] = True
        device = target.values.device
        return torch.tensor(rows, dtype=torch.int64, device=device), Masked(values, mask).to(device)

    def loss(self, logits: Tensor, target: Masked) -> Tensor:
        """Mean cross-entropy with smoothed labels over real words: logits (N, V), ids (N,)."""
        keep = target.mask
        if not keep.any():
            return torch.where(keep[:, None], logits, 0).sum()
        ids = target.values
        if not keep.all():  # a copy of all logits costs as much as a tenth of the step
            logits, ids = logits[keep], ids[keep]
        return cross_entropy(logits, ids, label_smoothing=self.smoothing)

    def answers(self, target: Masked) -> NDArray[Any]:
        """Texts are no classes: raises InputError."""
        raise InputError("estimators on features can't write text; leave --fusion=features out to train a network")

    def written(self, ids: Tensor) -> list[str]:
        """Text of each row of ids (B, T), up to the mark of the end."""
        end = self.vocabulary.end
        return [self.vocabulary.text(row[: row.index(end)] if end in row else row) for row in ids.tolist()]

    def decode(self, output: Output) -> Mapping[str, Sequence[Any]]:
        """Of each text, the best first, the words and their log-probability: "prediction", "log_probability",
        "prediction_2" ..."""
        columns, out = texts_of(output), dict[str, Sequence[Any]]()
        for n in range(columns.ids.shape[1]):
            end = f"_{n + 1}" if n else ""
            out["prediction" + end] = self.written(columns.ids[:, n])
            out["log_probability" + end] = [round(x, 4) for x in columns.logprob[:, n].tolist()]
        return out

    def scores(self, output: Output, target: Masked, weights: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
        """Scores of the best text of each row against its references: see `sentences.scores`."""
        keep = target.present()
        references = self.texts(target.take(keep))
        here = weights[:, keep.cpu().numpy()]
        return {**scores(self.written(texts_of(output).take(keep).best), references, here, training=self._seen())}

    @property
    def measures(self) -> Sequence[str]:
        """See `sentences.scores`."""
        return MEASURES

    @property
    def usual_measure(self) -> str:
        """Of captions; transcripts and answers are made with others."""
        return "cider_d"

    def extremes(self, output: Output, target: Masked) -> tuple[list[Extreme], list[str]]:
        """By the metric of the row alone."""
        name, higher = self.metric
        value = self.score(output, target, np.eye(output.rows))
        order = np.where(np.isnan(value), -np.inf, value if higher else -value)
        most, least = ("greatest", "least") if higher else ("least", "greatest")
        every = np.ones(output.rows, bool)
        return [
            Extreme("Best", f"The {most} {name} of all.", -order, every),
            Extreme("Worst, and most surprising", f"The {least} {name} of all.", order, every),
        ], [f"{name} of this row alone: {v:.3f}." for v in value]

    def _references(self, cell: Any) -> list[str]:
        return [t[: CHARACTERS * self.limit] for t in references(cell)]

    def _seen(self) -> frozenset[int]:
        cache: tuple[list[int], frozenset[int]] | None = getattr(self, "_known", None)
        if cache is None or cache[0] is not self.seen_:
            cache = self._known = (self.seen_, frozenset(self.seen_))
        return cache[1]


def references(cell: Any) -> list[str]:
    """The texts of a target cell: one text, a list of them, a JSON list, or a mapping of columns; blank ones are none.

    >>> references('["a cat", "one cat "]'), references({"caption_0": "a cat", "caption_1": None})
    (['a cat', 'one cat'], ['a cat'])
    """
    if isinstance(cell, Mapping):
        cell = list(cell.values())
    if is_json_list(cell):
        try:
            cell = json.loads(cell)
        except ValueError:
            pass
    if isinstance(cell, list | tuple | np.ndarray):
        return [t for part in cell for t in references(part)]
    text = "" if missing(cell) else unicodedata.normalize("NFC", str(cell)).replace("\0", "").strip()
    return [text] if text else []
