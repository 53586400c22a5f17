"""A model on rows that were spoiled: what it answers, how that is scored, and whether the difference is noise.

Axes: n row, m modality, r bootstrap sample.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from polymodal.batch import Masked
from polymodal.data.encode import encode
from polymodal.data.preprocess import Rows
from polymodal.data.table import Table
from polymodal.errors import Unreadable
from polymodal.evaluate.intervals import Interval, weights
from polymodal.modalities import MODALITIES
from polymodal.modalities.noise import Noise
from polymodal.model import Model
from polymodal.output import Output, cat
from polymodal.robustness.noise import rng_of
from polymodal.tasks.base import Task

Bools = NDArray[np.bool_]

EXACT = 6  # modalities of which every subset is tried, and its answers are kept
MEMORY = 256 << 20  # bytes of decoded cells that are kept, so that they are decoded once
COUNTS = 2**24  # counts of bootstrap samples that are kept between scores


class Sample(NamedTuple):
    """A score on all rows, and on each bootstrap sample (R,)."""

    value: float
    draws: NDArray[np.float64]


class Scorer:
    """The task's metric on one set of rows, always on the same bootstrap samples, so that differences are paired."""

    def __init__(self, task: Task, target: Masked, groups: Sequence[Any] | None, replicates: int = 1000) -> None:
        self.task, self.target, self.metric = task, target, task.metric
        self.rows, self.groups, self.replicates = len(target.mask), groups, replicates
        small = self.rows * replicates <= COUNTS
        self._drawn = list(weights(self.rows, replicates, groups)) if small else []

    def sample(self, output: Output) -> Sample:
        """The metric on all rows and on each sample."""
        order = self._drawn or weights(self.rows, self.replicates, self.groups)
        draws = [self.task.score(output, self.target, w) for w in order]
        return Sample(self.value(output), np.concatenate([np.zeros(0), *draws]))

    def value(self, output: Output) -> float:
        """The metric on all rows."""
        return float(self.task.score(output, self.target, np.ones((1, self.rows)))[0])

    def loss(self, sample: Sample, clean: Sample) -> Interval:
        """How much worse than clean, paired: positive is worse, whichever way the metric runs."""
        sign = 1.0 if self.metric.higher else -1.0
        return interval(Sample(sign * (clean.value - sample.value), sign * (clean.draws - sample.draws)))


def interval(sample: Sample) -> Interval:
    """The score and the ends of its 95% percentile interval, NaN where no sample has the score."""
    values = sample.draws[~np.isnan(sample.draws)]
    low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
    return Interval(sample.value, float(low), float(high))


def mean(samples: Sequence[Sample]) -> Sample:
    """The mean score over repetitions, and its bootstrap samples: those of equal rows are averaged."""
    return Sample(float(np.mean([s.value for s in samples])), np.mean([s.draws for s in samples], axis=0))


class Reader:
    """A model and the rows that it reads: clean, with cells hidden, with cells of a modality exchanged."""

    def __init__(self, model: Model, table: Table, cache: Path | None, quiet: bool) -> None:
        self.model, self.table = model, table
        self.rows = model.preprocessor.encode(table, model.task, cache=cache, need_target=True, quiet=quiet)
        self.modalities = model.modalities
        self.here: Bools = model.scorer.present(self.rows)  # (N, M) which modality each row has
        self._patterns: dict[tuple[bool, ...], Output] = {}

    def views(self, modality: str) -> list[str]:
        """The views of a modality."""
        return [v for v, m in self.model.preprocessor.views.items() if m == modality]

    def pattern(self, keep: tuple[bool, ...]) -> Output:
        """Answers of all rows with these modalities alone; each pattern is asked for once."""
        if keep not in self._patterns:
            self._patterns[keep] = self._hidden(self.rows, keep)
        return self._patterns[keep]

    def mixed(self, keep_nm: Bools) -> Output:
        """Answers where row n keeps modality m if ``keep_nm[n, m]``.

        Rows never see each other, so that a row's answer is decided by its own pattern; of few modalities the answers
        of all rows to each pattern are kept.
        """
        patterns, of_n = np.unique(keep_nm, axis=0, return_inverse=True)
        rows = [np.flatnonzero(of_n.reshape(-1) == i) for i in range(len(patterns))]
        parts = []
        for keep, own in zip(map(tuple, patterns.tolist()), rows, strict=True):
            few = len(keep) <= EXACT
            parts.append(
                self.pattern(keep).take(torch.from_numpy(own))
                if few
                else self._hidden(self.rows.take(own.tolist()), keep)
            )
        return cat(parts).take(torch.from_numpy(np.argsort(np.concatenate(rows))))

    def _hidden(self, rows: Rows, keep: Sequence[bool]) -> Output:
        away = [m for m, k in zip(self.modalities, keep, strict=True) if not k]
        return self.model.outputs(rows.hidden({v: np.ones(len(rows), dtype=bool) for m in away for v in self.views(m)}))

    def moved(self, modality: str, places: NDArray[np.intp]) -> Output:
        """Answers where row n has the modality of row ``places[n]``."""
        taken = {v: self.rows.inputs[v].take(places.tolist()) for v in self.views(modality)}
        return self.model.outputs(self._with(taken))

    def changed(self, modality: str, cells: Callable[[list[Any]], Iterator[Any]]) -> Output:
        """Answers where a modality's cells are ``cells(clean ones)``; what was absent or unreadable stays so."""
        prep, taken = self.model.preprocessor, {}
        for v in self.views(modality):
            clean = self.rows.inputs[v]
            # made as they are read: noisy pictures of a whole table would fill the memory
            out, _ = encode(cells(self.cells(modality, v)), prep.codecs[v])  # type: ignore[arg-type]
            taken[v] = out.hidden(~clean.present())
        return self.model.outputs(self._with(taken))

    def _with(self, taken: Mapping[str, Any]) -> Rows:
        return self.rows.replaced({**self.rows.inputs, **taken})

    def cells(self, modality: str, view: str | None = None) -> list[Any]:
        """The cells of a modality as a view's codec takes them."""
        prep = self.model.preprocessor
        return prep.schema.cells(self.table, modality, prep.codecs[view or self.views(modality)[0]].takes_files)


class Source:
    """The cells of one modality, decoded, and what noise may know beside them."""

    def __init__(self, reader: Reader, modality: str) -> None:
        self.modality = modality
        self.noise = MODALITIES[reader.model.preprocessor.schema.modalities()[modality][0]].noise
        self.cells = reader.cells(modality)
        self.numbers = reader.rows.numbers
        self._decoded: dict[int, Any] = {}
        self._bytes = 0
        codecs = [reader.model.preprocessor.codecs[v] for v in reader.views(modality)]
        self.context = None if self.noise is None else self.noise.context(codecs, self._some)

    def decoded(self, i: int) -> Any:
        """The decoded cell of row i; None where it is absent or can't be read."""
        if i not in self._decoded:
            cells = self._open(self.cells[i])
            if self._bytes > MEMORY:
                return cells
            self._decoded[i] = cells
            self._bytes += _weight(cells)
        return self._decoded[i]

    def _open(self, cell: Any) -> Any:
        try:
            return None if cell is None or self.noise is None else self.noise.open(cell)
        except Unreadable:
            return None

    def noisy(self, name: str, noise: Noise, severity: float, seed: int, clean: Sequence[Any]) -> Iterator[Any]:
        """Each row's cell with noise; the clean one where there is nothing to spoil. Of a table only the columns that
        the clean cells have."""
        for i, (number, cell) in enumerate(zip(self.numbers, clean, strict=True)):
            x = None if cell is None else self.decoded(i)
            if x is None:
                yield cell
                continue
            cells = noise.apply(x, severity, rng_of(seed, number, self.modality, name), self.context, i)
            yield {c: cells.get(c, v) for c, v in cell.items()} if isinstance(cell, Mapping) else cells

    def _some(self, count: int) -> Iterator[tuple[int, Any]]:
        """At most so many decoded cells, evenly spread over the rows."""
        rows = [i for i, c in enumerate(self.cells) if c is not None]
        for i in rows[:: -(-len(rows) // count) or 1]:
            if (x := self.decoded(i)) is not None:
                yield i, x


def _weight(x: Any) -> int:
    """About how many bytes a decoded cell has."""
    if isinstance(x, Image.Image):
        return 3 * x.width * x.height
    array = x[0] if isinstance(x, tuple) else x
    return array.nbytes if isinstance(array, np.ndarray) else 200
