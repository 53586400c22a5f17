"""`polymodal fusions`: the table of costs, against counts made by hand."""

import json

import pytest
import torch

from conftest import Run
from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.fusion import FUSIONS, CrossAttention, Tensor
from polymodal.fusion.cost import costs, count


def test_a_person_sees_every_fusion_and_its_paper(run: Run) -> None:
    done = run("fusions", "--dims", "8,12", "--tokens", 3)
    assert done.returncode == 0, done.stderr
    assert "2 modalities of 3 tokens, widths 8, 12 -> 64" in done.stdout
    for name, cls in FUSIONS.items():
        (line,) = (x for x in done.stdout.splitlines() if x.split() and x.split()[0] == name)
        assert cls.family in line and cls.paper.split(" ")[0] in line
    assert "late: each modality answers" in done.stdout


def test_a_program_reads_the_same(run: Run) -> None:
    form = json.loads(run("fusions", "--dims", "8,12", "--dim", 16, "--outputs", 2, "--json").stdout)
    assert form["dims"] == [8, 12] and form["tokens"] == 16
    assert form["fusions"] == [c._asdict() for c in costs([8, 12], dim=16, outputs=2)]


def test_help_teaches_and_errors_name_the_way_out(run: Run) -> None:
    said = run("fusions", "--help").stdout
    assert "fit --fusion" in said and "polymodal fusions --dims 384,1280" in said
    done = run("fusions", "--dims", "64;64")
    assert done.returncode == 2 and done.stderr == (
        "error: --dims '64;64' is no list of widths; write a number for each modality: 64,64,64\n"
    )
    with pytest.raises(InputError, match="dims 0, outputs -1: widths and counts are whole numbers from 1 on"):
        costs([4, 0], outputs=-1)
    with pytest.raises(InputError, match="at least one modality"):
        costs([])


def test_parameters_and_operations_are_those_counted_by_hand() -> None:
    """sum: pool (d), norm (2 d) and map (d + 1) * dim of each modality, and the head; a product of (a, b) and (b, c)
    is 2 a b c operations."""
    by_name = {c.name: c for c in costs([8, 12], tokens=3, dim=16, outputs=2)}
    assert by_name["sum"].parameters == sum(d + 2 * d + (d + 1) * 16 for d in (8, 12)) + 17 * 2
    assert by_name["sum"].flops == 2 * (sum(3 * d + d * 16 for d in (8, 12)) + 16 * 2)
    assert by_name["late-mean"].parameters == sum(d + 2 * d + (d + 1) * 2 for d in (8, 12))
    wave = 2.5 * 1024 * 10
    products = 3 * 8 + 3 * 12 + 1024 * 16 + 16 * 2
    assert by_name["mcb"].flops == 2 * products + 3 * wave


def test_operations_of_attention_are_counted() -> None:
    f = CrossAttention({"a": 4, "b": 4}, 8, heads=2).eval().requires_grad_(False)

    def of(tokens: int) -> int:
        x = Masked(torch.zeros(1, tokens, 4), torch.ones(1, tokens, dtype=torch.bool))
        return count(f, {"a": x, "b": x})

    # maps and pools are linear in the tokens; scores and sums of attention are 2 * 2 * T * T * 8 a modality
    assert of(20) - 2 * of(10) == 2 * (2 * 2 * 8) * (20**2 - 2 * 10**2)


def test_tensor_fusion_costs_what_its_weight_costs() -> None:
    f = Tensor({"a": 4, "b": 4, "c": 4}, 8, rank=5).eval().requires_grad_(False)
    x = Masked(torch.zeros(1, 1, 4), torch.ones(1, 1, dtype=torch.bool))
    # the pair meets the weight in one product, the third modality the rest: 6^3 * 8 and 6 * 8
    assert count(f, dict.fromkeys("abc", x)) == 2 * (3 * (4 + 4 * 5) + 6**3 * 8 + 6 * 8)
