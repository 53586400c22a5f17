"""Cyclic translation: its loss a row at a time, what it reads, and what it learns from a modality that it never reads."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import flat
from conftest import make_shop
from polymodal.batch import Batch, Masked
from polymodal.errors import InputError
from polymodal.folder import classes
from polymodal.heads.cyclic import Cyclic, segments
from polymodal.learners.encoders import Encoders
from polymodal.learners.network import Network
from polymodal.modalities.base import Encoder
from polymodal.model import Model, load
from polymodal.spec import build, spec
from polymodal.tasks import TASKS

WIDTHS = {"a": 4, "b.c": 6, "": 5}


class Plain(Encoder):
    """Tokens by a linear map."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.width, self.dim = width, dim
        self.map = nn.Linear(width, dim)

    @classmethod
    def for_codec(cls, codec: Any, size: Any) -> "Plain":
        raise AssertionError("is not asked for")

    def forward(self, x: Masked) -> Masked:
        return Masked(self.map(torch.where(x.mask[..., None], x.values, 0)), x.mask)


def made(source: str = "a", **more: Any) -> Network:
    torch.manual_seed(0)
    task = TASKS["multiclass"]().fit(["x", "y", "z"] * 4)
    encoders = Encoders({m: Plain(3, d) for m, d in WIDTHS.items()})
    head = Cyclic(WIDTHS, source, task, **{"dim": 8, "heads": 2, "steps": 3, "dropout": 0.0, **more})
    return Network(encoders, head).double()


def batch(rows: int = 7) -> Batch:
    """Row 1 lacks the source, 2 the second modality, 3 has nothing, 4 the source alone; 0 has no label."""
    g = torch.Generator().manual_seed(1)
    inputs = {}
    for i, m in enumerate(WIDTHS):
        mask = torch.rand(rows, 4 + i, generator=g) < 0.7
        mask[:, 0] = True
        mask[3], mask[4] = False, mask[4] & (i == 0)
        mask[i + 1] = mask[i + 1] & (i > 1)
        inputs[m] = Masked(torch.randn(rows, 4 + i, 3, generator=g, dtype=torch.float64), mask)
    y = torch.randint(3, (rows,), generator=g)
    return Batch(inputs, {"y": Masked(y, torch.arange(rows) > 0)})


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7])
def test_segments_are_means_of_runs_of_real_tokens(n: int) -> None:
    g = torch.Generator().manual_seed(n)
    places = torch.randperm(9, generator=g)[:n].sort().values
    mask = torch.zeros(1, 9, dtype=torch.bool)
    mask[0, places] = True
    values = torch.randn(1, 9, 2, generator=g)
    values[~mask] = math.nan
    out = segments(Masked(values, mask), 3)
    assert out.mask[0].tolist() == [s < n for s in range(3)]
    for s in range(min(n, 3)):
        inside = [r for r in range(n) if (math.floor(r * 3 / n) if n >= 3 else r) == s]
        torch.testing.assert_close(out.values[0, s], torch.stack([values[0, places[r]] for r in inside]).mean(0))


def standard(x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()


def test_the_loss_is_its_formula_a_row_at_a_time() -> None:
    f, some = made(translation=0.7, cycle=0.2).eval(), batch()
    tokens = {m: f.encoders[m](x) for m, x in some.inputs.items()}
    (target,) = some.targets.values()
    ahead, again = 0.0, 0.0
    for m in ("b.c", ""):
        errors: list[float] = []
        backs: list[float] = []
        for b in range(7):
            one = {k: x.take(torch.tensor([b])) for k, x in tokens.items()}
            if not (one["a"].mask.any() and one[m].mask.any()):
                continue
            goal, origin = segments(one[m], 3), segments(one["a"], 3)
            said = f.head._written(m, f.head._represented("a", one["a"]))
            back = f.head._written("a", f.head._represented(m, Masked(said, goal.mask)))
            errors += [float((said[0, s] - standard(v)).square().mean().detach()) for s, v in enumerate(goal.values[0]) if goal.mask[0, s]]  # fmt: skip
            backs += [float((back[0, s] - standard(v)).square().mean().detach()) for s, v in enumerate(origin.values[0]) if origin.mask[0, s]]  # fmt: skip
        assert len(errors) >= 6
        ahead, again = ahead + sum(errors) / len(errors), again + sum(backs) / len(backs)
    losses = f.loss(some)
    assert losses.parts["translation"].item() == pytest.approx(ahead, rel=1e-6)
    assert losses.parts["cycle"].item() == pytest.approx(again, rel=1e-6)
    want = float(f.task.loss(f.infer(some.inputs).values, target).detach()) + 0.7 * ahead + 0.2 * again
    for m, logits in f.unimodal(some.inputs).items():
        rows = target.mask & some.inputs[m].present()
        want += float(f.task.loss(logits[rows], target.take(rows.nonzero()[:, 0])).detach())
    assert losses.total.item() == pytest.approx(want, rel=1e-6)


def test_gradients_go_where_they_should() -> None:
    f, some = made(), batch()
    losses = f.loss(some)
    both = losses.parts["translation"] + losses.parts["cycle"]
    both.backward(retain_graph=True)
    for m in ("b.c", ""):
        assert f.encoders[m].map.weight.grad is None, "the target of a translation moved"
    assert f.encoders["a"].map.weight.grad.abs().sum() > 0, "the source does not learn from translating"
    losses.total.backward()
    still = [k for k, p in f.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not still


@pytest.mark.parametrize("source", list(WIDTHS))
def test_prediction_never_reads_the_others(source: str) -> None:
    f, some = made(source).eval(), batch()
    assert list(f.reads) == [source]
    only = {source: some.inputs[source]}
    want = f.infer(some.inputs).values
    assert torch.equal(f.infer(only).values, want)
    at = torch.tensor([2, 5, 0])
    torch.testing.assert_close(f.recombine(only)({source: at}).values, want[at])
    torch.testing.assert_close(f.infer({source: only[source].take(at)}).values, want[at])
    embedded = f.embed(only)
    assert list(embedded) == [source, ""] or source == ""
    torch.testing.assert_close(f.head.out(torch.from_numpy(embedded[""].values).double()), want, rtol=1e-5, atol=1e-6)


def test_what_is_masked_never_matters() -> None:
    f, some = made().train(), batch()
    dirty = {m: Masked(torch.where(x.mask[..., None], x.values, math.nan), x.mask) for m, x in some.inputs.items()}
    assert torch.equal(f.loss(some).total, f.loss(Batch(dirty, some.targets)).total)
    f.loss(Batch(dirty, some.targets)).total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in f.parameters())
    longer = {
        m: Masked(torch.cat([x.values, x.values], 1), torch.cat([x.mask, torch.zeros_like(x.mask)], 1))
        for m, x in some.inputs.items()
    }
    torch.testing.assert_close(f.loss(Batch(longer, some.targets)).total, f.loss(some).total)
    for m in WIDTHS:
        gone = f.loss(Batch({**some.inputs, m: some.inputs[m].hidden()}, some.targets))
        assert gone.total.isfinite()
    nothing = f.loss(Batch({**some.inputs, "a": some.inputs["a"].hidden()}, some.targets))
    assert nothing.parts["translation"] == 0 == nothing.parts["cycle"]


def test_translating_is_learned() -> None:
    """The target's tokens are a function of the source's: the error falls far below that of saying nothing, 1."""
    f, some = made(translation=1.0, cycle=1.0), batch(64)
    here = torch.ones(64, 2, dtype=torch.bool)
    x = torch.randn(64, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs = {m: Masked(x, here) for m in WIDTHS}
    steps = torch.optim.AdamW(f.parameters(), 1e-2)
    for _ in range(60):
        steps.zero_grad()
        losses = f.loss(Batch(inputs, {"y": some.targets["y"]}))
        losses.total.backward()
        steps.step()
    assert losses.parts["translation"] / 2 < 0.4 and losses.parts["cycle"] / 2 < 0.6


def test_errors_name_the_way_out() -> None:
    with pytest.raises(InputError, match=r"the source of translation, 'z', is no modality; it is one of a, b.c, "):
        made("z")
    task = TASKS["binary"]().fit(["a", "b"])
    with pytest.raises(InputError, match="there is no modality beside 'a' to translate it to; add a column"):
        Cyclic({"a": 4}, "a", task)


def test_the_specification_and_the_folder_keep_it(tmp_path: Path) -> None:
    f, some = made("b.c").eval(), batch()
    again = build(json.loads(json.dumps(spec(f))), classes([Plain])).double().eval()
    again.load_state_dict(f.state_dict())
    assert spec(again) == spec(f) and torch.equal(again.infer(some.inputs).values, f.infer(some.inputs).values)

    path = make_shop(tmp_path / "shop", 40)
    model = flat.fit(path, "kind", fusion="gated", epochs=1, size="tiny", baselines=False)
    old = model.learner
    head = Cyclic(old.encoders.dims, "note", old.task, dim=8, heads=2)
    learner = Network(Encoders(dict(old.encoders.items())), head).eval()
    new = Model(model.preprocessor.only(learner.reads), learner, model.report)
    told = new.predict(path)
    assert new.modalities == ["note"] and len(told) == 40
    assert load(new.save(tmp_path / "m")).predict(path).equals(told)
