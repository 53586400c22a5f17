"""Products and losses whose gradients autograd would compute in more passes over memory than they need.

Axes: n word or row, v class, k inner.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CACHED = 1 << 18  # float32 values that stay in the processor's cache


class Repeated:
    """A map that a loop applies, step after step: y_t = x_t M + b.

    The gradient of M is one product after the whole loop, sum over t of x_t' g_t = X' G, where autograd computes as
    many small products as there are steps, and as many sums of matrices.

    matrix: (k, n), for x of (B, k); or one a row, (B, k, n), for x of (B, 1, k). bias: (n,). It can be
    differentiated once.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None = None) -> None:
        kind = matrix.device.type
        # inside a Function, autocast would cast the matrix anew at each step
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else matrix.dtype
        self._tape: list[tuple[Tensor, Tensor]] = []
        self._matrix: Tensor = _Gather.apply(matrix.to(dtype), self._tape)  # type: ignore[no-untyped-call]
        self._bias = None if bias is None else bias.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """x M + b, in the matrix's dtype, or autocast's."""
        y: Tensor = _Product.apply(x.to(self._matrix.dtype), self._matrix, self._tape)  # type: ignore[no-untyped-call]
        return y if self._bias is None else y + self._bias


class _Gather(torch.autograd.Function):
    """Hands the matrix on; its backward comes after that of every product, and multiplies what they have noted."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, tape: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.tape = tape
        return matrix.view_as(matrix)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, none: Tensor) -> tuple[Tensor, None]:
        x, g = (torch.cat(z, dim=-2) for z in zip(*ctx.tape, strict=True))
        ctx.tape.clear()
        return x.mT @ g, None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, tape: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.save_for_backward(x, matrix)
        ctx.tape = tape
        return x @ matrix

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        x, matrix = ctx.saved_tensors
        ctx.tape.append((x, g))
        return g @ matrix.mT, None, None


def smoothed_cross_entropy(logits_nv: Tensor, ids_n: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy against (1 - s) one-hot + s / V, a float32 scalar; logits of any floating dtype.

        loss = mean over n of log sum exp(l) - (1 - s) l[y] - s mean(l)

    `torch.nn.functional.cross_entropy` with label smoothing, which writes float32 copies of all logits where this keeps
    one array of their own dtype. Szegedy et al. 2016, section 7. It can be differentiated once.
    """
    loss: Tensor = _CrossEntropy.apply(logits_nv, ids_n, smoothing)  # type: ignore[no-untyped-call]
    return loss


class _CrossEntropy(torch.autograd.Function):
    """The gradient is made with the loss, some rows at a time: their float32 copy stays in the processor's cache."""

    @staticmethod
    def forward(ctx: Any, logits_nv: Tensor, ids_n: Tensor, smoothing: float) -> Tensor:
        n, v = logits_nv.shape
        need = ctx.needs_input_grad[0]
        grad_nv = torch.empty_like(logits_nv) if need else logits_nv
        loss = torch.zeros((), dtype=torch.float32, device=logits_nv.device)
        step = max(1, CACHED // v) if logits_nv.device.type == "cpu" else n
        for at in range(0, n, step):
            x, y = logits_nv[at : at + step].float(), ids_n[at : at + step, None]
            logp = x.log_softmax(1)
            loss -= (1 - smoothing) * logp.gather(1, y).sum() + smoothing / v * logp.sum()
            if need:
                grad = logp.exp_().sub_(smoothing / v)
                grad_nv[at : at + step] = grad.scatter_add_(1, y, grad.new_full(y.shape, smoothing - 1)).div_(n)
        ctx.save_for_backward(grad_nv)
        return loss / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (grad_nv,) = ctx.saved_tensors
        return grad_nv * g, None, None
