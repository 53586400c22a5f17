"""Every fusion of the table, of one modality and of three, under every law."""

import json
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from cases import over
from polymodal import fusion
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.fusion import FUSIONS, Fusion, Late, make
from polymodal.nn import SIZES
from polymodal.spec import build, spec, table

# names that a column can have: nn.ModuleDict refuses three of them
WIDTHS = {"photo.jpg": 5, "values": 7, "a b/c": 4, "": 6}
CLASSES = table(FUSIONS.values())
MODALITIES = over("modalities", [1, 3])
EVERY = pytest.mark.parametrize("name", FUSIONS)
LINKS = ("softmax", "sigmoid", "identity")


class Answer:
    """A task, as far as a fusion needs one."""

    outputs = 3

    def __init__(self, link: str = "softmax") -> None:
        self.link = link


def built(name: str, modalities: int, link: str = "softmax") -> Fusion:
    torch.manual_seed(0)
    dims = dict(list(WIDTHS.items())[:modalities])
    return make(name, dims, SIZES["tiny"], Answer(link)).double().eval()


def tokens(f: Fusion, rows: int = 5, seed: int = 1, keep: float = 0.6) -> dict[str, Masked]:
    """Random tokens; in row 0 everything is there, in row 1 the last modality is absent, in row 2 all are."""
    g = torch.Generator().manual_seed(seed)
    out = {}
    for i, (m, d) in enumerate(f.dims.items()):
        mask = torch.rand(rows, 3 + i, generator=g) < keep
        mask[:, 0] = True
        mask[0], mask[2:3] = True, False
        if i == len(f.dims) - 1:
            mask[1:2] = False
        out[m] = Masked(torch.randn(rows, 3 + i, d, generator=g, dtype=torch.float64), mask)
    return out


def poisoned(x: Masked, value: float) -> Masked:
    return Masked(torch.where(x.mask[..., None], x.values, value), x.mask)


def real(y: Masked) -> Tensor:
    """The values where they are real; the rest is nobody's business."""
    return y.values[y.mask]


@EVERY
@MODALITIES
def test_shape_and_mask(name: str, modalities: int) -> None:
    f = built(name, modalities)
    x = tokens(f)
    y = f(x)
    assert y.values.shape == (5, y.mask.shape[1], f.dim) and y.mask.dtype == torch.bool
    assert f.dim == (3 if isinstance(f, Late) else SIZES["tiny"].dim)
    here = torch.stack([m.present() for m in x.values()], 1).any(1)
    assert torch.equal(y.mask.any(1), here)
    assert f.paper and f.family in ("early", "sequence", "late", "hybrid")


@EVERY
@MODALITIES
@over("value", [1e30, math.nan, math.inf, -math.inf])
def test_masked_values_never_matter(name: str, modalities: int, value: float) -> None:
    f = built(name, modalities)
    x = tokens(f)
    a, b = f(x), f({m: poisoned(v, value) for m, v in x.items()})
    assert torch.equal(a.values, b.values) and torch.equal(a.mask, b.mask)


@EVERY
@MODALITIES
@over("training", [False, True])
def test_masked_nan_never_reaches_a_gradient(name: str, modalities: int, training: bool) -> None:
    f = built(name, modalities).train(training)
    x = {m: poisoned(v, math.nan) for m, v in tokens(f).items()}
    for v in x.values():
        v.values.requires_grad_()
    torch.manual_seed(3)
    real(f(x)).square().sum().backward()
    for p in f.parameters():
        assert p.grad is None or p.grad.isfinite().all()
    for v in x.values():
        assert v.values.grad is not None
        assert (v.values.grad[~v.mask] == 0).all() and v.values.grad.isfinite().all()


@EVERY
@MODALITIES
def test_padding_length_never_matters(name: str, modalities: int) -> None:
    f = built(name, modalities)
    x = tokens(f)
    longer = {
        m: Masked(
            torch.cat([v.values, torch.full((5, 4, v.values.shape[2]), 7.0, dtype=torch.float64)], 1),
            torch.cat([v.mask, torch.zeros(5, 4, dtype=torch.bool)], 1),
        )
        for m, v in x.items()
    }
    torch.testing.assert_close(f(x).values, f(longer).values)


@EVERY
@MODALITIES
def test_rows_are_independent(name: str, modalities: int) -> None:
    f = built(name, modalities)
    x = tokens(f)
    whole = f(x)
    for row in range(5):
        alone = f({m: v.take(torch.tensor([row])) for m, v in x.items()})
        torch.testing.assert_close(alone.values[0], whole.values[row])
        assert torch.equal(alone.mask[0], whole.mask[row])


@EVERY
@MODALITIES
def test_key_order_never_matters(name: str, modalities: int) -> None:
    f = built(name, modalities)
    x = tokens(f)
    assert torch.equal(f(x).values, f(dict(reversed(x.items()))).values)


@EVERY
@MODALITIES
@over("training", [False, True])
def test_everything_missing_is_finite(name: str, modalities: int, training: bool) -> None:
    f = built(name, modalities).train(training)
    x = {m: v.hidden() for m, v in tokens(f).items()}
    x = {m: Masked(v.values * math.nan, v.mask) for m, v in x.items()}
    y = f(x)
    assert y.values.isfinite().all() and not y.mask.any()
    y.values.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in f.parameters())


@EVERY
@MODALITIES
def test_each_modality_counts_at_every_real_token(name: str, modalities: int) -> None:
    f = built(name, modalities)
    x = tokens(f, rows=64 if name == "late-max" else 5)
    for v in x.values():
        v.values.requires_grad_()
    (real(f(x)) * torch.linspace(-1, 1, f.dim, dtype=torch.float64)).sum().backward()
    for m, v in x.items():
        assert v.values.grad is not None
        reached = v.values.grad.abs().sum(2) > 0
        if name == "late-max":  # only the surest speaks: a modality is heard in some rows, there with all its tokens
            assert reached.any() and torch.equal(reached, v.mask & reached.any(1, keepdim=True)), f"tokens of {m!r}"
        else:
            assert torch.equal(reached, v.mask), f"tokens of {m!r}"


@EVERY
@MODALITIES
def test_every_parameter_learns_and_is_registered(name: str, modalities: int) -> None:
    f = built(name, modalities).train()
    y = f(tokens(f, rows=16))
    (real(y).softmax(-1) * torch.linspace(-1, 1, f.dim, dtype=torch.float64)).square().sum().backward()
    # a weight among the weights of one modality is 1 whatever its score
    idle = {"score_m"} if modalities == 1 else set()
    still = [n for n, p in f.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert set(still) <= idle, still
    assert not loose_tensors(f), "a tensor that no state_dict holds"


def loose_tensors(module: torch.nn.Module) -> list[str]:
    """Attributes that hold tensors or modules out of torch's sight: in a plain list, tuple or dict."""
    found = []
    for path, part in module.named_modules():
        for k, v in vars(part).items():
            if k.startswith("_"):
                continue
            inner = list(v.values()) if isinstance(v, Mapping) else list(v) if isinstance(v, list | tuple) else [v]
            found += [f"{path}.{k}" for x in inner if isinstance(x, Tensor | torch.nn.Module)]
    return found


@EVERY
@MODALITIES
@over("link", LINKS)
def test_spec_and_state_make_the_same_fusion(name: str, modalities: int, link: str) -> None:
    f = built(name, modalities, link)
    form = json.loads(json.dumps(spec(f)))
    again = build(form, CLASSES).double().eval()
    again.load_state_dict(f.state_dict())
    x = tokens(f)
    assert type(again) is type(f) and spec(again) == form and list(again.dims) == list(f.dims)
    assert torch.equal(again(x).values, f(x).values)


@EVERY
@over("link", LINKS)
def test_gradcheck(name: str, link: str) -> None:
    if link != LINKS[0] and not issubclass(FUSIONS[name], Late):
        return  # it has no link
    f = built(name, 3, link)
    x = tokens(f, rows=3)
    masks = [v.mask for v in x.values()]

    def call(*values: Tensor) -> Tensor:
        return real(f(dict(zip(f.dims, map(Masked, values, masks), strict=True))))

    values = [v.values.requires_grad_() for v in x.values()]
    assert torch.autograd.gradcheck(call, values, fast_mode=True)


@EVERY
def test_compile_equals_eager_and_one_graph_does_for_any_number_of_rows(name: str) -> None:
    f = built(name, 2)
    torch._dynamo.reset()
    g = torch.compile(f, fullgraph=True, backend="eager", dynamic=False)
    for rows, stance in ((5, "default"), (3, "fail_on_recompile")):
        x = tokens(f, rows)
        want = f(x).values
        for part in (t for v in x.values() for t in v):
            torch._dynamo.mark_dynamic(part, 0)
        with torch.compiler.set_stance(stance):
            assert torch.equal(g(x).values, want)


@EVERY
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_export_equals_eager(name: str) -> None:
    f = built(name, 2)
    x = tokens(f)
    y = torch.export.export(f, (x,)).module()(x)
    assert torch.equal(y.values, f(x).values) and torch.equal(y.mask, f(x).mask)


@EVERY
def test_errors_are_named(name: str) -> None:
    f = built(name, 2)
    x = tokens(f)
    cls = type(f).__name__
    with pytest.raises(InputError, match=rf"{cls} was built for .*photo.jpg.* but got \['values'\]"):
        f({"values": x["values"]})
    with pytest.raises(InputError, match=f"{cls} was built for .*all-False mask"):
        f({**x, "more": x["values"]})
    with pytest.raises(InputError, match=rf"{cls} was built for tokens of width 7 in 'values' but got 2"):
        f({**x, "values": Masked(x["values"].values[..., :2], x["values"].mask)})
    with pytest.raises(InputError, match=f"{cls} needs at least one modality"):
        make(name, {}, SIZES["tiny"], Answer())


LATE = pytest.mark.parametrize("name", [n for n, c in FUSIONS.items() if issubclass(c, Late)])


@LATE
@over("link", LINKS)
@over("training", [False, True])
def test_a_late_fusion_of_what_is_present_renormalises(name: str, link: str, training: bool) -> None:
    """What an absent modality would have said has no part: the fusion of the others comes out."""
    f = built(name, 3, link).train(training)
    x = tokens(f)
    last, dims = list(f.dims)[-1], dict(list(WIDTHS.items())[:2])
    if name == "hybrid":  # with a joint fusion of which the same is true
        f = type(f)(f.dims, f.dim, joint=FUSIONS["product"](f.dims, 4), link=link).double().train(training)
    joint = {"joint": FUSIONS["product"](dims, 4)} if name == "hybrid" else {}
    two = type(f)(dims, f.dim, link=link, **joint).double().train(training)
    kept = two.state_dict()
    state = {k: v[: len(kept[k])] if "score" in k else v for k, v in f.state_dict().items() if k in kept}
    two.load_state_dict(state)
    rest = {m: v for m, v in x.items() if m != last}
    torch.testing.assert_close(f({**rest, last: x[last].hidden()}).values[:2], two(rest).values[:2])


@LATE
@MODALITIES
def test_opinions_begin_with_the_answer_and_are_of_whom_is_present(name: str, modalities: int) -> None:
    f = built(name, modalities)
    x = tokens(f)
    first, *others = f.opinions(x)
    assert torch.equal(first.values, f(x).values) and torch.equal(first.mask, f(x).mask)
    assert all(o.values.shape == (5, 1, 3) and o.mask.shape == (5, 1) for o in others)
    if name in ("late-stacking", "hybrid"):
        assert len(others) == modalities + (name == "hybrid")
        here = torch.stack([v.present() for v in x.values()], 1)
        assert torch.equal(torch.cat([o.mask for o in others[-modalities:]], 1), here)
        loud = {m: poisoned(v, 1e30) for m, v in x.items()}
        assert all(torch.equal(a.values, b.values) for a, b in zip(others, f.opinions(loud)[1:], strict=True))


@EVERY
@MODALITIES
def test_the_penalty_is_a_number_that_can_be_added_to_a_loss(name: str, modalities: int) -> None:
    f = built(name, modalities)
    penalty = f.penalty(tokens(f))
    assert penalty.shape == () and penalty >= 0
    assert (penalty > 0) == (name == "mvae" or (name == "cen" and modalities > 1))


OTHERS = ["tensor", "low-rank", "bilinear", "product", "sum", "attention", "mlb", "mutan", "mfb", "mcb", "film"]
OTHERS += ["mbt", "perceiver", "recurrent", "mvae"]


@pytest.mark.parametrize("name", OTHERS)
def test_the_fusion_of_the_others_comes_out(name: str) -> None:
    """Absent is (1, 0 ... 0), no term, or no token: a fusion of fewer with the same weights agrees."""
    f = built(name, 3)
    if name == "low-rank":
        torch.nn.init.normal_(f.constants[2])  # type: ignore[index, arg-type]
    x = tokens(f)
    names = list(f.dims)
    few = type(f)({m: f.dims[m] for m in names[:2]}, f.dim, **{k: v for k, v in settings(f).items()}).double().eval()
    state = {k: v for k, v in f.state_dict().items() if k in few.state_dict()}
    if name == "tensor":
        state["weight"] = f.weight[:, :, 0]
    if name == "bilinear":
        first, second = (f.dims[m] for m in names[:2])
        state["linear.weight"] = f.linear.weight[:, : first + second]  # type: ignore[union-attr, index, operator]
        state["weights.0"] = f.weights[0][:, :second]  # type: ignore[index]
    if name == "film":
        state = {k: v[:, : f.dim] if k.startswith("films") else v for k, v in state.items()}
    if name == "mbt":
        state["starts_md"] = f.starts_md[:2]
    few.load_state_dict(state)
    got = f({**x, names[2]: x[names[2]].hidden()}).values[:2]
    want = few({m: x[m] for m in names[:2]}).values[:2]
    got = got[:, :2] if name == "mbt" else got
    if name == "low-rank":  # the constant of the absent one stays, as the 1 of its (1, 0 ... 0)
        few.constants = torch.nn.ParameterList([few.constants[0] * f.constants[2], few.constants[1]])  # type: ignore[index, operator]
        few.factors[0] = torch.nn.Parameter(few.factors[0] * f.constants[2][..., None])  # type: ignore[index, operator]
        want = few({m: x[m] for m in names[:2]}).values[:2]
    torch.testing.assert_close(got, want)


def settings(f: Fusion) -> dict[str, object]:
    return {k: v for k, v in spec(f)["args"].items() if k not in ("dims", "dim")}


def test_every_concrete_fusion_is_in_the_table() -> None:
    def below(cls: type) -> set[type]:
        return {cls}.union(*(below(c) for c in cls.__subclasses__()))

    ours = {c for c in below(Fusion) if c.__module__.startswith("polymodal.")}
    assert set(FUSIONS.values()) == ours - {Fusion, Late}
    assert {c.__name__ for c in FUSIONS.values()} <= set(fusion.__all__)
