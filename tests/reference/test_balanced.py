"""Balanced learning against its formulas by hand, and on a problem in which one modality starves the other."""

import json
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from polymodal import objectives
from polymodal.batch import Batch, Masked
from polymodal.errors import InputError
from polymodal.evaluate.starved import curves, starved
from polymodal.folder import classes
from polymodal.fusion import AbsentTokens, Gated, LateMean, Sum
from polymodal.heads.balanced import FLAT, LEAST, Balanced, Modulated, blending_weights, coefficients, likelihoods
from polymodal.heads.fused import Fused
from polymodal.learners.encoders import Encoders
from polymodal.learners.network import Network
from polymodal.modalities.base import Encoder
from polymodal.spec import build, spec
from polymodal.tasks import TASKS
from polymodal.tasks.base import Metric, Task
from polymodal.training.loop import train
from polymodal.training.settings import Settings

HOWS = pytest.mark.parametrize("how", ["ogm-ge", "blending", "watch"])


class Lines(Encoder):
    """Tokens by a small network, as they come."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.width, self.dim = width, dim
        self.net = nn.Sequential(nn.Linear(width, dim), nn.Tanh(), nn.Linear(dim, dim))

    @classmethod
    def for_codec(cls, codec: Any, size: Any) -> "Lines":
        raise AssertionError("is not asked for")

    def forward(self, x: Masked) -> Masked:
        return Masked(self.net(torch.where(x.mask[..., None], x.values, 0)), x.mask)


class Given:
    """Rows that lie in memory as tensors: what the trainer asks of `Rows`."""

    def __init__(self, inputs: dict[str, Masked], target: Masked) -> None:
        self.inputs, self.labels, self.numbers = inputs, target, list(range(len(target.values)))

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, rows: Sequence[int]) -> Batch:
        at = torch.tensor(list(rows))
        return Batch({m: x.take(at) for m, x in self.inputs.items()}, {"y": self.labels.take(at)})

    def target(self, rows: Sequence[int]) -> Masked:
        return self.labels.take(torch.tensor(list(rows)))

    def labelled(self) -> np.ndarray:
        return self.labels.present().numpy()

    def sizes(self) -> np.ndarray:
        return np.ones(len(self))

    def parts(self, rows: np.ndarray) -> list[list[int]]:
        return [[int(r)] for r in rows]


def made(
    names: Sequence[str] = "ab", task: Task | None = None, fusion=Gated, filler=None, how: str | None = "ogm-ge", **more: Any
) -> Network:  # fmt: skip
    """A network with a balanced head; how=None is without."""
    torch.manual_seed(0)
    task = task or TASKS["multiclass"]().fit(["x", "y", "z"] * 4)
    encoders = Encoders({m: Lines(3, 4) for m in names})
    joint = fusion(dict.fromkeys(names, 4), task.outputs if fusion is LateMean else 6)
    head = Fused(joint, task, dropout=0.0, filler=filler)
    return Network(encoders, head if how is None else Balanced(head, how=how, **more))


def batch(rows: int = 8, names: Sequence[str] = "ab", classes: int = 3) -> Batch:
    g = torch.Generator().manual_seed(2)
    inputs = {}
    for i, m in enumerate(names):
        mask = torch.ones(rows, 2, dtype=torch.bool)
        mask[i + 1] = False
        inputs[m] = Masked(torch.randn(rows, 2, 3, generator=g), mask)
    here = torch.arange(rows) != rows - 1
    return Batch(inputs, {"y": Masked(torch.randint(classes, (rows,), generator=g), here)})


def test_coefficients_by_hand() -> None:
    nan = math.nan
    two = coefficients(torch.tensor([0.8, 0.4]), 0.5)
    assert two.tolist() == pytest.approx([1 - math.tanh(0.5 * 2.0), 1.0])
    three = coefficients(torch.tensor([0.9, 0.3, 0.5]), 0.3)
    assert three.tolist() == pytest.approx([1 - math.tanh(0.3 * 0.9 / 0.4), 1.0, 1.0])
    absent = coefficients(torch.tensor([0.9, nan, 0.3]), 0.3)
    assert absent.tolist() == pytest.approx([1 - math.tanh(0.3 * 3.0), 1.0, 1.0])
    for alone in ([0.7], [0.7, nan], [nan, nan], [0.5, 0.5], [0.7, 0.0]):
        assert coefficients(torch.tensor(alone), 0.5).tolist() == [1.0] * len(alone), alone


@pytest.mark.parametrize("name", ["multiclass", "ordinal", "regression"])
def test_likelihoods_a_row_at_a_time(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    task = TASKS[name]().fit([1, 2, 3] * 4)
    x = torch.randn(3, task.outputs, generator=g, dtype=torch.float64)
    target = task.collate([task.encode(3), task.encode(1), None])
    out = likelihoods(task, {"m": x}, target)["m"]
    assert out[2].isnan()
    for b, label in enumerate([3, 1]):
        if name == "multiclass":
            e = [math.exp(v) for v in x[b].tolist()]
            want = e[label - 1] / sum(e)
        elif name == "ordinal":
            p = [1 / (1 + math.exp(-v)) for v in x[b].tolist()]
            want = sum(v if label - 1 > k else 1 - v for k, v in enumerate(p)) / len(p)
        else:
            y = (label - task.center_[0]) / task.scale_[0]
            want = math.exp(-((x[b, 0].item() - y) ** 2) / 2)
        assert out[b].item() == pytest.approx(want, rel=1e-5)


def test_the_gradient_is_scaled_where_tokens_are_real_and_the_noise_has_its_spread() -> None:
    g = torch.Generator().manual_seed(0)
    x, mask = torch.randn(40, 5, 8, generator=g).requires_grad_(), torch.rand(40, 5, generator=g) < 0.7
    back = torch.randn(40, 5, 8, generator=g) * 3 + 1
    k = torch.tensor(0.25)
    (exact,) = torch.autograd.grad(Modulated.apply(x, mask, k, 0.0), x, back)
    torch.testing.assert_close(exact, torch.where(mask[..., None], 0.25 * back, 0.0))
    torch.manual_seed(0)
    (noisy,) = torch.autograd.grad(Modulated.apply(x, mask, k, 0.5), x, back)
    added = (noisy - exact)[mask]
    assert added.std().item() == pytest.approx(0.5 * back[mask].std().item(), rel=0.1)
    assert abs(added.mean().item()) < 0.15 and (noisy[~mask] == 0).all()
    torch.testing.assert_close(Modulated.apply(x, mask, k, 0.5), x)


@pytest.mark.parametrize("fusion", [Gated, LateMean])
def test_an_encoder_learns_k_times_what_it_would_and_from_the_fusion_alone(fusion: type) -> None:
    plain, slow, some = made(how=None, fusion=fusion), made(how="ogm-ge", noise=0.0, fusion=fusion), batch()
    with torch.no_grad():
        slow.encoders.load_state_dict(plain.encoders.state_dict())
        slow.head.fused.load_state_dict(plain.head.state_dict())
        slow.head.heads["a"].bias.copy_(torch.tensor([2.0, -1, -1]))
    plain.loss(some).total.backward()
    slow.loss(some).total.backward()
    target, scores = some.targets["y"], []
    for m, logits in slow.unimodal(some.inputs).items():
        rows = [b for b in range(8) if target.mask[b] and some.inputs[m].mask[b].any()]
        scores.append(sum(logits[b].detach().softmax(0)[target.values[b]].item() for b in rows) / len(rows))
    ks = coefficients(torch.tensor(scores), slow.head.alpha)
    assert ks.min() < 1 == ks.max()
    for m, k in zip("ab", ks, strict=True):
        for p, q in zip(plain.encoders[m].parameters(), slow.encoders[m].parameters(), strict=True):
            torch.testing.assert_close(q.grad, k * p.grad)
    for p, q in zip(plain.head.fusion.parameters(), slow.head.fused.fusion.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad)
    assert all(p.grad.abs().sum() > 0 for p in slow.head.heads.parameters())


def test_blending_weights_by_hand() -> None:
    """One that generalised, one that overfitted, one that got worse, one that is of nothing."""
    nan = math.nan
    train0, valid0 = torch.tensor([1.0, 1.0, 1.0, nan]), torch.tensor([1.1, 1.2, 1.0, nan])
    train1, valid1 = torch.tensor([0.7, 0.4, 0.9, nan]), torch.tensor([0.9, 1.0, 1.1, nan])
    got = blending_weights(train0, valid0, train1, valid1)
    raw = [0.2 / 0.1**2, 0.2 / 0.4**2, 0.0, 0.0]
    assert got is not None
    assert got.tolist() == pytest.approx([LEAST / 4 + (1 - LEAST) * w / sum(raw) for w in raw], rel=1e-4)
    same = blending_weights(*(torch.tensor(x) for x in ([1.0, 1.0], [1.0, 2.0], [0.5, 0.0], [0.5, 1.0])))
    floors = [0.5 / (FLAT * 1.0) ** 2, 1.0 / (FLAT * 2.0) ** 2]
    assert same is not None and same[0].item() == pytest.approx(LEAST / 2 + (1 - LEAST) * floors[0] / sum(floors))
    assert blending_weights(train0, valid0, train0, valid0 + 1) is None


def test_the_blended_loss_is_the_weighted_sum_over_whom_it_concerns() -> None:
    f, some = made(how="blending"), batch()
    f.head.weight_k.copy_(torch.tensor([0.5, 0.2, 0.3]))
    (target,) = some.targets.values()
    want = 0.5 * f.task.loss(f.infer(some.inputs).values, target)
    for w, (m, logits) in zip([0.2, 0.3], f.unimodal(some.inputs).items(), strict=True):
        rows = target.mask & some.inputs[m].present()
        assert rows.sum() < target.mask.sum()
        want = want + w * f.task.loss(logits[rows], Masked(target.values[rows], target.mask[rows]))
    losses = f.loss(some)
    torch.testing.assert_close(losses.total, want)
    assert list(losses.parts) == ["loss", "penalty"] and list(losses.unimodal) == ["a", "b"]


def line(train: Sequence[float], valid: Sequence[float]) -> dict[str, Any]:
    own = {m: {"loss": x, "valid_loss": y} for m, x, y in zip("ab", train[1:], valid[1:], strict=True)}
    return {"parts": {"loss": train[0]}, "valid_loss": valid[0], "unimodal": own}


def test_weights_move_at_the_end_of_a_super_epoch_from_its_first_line_to_its_last() -> None:
    f = made(how="blending", every=2)
    history = [line([1.0] * 3, [1.0] * 3), line([0.8] * 3, [0.9, 0.8, 0.9]), line([0.7] * 3, [0.9] * 3)]
    f.epoch_ended(history[:1])
    assert f.head.weight_k.tolist() == pytest.approx([1 / 3] * 3)
    f.epoch_ended(history[:2])
    first = blending_weights(*(torch.tensor(x) for x in ([1.0] * 3, [1.0] * 3, [0.8] * 3, [0.9, 0.8, 0.9])))
    torch.testing.assert_close(f.head.weight_k, first)
    f.epoch_ended(history)
    torch.testing.assert_close(f.head.weight_k, first)
    history.append(line([0.5] * 3, [0.7, 0.9, 0.9]))
    f.epoch_ended(history)
    later = blending_weights(*(torch.tensor(x) for x in ([0.8] * 3, [0.9, 0.8, 0.9], [0.5] * 3, [0.7, 0.9, 0.9])))
    torch.testing.assert_close(f.head.weight_k, later)
    f.epoch_ended([line([1.0] * 3, [1.0] * 3), line([1.0] * 3, [2.0] * 3)])
    torch.testing.assert_close(f.head.weight_k, later)


@HOWS
@pytest.mark.parametrize("filler", [None, AbsentTokens({"a": 4, "b": 4})])
def test_the_law_and_the_specification(how: str, filler: AbsentTokens | None) -> None:
    f, some = made(how=how, filler=filler).train(), batch()
    dirty = {m: Masked(torch.where(x.mask[..., None], x.values, math.nan), x.mask) for m, x in some.inputs.items()}
    torch.manual_seed(1)
    clean = f.loss(some).total
    torch.manual_seed(1)
    total = f.loss(Batch(dirty, some.targets)).total
    assert torch.equal(total, clean)
    total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in f.parameters())
    again = build(json.loads(json.dumps(spec(f))), classes([Lines]))
    again.load_state_dict(f.state_dict())
    assert type(again.head) is Balanced and again.head.how == how and spec(again) == spec(f)
    assert torch.equal(again.eval().infer(dirty).values, f.eval().infer(some.inputs).values)
    mixed = f.recombine(some.inputs)({"a": torch.tensor([0, 3]), "b": torch.tensor([4, 3])}).values
    torch.testing.assert_close(mixed[1], f.infer(some.inputs).values[3])


@HOWS
def test_rows_without_a_label_and_batches_of_absence_have_a_loss(how: str) -> None:
    f, some = made(how=how).train(), batch()
    for inputs, target in (
        ({**some.inputs, "a": some.inputs["a"].hidden()}, some.targets["y"]),
        ({m: x.hidden() for m, x in some.inputs.items()}, some.targets["y"]),
        (some.inputs, some.targets["y"].hidden()),
    ):
        total = f.loss(Batch(inputs, {"y": target})).total
        total.backward()
        assert total.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in f.parameters())


def test_errors_name_the_way_out() -> None:
    with pytest.raises(InputError, match=r"balanced by 'ogm'; it is one of ogm-ge, blending"):
        made(how="ogm")
    with pytest.raises(InputError, match="every can't be 0; a super-epoch has at least 1 epoch"):
        made(how="blending", every=0)


def unequal(rows: int, seed: int) -> Given:
    """Two classes: "a" tells them by the sign of a number, "b" by whether two numbers have the same sign."""
    g = torch.Generator().manual_seed(seed)
    y, first = torch.randint(2, (2, rows), generator=g)
    a = torch.stack([y * 2.0 - 1, *torch.randn(2, rows, generator=g)], 1)
    b = torch.stack([first * 2.0 - 1, (first ^ y) * 2.0 - 1, torch.randn(rows, generator=g)], 1)
    here = torch.ones(rows, 1, dtype=torch.bool)
    noise = 0.3 * torch.randn(2, rows, 3, generator=g)
    inputs = {"a": Masked((a + noise[0])[:, None], here), "b": Masked((b + noise[1])[:, None], here)}
    return Given(inputs, Masked(y, here[:, 0]))


def learner(**more: Any) -> Network:
    torch.manual_seed(0)
    task = TASKS["binary"]().fit([0, 1] * 8)
    encoders = Encoders({m: Lines(3, 16) for m in "ab"})
    return Network(encoders, Balanced(Fused(Sum({"a": 16, "b": 16}, 8), task, dropout=0.0), **more))


SETTINGS = Settings(epochs=8, batch_size=32, lr=1e-2, modality_dropout=0.0, warmup=0.0, patience=99)


@HOWS
def test_history_has_the_curves_of_each_modality(how: str) -> None:
    f, valid = learner(how=how, every=2), unequal(90, 1)
    valid.inputs["b"].mask[:40] = False
    told = train(f, objectives.of(f.task), unequal(150, 0), valid, SETTINGS._replace(epochs=4), quiet=True)
    assert len(told.history) == 4
    for m in "ab":
        for k in ("accuracy", "valid_loss", "loss"):
            assert all(math.isfinite(x["unimodal"][m][k]) for x in told.history)
    rows = torch.arange(40, 90)
    logits = f.unimodal(valid.batch(range(90)).inputs)["b"].detach()[rows]
    best = told.history[told.best_epoch]["unimodal"]["b"]
    assert best["valid_loss"] == pytest.approx(float(f.task.loss(logits, valid.labels.take(rows))))
    assert best["accuracy"] == pytest.approx((logits.argmax(1) == valid.labels.values[rows]).double().mean().item())
    assert how != "blending" or torch.unique(f.head.weight_k).numel() > 1
    first = told.history[0]
    total = (first["parts"]["loss"] + sum(x["loss"] for x in first["unimodal"].values())) / 3
    assert how != "blending" or first["loss"] == pytest.approx(total, rel=1e-5)


@HOWS
@pytest.mark.parametrize("epoch", [3, 4])
def test_an_interrupted_training_ends_in_the_same_weights(how: str, epoch: int, tmp_path: Path) -> None:
    settings, rows, valid = SETTINGS._replace(modality_dropout=0.3), unequal(100, 0), unequal(60, 1)
    whole = learner(how=how, every=2)
    told = train(whole, objectives.of(whole.task), rows, valid, settings, quiet=True)
    cut = learner(how=how, every=2)
    hook = cut.epoch_ended

    def interrupt(history: Sequence[Any]) -> None:
        hook(history)
        if len(history) == epoch:  # Ctrl-C, which is heeded after the next step
            signal.raise_signal(signal.SIGINT)

    cut.epoch_ended = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train(cut, objectives.of(cut.task), rows, valid, settings, quiet=True, checkpoint=tmp_path / "c.safetensors")
    again = learner(how=how, every=2)
    resumed = train(
        again, objectives.of(again.task), rows, valid, settings, quiet=True, checkpoint=tmp_path / "c.safetensors"
    )
    assert resumed.history == told.history
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in whole.state_dict().items())


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_training_hides_modalities_and_validation_does_not(p: float) -> None:
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    f = learner()
    progress = []

    def watch(_: Any, args: Any) -> None:
        progress.append(f.progress)
        seen[f.training].append(torch.stack([args[0][m].present() for m in "ab"], 1))

    f.encoders.register_forward_pre_hook(watch)
    train(
        f,
        objectives.of(f.task),
        unequal(300, 0),
        unequal(80, 1),
        SETTINGS._replace(epochs=2, modality_dropout=p),
        quiet=True,
    )
    share = torch.cat(seen[True]).double().mean().item()
    # of two, each is hidden with p - p^2 / 2, as one of a row that would lose both stays
    assert share == pytest.approx(1 - p + p**2 / 2, abs=0.05) and torch.cat(seen[True]).any(1).all()
    assert seen[False] and torch.cat(seen[False]).all()
    assert progress == sorted(progress) and progress[0] == 0 and 0.5 < progress[-1] < 1  # as the learner is told


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_what_adam_divides_out_is_given_back_to_the_rate(noise: float) -> None:
    """Steps of the encoders of a balanced learner, beside those of the same learner that is not slowed."""
    moved, scales = {}, {}
    for alpha in (0.0, 0.8):
        f = learner(how="ogm-ge", alpha=alpha, noise=noise)
        start = {k: v.clone() for k, v in f.state_dict().items()}
        rows = unequal(32, 0)
        rows.inputs["a"].values[:, 0, 0] *= 3
        with torch.no_grad():
            f.head.heads["a"].weight.copy_(torch.linspace(-1, 1, 32).reshape(2, 16))
        train(
            f,
            objectives.of(f.task),
            rows,
            unequal(30, 1),
            SETTINGS._replace(epochs=1, clip=1e9, weight_decay=0.0),
            quiet=True,
        )
        scales[alpha] = f.lr_scales()
        moved[alpha] = {m: (f.encoders[m].net[0].weight - start[f"encoders.encoders.at_{m}.net.0.weight"]).abs().median() for m in "ab"}  # fmt: skip
    ks = f.head.slow_m["a"], f.head.slow_m["b"]
    assert min(ks) < 1 == max(ks) and set(scales[0.0].values()) == {1.0}
    for m, k in zip("ab", ks, strict=True):
        want = math.sqrt((k**2 + noise**2) / (1 + noise**2))
        assert scales[0.8][f"encoders.encoders.at_{m}."] == pytest.approx(want)
        # the first step of Adam is the rate, whatever the size of the gradient
        assert (moved[0.8][m] / moved[0.0][m]).item() == pytest.approx(want, rel=2e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_balance_feeds_the_modality_that_starves(seed: int) -> None:
    """ "a" alone ends the error, so that "b", which would tell as much, is not learned; unless "a" is slowed."""
    b = {}
    for name, more in {"none": {"alpha": 0.0, "noise": 0.0}, "ogm": {"alpha": 1.0, "noise": 0.0}, "blending": {"how": "blending"}}.items():  # fmt: skip
        f = learner(**more)
        settings = SETTINGS._replace(epochs=12)
        told = train(f, objectives.of(f.task), unequal(300, 2 * seed), unequal(300, 2 * seed + 1), settings, quiet=True)
        last = told.history[-1]
        assert last["accuracy"] > 0.98 and last["unimodal"]["a"]["accuracy"] > 0.98
        b[name] = last["unimodal"]["b"]["accuracy"]
    assert b["none"] < 0.9 and b["ogm"] > b["none"] + 0.02 and b["blending"] > 0.95, b


def test_one_sentence_says_who_is_starved() -> None:
    accuracy, error = Metric("accuracy", higher=True), Metric("mae", higher=False)
    fused, head = [0.6, 0.8, 0.8, 0.79], [0.5, 0.55, 0.6, 0.6]
    history = [
        {"accuracy": x, "unimodal": {"b": {"accuracy": y}, "a": {"accuracy": 0.8}}}
        for x, y in zip(fused, head, strict=True)
    ]
    assert curves(history, accuracy) == {"b": head, "a": [0.8] * 4}
    said = starved(history, accuracy, {"a": 0.8, "b": 0.7})
    assert said == (
        "'b' is starved in joint training, which has stopped improving: in the best epoch, 2 of 4, its own head has "
        "accuracy 0.550, and 0.700 when it is trained alone; see --balance."
    )
    assert starved(history[:2], accuracy, {"b": 0.7}).startswith("'b' lags behind in joint training, which was still")
    assert starved(history, accuracy, {"a": 0.8, "b": 0.56}).startswith("No modality is starved: the nearest to it is")
    worse = [{"mae": x, "unimodal": {"b": {"mae": 2.0}}} for x in (1.0, 0.5, 0.6, 0.6)]
    assert "'b' is starved" in starved(worse, error, {"b": 1.0}) and "No modality" in starved(worse, error, {"b": 2.5})
    assert starved(history, accuracy, {}) == "" == starved([{"accuracy": 0.5}], accuracy, {"b": 1.0}) == starved([], accuracy, {})  # fmt: skip


def test_heads_that_watch_change_nothing_that_the_fusion_learns() -> None:
    f, plain, some = made(how="watch"), made(how=None), batch()
    plain.encoders.load_state_dict(f.encoders.state_dict())
    plain.head.load_state_dict(f.head.fused.state_dict())
    for learner in (f, plain):
        learner.loss(some).total.backward()
    pairs = [*zip(f.encoders.parameters(), plain.encoders.parameters(), strict=True)]
    pairs += zip(f.head.fused.parameters(), plain.head.parameters(), strict=True)
    assert all(torch.equal(p.grad, q.grad) for p, q in pairs)
    assert all(p.grad.abs().sum() > 0 for p in f.head.heads.parameters())
