"""Int8 copies of linear maps: the sum from its definition, rows apart, near the float map, and smaller."""

import copy

import pytest
import torch
from torch import nn

from polymodal import quantize
from polymodal.batch import Masked
from polymodal.decoders.base import Decoding
from polymodal.decoders.embedding import WordEmbedding
from polymodal.decoders.recurrent import AttentiveGRU, DotProduct
from polymodal.decoders.search import search
from polymodal.quantize import Int8, int8


@pytest.fixture(params=["here", "elsewhere"])
def path(request, monkeypatch):
    """The processor's own product, and the one for processors and devices that lack it."""
    if request.param == "elsewhere":
        monkeypatch.setattr(quantize, "exact", lambda: False)


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs, bias)


@pytest.mark.parametrize("bias", [True, False])
def test_the_sum_is_that_of_its_definition(path, bias: bool) -> None:
    layer, x = linear(7, 5, bias), torch.randn(4, 7) * torch.tensor([[1e-20], [1.0], [30.0], [1e20]])
    found = Int8(layer)(x).double()
    weight, rows = layer.weight.detach(), x
    for n in range(4):
        a = rows[n].abs().max() / 127
        for o in range(5):
            s = weight[o].abs().max() / 127
            whole = sum(int((rows[n, i] / a).round()) * int((weight[o, i] / s).round()) for i in range(7))
            expected = whole * a.double() * s.double() + (layer.bias[o].item() if bias else 0.0)
            assert found[n, o].item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5 * a.item())


@pytest.mark.parametrize("inputs", [64, 512, 1536])
def test_it_is_near_the_float_map(path, inputs: int) -> None:
    layer, x = linear(inputs, 300), torch.randn(50, inputs)
    wrong = (Int8(layer)(x) - layer(x)).std() / layer(x).std()
    assert 0 < wrong < 0.02  # the steps of 1/127 of the largest, over sqrt(12), twice


def test_rows_never_see_each_other(path) -> None:
    layer = Int8(linear(512, 700))
    x = torch.randn(33, 512) * torch.logspace(-3, 3, 33)[:, None]
    x[5], x[6], x[7] = torch.nan, torch.inf, 1e30
    whole = layer(x)
    for n in [*range(5), *range(8, 33)]:
        assert torch.equal(layer(x[n : n + 1])[0], whole[n])
    assert whole[5].isnan().all() and whole[8:].isfinite().all()


def test_shapes_and_dtypes_are_those_of_a_linear_map(path) -> None:
    layer = linear(6, 4)
    small = Int8(layer)
    for shape in [(6,), (3, 6), (2, 3, 6), (0, 6), (2, 0, 6)]:
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            y = small(torch.randn(shape).to(dtype))
            assert y.shape == (*shape[:-1], 4) and y.dtype == dtype


def test_under_autocast_it_gives_what_a_linear_map_gives(path) -> None:
    layer, x = linear(64, 50), torch.randn(9, 64)
    small = Int8(layer)
    with torch.autocast("cpu", torch.bfloat16):
        y = small(x)
        assert y.dtype == layer(x).dtype == torch.bfloat16
    assert torch.equal(y, small(x).bfloat16())  # rounded once, at the end


def test_a_row_of_zeros_and_a_map_of_zeros_give_the_bias(path) -> None:
    layer = linear(6, 4)
    assert torch.equal(Int8(layer)(torch.zeros(2, 6)), layer.bias.detach().expand(2, 4))
    nn.init.zeros_(layer.weight)
    assert torch.equal(Int8(layer)(torch.randn(2, 6)), layer.bias.detach().expand(2, 4))


def test_the_largest_products_do_not_saturate(path) -> None:
    layer = linear(1024, 16, bias=False)
    nn.init.ones_(layer.weight)
    assert torch.allclose(Int8(layer)(torch.ones(1, 1024)), torch.full((1, 16), 1024.0), rtol=1e-6)


def test_the_weight_is_what_the_integers_stand_for() -> None:
    layer = linear(9, 5)
    small = Int8(layer)
    step = layer.weight.abs().amax(1, keepdim=True) / 127
    assert ((small.weight - layer.weight).abs() <= 0.5001 * step).all()


def test_only_large_maps_are_replaced_and_the_module_stays_as_it_was() -> None:
    module = nn.Sequential(linear(8, 100), nn.LayerNorm(100), nn.Dropout(), linear(100, 2), nn.Embedding(3, 100))
    before = copy.deepcopy(module.state_dict())
    small = int8(module.train(), least=800)
    assert isinstance(small[0], Int8) and isinstance(small[3], nn.Linear)
    assert module.training and not small.training and isinstance(module[0], nn.Linear)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert small[4].weight is module[4].weight  # what is not replaced costs no memory


def test_a_map_that_stands_in_two_places_stays_one() -> None:
    layer = linear(8, 100)
    small = int8(nn.Sequential(layer, linear(100, 8), layer), least=0)
    assert small[0] is small[2] and small[0] is not small[1]


def test_it_is_a_quarter_of_the_size_and_can_be_copied() -> None:
    module = nn.Sequential(linear(256, 1000), linear(1000, 256))
    small = int8(module, least=0)
    size = [sum(t.nbytes for t in (*m.parameters(), *m.buffers())) for m in (module, small)]
    assert size[1] < 0.27 * size[0]
    x = torch.randn(3, 256)
    y = small(x)
    assert torch.equal(copy.deepcopy(small)(x), y) and torch.equal(int8(small, least=0)(x), y)


def test_no_gradient_passes() -> None:
    small = int8(linear(8, 4), least=0)
    assert not small(torch.randn(2, 8, requires_grad=True)).requires_grad and not list(small.parameters())


def test_a_decoder_writes_the_same_and_what_is_masked_never_matters(path) -> None:
    torch.manual_seed(0)
    decoder = AttentiveGRU(DotProduct(32, 32), WordEmbedding(300, 32), dropout=0.0)
    memory, optimizer = torch.randn(6, 5, 32), torch.optim.Adam(decoder.parameters(), 3e-3)
    real = torch.arange(5) < torch.tensor([5, 4, 3, 2, 1, 5])[:, None]
    words = torch.randint(3, 300, (6, 8))
    given = Masked(
        torch.cat([torch.zeros(6, 1, dtype=torch.int64), words[:, :-1]], 1), torch.ones(6, 8, dtype=torch.bool)
    )
    for _ in range(120):
        logits = decoder.logits(decoder.teacher_forcing(decoder.start(Masked(memory, real)), given).hidden)
        nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    def written(model: nn.Module, values: torch.Tensor) -> torch.Tensor:
        how = Decoding("greedy", min_length=8, max_length=8)
        state = model.start(Masked(values, real))
        return search(model, state, begin=0, end=1, excluded=[0, 2], how=how, limit=20).ids[:, 0, :8]

    small = int8(decoder, least=0).eval()
    decoder.eval()
    assert torch.equal(written(decoder, memory), words)  # it has learned them by heart
    assert torch.equal(written(small, memory), words)
    for value in (1e30, torch.nan, torch.inf):
        assert torch.equal(written(small, torch.where(real[..., None], memory, value)), words)
    with torch.no_grad():
        hidden, clean = (small.start(Masked(torch.where(real[..., None], memory, v), real)) for v in (torch.nan, 0.0))
    assert all(torch.equal(hidden.past[k], clean.past[k]) for k in clean.past)
