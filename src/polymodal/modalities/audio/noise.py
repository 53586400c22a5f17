"""What spoils a recording: hiss, other voices, clipping, lost packets.

A recording is (samples (N,), rate) in mono, as codecs take it. Ratios of signal to noise are those of Aurora-2 (Hirsch
& Pearce 2000): 20 dB down to -5 dB.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import Unreadable
from polymodal.modalities.audio.files import RATES, resample, samples
from polymodal.modalities.noise import Noise, Noises, plain

Recording = tuple[NDArray[np.float32], int]
Recordings = Mapping[int, Recording]  # of other rows, by row

SECONDS = 120.0  # of a recording that are spoiled; the rest is cut off
VOICES = 4  # recordings that babble is mixed of
PACKET = 0.05  # seconds that are lost at a time
POOL = 16  # recordings that babble is mixed of
DECIBEL = (25.0, 20.0, 15.0, 10.0, 5.0, 0.0, -5.0)


def load(cell: Any) -> Recording:
    """The cell in mono. Raises Unreadable for what is none, or holds nothing."""
    x_nc, rate = samples(cell, SECONDS)
    if not len(x_nc) or not RATES[0] <= rate <= RATES[1]:
        raise Unreadable(f"{len(x_nc)} samples at {rate} a second")
    return x_nc.mean(1, dtype=np.float32), rate


def white(recording: Recording, severity: float, rng: np.random.Generator) -> Recording:
    """White noise, `severity` dB below the recording."""
    x, rate = recording
    return add_noise(x, rng.standard_normal(len(x), dtype=np.float32), severity), rate


def babble(recording: Recording, severity: float, rng: np.random.Generator, others: Sequence[Recording]) -> Recording:
    """A mix of up to `VOICES` others, each equally loud, from anywhere in it, `severity` dB below this one."""
    x, rate = recording
    voices = rng.choice(len(others), min(VOICES, len(others)), replace=False)
    mix = np.zeros(len(x), dtype=np.float32)
    for i in voices:
        y = resample(others[i][0], others[i][1], rate)
        loudness = float(np.sqrt(np.mean(np.square(y, dtype=np.float64))))
        mix += np.resize(np.roll(y, -int(rng.random() * len(y))), len(x)) / max(loudness, 1e-9)
    return add_noise(x, mix, severity), rate


def add_noise(x: NDArray[np.float32], noise: NDArray[np.float32], decibel: float) -> NDArray[np.float32]:
    """x + g noise, with g so that 10 log10(power of x / power of g noise) = decibel; silence stays silence."""
    power, of_noise = (float(np.mean(np.square(v, dtype=np.float64))) for v in (x, noise))
    if power == 0 or of_noise == 0:
        return x
    gain = np.sqrt(power / of_noise / 10 ** (decibel / 10))
    return np.asarray(x + gain * noise, dtype=np.float32)


def clipping(recording: Recording, severity: float, rng: np.random.Generator) -> Recording:
    """What is louder than `severity` of the peak is cut off there."""
    x, rate = recording
    top = severity * float(np.abs(x).max())
    return x.clip(-top, top), rate


def dropouts(recording: Recording, severity: float, rng: np.random.Generator) -> Recording:
    """Packets of 50 ms are silent, each with probability `severity`, but never all."""
    x, rate = recording
    packet = np.arange(len(x)) // max(1, round(PACKET * rate))
    u = rng.random(int(packet[-1]) + 1)
    drop = (u < severity) & (u < u.max())
    return np.where(drop[packet], np.float32(0), x), rate


def _babble(x: Recording, severity: float, rng: np.random.Generator, context: Recordings, row: int) -> Recording:
    return babble(x, severity, rng, [y for i, y in context.items() if i != row])


def _few(context: Recordings) -> str:
    return "" if len(context) > 1 else "there are no recordings of other rows to mix"


NOISES = Noises(
    load,
    {
        "white": Noise(DECIBEL, "signal to noise {:.0f} dB", plain(white)),
        "babble": Noise(DECIBEL, "signal to noise {:.0f} dB", _babble, _few),
        "clipping": Noise((1, 0.5, 0.3, 0.2, 0.1, 0.05), "at {:.0%} of the peak", plain(clipping)),
        "dropouts": Noise((0, 0.1, 0.2, 0.4, 0.6, 0.8), "{:.0%} of the packets", plain(dropouts)),
    },
    lambda codecs, some: dict(some(POOL)),
)
