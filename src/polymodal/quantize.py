"""Copies of trained modules whose linear maps are int8, for prediction: a quarter of the memory that a word reads.

    y[n, o] = a[n] s[o] sum_i round(x[n, i] / a[n]) q[o, i] + bias[o]
    q = round(w / s),   s[o] = max_i |w[o, i]| / 127,   a[n] = max_i |x[n, i]| / 127

Scales of weights are fixed, those of inputs are of one row each, so that rows never see each other; the sum is exact.
Dynamic quantisation as in Jacob et al. 2018, symmetric. (torch's own has one scale for all rows of a batch; torchao's
takes 1.5 to 2 times as long on a processor: `benchmarks/quantized.py`.)

Axes: n row, i input, o output.
"""

from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

MOST = 127.0
LEAST = 1 << 19  # weights; a smaller map is read from the processor's cache, where float is as fast at batch 1


def int8(module: nn.Module, least: int = LEAST) -> nn.Module:
    """A copy of the module in which every `nn.Linear` of at least `least` weights is an `Int8`.

    The module stays as it is. All other parameters are shared with it, and the copy is in evaluation mode.
    """
    memo: dict[int, Any] = {id(p): p for p in module.parameters()}
    for part in module.modules():
        if type(part) is nn.Linear and part.weight.numel() >= least:
            memo[id(part)] = Int8(part)
    out: nn.Module = deepcopy(module, memo)
    return out.eval()


class Int8(nn.Module):
    """What a linear map says, in int8. It can't be trained, and no gradient passes through it."""

    q: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.out_features, self.in_features = linear.out_features, linear.in_features
        weight_oi = linear.weight.detach().float()
        scale_o = (weight_oi.abs().amax(1) / MOST).clamp_min(torch.finfo(torch.float32).tiny)
        self.register_buffer("q", (weight_oi / scale_o[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale_o)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())
        self._packed: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def weight(self) -> Tensor:
        """(out, in) float32: the map that the integers stand for."""
        return self.q.float() * self.scale[:, None]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in the dtype of x, or autocast's where that is on."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        x_ni = x.reshape(-1, self.in_features).float()
        a_n1 = x_ni.abs().amax(1, keepdim=True).clamp_min_(torch.finfo(torch.float32).tiny).div_(MOST)
        y_no = self._product((x_ni / a_n1).round_().to(torch.int8))
        y_no = y_no.mul_(a_n1) if self.bias is None else torch.addcmul(self.bias, y_no, a_n1, out=y_no)
        return y_no.to(dtype).reshape(*x.shape[:-1], self.out_features)

    def _product(self, x_ni: Tensor) -> Tensor:
        """(N, in) int8 -> (N, out): the sum over i, times the scale of o."""
        if x_ni.device.type != "cpu" or not len(x_ni) or not exact():
            with torch.autocast(x_ni.device.type, enabled=False):
                return (x_ni.float() @ self.q.float().T) * self.scale
        if self._packed is None or self._packed[1] is not self.scale:
            self._packed = (_pack(self.q), self.scale, torch.zeros(self.out_features, dtype=torch.int32))
        return _onednn(x_ni, *self._packed)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}  # of this processor alone

    def extra_repr(self) -> str:
        """As `nn.Linear` tells it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


@cache
def exact() -> bool:
    """Whether oneDNN multiplies int8 here, and without the saturation of processors that lack such instructions."""
    x, q = torch.full((1, 64), 127, dtype=torch.int8), torch.full((16, 64), 127, dtype=torch.int8)
    q[1::2] = -127
    try:
        result = _onednn(x, _pack(q), torch.ones(16), torch.zeros(16, dtype=torch.int32))
    except (RuntimeError, AttributeError):
        return False
    return torch.equal(result, x.float() @ q.float().T)


def _pack(q_oi: Tensor) -> Tensor:
    weight: Tensor = torch.ops.onednn.qlinear_prepack(q_oi, None)
    return weight


def _onednn(x_ni: Tensor, weight: Tensor, scale_o: Tensor, zeros_o: Tensor) -> Tensor:
    y_no: Tensor = torch.ops.onednn.qlinear_pointwise(
        x_ni, 1.0, 0, weight, scale_o, zeros_o, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return y_no
