"""Classical features of recordings: timbre, spectrum and prosody, each clip as one row of named numbers.

    clip --files.read--> mono at 16 kHz --frames--> (T, F) --functionals over time--> (D,)

Nothing is learned. What is undefined for a clip (the pitch of silence) is NaN. Axes: n sample, t frame of 10 ms,
k bin of frequency, f feature.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct, rfft, rfftfreq

from polymodal.modalities import functionals as over_time
from polymodal.modalities.audio import voice
from polymodal.modalities.audio.codec import HOP, WINDOW, log_mel
from polymodal.modalities.audio.files import read
from polymodal.modalities.extractor import Extractor, Record, dense
from polymodal.modalities.functionals import Array

RATE = 16_000
FFT = 512
QUIET = 1e-5  # root mean square of a frame below which its spectrum means nothing: -100 dB of full scale
ROLLOFF = 0.85  # share of the power below the roll-off frequency
PERCENTILES = (10, 90)


class Clip(Extractor):
    """A recording -> one vector (D,), decided by the clip alone: `read` does all, `learn` nothing.

    A cell is a path, the bytes of a file, or (samples, rate). Channels are averaged, any rate becomes 16 kHz, and
    what lies after `seconds` is cut off.
    """

    kind: ClassVar[str] = "audio"
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True
    seconds: float

    def read(self, cell: Any) -> Record | None:
        """float32 (D,). Raises Unreadable for a cell that is no recording, or holds no sample."""
        return None if cell is None else self.measure(read(cell, RATE, self.seconds).astype(np.float64))

    @abstractmethod
    def measure(self, x_n: Array) -> NDArray[np.float32]:
        """Samples (N,) at 16 kHz -> the numbers that `names` names."""

    def learn(self, records: Sequence[Record | None]) -> Self:
        """Nothing to learn."""
        return self

    def vectors(self, records: Sequence[Record | None]) -> NDArray[np.float32]:
        """(N, D)."""
        return dense(records, len(self.names()))


class Mfcc(Clip):
    """Mel-frequency cepstral coefficients with first and second differences.

    c[t, i] = sum_f w_i cos(pi i (f + 1/2) / F) m[t, f], m the `log_mel` frames, w_0 = sqrt(1/F), w_i = sqrt(2/F):
    coefficient 0 is the level, 1 and up are the shape of the spectrum, coarse to fine. Differences are `deltas`.
    Kept: mean, deviation and percentiles of c, mean and deviation of differences, and the `course` of c over `parts`
    equal parts of the clip, since the order in time is what tells words apart. Davis & Mermelstein 1980.
    """

    def __init__(self, coefficients: int = 13, mels: int = 40, parts: int = 5, seconds: float = 30.0) -> None:
        self.coefficients, self.mels, self.parts, self.seconds = coefficients, mels, parts, seconds

    def measure(self, x_n: Array) -> NDArray[np.float32]:
        """(D,) of a clip."""
        c = cepstrum(mel_frames(x_n, self.mels), self.coefficients)
        first = deltas(c)
        changes = np.concatenate([first, deltas(first)], axis=1)
        return over_time.record(summary(c), course(c, self.parts), over_time.mean(changes), over_time.std(changes))

    def names(self) -> list[str]:
        """ "mfcc_1_mean", "mfcc_1_part_2_of_5", "mfcc_delta_1_std" ..."""
        base = [f"mfcc_{i}" for i in range(self.coefficients)]
        changes = [f"mfcc_{d}_{i}" for d in ("delta", "delta2") for i in range(self.coefficients)]
        return [
            *summary_names(base), *part_names(base, self.parts),
            *(f"{n}_{s}" for s in ("mean", "std") for n in changes),
        ]  # fmt: skip


class LogMelStatistics(Clip):
    """The log of the power in each mel band: mean, deviation, percentiles, and the `course` over time."""

    def __init__(self, mels: int = 32, parts: int = 5, seconds: float = 30.0) -> None:
        self.mels, self.parts, self.seconds = mels, parts, seconds

    def measure(self, x_n: Array) -> NDArray[np.float32]:
        """(D,) of a clip."""
        m = mel_frames(x_n, self.mels)
        return over_time.record(summary(m), course(m, self.parts))

    def names(self) -> list[str]:
        """ "mel_1_mean" ... from the lowest band up."""
        base = [f"mel_{i + 1}" for i in range(self.mels)]
        return [*summary_names(base), *part_names(base, self.parts)]


class Spectral(Clip):
    """What each frame of 25 ms sounds like in eight numbers (see `descriptors`): statistics and `course`."""

    def __init__(self, parts: int = 5, seconds: float = 30.0) -> None:
        self.parts, self.seconds = parts, seconds

    def measure(self, x_n: Array) -> NDArray[np.float32]:
        """(D,) of a clip."""
        d = descriptors(x_n)
        return over_time.record(summary(d), course(d, self.parts, each=True))

    def names(self) -> list[str]:
        """ "centroid_hz_mean" ..."""
        return [*summary_names(DESCRIPTORS), *part_names(DESCRIPTORS, self.parts)]


class Prosody(Clip):
    """The voice: pitch, how steady it is, how loud, how often it rests. See `voice.prosody`.

    Pitch is searched between `lowest` and `highest` Hz. A clip of less than three periods of `lowest` has no pitch.
    """

    def __init__(self, lowest: float = 55.0, highest: float = 500.0, seconds: float = 30.0) -> None:
        self.lowest, self.highest, self.seconds = lowest, highest, seconds

    def measure(self, x_n: Array) -> NDArray[np.float32]:
        """(D,) of a clip."""
        return over_time.record(list(voice.prosody(x_n, RATE, self.lowest, self.highest).values()))

    def names(self) -> list[str]:
        """ "f0_mean_hz", "jitter_local" ..."""
        return list(voice.MEASURES)


# --- over time ----------------------------------------------------------------------------------------


def summary(x_tf: Array) -> Array:
    """(4, F): mean, deviation, 10th and 90th percentile."""
    return np.concatenate([[over_time.mean(x_tf), over_time.std(x_tf)], over_time.percentiles(x_tf, PERCENTILES)])


def summary_names(base: Sequence[str]) -> list[str]:
    """The names of `summary`, in its order."""
    return [f"{n}_{s}" for s in ("mean", "std", *(f"p{q}" for q in PERCENTILES)) for n in base]


def course(x_tf: Array, parts: int, each: bool = False) -> Array:
    """(P, F) how parts in time stand out of their clip: (mean over the part - mean over the clip) / spread.

    spread = sqrt(mean over t, f of (x - mean)^2), or of each column where units differ; 0 where nothing varies. The
    clip's level is taken off since a voice and a microphone add to every frame (Atal 1974). Digits of a new
    speaker by logistic regression on these alone: 0.49 right without dividing by the spread, 0.60 with it.
    """
    y_tf = over_time.centre(x_tf)
    square = over_time.mean(y_tf**2)
    spread = np.sqrt(square if each else square.mean())
    return over_time.part_means(y_tf, parts) / np.where(spread > 0, spread, 1.0)


def part_names(base: Sequence[str], parts: int) -> list[str]:
    """The names of `course`."""
    return [f"{n}_part_{p + 1}_of_{parts}" for p in range(parts) for n in base]


# --- the maths ----------------------------------------------------------------------------------------


def mel_frames(x_n: Array, mels: int) -> Array:
    """(T, mels) natural logs of the power in each band; see `modalities.audio.log_mel`."""
    return log_mel(torch.from_numpy(x_n.astype(np.float32)), RATE, mels).double().numpy()


def cepstrum(m_tf: Array, count: int) -> Array:
    """(T, count): the orthonormal discrete cosine transform (II) of each frame."""
    out: Array = dct(m_tf, type=2, norm="ortho", axis=1)[:, :count]
    return out


def deltas(c_tf: Array, reach: int = 2) -> Array:
    """Slope around each frame: d[t] = sum_n n (c[t + n] - c[t - n]) / (2 sum_n n^2), n = 1 ... reach; ends repeated."""
    x = np.pad(c_tf, ((reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(c_tf)
    for n in range(1, reach + 1):
        total += n * (x[reach + n :][: len(c_tf)] - x[reach - n :][: len(c_tf)])
    return total / (2 * sum(n * n for n in range(1, reach + 1)))


def frames(x_n: Array, hop: int, window: int) -> Array:
    """(ceil(N / hop), window): samples around each t * hop, zeros beyond the clip's ends."""
    count = -(-len(x_n) // hop)
    x = np.pad(x_n, (window // 2, window))
    views: Array = np.lib.stride_tricks.sliding_window_view(x, window)[::hop][:count]
    return views


DESCRIPTORS = [
    "energy_db", "zero_crossings_per_s", "centroid_hz", "bandwidth_hz", "rolloff_hz", "flux", "flatness", "entropy",
]  # fmt: skip


def descriptors(x_n: Array) -> Array:
    """(T, 8) of frames of 25 ms, p[k] the share of the frame's power (Hann window, 512 bins) at f[k] Hz:

    energy_db 10 log10 mean x^2, at least -100; zero_crossings_per_s changes of sign; centroid_hz sum p f;
    bandwidth_hz sqrt(sum p (f - centroid)^2); rolloff_hz the first f with 0.85 of the power at or below;
    flux ||a[t] - a[t - 1]||, a = sqrt(p); flatness geometric over arithmetic mean of p; entropy -sum p ln p / ln K.
    All but energy and crossings are NaN in silent frames; a first frame has no flux.
    """
    hop, window = round(RATE * HOP), round(RATE * WINDOW)
    x_tn = frames(x_n, hop, window)
    level = np.sqrt((x_tn**2).mean(1))
    power = np.abs(rfft(x_tn * np.hanning(window + 1)[:-1], FFT, axis=1)) ** 2
    power[level < QUIET] = np.nan
    p = over_time.ratio(power, power.sum(1, keepdims=True))
    hz = rfftfreq(FFT, 1 / RATE)
    centroid = p @ hz
    apart = (hz - centroid[:, None]) ** 2
    rolloff = np.where(np.isnan(centroid), np.nan, hz[np.argmax(np.cumsum(p, axis=1) >= ROLLOFF, axis=1)])
    crossings = (np.signbit(x_tn[:, 1:]) != np.signbit(x_tn[:, :-1])).sum(1) * RATE / (window - 1)
    flux = np.full(len(p), np.nan)
    flux[1:] = np.sqrt((np.diff(np.sqrt(p), axis=0) ** 2).sum(1))
    logs = np.log(np.maximum(p, 1e-20))
    flatness, entropy = np.exp(logs.mean(1)) * p.shape[1], -(p * logs).sum(1) / np.log(p.shape[1])
    energy = 20 * np.log10(np.maximum(level, QUIET))
    columns = [energy, crossings, centroid, np.sqrt((p * apart).sum(1)), rolloff, flux, flatness, entropy]
    return np.stack(columns, axis=1)
