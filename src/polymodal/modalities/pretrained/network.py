"""Running a pretrained network by the law: no masked value reaches it, and rows don't see each other.

Axes: b batch, t token, n sample, c channel, h height, w width, d width of a token.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d
from torch.nn.functional import pad as pad_end
from torch.nn.utils.rnn import pad_sequence

from polymodal.batch import Masked
from polymodal.ops import zeroed

BATCH = 8  # larger batches of images are slower on a CPU: the C library hands their memory back after every layer


class Outputs(NamedTuple):
    """What a network returns: tokens (B, T, D), the (h, w) of their grid if any, its own pooled (B, D)."""

    tokens: Masked
    grid: tuple[int, int] | None
    pooled: Tensor | None


def look(net: nn.Module, x: Masked) -> Outputs:
    """Run a network by the law: no value under a False mask reaches it, and rows don't see each other."""
    if x.values.ndim == 2 and x.values.is_floating_point():
        return Outputs(listen(net, x), None, None)
    if x.values.ndim == 2:
        return Outputs(recite(net, x), None, None)
    name = "pixel_values" if x.values.ndim == 4 else str(net.main_input_name)
    y = net(**{name: zeroed(x)})
    last, pooled = y.last_hidden_state, y.get("pooler_output")
    grid = tuple(last.shape[2:]) if last.ndim == 4 else None
    last = last.flatten(2).transpose(1, 2) if grid else last
    tokens = Masked(last, x.mask[:, None].expand(last.shape[:2]))
    return Outputs(tokens, grid, None if pooled is None else pooled.flatten(1))


def recite(net: nn.Module, x: Masked) -> Masked:
    """Ids (B, T) -> tokens (B, T, D) through the network's attention mask."""
    blank = getattr(net.config, "pad_token_id", None) or 0
    ids = torch.where(x.mask, x.values, blank)
    open_bt = x.mask.clone()
    open_bt[:, 0] |= ~x.mask.any(1)  # where nothing may be attended to, some kernels give NaN
    y = net(input_ids=ids, attention_mask=open_bt.long()).last_hidden_state
    return zeroed_tokens(y, x.mask)


def listen(net: nn.Module, x: Masked) -> Masked:
    """Samples (B, N) -> tokens (B, T, D), clips of one length together and without padding.

    Many of these networks normalise over the whole clip, padding and all (wav2vec 2.0 base), and say that a
    mask must not be given; the others are only as fast this way, but exact.
    """
    samples, shortest = zeroed(x), receptive(net)
    places = torch.arange(1, x.mask.shape[1] + 1, device=x.mask.device)
    lengths = (x.mask * places).amax(1)
    rows: list[Tensor] = [samples.new_zeros(0)] * len(samples)
    for n in lengths.unique().tolist():
        group = (lengths == n).nonzero()[:, 0]
        clips = samples[group, :n]
        y_btd = net(pad_end(clips, (0, max(0, shortest - n)))).last_hidden_state
        for i, y_td in zip(group.tolist(), y_btd, strict=True):
            rows[i] = y_td
    y = pad_sequence(rows, batch_first=True)
    count = torch.tensor([len(r) for r in rows], device=y.device) * (lengths > 0)
    return zeroed_tokens(y, torch.arange(y.shape[1], device=y.device) < count[:, None])


def zeroed_tokens(y_btd: Tensor, mask_bt: Tensor) -> Masked:
    """Tokens and mask, 0 where the mask is False."""
    return Masked(zeroed(Masked(y_btd, mask_bt)), mask_bt)


def receptive(net: nn.Module) -> int:
    """Samples that one token of a convolutional front end needs."""
    n = 1
    kernels, strides = (list(getattr(net.config, k, [])) for k in ("conv_kernel", "conv_stride"))
    for k, s in zip(reversed(kernels), reversed(strides), strict=True):
        n = (n - 1) * s + k
    return n


def reduce(y_td: Tensor, grid: tuple[int, int] | None, tokens: int) -> Tensor:
    """(T, D) -> at most `tokens` means over neighbours, of the grid or of the sequence."""
    if len(y_td) <= tokens:
        return y_td
    if grid is None:
        return adaptive_avg_pool1d(y_td.T[None], tokens)[0].T
    h = min(grid[0], max(1, math.isqrt(tokens * grid[0] // grid[1])))
    w = min(grid[1], tokens // h)
    return adaptive_avg_pool2d(y_td.T.unflatten(1, grid)[None], (h, w))[0].flatten(1).T


def width(net: nn.Module) -> int:
    """D of the network's tokens: from its config, else from one blank image."""
    for name in ("hidden_size", "d_model"):
        if isinstance(d := getattr(net.config, name, None), int):
            return d
    side = getattr(net.config, "image_size", 224)
    h, w = side if isinstance(side, list | tuple) else (side, side)
    blank = next(net.parameters()).new_zeros(1, int(getattr(net.config, "num_channels", 3)), h, w)
    was = net.training
    with torch.no_grad():
        y = look(net.eval(), Masked(blank, torch.ones(1, dtype=torch.bool, device=blank.device)))
    net.train(was)
    return y.tokens.values.shape[-1]
