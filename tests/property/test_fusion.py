"""The laws of fusion on shapes, masks and poison that nobody thought of."""

import math

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polymodal.batch import Masked
from polymodal.fusion import FUSIONS, Late, make
from polymodal.nn import Size

SIZE = Size(dim=8, layers=2, heads=2, side=8, tokens=8)


class Answer:
    outputs = 3

    def __init__(self, link: str) -> None:
        self.link = link


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str, dict[str, int], dict[str, Masked]]:
    """A fusion's name, a link, dims and inputs: any column names, widths, lengths and masks."""
    name = draw(st.sampled_from(sorted(FUSIONS)))
    link = draw(st.sampled_from(["softmax", "sigmoid", "identity"]))
    names = draw(st.lists(st.text(max_size=6).filter(lambda s: "\x00" not in s), min_size=1, max_size=4, unique=True))
    dims = {m: draw(st.integers(3, 6)) for m in names}
    rows = draw(st.integers(1, 4))
    g = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    inputs = {}
    for m, d in dims.items():
        length = draw(st.integers(1, 4))
        keep = draw(st.lists(st.booleans(), min_size=rows * length, max_size=rows * length))
        mask = torch.tensor(keep).reshape(rows, length)
        inputs[m] = Masked(torch.randn(rows, length, d, generator=g, dtype=torch.float64), mask)
    return name, link, dims, inputs


COMMON = settings(max_examples=240, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@COMMON
@given(cases(), st.sampled_from([math.nan, math.inf, -math.inf, 1e30, -1e-30]), st.booleans())
def test_what_is_masked_never_matters(case: tuple, poison: float, training: bool) -> None:
    name, link, dims, x = case
    torch.manual_seed(0)
    f = make(name, dims, SIZE, Answer(link)).double().train(training)
    dirty = {m: Masked(torch.where(v.mask[..., None], v.values, poison).requires_grad_(), v.mask) for m, v in x.items()}
    torch.manual_seed(1)  # of dropout
    a = f(x)
    torch.manual_seed(1)
    b = f(dict(reversed(dirty.items())))
    assert torch.equal(a.values, b.values) and torch.equal(a.mask, b.mask) and a.values.isfinite().all()
    here = torch.stack([v.present() for v in x.values()], 1).any(1)
    assert torch.equal(a.mask.any(1), here)
    b.values.square().sum().backward()
    for v in dirty.values():
        assert v.values.grad is not None and v.values.grad.isfinite().all() and (v.values.grad[~v.mask] == 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in f.parameters())


@COMMON
@given(cases(), st.integers(1, 3))
def test_rows_and_padding_never_matter(case: tuple, more: int) -> None:
    name, link, dims, x = case
    torch.manual_seed(0)
    f = make(name, dims, SIZE, Answer(link)).double().eval()
    assert f.dim == (3 if isinstance(f, Late) else 8)
    whole = f(x)
    rows = len(whole.mask)
    order = torch.arange(rows).flip(0)
    longer = {
        m: Masked(
            torch.cat([v.values, v.values[:, :1].expand(-1, more, -1)], 1),
            torch.cat([v.mask, v.mask.new_zeros(rows, more)], 1),
        )
        for m, v in x.items()
    }
    turned = f({m: v.take(order) for m, v in longer.items()})
    torch.testing.assert_close(turned.values[order], whole.values)
    alone = f({m: v.take(torch.tensor([0])) for m, v in x.items()})
    torch.testing.assert_close(alone.values[0], whole.values[0])
