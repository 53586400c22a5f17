"""Fusions of decisions by their definitions, and how a learner trains all of their heads."""

import pytest
import torch
from torch import Tensor, nn

from cases import over
from polymodal.batch import Batch, Masked
from polymodal.errors import InputError
from polymodal.fusion import CEN, FUSIONS, Gated, Hybrid, Late, LateMax, LateMean, LateProduct, Mean, Stacking
from polymodal.learners.network import Network, Predictor
from polymodal.modalities.base import Encoder
from polymodal.tasks import TASKS

DIMS = {"x": 4, "y": 3, "z": 5}
PRESENT = [["x", "y", "z"], ["x", "z"], ["y"]]  # of each row
INVERSE = {"softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid, "identity": lambda x: x}
LINKS = over("link", INVERSE)


def inputs() -> dict[str, Masked]:
    g = torch.Generator().manual_seed(0)
    return {
        m: Masked(torch.randn(3, 2, d, generator=g, dtype=torch.float64), torch.tensor([[m in p] * 2 for p in PRESENT]))
        for m, d in DIMS.items()
    }


def made(cls: type[Late], link: str, **settings: object) -> Late:
    torch.manual_seed(0)
    return cls(dict(DIMS), 3, link=link, **settings).double().eval()


def answers(f: Late, x: dict[str, Masked], b: int) -> dict[str, Tensor]:
    return {m: f.heads[m](x[m])[b] for m in PRESENT[b]}


@LINKS
def test_product_of_experts(link: str) -> None:
    f, x = made(LateProduct, link), inputs()
    if link == "identity":
        nn.init.normal_(f.score_mc)
    for b, here in enumerate(PRESENT):
        said = answers(f, x, b)
        got = INVERSE[link](f(x).values[b, 0])
        if link == "identity":  # precisions weigh the means
            tau = {m: f.score_mc[i].exp() for i, m in enumerate(DIMS)}
            want = sum(tau[m] * said[m] for m in here) / sum(tau[m] for m in here)
        elif link == "softmax":
            p = torch.stack([v.softmax(-1) for v in said.values()]).prod(0)
            want = p / p.sum()
        else:
            yes = torch.stack([v.sigmoid() for v in said.values()]).prod(0)
            no = torch.stack([1 - v.sigmoid() for v in said.values()]).prod(0)
            want = yes / (yes + no)
        torch.testing.assert_close(got, want)


def test_one_expert_has_a_veto_where_the_mean_has_none() -> None:
    x = inputs()
    product, mean = made(LateProduct, "softmax"), made(LateMean, "softmax")
    for f in (product, mean):
        for m, head in f.heads.items():
            nn.init.zeros_(head.project.weight)
            head.project.bias.data = torch.tensor([-20.0, 0, 0] if m == "y" else [3.0, 0, 0], dtype=torch.float64)
    assert product(x).values[0, 0].argmax() != 0 and mean(x).values[0, 0].argmax() == 0


@LINKS
def test_max_rule(link: str) -> None:
    f, x = made(LateMax, link), inputs()
    for b in range(3):
        said = torch.stack(list(answers(f, x, b).values()))
        p = INVERSE[link](said).amax(0)
        if link == "softmax":
            p = p / p.sum()
        if link == "sigmoid":
            p = p / (p + torch.sigmoid(-said).amax(0))
        torch.testing.assert_close(INVERSE[link](f(x).values[b, 0]), p)


@LINKS
def test_stacking_is_a_linear_model_of_the_answers(link: str) -> None:
    f, x = made(Stacking, link), inputs()
    nn.init.normal_(f.bias)
    for linear in f.maps.children():
        nn.init.normal_(linear.weight)
        nn.init.normal_(linear.bias)
    for b in range(3):
        want = f.bias
        for m, logit in answers(f, x, b).items():
            heard = logit if link == "identity" else INVERSE[link](logit).log()
            want = want + f.maps[m].weight @ heard + f.maps[m].bias
        torch.testing.assert_close(f(x).values[b, 0], want)


@LINKS
def test_hybrid_is_the_mixture_of_the_joint_head_and_each_modality(link: str) -> None:
    f, x = made(Hybrid, link, joint=Mean(dict(DIMS), 6)), inputs()
    nn.init.normal_(f.score_m)
    _, joint, *rest = f.opinions(x)
    torch.testing.assert_close(joint.values[:, 0], f.joint_head(f.joint(x).values[:, 0]))
    for b, here in enumerate(PRESENT):
        said = answers(f, x, b)
        w = torch.stack([f.score_m[0], *(f.score_m[1 + i] for i, m in enumerate(DIMS) if m in here)]).softmax(0)
        voices = torch.stack([joint.values[b, 0], *said.values()])
        want = (w[:, None] * INVERSE[link](voices)).sum(0)
        torch.testing.assert_close(INVERSE[link](f(x).values[b, 0]), want)
        for m, own in zip(DIMS, rest, strict=True):
            assert own.mask[b].item() == (m in here)


def test_hybrid_takes_a_joint_fusion_of_the_same_modalities() -> None:
    for joint in (Gated({"x": 4}, 8), LateMean(dict(DIMS), 3)):
        with pytest.raises(InputError, match=r"Hybrid was given \w+ over .*expected an early or sequence fusion over"):
            Hybrid(dict(DIMS), 3, joint=joint)


class Through(Encoder):
    """Tokens as they come."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    @classmethod
    def for_codec(cls, codec: object, size: object) -> "Through":
        return cls(4)

    def forward(self, x: Masked) -> Masked:
        return x


def learner(fusion: object) -> tuple[Network, Batch]:
    task = TASKS["multiclass"]().fit(["a", "b", "c"] * 4)
    x = inputs()
    target = Masked(torch.tensor([0, 1, 2]), torch.tensor([True, True, True]))
    return Predictor({m: Through(d) for m, d in DIMS.items()}, fusion, task).double().eval(), Batch(x, {"kind": target})


@over("cls", [Stacking, Hybrid])
def test_every_head_is_trained_over_the_rows_that_it_can_read(cls: type[Late]) -> None:
    torch.manual_seed(0)
    given = {"joint": Mean(dict(DIMS), 6)} if cls is Hybrid else {}
    whole, batch = learner(cls(dict(DIMS), 3, **given))
    losses, y = [], batch.targets["kind"].values
    f = whole.head.fusion
    for i, opinion in enumerate(f.opinions(batch.inputs)):
        alone = list(DIMS)[i - (2 if cls is Hybrid else 1)] if i >= (2 if cls is Hybrid else 1) else None
        rows = [b for b, here in enumerate(PRESENT) if alone is None or alone in here]
        losses.append(nn.functional.cross_entropy(opinion.values[rows, 0], y[rows]))
    assert len(losses) == 3 + (2 if cls is Hybrid else 1)
    got = whole.loss(batch)
    torch.testing.assert_close(got.total, torch.stack(losses).mean())
    got.total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in whole.named_parameters())


@over("name", ["hybrid", "late-stacking", "late-mean"])
def test_the_label_of_a_row_that_a_head_cannot_read_is_nothing_to_it(name: str) -> None:
    torch.manual_seed(0)
    size = {"joint": Mean(dict(DIMS), 6)} if name == "hybrid" else {}
    cls = FUSIONS[name]
    whole, batch = learner(cls(dict(DIMS), 3, **size))
    heads = [p for n, p in whole.named_parameters() if "heads.at_z" in n]
    assert len(heads) == 5

    def gradients(label: int) -> list[Tensor]:
        whole.zero_grad()
        target = batch.targets["kind"].values.clone()
        target[2] = label  # z is absent there
        whole.loss(Batch(batch.inputs, {"kind": Masked(target, batch.targets["kind"].mask)})).total.backward()
        return [p.grad.clone() for p in heads]

    assert all(torch.equal(a, b) for a, b in zip(gradients(0), gradients(1), strict=True))
    assert any(g.any() for g in gradients(0))
    empty = {m: x.hidden() for m, x in batch.inputs.items()}
    assert whole.loss(Batch(empty, batch.targets)).total.isfinite()


def test_the_penalty_is_part_of_the_loss_and_reaches_the_scales() -> None:
    torch.manual_seed(0)
    whole, batch = learner(CEN(dict(DIMS), 6, sparsity=0.5))
    got = whole.loss(batch)
    torch.testing.assert_close(got.parts["penalty"], torch.tensor(0.5 * 12, dtype=torch.float64))
    torch.testing.assert_close(got.total, got.parts["loss"] + got.parts["penalty"])
    nested = Hybrid(dict(DIMS), 3, joint=CEN(dict(DIMS), 6, sparsity=0.5))
    torch.testing.assert_close(nested.penalty({}), torch.tensor(6.0))
    whole.head.fusion.penalty({}).backward()
    given = whole.head.fusion.own_md
    for scale in whole.head.fusion.scales:
        assert (scale.grad[given] == 0.5).all() and (scale.grad[~given] == 0).all()
