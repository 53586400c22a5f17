"""Classical features of time series: each channel's statistics, spectrum, wavelets and shape, and how channels agree.

    series (T, C) --read--> (C, F) of each channel --vectors--> (D,) of the channels that training had

A cell is what `modalities.series.Readings` takes; NaN is a gap. Frequencies are in cycles a reading, times in readings:
a table seldom says how fast it was sampled (`physiology` asks). Axes: t reading, c channel, f feature.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from polymodal.modalities import functionals as over_time
from polymodal.modalities.extractor import Extractor, Record
from polymodal.modalities.functionals import Array, ratio
from polymodal.modalities.series import canonical
from polymodal.modalities.series.codec import numbers

MANY = 64  # channels of a series beyond which only neighbours are correlated: pairs grow with the square


def readings(cell: Any) -> Array | None:
    """(T, C) float64, NaN in gaps; None where the cell holds nothing. Raises Unreadable for what is no series."""
    x = numbers(cell)
    if x is None or not np.isfinite(x).any():
        return None
    return np.where(np.isfinite(x), x, np.nan).reshape(len(x), -1)


class Channels(Extractor):
    """A record (C, F) of each cell -> one row of F numbers for each of the `channels_` that most training cells have.

    The number of channels is no reason not to read a cell, since other cells decide it: channels that a cell lacks are
    NaN, and those beyond `channels_` are left out.
    """

    kind: ClassVar[str] = "series"
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True
    channels_: int

    def read(self, cell: Any) -> Record | None:
        """float32 (C, F). Raises Unreadable for what is no series of numbers."""
        x_tc = None if cell is None else readings(cell)
        if x_tc is None:
            return None
        scale = np.maximum(over_time.top(np.abs(x_tc)), 1.0)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # readings of 1e200 have infinite squares
            out = self.measure(np.where(scale > 1e100, x_tc / scale, x_tc))
        return over_time.record(out).reshape(x_tc.shape[1], -1)

    @abstractmethod
    def measure(self, x_tc: Array) -> Array:
        """(T, C), NaN in gaps -> (C, F), NaN where undefined."""

    @abstractmethod
    def measures(self) -> list[str]:
        """F names of what is measured of a channel."""

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Find `channels_`, the commonest number; of two as common the larger. 1 where there is no record."""
        counts = Counter(len(r) for r in records if r is not None)
        self.channels_ = max(counts, key=lambda c: (counts[c], c), default=1)
        return self

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, channels_ * F)."""
        out = np.full((len(records), self.channels_, len(self.measures())), np.nan, dtype=np.float32)
        for row, record in zip(out, records, strict=True):
            if record is not None:
                row[: len(record)] = record[: self.channels_]
        return out.reshape(len(records), self.channels_ * len(self.measures()))

    def names(self) -> list[str]:
        """ "channel_1_mean" ..., or "mean" where there is one channel."""
        channels = [""] if self.channels_ == 1 else [f"channel_{i + 1}_" for i in range(self.channels_)]
        return [f"{c}{m}" for c in channels for m in self.measures()]


class SeriesStatistics(Channels):
    """How the values of a channel are spread, how they move, and where they stand in each of `parts` parts in time.

    slope: least squares, a reading. step: x[t + 1] - x[t]. crossings_share: of the steps, those that cross the mean.
    energy: mean of squares. part_2_of_5: mean over that part less the channel's mean.
    """

    def __init__(self, parts: int = 5) -> None:
        self.parts = parts

    def measure(self, x_tc: Array) -> Array:
        """(C, F)."""
        y = over_time.centre(x_tc)
        step = np.diff(x_tc, axis=0)
        crossings = np.where(np.isnan(step), np.nan, (y[1:] > 0) != (y[:-1] > 0))
        rows = [
            over_time.mean(x_tc),
            over_time.std(x_tc),
            *over_time.percentiles(x_tc, (0, 5, 25, 50, 75, 95, 100)),
            over_time.standardised_moment(x_tc, 3),
            over_time.standardised_moment(x_tc, 4),
            over_time.slope(x_tc),
            over_time.mean(crossings),
            over_time.mean(x_tc**2),
            over_time.mean(np.abs(step)),
            over_time.std(step),
            *over_time.part_means(y, self.parts),
        ]
        return np.stack(rows, axis=1)

    def measures(self) -> list[str]:
        """ "mean", "std" ..."""
        shape = (
            "mean std min p5 p25 median p75 p95 max skewness kurtosis slope crossings_share energy step_mean step_std"
        )
        return [*shape.split(), *(f"part_{p + 1}_of_{self.parts}" for p in range(self.parts))]


class Spectrum(Channels):
    """Where the power of a channel lies, and how it repeats.

    p[k]: share of the power at frequency k / T (channel less its mean, Hann window, gaps bridged by lines). Bands are
    octaves below half a cycle a reading: band_1 is 1/4 to 1/2, band_2 1/8 to 1/4 ..., the last all that is slower.
    peak, centroid: in cycles a reading. entropy: -sum p ln p / ln K. acf_4: correlation with itself 4 readings later.
    acf_first_zero: the first lag, in readings, at which that is not positive, NaN where there is none.
    """

    LAGS: ClassVar[tuple[int, ...]] = (1, 2, 4, 8, 16)

    def __init__(self, bands: int = 6) -> None:
        self.bands = bands

    def measure(self, x_tc: Array) -> Array:
        """(C, F)."""
        x_tc = over_time.fill(x_tc)
        power = np.abs(np.fft.rfft(over_time.centre(x_tc) * np.hanning(len(x_tc) + 1)[:-1, None], axis=0)) ** 2
        p = ratio(power, power.sum(0))
        frequency = np.fft.rfftfreq(len(x_tc))
        edges = [0.0, *(0.5**i for i in range(self.bands, 1, -1)), 0.5]
        at = np.minimum(np.searchsorted(edges, frequency, side="right") - 1, self.bands - 1)
        shares = [p[at == b].sum(0) + 0 * p.sum(0) for b in range(self.bands - 1, -1, -1)]
        logs = np.log(np.maximum(p, 1e-20))
        peak = np.where(np.isnan(p.sum(0)), np.nan, frequency[np.nan_to_num(p).argmax(0)])
        r = over_time.autocorrelation(x_tc)
        lags = [r[k] if k < len(r) else np.full(r.shape[1], np.nan) for k in self.LAGS]
        zero = first(r <= 0)
        return np.stack([*shares, peak, frequency @ p, -(p * logs).sum(0) / np.log(max(2, len(p))), *lags, zero], 1)

    def measures(self) -> list[str]:
        """ "band_1_share" ..., "peak_frequency" ..."""
        bands = [f"band_{b + 1}_share" for b in range(self.bands)]
        acf = [f"acf_{k}" for k in self.LAGS]
        return [*bands, "peak_frequency", "centroid_frequency", "spectral_entropy", *acf, "acf_first_zero"]


class Wavelets(Channels):
    """Energies of the levels of a discrete wavelet transform, as shares, and the entropy of the shares.

    detail_1 is the finest: about 1/4 to 1/2 cycles a reading, each next one an octave lower; rest is what is slower.
    Levels that a series is too short for are NaN. Gaps are bridged by lines. Mallat 1989.
    """

    def __init__(self, wavelet: str = "db4", levels: int = 5) -> None:
        self.wavelet, self.levels = wavelet, levels

    def measure(self, x_tc: Array) -> Array:
        """(C, F)."""
        import pywt

        y = over_time.centre(over_time.fill(x_tc))
        depth = min(self.levels, pywt.dwt_max_level(len(y), pywt.Wavelet(self.wavelet).dec_len))
        out = np.full((self.levels + 2, y.shape[1]), np.nan)
        if depth > 0:
            rest, *details = pywt.wavedec(y, self.wavelet, level=depth, axis=0)
            energy = np.stack([(d**2).sum(0) for d in (*reversed(details), rest)])
            share = ratio(energy, energy.sum(0))
            out[:depth], out[self.levels] = share[:-1], share[-1]
            out[-1] = -(share * np.log(np.maximum(share, 1e-20))).sum(0) / np.log(depth + 1)
        return out.T

    def measures(self) -> list[str]:
        """ "detail_1_share" ..."""
        return [*(f"detail_{i + 1}_share" for i in range(self.levels)), "rest_share", "wavelet_entropy"]


class Canonical(Channels):
    """Seventeen shapes of a series, after catch22 (Lubba et al. 2019); `canonical` has their definitions."""

    def __init__(self) -> None:
        pass

    def measure(self, x_tc: Array) -> Array:
        """(C, 17)."""
        z = ratio(over_time.centre(over_time.fill(x_tc)), over_time.std(over_time.fill(x_tc)))
        return np.stack([canonical.features(z[:, c]) for c in range(z.shape[1])])

    def measures(self) -> list[str]:
        """ "histogram_mode_5" ..."""
        return list(canonical.FEATURES)


class Correlations(Extractor):
    """Pearson's correlation of each two channels over the readings that both have; NaN where one stands still.

    Of series with more than 64 channels only neighbours are compared. Other numbers of channels: see `Channels`.
    """

    kind: ClassVar[str] = "series"
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True
    channels_: int

    def __init__(self) -> None:
        pass

    def read(self, cell: Any) -> Record | None:
        """float32 (C, C), or (C, 1): each channel with the next."""
        x_tc = None if cell is None else readings(cell)
        if x_tc is None:
            return None
        unit_tc = ratio(x_tc, np.maximum(over_time.top(np.abs(x_tc)), 1e-300))
        count = x_tc.shape[1]
        if count <= MANY and not np.isnan(unit_tc).any():
            z = ratio(over_time.centre(unit_tc), over_time.std(unit_tc))
            r = (z.T @ z / len(z)).clip(-1.0, 1.0)
        elif count <= MANY:
            r = np.stack([correlation(unit_tc, unit_tc[:, [c]]) for c in range(count)])
        else:
            r = correlation(unit_tc, np.roll(unit_tc, -1, axis=1))[:, None]
        return over_time.record(r).reshape(r.shape)

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Find `channels_`, the commonest number."""
        counts = Counter(len(r) for r in records if r is not None)
        self.channels_ = max(counts, key=lambda c: (counts[c], c), default=1)
        return self

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, pairs)."""
        pairs = self._pairs()
        out = np.full((len(records), len(pairs)), np.nan, dtype=np.float32)
        for row, record in zip(out, records, strict=True):
            if record is not None:
                beside = record.shape[1] == 1 < len(record)
                for i, (a, b) in enumerate(pairs):
                    if b < len(record) and (b == a + 1 or not beside):
                        row[i] = record[a, 0 if beside else b]
        return out

    def names(self) -> list[str]:
        """ "correlation_1_2" ..."""
        return [f"correlation_{a + 1}_{b + 1}" for a, b in self._pairs()]

    def _pairs(self) -> list[tuple[int, int]]:
        n = self.channels_
        return [(a, b) for a in range(n) for b in range(a + 1, n if n <= MANY else min(n, a + 2))]


def correlation(x_tc: Array, y_tc: Array) -> Array:
    """(C,) of each column of x with that of y (or the only one), over the rows where neither has a gap."""
    gap = np.isnan(x_tc) | np.isnan(y_tc)
    x, y = np.where(gap, np.nan, x_tc), np.where(gap, np.nan, y_tc)
    out: Array = ratio(over_time.mean(over_time.centre(x) * over_time.centre(y)), over_time.std(x) * over_time.std(y))
    return out.clip(-1.0, 1.0)


def first(flag_tc: NDArray[np.bool_]) -> Array:
    """(C,) the first t at which the flag is up, NaN where it never is."""
    return np.where(flag_tc.any(0), flag_tc.argmax(0), np.nan)
