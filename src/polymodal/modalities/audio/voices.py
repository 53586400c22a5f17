"""Spectrograms as another voice might have given them: what few speakers in training lack.

log-mel frames (B, T, F) --Voices, in training--> the same clips, stretched along both axes, with stripes of silence

Axes: b batch, t frame, f band.
"""

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.ops import masked_mean, zeroed

VOICE, TEMPO = 0.15, 0.2  # the most by which bands and frames are stretched
BANDS, FRAMES = 0.2, 0.1  # the most of a clip's bands and frames that are silenced at once
STRONGEST = 4.0  # past it a clip would be stretched to nothing


class Voices(nn.Module):
    """`vary` in training, nothing in eval(): for log-mel frames, whose bands lie side by side as pitches do.

    strength: 1 is as much as was measured to help, 0 leaves clips as they are. Readings of sensors and the output of a
    frozen network have no such axis, and must not go through it.
    """

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()
        if not 0 <= strength <= STRONGEST:
            raise InputError(f"strength can't be {strength!r}; it must be from 0 to {STRONGEST:g}")
        self.strength = strength

    def forward(self, x: Masked) -> Masked:
        """(B, T, F) log-mel frames -> (B, T', F). Raises InputError for values that can't be such frames."""
        if x.values.ndim != 3 or x.mask.ndim != 2:
            raise InputError(
                "Voices varies log-mel frames (B, T, F) with a mask (B, T), but got values "
                f"{tuple(x.values.shape)} and a mask {tuple(x.mask.shape)}; leave it out for anything but spectrograms"
            )
        return vary(x, self.strength) if self.training else x


def vary(x: Masked, strength: float = 1.0) -> Masked:
    """Each clip with its bands stretched by one random factor, its frames by another, and a stripe of each silenced.

    out[b, t, f] = x[b, t / tempo_b, f / voice_b], linear between neighbours, then the clip's mean of the band where a
    stripe of bands or of frames is silenced. A longer vocal tract shifts all resonances by one factor: Jaitly & Hinton
    2013 (VTLP). Stripes: Park et al. 2019 (SpecAugment). All are drawn up to `strength` times the limits above, by
    torch's generator. Frames between real ones are as good as not there.
    """
    order = (~x.mask).long().argsort(dim=1, stable=True)  # the real frames first
    values = zeroed(Masked(x.values.float(), x.mask)).take_along_dim(order[..., None], 1)
    rows, _, bands = values.shape
    lengths = x.mask.sum(1)
    tempo, voice = (1 + strength * most * (2 * torch.rand(rows, device=values.device) - 1) for most in (TEMPO, VOICE))
    new = (lengths * tempo).round().long().clamp(min=1) * (lengths > 0)
    t_bt = torch.arange(max(1, int(new.max())), device=values.device) / tempo[:, None]
    y = _between(values, torch.minimum(t_bt, (lengths[:, None] - 1).clamp(min=0)), dim=1)
    f_bf = (torch.arange(bands, device=values.device) / voice[:, None]).clamp(max=bands - 1)
    y = _between(y, f_bf, dim=2)
    mask = torch.arange(y.shape[1], device=values.device) < new[:, None]
    quiet = _stripe(rows, bands, torch.full_like(lengths, bands), strength * BANDS)[:, None, :]
    quiet = quiet | _stripe(rows, y.shape[1], new, strength * FRAMES)[..., None]
    y = torch.where(quiet, masked_mean(Masked(y, mask))[:, None], y)
    return Masked(torch.where(mask[..., None], y, 0).to(x.values.dtype), mask)


def _between(x_btf: Tensor, at_bn: Tensor, dim: int) -> Tensor:
    """Values at fractional places of axis `dim`, one list of places a row, linear between neighbours."""
    low = at_bn.floor().long()
    high = (low + 1).clamp(max=x_btf.shape[dim] - 1)
    shape = (slice(None), slice(None), None) if dim == 1 else (slice(None), None, slice(None))
    share = (at_bn - low)[shape]
    return torch.lerp(x_btf.take_along_dim(low[shape], dim), x_btf.take_along_dim(high[shape], dim), share)


def _stripe(rows: int, size: int, of: Tensor, most: float) -> Tensor:
    """(rows, size) True in one stripe of at most `most` of the first `of` places of each row."""
    width = torch.rand(rows, device=of.device) * most * of
    start = torch.rand(rows, device=of.device) * (of - width)
    at = torch.arange(size, device=of.device)
    return (at >= start[:, None]) & (at < (start + width)[:, None])
