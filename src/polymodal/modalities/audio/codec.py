"""Recordings: any file, rate and number of channels -> log-mel frames.

    cell --read--> mono at rate_ --log_mel--> (T, mels)

Axes: t time (frame), f frequency band.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.audio.files import RECORDINGS, rate_of, read
from polymodal.modalities.base import Codec, Guess
from polymodal.modalities.base import pad as pad_cells
from polymodal.modalities.files import count_opening, spread
from polymodal.nn import Size

SAMPLE, DECODE = 200, 64  # training clips whose header, whose samples are read by `fit`
WINDOW, HOP = 0.025, 0.010  # seconds
FLOOR = 1e-8  # of the clip's loudest band: 80 dB below it


class LogMel(Codec):
    """Log-mel frames: float16 (T, mels), one each 10 ms, each band standardised by the training clips.

    A cell is a path (wav, flac, ogg, mp3 ...), the bytes of such a file, or (samples, rate) with samples (N,)
    or (N, C). Channels are averaged; the part after `seconds` is cut off. A clip of one sample gives one
    frame; one without any sample, or with NaN or infinite ones, is Unreadable.

    Bands are few, so that a voice's pitch does not show: on digits of a new speaker 64, 40, 32 and 20 bands
    gave 0.67, 0.74, 0.76 and 0.77 (one run each).

    fit: `rate_` = min(16000, the median rate of the training clips); `mean_`, `std_` of each band.
    """

    kind: ClassVar[str] = "audio"
    takes_files: ClassVar[bool] = True
    costly: ClassVar[bool] = True

    def __init__(self, mels: int = 32, seconds: float = 30.0) -> None:
        self.mels, self.seconds = mels, seconds
        self.rate_ = 16_000
        self.mean_, self.std_ = [0.0] * mels, [1.0] * mels

    @classmethod
    def accepts(cls, cells: Sequence[Any]) -> Guess:
        """The share of cells that open as recordings; headers only."""
        return count_opening(cells, lambda c: rate_of(c) is not None, RECORDINGS, "recordings")

    def fit(self, cells: Iterable[Any], size: Size) -> Self:
        """Choose the rate from the headers, and the mean and spread of each band from a few clips."""
        sample = spread([c for c in cells if c is not None], SAMPLE)
        if rates := [r for r in map(rate_of, sample) if r is not None]:
            self.rate_ = min(16_000, int(statistics.median(rates)))
        rows = []
        for cell in spread(sample, DECODE):
            try:
                rows.append(self._frames(cell))
            except Unreadable:
                continue  # counted and reported where the column is encoded
        if rows:
            x_tf = torch.cat(rows).double()
            self.mean_ = [round(v, 4) for v in x_tf.mean(0).tolist()]
            self.std_ = [round(max(v, 0.1), 4) for v in x_tf.std(0, unbiased=False).tolist()]
        return self

    def encode(self, cell: Any) -> Tensor | None:
        """float16 (T, mels), T = ceil(samples / hop)."""
        if cell is None:
            return None
        x_tf = self._frames(cell)
        return ((x_tf - x_tf.new_tensor(self.mean_)) / x_tf.new_tensor(self.std_)).half()

    def collate(self, cells: Sequence[Tensor | None]) -> Masked:
        """float16 (B, T, mels) and the (B, T) mask."""
        return pad_cells(cells, torch.zeros(0, self.mels, dtype=torch.float16))

    def _frames(self, cell: Any) -> Tensor:
        return log_mel(torch.from_numpy(read(cell, self.rate_, self.seconds)), self.rate_, self.mels)


# --- the maths ----------------------------------------------------------------------------------------


def log_mel(x_n: Tensor, rate: int, mels: int) -> Tensor:
    """(N,) samples -> (ceil(N / hop), mels): log of the power in each band, down to 80 dB below the loudest.

    out[t, f] = log max(sum_k mel[f, k] |X[t, k]|^2, floor); X[t] is the Fourier transform of 25 ms around
    sample t * hop (Hann window, zeros beyond the clip's ends), hop = 10 ms, floor = 1e-8 * the clip's largest
    band (1e-10 for silence).
    """
    hop, window, fft = geometry(rate, mels)
    spectrum = torch.stft(
        x_n,
        fft,
        hop,
        window,
        torch.hann_window(window),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    power_kt = spectrum[:, : -(-len(x_n) // hop)].abs().square()
    power_tf = (mel_matrix(rate, fft, mels) @ power_kt).T
    return power_tf.clamp(min=max(FLOOR * float(power_tf.max()), 1e-10)).log()


def geometry(rate: int, mels: int) -> tuple[int, int, int]:
    """Samples of a hop, a window, the Fourier transform: a power of two that holds the window, and is fine
    enough for the narrowest mel band to have a bin inside.

    >>> geometry(16_000, 64), geometry(8_000, 64)
    ((160, 400, 1024), (80, 200, 512))
    """
    hop, window = max(1, round(rate * HOP)), max(2, 2 * round(rate * WINDOW / 2))
    narrowest = float(hertz(mel(rate / 2) / (mels + 1)))
    return hop, window, 2 ** math.ceil(math.log2(max(window, rate / narrowest)))


@lru_cache(maxsize=8)
def mel_matrix(rate: int, fft: int, mels: int) -> Tensor:
    """(mels, fft / 2 + 1) triangles of height 1, their corners equally spaced in mel from 0 to rate / 2."""
    corner = hertz(np.linspace(0.0, mel(rate / 2), mels + 2))
    low, centre, high = (corner[i : i + mels, None] for i in range(3))
    bin_hz = np.arange(fft // 2 + 1) * rate / fft
    up, down = (bin_hz - low) / (centre - low), (high - bin_hz) / (high - centre)
    return torch.from_numpy(np.minimum(up, down).clip(min=0.0)).float()


def mel(hz: float) -> float:
    """Mel = 2595 log10(1 + hz / 700): the HTK formula."""
    return 2595.0 * math.log10(1.0 + hz / 700.0)


def hertz(m: Any) -> Any:
    """The inverse of `mel`."""
    return 700.0 * (10.0 ** (m / 2595.0) - 1.0)
