"""Distillation: the divergence against a loop over outcomes, and what the two parts of the loss are over."""

import math

import pytest
import torch
from torch import nn

from polymodal.batch import Batch, Masked
from polymodal.colearn.distill import TEACHER, Distilled, divergence
from polymodal.errors import InputError
from polymodal.fusion import Concat
from polymodal.learners.network import Predictor
from polymodal.modalities.vector.encoders import Projection
from polymodal.tasks.classify import MultiClass


def softmax(x, t):
    top = [math.exp(v / t) for v in x]
    return [v / sum(top) for v in top]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_divergence_is_the_sum_over_outcomes(temperature):
    g = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(5, 4, generator=g, dtype=torch.float64) * 2 for _ in range(2))
    for b in range(5):
        p, q = (softmax(x[b].tolist(), temperature) for x in (teacher, student))
        kl = temperature**2 * sum(a * math.log(a / c) for a, c in zip(p, q, strict=True))
        assert divergence(teacher, student, "softmax", temperature)[b].item() == pytest.approx(kl, rel=1e-4)
        each = 0.0
        for a, c in zip(teacher[b].tolist(), student[b].tolist(), strict=True):
            yes, also = (1 / (1 + math.exp(-v / temperature)) for v in (a, c))
            each += yes * math.log(yes / also) + (1 - yes) * math.log((1 - yes) / (1 - also))
        each *= temperature**2
        assert divergence(teacher, student, "sigmoid", temperature)[b].item() == pytest.approx(each, rel=1e-4)
        square = sum((a - c) ** 2 for a, c in zip(teacher[b].tolist(), student[b].tolist(), strict=True)) / 4
        assert divergence(teacher, student, "identity", temperature)[b].item() == pytest.approx(square, rel=1e-5)


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "identity"])
def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn(link):
    x = torch.randn(6, 3, requires_grad=True)
    apart = divergence(x.detach(), x, link, 4.0)
    assert torch.allclose(apart, torch.zeros(6), atol=1e-5)
    apart.sum().backward()
    assert torch.allclose(x.grad, torch.zeros(6, 3), atol=1e-5)


def test_extreme_answers_stay_finite():
    x = torch.tensor([[1e4, -1e4]])
    for link in ("softmax", "sigmoid", "identity"):
        assert divergence(x, -x, link).isfinite().all()


def student():
    task = MultiClass().fit(["a", "b", "c"] * 4)
    torch.manual_seed(0)
    encoders = {"x": Projection(4, 8, dropout=0.0)}
    return Predictor(encoders, Concat({"x": 8}, 8), task, dropout=0.0).eval()  # no dropout: both passes are one


def batch(labelled, answered):
    g = torch.Generator().manual_seed(1)
    x = Masked(torch.randn(4, 1, 4, generator=g), torch.ones(4, 1, dtype=torch.bool))
    target = Masked(torch.tensor([0, 1, 2, 0]), torch.tensor(labelled))
    teacher = Masked(torch.randn(4, 3, generator=g), torch.tensor(answered))
    return Batch({"x": x}, {"target": target, TEACHER: teacher})


def test_the_loss_is_of_labels_and_of_answers_each_over_their_own_rows():
    learner, data = student(), batch([True, False, True, False], [True, True, False, True])
    told = learner.loss(Batch(data.inputs, {"target": data.targets["target"]})).total
    apart = divergence(data.targets[TEACHER].values, learner.infer(data.inputs).values, "softmax", 2.0)
    taught = (apart[0] + apart[1] + apart[3]) / 3
    for weight in (0.0, 0.3, 1.0):
        found = Distilled(learner, weight=weight, temperature=2.0).loss(data).total
        assert torch.allclose(found, (1 - weight) * told + weight * taught)


def test_rows_without_a_label_are_taught_and_nan_under_a_mask_is_nothing():
    learner = student()
    data = batch([False] * 4, [True, True, True, False])
    values = data.targets[TEACHER].values.clone()
    values[3] = float("nan")
    data = Batch(data.inputs, {**data.targets, TEACHER: Masked(values, data.targets[TEACHER].mask)})
    Distilled(learner, weight=0.7).loss(data).total.backward()
    gradients = [p.grad for p in learner.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients) and any(g.abs().sum() > 0 for g in gradients)


def test_what_can_not_be_asked():
    with pytest.raises(InputError, match=r"--weight can't be 1.5; it is the teacher's share of the loss, from 0 to 1"):
        Distilled(student(), weight=1.5)
    with pytest.raises(InputError, match=r"--temperature can't be 0; it must be a finite number above 0"):
        Distilled(student(), temperature=0)


def test_what_is_trained_is_the_student():
    learner = student()
    wrapped = Distilled(learner)
    assert {id(p) for p in wrapped.parameters()} == {id(p) for p in learner.parameters()}
    assert isinstance(wrapped.learner, nn.Module) and list(wrapped.reads) == ["x"]
