"""A series by its shape: its readings at evenly spaced times, and how often small patterns occur in it.

    (T, C), NaN in gaps --Windows--> (C, L) readings
    (T, C) --MiniRocket--> the same, and of many dilated kernels the share of times at which one answers above a bias

Axes: n cell, c channel, l place in time, k kernel.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, groupby
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv1d

from polymodal.modalities import functionals as over_time
from polymodal.modalities.extractor import Extractor, Record
from polymodal.modalities.series.features import readings

TAPS = 9  # readings that a kernel sees
KERNELS = list(combinations(range(TAPS), 3))  # the places of weight 2, all others having -1
WEIGHTS = torch.tensor([[2.0 if i in places else -1.0 for i in range(TAPS)] for places in KERNELS])
TIE = 1e-5  # by which an answer is above a bias at least: on a straight stretch all are 0 but for rounding
ROWS = 64  # series that are looked at together


class Resampled(Extractor):
    """What `Windows` and `MiniRocket` share: a record (C, L), readings at L evenly spaced times by straight lines."""

    kind: ClassVar[str] = "series"
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True
    length: int
    channels_: int

    def read(self, cell: Any) -> Record | None:
        """float32 (C, L), NaN in a channel of gaps alone. Raises Unreadable for what is no series of numbers."""
        x_tc = None if cell is None else readings(cell)
        if x_tc is None:
            return None
        x_tc = over_time.fill(x_tc)
        at = np.linspace(0, len(x_tc) - 1, self.length)
        columns = [np.interp(at, np.arange(len(x_tc)), x) for x in x_tc.T]
        return over_time.record(np.stack(columns)).reshape(x_tc.shape[1], self.length)

    def _width(self, records: Sequence[Record | None]) -> int:
        """The commonest number of channels; of two as common the larger. 1 where there is no record."""
        counts = Counter(len(r) for r in records if r is not None)
        return max(counts, key=lambda c: (counts[c], c), default=1)

    def _aligned(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, channels_, L), NaN where a cell or a channel is missing."""
        out = np.full((len(records), self.channels_, self.length), np.nan, dtype=np.float32)
        for row, record in zip(out, records, strict=True):
            if record is not None:
                row[: len(record)] = record[: self.channels_]
        return out


class Windows(Resampled):
    """The readings themselves, at `length` evenly spaced times of each channel."""

    def __init__(self, length: int = 32) -> None:
        self.length = length

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Find `channels_`, the commonest number."""
        self.channels_ = self._width(records)
        return self

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, channels_ * L)."""
        return self._aligned(records).reshape(len(records), self.channels_ * self.length)

    def names(self) -> list[str]:
        """ "channel_1_at_0.00" ..., the place in time from 0 to 1."""
        places = np.linspace(0, 1, self.length)
        return [f"channel_{c + 1}_at_{p:.3f}" for c in range(self.channels_) for p in places]


class MiniRocket(Resampled):
    """For each kernel and dilation, the share of times at which the answer is above a bias, of several biases.

    A kernel has nine weights, three of them 2 and six -1; there are 84. Dilations grow by powers to the series' length.
    A kernel adds up a few channels, drawn by `seed`. Biases are quantiles of its answers to a training series. Channels
    are standardised by training rows, and a gap lies at their mean. Dempster, Schmidt & Webb 2021 (MiniRocket), with
    series brought to one length.
    """

    patterns_: list[list[Any]]
    biases_: NDArray[np.float32]
    center_: NDArray[np.float64]
    scale_: NDArray[np.float64]

    def __init__(self, length: int = 128, dilations: int = 5, biases: int = 3, seed: int = 0) -> None:
        self.length, self.dilations, self.biases, self.seed = length, dilations, biases, seed

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Find the channels, their scale, what each kernel adds up, and the biases."""
        self.channels_ = self._width(records)
        x_ncl = self._aligned([r for r in records if r is not None]).astype(np.float64)
        rng = np.random.default_rng(self.seed)
        count = np.maximum((~np.isnan(x_ncl)).sum((0, 2)), 1)
        self.center_ = np.nansum(x_ncl, (0, 2)) / count
        spread = np.sqrt(np.nansum((x_ncl - self.center_[:, None]) ** 2, (0, 2)) / count)
        self.scale_ = np.where(spread > 0, spread, 1)
        most = np.log2(max(1.0, (self.length - 1) / (TAPS - 1)))
        steps = sorted({int(2**p) for p in np.linspace(0, most, self.dilations)})
        self.patterns_ = []
        for dilation in steps:
            for kernel in range(len(KERNELS)):
                size = int(2 ** rng.uniform(0, np.log2(min(self.channels_, TAPS) + 1)))
                channels = sorted(rng.choice(self.channels_, size, replace=False).tolist())
                self.patterns_.append([kernel, dilation, channels])
        quantiles = (np.arange(self.biases) + 0.5) / self.biases
        self.biases_ = np.zeros((len(self.patterns_), self.biases), np.float32)
        if len(x_ncl):
            places = rng.integers(0, len(x_ncl), len(self.patterns_))
            seen, at = np.unique(places, return_inverse=True)
            answers_pl = self._answers(x_ncl[seen])[at, range(len(at))]
            self.biases_[:] = np.quantile(answers_pl.numpy(), quantiles, axis=1).T
        return self

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, D) shares from 0 to 1."""
        out = np.full((len(records), len(self.patterns_) * self.biases), np.nan, dtype=np.float32)
        there = [i for i, r in enumerate(records) if r is not None]
        for start in range(0, len(there), ROWS):
            at = there[start : start + ROWS]
            answers_npl = self._answers(self._aligned([records[j] for j in at]))
            above_npb = [
                (answers_npl > bias_p[:, None] + TIE).float().mean(2) for bias_p in torch.from_numpy(self.biases_.T)
            ]
            out[at] = torch.stack(above_npb, dim=2).flatten(1).numpy()
        return out

    def names(self) -> list[str]:
        """ "kernel_3_dilation_4_above_1" ..., of biases from low to high."""
        return [f"kernel_{k}_dilation_{d}_above_{b + 1}" for k, d, _ in self.patterns_ for b in range(self.biases)]

    def _answers(self, x_ncl: NDArray[np.floating]) -> torch.Tensor:
        """(N, P, L) of each pattern, zeros beyond both ends."""
        z = np.nan_to_num((x_ncl - self.center_[:, None]) / self.scale_[:, None])
        x = torch.from_numpy(z.astype(np.float32))
        out = []
        for dilation, patterns in groupby(self.patterns_, key=lambda p: p[1]):
            kernels, _, channels = zip(*patterns, strict=True)
            adds_kc = torch.zeros(len(kernels), self.channels_)
            for row, of in zip(adds_kc, channels, strict=True):
                row[of] = 1
            reach = dilation * (TAPS // 2)
            out.append(conv1d(adds_kc @ x, WEIGHTS[list(kernels), None], None, 1, reach, dilation, len(kernels)))
        return torch.cat(out, dim=1)
