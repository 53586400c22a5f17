"""What each fusion costs: its trained weights, and the floating-point operations of one forward pass.

Counted are matrix products, attention, and Fourier transforms: two operations for each multiply-add of a product, and
2.5 n log2 n for the transform of n real numbers. Elementwise work (norms, activations, sums, masks), which grows with
widths and not with their products, is left out.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.fusion import FUSIONS, make
from polymodal.fusion.base import Fusion, Late
from polymodal.nn import Size

DEPTH = 2  # layers of the size "small"


class Cost(NamedTuple):
    """One line of the table. parameters and flops are those of the fusion with the head that follows it."""

    name: str
    family: str
    paper: str
    parameters: int
    flops: int  # for one row


class _Answer(NamedTuple):
    outputs: int
    link: str = "softmax"


def costs(dims: Sequence[int], *, tokens: int = 16, dim: int = 64, outputs: int = 10) -> list[Cost]:
    """The cost of every fusion of `FUSIONS` over modalities whose encoders give `tokens` tokens of these widths.

    dim: width of what comes out; outputs: logits of the linear head that follows (a late fusion has its own heads).
    Depths are those of the size "small". Raises InputError for a number below 1.
    """
    arguments = {"dims": min(dims, default=0), "tokens": tokens, "dim": dim, "outputs": outputs}
    if wrong := {k: v for k, v in arguments.items() if v < 1}:
        raise InputError(
            f"{', '.join(f'{k} {v}' for k, v in wrong.items())}: widths and counts are whole numbers from 1 on, "
            "and there is at least one modality"
        )
    widths = {f"m{i}": d for i, d in enumerate(dims)}
    heads = next(h for h in (4, 3, 2, 1) if dim % h == 0)
    size = Size(dim=dim, layers=DEPTH, heads=heads, side=1, tokens=tokens)
    return [_cost(name, make(name, widths, size, _Answer(outputs)), tokens, outputs) for name in FUSIONS]


def _cost(name: str, fusion: Fusion, tokens: int, outputs: int) -> Cost:
    parameters = sum(p.numel() for p in fusion.parameters())
    mask = torch.ones(1, tokens, dtype=torch.bool)
    inputs = {m: Masked(torch.zeros(1, tokens, d), mask) for m, d in fusion.dims.items()}
    flops = count(fusion.eval().requires_grad_(False), inputs)
    if not isinstance(fusion, Late):
        parameters += (fusion.dim + 1) * outputs
        flops += 2 * fusion.dim * outputs
    return Cost(name, fusion.family, fusion.paper, parameters, flops)


def count(fusion: Fusion, inputs: dict[str, Masked]) -> int:
    """Floating-point operations of one forward pass; see above for what is counted."""
    transforms = {torch.ops.aten._fft_r2c: _real_transform, torch.ops.aten._fft_c2r: _from_waves}
    # fused attention kernels of some processors are not in torch's table of counts; the plain one is products
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=transforms) as counter:
        fusion(inputs)
    return int(counter.get_total_flops())


def _real_transform(x: Sequence[int], *args: Any, **kwargs: Any) -> int:
    return _transforms(math.prod(x[:-1]), x[-1])


def _from_waves(x: Sequence[int], dim: Any, normalization: int, last: int, **kwargs: Any) -> int:
    return _transforms(math.prod(x[:-1]), last)


def _transforms(many: int, n: int) -> int:
    return round(many * 2.5 * n * math.log2(max(n, 2)))
