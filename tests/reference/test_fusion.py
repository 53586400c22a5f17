"""Fusions by their definitions, by what they can and can't learn, and by name."""

import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cases import over
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.fusion import FUSIONS, Bilinear, Concat, Gated, Late, LowRank, Vote, make
from polymodal.fusion import Tensor as TensorFusion
from polymodal.fusion.late import majority
from polymodal.nn import SIZES, Size
from polymodal.ops import masked_mean

DIMS = {"x": 4, "y": 3, "z": 5}


class Answer:
    outputs, link = 2, "softmax"


def inputs(dims: dict[str, int], rows: int = 3) -> dict[str, Masked]:
    g = torch.Generator().manual_seed(0)
    mask = torch.ones(rows, 2, dtype=torch.bool)
    return {m: Masked(torch.randn(rows, 2, d, generator=g, dtype=torch.float64), mask) for m, d in dims.items()}


def test_tensor_is_the_explicit_sum_over_the_cube() -> None:
    f = TensorFusion(DIMS, 2, rank=3).double()
    x = inputs(DIMS)
    a, b, c = ([1.0, *row] for row in (f.parts[m](x[m])[1].tolist() for m in DIMS))
    want = [
        sum(f.weight[i, j, k, o].item() * a[i] * b[j] * c[k] for i, j, k in product(range(4), repeat=3))
        for o in range(2)
    ]
    torch.testing.assert_close(f(x).values[1, 0].tolist(), want)


def test_low_rank_is_tensor_fusion_with_the_weight_made_of_its_factors() -> None:
    f = LowRank(DIMS, 2, rank=4).double()
    for c in f.constants:
        nn.init.normal_(c)
    x = inputs(DIMS)
    zs = [torch.cat([torch.ones(3, 1), f.parts[m](x[m])], 1) for m in DIMS]
    full = [torch.cat([c[..., None], w], -1) for c, w in zip(f.constants, f.factors, strict=True)]
    weight = torch.einsum("r,roi,roj,rok->ijko", f.mix, *full)
    want = f.bias + torch.einsum("bi,bj,bk,ijko->bo", *zs, weight)
    torch.testing.assert_close(f(x).values[:, 0], want)


@pytest.mark.parametrize("rank", [None, 3])
def test_bilinear_is_a_form_for_each_pair(rank: int | None) -> None:
    dims = {**DIMS, "w": 2}
    f = Bilinear(dims, 2, rank=rank).double()
    x = inputs(dims)
    us = [f.parts[m](x[m]) for m in dims]
    assert [u.shape[1] for u in us] == (list(dims.values()) if rank is None else [rank] * 4)
    want = f.linear(torch.cat(us, 1))
    for m in range(4):
        forms = f.weights[m].split([u.shape[1] for u in us[m + 1 :]], dim=1) if m < 3 else []
        for u, form in zip(us[m + 1 :], forms, strict=True):
            want = want + torch.einsum("bi,bj,ijo->bo", us[m], u, form)
    torch.testing.assert_close(f(x).values[:, 0], want)


def test_gates_and_concat_see_who_is_absent() -> None:
    """A vector of zeros and an absent modality are two things."""
    for cls in (Concat, Gated):
        f = cls(DIMS, 4).double().eval()
        for part in f.parts.children():
            nn.init.zeros_(part.norm.weight)  # every pooled vector is now the zero vector
        x = inputs(DIMS)
        hidden = {**x, "y": x["y"].hidden()}
        last = f.mlp.layers[1] if cls is Concat else f.gate
        assert last.in_features == sum(DIMS.values()) + 3
        if cls is Concat:
            assert not torch.allclose(f(x).values, f(hidden).values)


def test_majority_and_its_ties() -> None:
    logit = torch.tensor([[[0.5, 0.0], [0.5, 0.0], [0.0, 9.0]], [[3.0, 0.0], [0.0, 1.0], [0.0, 9.0]]])
    voters = torch.tensor([[True, True, True], [True, True, False]])
    soft = logit.softmax(-1).mul(voters[..., None]).sum(1).div(voters.sum(1, keepdim=True)).log()
    y = majority(logit, voters, soft, "softmax")
    assert soft[0].argmax() == 1 and y[0].argmax() == 0  # two mild voters outvote a loud one
    assert y[1].argmax() == 0  # one vote each: the surer one decides
    torch.testing.assert_close(y.exp().sum(1), torch.ones(2))
    each = majority(
        torch.tensor([[[1.0, -1], [1, -1], [-9, -9]]]), torch.ones(1, 3).bool(), torch.zeros(1, 2), "sigmoid"
    )
    assert each[0, 0] > 0 > each[0, 1]
    middle = majority(torch.tensor([[[1.0], [2.0], [90.0]]]), torch.ones(1, 3).bool(), torch.zeros(1, 1), "identity")
    assert middle.item() == 2


def test_a_vote_is_soft_in_training_and_hard_in_prediction() -> None:
    f, mean = Vote(DIMS, 3).double(), FUSIONS["late-mean"](DIMS, 3).double()
    mean.load_state_dict(f.state_dict())
    x = inputs(DIMS)
    torch.testing.assert_close(f(x).values, mean(x).values)
    assert not torch.allclose(f.eval()(x).values, mean(x).values)


def learn_xor(name: str, steps: int = 400) -> float:
    """Accuracy of a fusion and a linear head on y = sign(x) != sign(z), one sign in each modality."""
    torch.manual_seed(0)
    bits = torch.randint(2, (256, 2))
    y = bits[:, 0] ^ bits[:, 1]
    g = torch.randn(2, 4)
    tokens = (bits.T[..., None] * 2 - 1) * g[:, None] + 0.1 * torch.randn(2, 256, 4)
    x = {m: Masked(t[:, None], torch.ones(256, 1, dtype=torch.bool)) for m, t in zip("ab", tokens, strict=True)}
    f = make(name, {"a": 4, "b": 4}, Size(16, 2, 2, 8, 8), Answer())
    late = isinstance(f, Late)
    head = nn.Identity() if late else nn.Linear(16, 2)
    every = [*f.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(every, lr=1e-2)

    def logits() -> Tensor:
        return head(masked_mean(f(x)))

    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(logits(), y)
        loss.backward()
        optimizer.step()
        if loss < 0.01:
            break
    f.eval()
    with torch.no_grad():
        return (logits().argmax(1) == y).double().mean().item()


MULTIPLY = [
    "product",
    "concat",
    "gated",
    "mvae",
    "tensor",
    "low-rank",
    "bilinear",
    "mlb",
    "mutan",
    "mfb",
    "mcb",
    "film",
    "mmtm",
]
ATTEND = ["attention", "cross-attention", "mult", "mbt", "perceiver", "recurrent"]


@pytest.mark.parametrize("name", [*MULTIPLY, *ATTEND, "hybrid"])
def test_xor_across_modalities_is_learned(name: str) -> None:
    """`concat` is here, and not below, because its MLP has a hidden layer."""
    assert learn_xor(name) == 1.0


@pytest.mark.parametrize("name", [n for n in FUSIONS if n not in {*MULTIPLY, *ATTEND, "hybrid"}])
def test_xor_across_modalities_is_beyond_what_only_adds(name: str) -> None:
    assert learn_xor(name, steps=150) < 0.8


def test_tensor_that_is_too_large_names_the_way_out() -> None:
    dims = {f"m{i}": 8 for i in range(6)}
    with pytest.raises(InputError, match=r"6 modalities with rank=16 and dim=64 needs .* low-rank"):
        TensorFusion(dims, 64)
    f = make("tensor", dims, SIZES["small"], Answer())
    assert f.weight.numel() <= 2**22 and f.rank == 5


@over("size", SIZES)
@pytest.mark.parametrize("name", FUSIONS)
def test_every_size_can_be_made(name: str, size: str) -> None:
    f = make(name, {"a": SIZES[size].dim, "b": SIZES[size].dim}, SIZES[size], Answer())
    assert f.dim == (2 if isinstance(f, Late) else SIZES[size].dim)
    assert name != "bilinear" or sum(w.numel() for w in f.weights) <= 2**22


def test_a_fusion_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_fusion.py").write_text(
        "from polymodal.fusion import Fusion, Late, Mean\n"
        "class Own(Fusion):\n    paper = ''\n    def forward(self, inputs): return self.ordered(inputs)[0]\n"
        "class Odd(Own):\n    def __init__(self, dims, dim, knob): super().__init__(dims, dim)\n"
        "class Not: pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    f = make("mine_fusion:Own", {"a": 4}, SIZES["tiny"], Answer())
    assert type(f).__name__ == "Own" and f.dim == 32
    for name, said in {
        "mine_fusion:Not": "not a fusion; expected a concrete subclass",
        "mine_fusion:Late": "not a fusion",
        "mine_fusion:Gone": "can't be imported .*Gone",
        "nowhere_at_all:Own": "can't be imported .*nowhere_at_all",
        ":": "can't be imported",
        "mine_fusion:Odd": "needs the argument knob",
        "gate": r"unknown fusion 'gate'; did you mean 'gated'\? It is one of mean, .*package.module:Class",
    }.items():
        with pytest.raises(InputError, match=said):
            make(name, {"a": 4}, SIZES["tiny"], Answer())
    sys.modules.pop("mine_fusion", None)
