"""What stands in for an absent modality: the law of every filler, what each computes, and its way into a saved model."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

import flat
from conftest import make_shop
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.fusion import FILLERS, AbsentTokens, Filler, Gated, Imputed, JointAttention, LateMean
from polymodal.learners.network import Network, Predictor
from polymodal.model import Model, load
from polymodal.spec import build, spec, table

DIMS = {"photo.jpg": 5, "values": 3, "": 4}
EVERY = pytest.mark.parametrize("name", FILLERS)


def built(name: str) -> Filler:
    torch.manual_seed(0)
    f = FILLERS[name](dict(DIMS)).double().eval()
    for p in f.parameters():  # so that no zero of a beginning hides a fault
        torch.nn.init.normal_(p, std=0.3)
    return f


def tokens(rows: int = 6) -> dict[str, Masked]:
    """Row 0 has everything, 1 lacks the last modality, 2 has nothing, 3 has the first alone, 4 lacks the first."""
    g = torch.Generator().manual_seed(1)
    out = {}
    for i, (m, d) in enumerate(DIMS.items()):
        mask = torch.rand(rows, 2 + i, generator=g) < 0.6
        mask[0] = True
        mask[1, 0], mask[2], mask[3] = True, False, i == 0
        mask[1] &= i < 2
        mask[4] = i > 0
        out[m] = Masked(torch.randn(rows, 2 + i, d, generator=g, dtype=torch.float64), mask)
    return out


def poisoned(x: dict[str, Masked], value: float = math.nan) -> dict[str, Masked]:
    return {m: Masked(torch.where(v.mask[..., None], v.values, value), v.mask) for m, v in x.items()}


def real(x: Masked) -> Tensor:
    return torch.where(x.mask[..., None], x.values, 0)


@EVERY
def test_present_stays_absent_is_one_token_and_nothing_stays_nothing(name: str) -> None:
    x = tokens()
    y = built(name)(x)
    assert list(y) == list(DIMS)
    anything = torch.stack([v.present() for v in x.values()], 1).any(1)
    for m in DIMS:
        here = x[m].present()
        assert torch.equal(y[m].values[here], x[m].values[here]) and torch.equal(y[m].mask[here], x[m].mask[here])
        assert torch.equal(y[m].mask[~here].sum(1), anything[~here].long())
        assert not y[m].mask[2].any()


@EVERY
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_masked_values_never_matter(name: str, value: float) -> None:
    f, x = built(name), tokens()
    a, dirty = f(x), poisoned(x, value)
    for v in dirty.values():
        v.values.requires_grad_()
    b = f(dirty)
    for m in DIMS:
        assert torch.equal(real(a[m]), real(b[m])) and torch.equal(a[m].mask, b[m].mask)
    assert torch.equal(f.penalty(x), f.penalty(dirty))
    (sum(real(v).square().sum() for v in b.values()) + f.penalty(dirty)).backward()
    for m, v in dirty.items():
        assert v.values.grad is not None
        assert v.values.grad.isfinite().all() and (v.values.grad[~v.mask] == 0).all(), m
    assert all(p.grad is None or p.grad.isfinite().all() for p in f.parameters())


@EVERY
def test_rows_never_see_each_other_and_order_never_matters(name: str) -> None:
    f, x = built(name), tokens()
    whole, turned = f(x), f(dict(reversed(x.items())))
    for m in DIMS:
        assert torch.equal(turned[m].values, whole[m].values)
    for row in range(6):
        alone = f({m: v.take(torch.tensor([row])) for m, v in x.items()})
        for m in DIMS:
            torch.testing.assert_close(alone[m].values[0], whole[m].values[row])


@EVERY
def test_gradients_reach_all_that_is_learned(name: str) -> None:
    f, x = built(name).train(), tokens()
    (sum(real(v).square().sum() for v in f(x).values()) + f.penalty(x)).backward()
    still = [k for k, p in f.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


@EVERY
def test_spec_and_state_make_the_same_filler(name: str) -> None:
    f, x = built(name), tokens()
    again = build(json.loads(json.dumps(spec(f))), table(FILLERS.values())).double().eval()
    again.load_state_dict(f.state_dict())
    for m, y in again(x).items():
        assert torch.equal(y.values, f(x)[m].values)


def test_a_token_is_what_was_learned_in_every_row() -> None:
    f, x = built("tokens"), tokens()
    assert isinstance(f, AbsentTokens)
    y = f(x)[""]
    assert torch.equal(y.values[1, 0], f.tokens[2]) and torch.equal(y.values[3, 0], f.tokens[2])
    assert y.mask[1].tolist() == [True, False, False, False] and f.penalty(x) == 0


def test_a_guess_is_the_formula_a_row_at_a_time() -> None:
    f, x = built("predicted"), tokens()
    assert isinstance(f, Imputed)
    guesses, names = f.guesses(x), list(DIMS)
    for m in names:
        for b in range(6):
            others = [k for k in names if k != m and x[k].mask[b].any()]
            said = [f.parts[k](x[k].take(torch.tensor([b])))[0] for k in others]
            mean = sum(said) / len(said) if said else torch.zeros(f.dim, dtype=torch.float64)
            bits = torch.tensor([float(k in others) for k in names], dtype=torch.float64)
            torch.testing.assert_close(guesses[m][b], f.guess[m](torch.cat([mean, bits])))
    assert torch.equal(f(x)[""].values[1, 0], guesses[""][1])


def test_the_penalty_is_the_error_in_units_of_the_spread() -> None:
    f, x = built("predicted").requires_grad_(False), tokens()
    assert isinstance(f, Imputed)
    guesses, total = f.guesses(x), 0.0
    for m in DIMS:
        rows = [b for b in range(6) if x[m].mask[b].any() and sum(int(v.mask[b].any()) for v in x.values()) > 1]
        means = {b: x[m].values[b][x[m].mask[b]].mean(0) for b in rows}
        middle = sum(means.values()) / len(rows)
        error = sum(float(((guesses[m][b] - means[b]) ** 2).sum()) for b in rows)
        spread = sum(float(((y - middle) ** 2).sum() + 0.01 * (y**2).sum()) for y in means.values())
        total += error / spread
    torch.testing.assert_close(float(f.penalty(x)), f.weight * total / 3)


def test_the_penalty_teaches_the_guess_and_moves_no_target() -> None:
    f, x = built("predicted"), tokens()
    only = {m: v if m == "" else v.hidden() for m, v in x.items()}
    assert f.penalty(only) == 0, "a modality that is alone has nothing to be guessed from"
    target = x["values"].values.requires_grad_()
    here = {m: v if m in ("values", "") else v.hidden() for m, v in x.items()}
    rows = here["values"].present() & here[""].present()
    guesses = f.guesses(here)["values"]
    assert torch.autograd.grad(guesses.sum(), target, allow_unused=True, retain_graph=True)[0].abs().sum() == 0
    assert rows.any() and f.penalty(here) > 0


def test_imputing_learns_what_one_modality_says_of_the_other() -> None:
    """b is a linear map of a: after training the guess explains most of it, and absence costs little."""
    g = torch.Generator().manual_seed(0)
    a, mix = torch.randn(512, 1, 16, generator=g), torch.randn(16, 3, generator=g)
    every = {m: Masked(v, torch.ones(512, 1) > 0) for m, v in {"a": a, "b": a @ mix}.items()}
    seen, held = ({m: v.take(rows) for m, v in every.items()} for rows in torch.arange(512).split(384))
    torch.manual_seed(0)
    f = Imputed({"a": 16, "b": 3}, 32, dropout=0.0, weight=1.0)
    steps = torch.optim.AdamW(f.parameters(), 1e-2)
    before = float(f.penalty(held).detach())
    for _ in range(60):
        steps.zero_grad()
        f.penalty(seen).backward()
        steps.step()
    filled, truth = f({**held, "b": held["b"].hidden()})["b"].values.detach(), held["b"].values
    error = float((filled - truth).square().sum() / truth.square().sum())
    assert before > 0.8 and error < 0.3, (before, error)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    path = make_shop(tmp_path_factory.mktemp("fill") / "shop", 40)
    return path, flat.fit(path, "kind", fusion="gated", epochs=1, size="tiny", baselines=False)


@EVERY
def test_hidden_is_empty_in_prediction_and_the_folder_keeps_it(name: str, shop, tmp_path: Path) -> None:
    path, model = shop
    old = model.learner
    assert isinstance(old, Network)
    dims = {m: e.dim for m, e in old.encoders.items()}
    fusion = JointAttention(dims, 32, heads=2) if name == "tokens" else Gated(dims, 32)
    learner = Predictor(dict(old.encoders.items()), fusion, old.task, filler=FILLERS[name](dims)).eval()
    new = Model(model.preprocessor, learner, model.report)
    whole = pd.read_csv(path)
    whole["photo"] = [str(path.parent / p) for p in whole["photo"]]
    for m, columns in {"note": ["note"], "table": ["price", "seller"], "photo": ["photo"]}.items():
        empty = whole.assign(**dict.fromkeys(columns))
        hidden = new.predict(whole, without=[m])
        assert hidden.equals(new.predict(empty)) and not hidden.equals(new.predict(whole)), m
    with torch.no_grad():
        for p in learner.head.filler.parameters():
            p.add_(1.0)
    assert not new.predict(empty).equals(hidden), "what stands in for the photo has no say"
    assert new.predict(whole).equals(load(new.save(tmp_path / "m")).predict(whole))
    assert load(tmp_path / "m").predict(empty).equals(new.predict(empty))


def test_late_fusions_refuse_one(shop) -> None:
    old = shop[1].learner
    dims = {m: e.dim for m, e in old.encoders.items()}
    with pytest.raises(InputError, match=r"LateMean is a late fusion, which leaves out what is absent"):
        Predictor(dict(old.encoders.items()), LateMean(dims, 2), old.task, filler=AbsentTokens(dims))
