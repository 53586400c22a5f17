"""What there is to look at in a recording, and to listen to.

Axes: n sample, f band, t frame.
"""

from typing import Any

import numpy as np
import torch

from polymodal.modalities.audio.codec import log_mel
from polymodal.modalities.audio.files import read
from polymodal.view.cell import RATE, Recording

SECONDS, MELS = 60.0, 48  # of a recording, at most; bands of its spectrogram


def recording(cell: Any) -> Recording:
    """The first minute, as one channel."""
    x_n = read(cell, RATE, SECONDS)
    bands_ft = log_mel(torch.from_numpy(x_n), RATE, MELS).double().numpy().T
    bands_ft = (bands_ft - bands_ft.min()) / max(float(np.ptp(bands_ft)), 1e-9)
    return Recording(x_n, bands_ft, len(x_n) / RATE)
