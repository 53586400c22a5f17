"""Gradients computed at once are those of autograd, step by step."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from polymodal import gradients
from polymodal.gradients import Repeated, smoothed_cross_entropy


@pytest.mark.parametrize("rows", [None, 3], ids=["one matrix", "a matrix a row"])
def test_a_repeated_product_has_the_gradients_of_autograd(rows: int | None) -> None:
    g = torch.Generator().manual_seed(0)
    shape = (4, 4) if rows is None else (rows, 4, 4)
    matrix, bias = (torch.randn(s, generator=g, dtype=torch.float64, requires_grad=True) for s in (shape, (4,)))
    start = torch.randn((3, 4) if rows is None else (3, 1, 4), generator=g, dtype=torch.float64, requires_grad=True)

    def loop(step) -> torch.Tensor:
        h, total = start, 0.0
        for t in range(5):
            h = step(h).tanh()
            total = total + (t + 1) * h.square().sum()
        return total

    want = torch.autograd.grad(loop(lambda h: h @ matrix + bias), (matrix, bias, start))
    got = torch.autograd.grad(loop(Repeated(matrix, bias)), (matrix, bias, start))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_a_repeated_product_follows_autocast_and_inference() -> None:
    matrix, x = torch.randn(4, 4, requires_grad=True), torch.randn(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y = Repeated(matrix)(x)
    y.sum().backward()
    assert y.dtype == torch.bfloat16 and matrix.grad.dtype == torch.float32
    with torch.inference_mode():
        torch.testing.assert_close(Repeated(matrix)(x), x @ matrix)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_smoothed_cross_entropy_is_that_of_torch(
    smoothing: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "CACHED", 3 * 11)  # parts of three rows, the last of one
    g = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(7, 11, generator=g)).to(dtype).requires_grad_()
    ids = torch.randint(11, (7,), generator=g)
    want = cross_entropy(logits.float(), ids, label_smoothing=smoothing)
    (slope,) = torch.autograd.grad(2 * want, logits)
    got = smoothed_cross_entropy(logits, ids, smoothing)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(torch.autograd.grad(2 * got, logits)[0], slope)
    torch.testing.assert_close(smoothed_cross_entropy(logits.detach(), ids, smoothing), want)
