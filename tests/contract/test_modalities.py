"""Every codec and encoder of the table, against every law of `modalities.base`."""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cases import over
from polymodal.batch import Masked
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import Codec, Encoder, Guess
from polymodal.modalities.tabular.codec import Cells
from polymodal.nn import SIZES
from polymodal.ops import zeroed
from polymodal.spec import build, spec, table

SIZE = SIZES["tiny"]
CLASSES = table(*(part.values() for m in MODALITIES.values() for part in (m.codecs, m.encoders)), [nn.Identity])
CODECS = [(kind, name) for kind, m in MODALITIES.items() for name in m.codecs]
ENCODERS = [(kind, codec, name) for kind, codec in CODECS for name in MODALITIES[kind].encoders]
FIRST = [(kind, next(iter(m.codecs)), name) for kind, m in MODALITIES.items() for name in m.encoders]


def text(g: np.random.Generator) -> Sequence[Any]:
    words = ["a", "quiet", "film", "über", "not", "bad", "日本", "is", "it", "?"]
    return [" ".join(g.choice(words, int(n))) for n in g.integers(1, 12, 10)]


def image(g: np.random.Generator) -> Sequence[Any]:
    return [g.integers(0, 256, (int(h), 18, 3), dtype=np.uint8) for h in g.integers(12, 24, 8)]


def audio(g: np.random.Generator) -> Sequence[Any]:
    return [(g.normal(size=int(n)).astype(np.float32) * 0.1, 8000) for n in g.integers(800, 5000, 8)]


def series(g: np.random.Generator) -> Sequence[Any]:
    cells = [g.normal(3, 5, (int(t), 3)) for t in g.integers(2, 150, 10)]
    for x in cells:
        x[g.random(x.shape) < 0.2] = np.nan
    return [*cells, g.normal(3, 5, (150, 3))]


def vector(g: np.random.Generator) -> Sequence[Any]:
    return [g.normal(2, 3, (int(t), 5)) for t in g.integers(1, 7, 10)]


def tabular(g: np.random.Generator) -> Sequence[Any]:
    rows = [
        {
            "price": f"{g.lognormal(3, 2):.2f}",
            "city": str(g.choice(["Oslo", "Rome", "Lima"])),
            "sold": bool(g.integers(2)),
            "day": f"2024-{g.integers(1, 13):02d}-{g.integers(1, 29):02d} 1{g.integers(10)}:30",
            "pet": str(g.choice(["cat", "dog"])),
        }
        for _ in range(12)
    ]
    return [*({k: v for k, v in r.items() if g.random() > 0.2} for r in rows), rows[0]]


MAKE: dict[str, Callable[[np.random.Generator], Sequence[Any]]] = {
    "text": text,
    "image": image,
    "audio": audio,
    "series": series,
    "vector": vector,
    "tabular": tabular,
}
COLUMNS = {"price": "number", "city": "category", "sold": "boolean", "day": "date", "pet": "category"}


class Case(NamedTuple):
    """A fitted codec, its raw cells, and what it makes of them; an encoder where one is asked for."""

    codec: Codec
    cells: Sequence[Any]
    encoded: list[Tensor]
    encoder: Encoder

    def batch(self) -> Masked:
        """All cells, and one that is missing."""
        return self.codec.collate([*self.encoded, None])


def fitted(kind: str, name: str, cells: Sequence[Any]) -> Codec:
    cls = MODALITIES[kind].codecs[name]
    codec = cls(COLUMNS) if cls is Cells else cls()
    return codec.fit(cells, SIZE)


def make(kind: str, codec_name: str, encoder: str) -> Case:
    cells = MAKE[kind](np.random.default_rng(zlib.crc32(kind.encode())))
    codec = fitted(kind, codec_name, [*cells, None])
    encoded = [x for c in cells if (x := codec.encode(c)) is not None]
    torch.manual_seed(0)
    module = MODALITIES[kind].encoders[encoder].for_codec(codec, SIZE)
    with torch.no_grad():  # a part that starts at 0 would hide what passes through it
        for p in module.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return Case(codec, cells, encoded, module.eval())


@pytest.fixture(params=ENCODERS, ids="-".join, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return make(*request.param)


@pytest.fixture(params=FIRST, ids="-".join, scope="module")
def first(request: pytest.FixtureRequest) -> Case:
    """Each encoder once: tracing takes seconds, and sees no difference between codecs."""
    return make(*request.param)


@pytest.fixture(params=CODECS, ids="-".join)
def codec(request: pytest.FixtureRequest) -> Case:
    kind, name = request.param
    return make(kind, name, next(iter(MODALITIES[kind].encoders)))


def real(x: Masked) -> Tensor:
    """(N, dim): the real tokens, row after row."""
    return x.values[x.mask]


def wide(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim)).expand_as(like)


def holes(x: Masked, seed: int = 0) -> Masked:
    """The batch with a third of what is real taken away, anywhere, and the whole of the first row."""
    keep = torch.rand(x.mask.shape, generator=torch.Generator().manual_seed(seed)) > 1 / 3
    keep[0] = False
    return Masked(x.values, x.mask & keep)


def spoilt(x: Masked, value: float) -> Masked:
    """The batch with something else wherever nothing is real."""
    if not x.values.is_floating_point():
        value = 2**40 if x.values.dtype == torch.long else 255
    if x.values.dtype == torch.float16 and value == 1e30:
        value = 6e4
    other = torch.full_like(x.values, value)
    return Masked(torch.where(wide(x.mask, x.values), x.values, other), x.mask)


def weighted(x: Masked) -> Tensor:
    """A scalar that every real token's every number counts in, each differently."""
    y = zeroed(x)
    return (y * torch.linspace(-1, 2, y.numel()).sin().reshape(y.shape)).sum()


# --- codecs ---


def test_every_codec_has_a_kind_and_small_data_here() -> None:
    assert MAKE.keys() == MODALITIES.keys()
    for kind, m in MODALITIES.items():
        assert all(c.kind == kind for c in m.codecs.values())


def test_codec_spec_round_trip(codec: Case) -> None:
    form = json.loads(json.dumps(spec(codec.codec), allow_nan=False))
    other = build(form, CLASSES)
    assert spec(other) == spec(codec.codec)
    assert other.fingerprint() == codec.codec.fingerprint()
    for cell in codec.cells:
        a, b = codec.codec.encode(cell), other.encode(cell)
        assert (a is None and b is None) or torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    again = other.collate([*map(other.encode, codec.cells)])
    assert again.mask.any()


def test_encode_is_deterministic_and_does_not_learn(codec: Case) -> None:
    before = codec.codec.fingerprint()
    twice = [[codec.codec.encode(c) for c in order] for order in (codec.cells, codec.cells[::-1])]
    for a, b in zip(twice[0], twice[1][::-1], strict=True):
        assert (a is None and b is None) or torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    assert codec.codec.fingerprint() == before


def test_fit_is_deterministic_and_fingerprint_tells_fits_apart(codec: Case) -> None:
    kind, name = codec.codec.kind, type(codec.codec)
    (key,) = [k for k, c in MODALITIES[kind].codecs.items() if c is name]
    assert fitted(kind, key, [*codec.cells, None]).fingerprint() == codec.codec.fingerprint()
    iterated = name(COLUMNS) if name is Cells else name()
    assert iterated.fit(iter([*codec.cells, None]), SIZE).fingerprint() == codec.codec.fingerprint()
    assert len({fitted(kind, key, [c]).fingerprint() for c in codec.cells}) > 1


def test_fit_survives_nothing(codec: Case) -> None:
    kind, name = codec.codec.kind, type(codec.codec)
    (key,) = [k for k, c in MODALITIES[kind].codecs.items() if c is name]
    empty = fitted(kind, key, [None, None])
    x = empty.collate([None, None])
    assert not x.mask.any()
    y = next(iter(MODALITIES[kind].encoders.values())).for_codec(empty, SIZE).eval()(x)
    assert y.values.isfinite().all() and not y.mask.any()


def test_missing_cells_collate(codec: Case) -> None:
    assert codec.codec.encode(None) is None
    alone, mixed = codec.codec.collate([None]), codec.batch()
    for x in (alone, mixed):
        assert x.mask.dtype == torch.bool and x.mask.shape == x.values.shape[: x.mask.ndim]
    assert alone.values.shape[0] == 1 and not alone.mask.any()
    assert alone.values.dtype == mixed.values.dtype and alone.values.ndim == mixed.values.ndim
    assert mixed.present().tolist() == [True] * len(codec.encoded) + [False]
    assert zeroed(mixed).isfinite().all()


def test_accepts_never_raises(codec: Case, tmp_path: Path) -> None:
    (tmp_path / "broken.npy").write_bytes(b"no")
    odd: list[list[Any]] = [
        [],
        [None],
        [float("nan")],
        [object()],
        [{}],
        [[]],
        ["", " "],
        [tmp_path / "broken.npy", tmp_path / "absent.csv", tmp_path],
        [1, "a", [2], b"\xff"],
        [np.zeros((0, 3)), np.array("x"), torch.zeros(2)],
    ]
    for cells in odd:
        guess = type(codec.codec).accepts(cells)
        assert isinstance(guess, Guess) and 0 <= guess.confidence <= 1 and guess.reason


# --- encoders ---


def test_shape_and_mask(case: Case) -> None:
    x = case.batch()
    y = case.encoder(x)
    assert y.values.shape == (*y.mask.shape, SIZE.dim) and y.mask.ndim == 2 and y.mask.dtype == torch.bool
    assert case.encoder.dim == SIZE.dim
    assert torch.equal(y.mask.any(1), x.present())
    assert y.values.isfinite().all()


@over("value", [1e30, float("nan"), float("inf"), -float("inf")])
def test_masked_values_never_matter(case: Case, value: float) -> None:
    for x in (case.batch(), holes(case.batch())):
        a, b = case.encoder(spoilt(x, 0.0)), case.encoder(spoilt(x, value))
        assert torch.equal(a.mask, b.mask)
        assert torch.equal(zeroed(a), zeroed(b))


def test_masked_nan_never_reaches_a_gradient(case: Case) -> None:
    x = spoilt(holes(case.batch()), float("nan"))
    inputs = x.values.clone().requires_grad_(x.values.is_floating_point())
    case.encoder.zero_grad()
    weighted(case.encoder(Masked(inputs, x.mask))).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in case.encoder.parameters())
    if inputs.grad is not None:
        assert inputs.grad.isfinite().all()
        assert (inputs.grad[~wide(x.mask, inputs)] == 0).all()


def test_rows_are_independent_and_padding_never_matters(case: Case) -> None:
    whole = case.encoder(case.batch())
    for i, cell in enumerate(case.encoded):
        alone = case.encoder(case.codec.collate([cell]))
        torch.testing.assert_close(real(alone), whole.values[i][whole.mask[i]], atol=1e-5, rtol=1e-5)


RAGGED = [e for e in ENCODERS if e[0] not in ("image", "tabular")]  # these give one shape only
FLOATS = [e for e in ENCODERS if e[0] not in ("image", "text")]  # pixels and ids have no gradient


@pytest.mark.parametrize("case", RAGGED, ids="-".join, indirect=True)
def test_longer_padding_never_matters(case: Case) -> None:
    x = case.batch()
    more = x.values.new_full((x.values.shape[0], 37, *x.values.shape[2:]), 1)
    none = torch.zeros(more.shape[: x.mask.ndim], dtype=torch.bool)
    padded = Masked(torch.cat([x.values, more], 1), torch.cat([x.mask, none], 1))
    torch.testing.assert_close(real(case.encoder(padded)), real(case.encoder(x)), atol=1e-5, rtol=1e-5)


def test_another_row_never_matters(case: Case) -> None:
    x = case.batch()
    turned = x.take(torch.arange(x.mask.shape[0] - 1, -1, -1))
    a, b = case.encoder(x), case.encoder(turned)
    torch.testing.assert_close(zeroed(a), zeroed(b).flip(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", FLOATS, ids="-".join, indirect=True)
def test_no_gradient_between_rows(case: Case) -> None:
    x = case.batch()
    values = x.values.clone().requires_grad_()
    y = case.encoder(Masked(values, x.mask))
    y.values[0][y.mask[0]].sin().sum().backward()
    assert values.grad is not None and (values.grad[1:] == 0).all() and values.grad[0].any()


def test_every_real_row_counts(case: Case) -> None:
    """An encoder that ignored its input would keep all the laws above."""
    y = case.encoder(case.codec.collate([case.encoded[0], case.encoded[1]]))
    a, b = (y.values[i][y.mask[i]].mean(0) for i in (0, 1))
    assert not torch.allclose(a, b, atol=1e-4)


def test_all_missing_is_finite(case: Case) -> None:
    for x in (case.codec.collate([None, None]), case.batch().hidden()):
        y = case.encoder(x)
        assert y.values.isfinite().all() and not y.mask.any()
        case.encoder.zero_grad()
        weighted(Masked(y.values, torch.ones_like(y.mask))).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in case.encoder.parameters())


def test_every_parameter_learns(case: Case) -> None:
    case.encoder.zero_grad()
    weighted(case.encoder(case.batch())).backward()
    still = [n for n, p in case.encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_every_parameter_is_registered(case: Case) -> None:
    known = {id(p) for p in [*case.encoder.parameters(), *case.encoder.buffers()]}
    assert {id(p) for p in tensors(case.encoder, set())} <= known
    assert all(isinstance(v, nn.Parameter) for _, v in case.encoder.named_parameters())


def tensors(x: Any, seen: set[int]) -> Iterator[Tensor]:
    """Every tensor that can be reached from an object, in lists and dicts too."""
    if id(x) in seen:
        return
    seen.add(id(x))
    if isinstance(x, Tensor):
        yield x
    inside = x.values() if isinstance(x, dict) else x if isinstance(x, list | tuple | set) else ()
    for v in [*inside, *(vars(x).values() if isinstance(x, nn.Module) else ())]:
        yield from tensors(v, seen)


def test_save_and_load_round_trip(case: Case) -> None:
    form = json.loads(json.dumps(spec(case.encoder)))
    other = build(form, CLASSES)
    other.load_state_dict(case.encoder.state_dict())
    x = case.batch()
    a, b = case.encoder(x), other.eval()(x)
    assert torch.equal(a.values, b.values) and torch.equal(a.mask, b.mask)
    assert spec(other) == spec(case.encoder)


def test_dropout_only_while_training(case: Case) -> None:
    x = case.batch()
    assert torch.equal(case.encoder(x).values, case.encoder(x).values)
    y = case.encoder.train()(x)
    case.encoder.eval()
    assert y.values[y.mask].isfinite().all()


def test_compiles_whole(first: Case) -> None:
    x = first.batch()
    torch.compiler.reset()
    y = torch.compile(first.encoder, fullgraph=True, backend="eager")(x)
    torch.testing.assert_close(zeroed(y), zeroed(first.encoder(x)), atol=1e-6, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")
def test_exports_with_any_number_of_rows(first: Case) -> None:
    x = first.batch()
    rows = Masked({0: torch.export.Dim.AUTO}, {0: torch.export.Dim.AUTO})  # type: ignore[arg-type]
    program = torch.export.export(first.encoder, (x,), dynamic_shapes=(rows,)).module()
    for other in (x, x.take(torch.tensor([1, 0, 2]))):
        a, b = program(other), first.encoder(other)
        assert torch.equal(a.mask, b.mask)
        torch.testing.assert_close(zeroed(a), zeroed(b), atol=1e-5, rtol=1e-5)


def test_half_precision_stays_finite(case: Case) -> None:
    """Training under autocast, as on a graphics card."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = case.encoder(case.batch())
    assert y.values.isfinite().all()
