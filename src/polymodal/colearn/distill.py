"""Distillation: what a teacher answers on all modalities teaches a student that has only some of them.

loss = (1 - weight) * task loss on the label + weight * divergence from the teacher's answer

Axes: b batch, c logit.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polymodal.batch import Batch, Losses, Masked
from polymodal.errors import InputError
from polymodal.learners.base import Learner, TrainableLearner
from polymodal.ops import zeroed
from polymodal.output import Output, logits_of

TEACHER = "teacher"  # the name under which a batch's targets hold the teacher's logits


def divergence(teacher_bc: Tensor, student_bc: Tensor, link: str, temperature: float = 1.0) -> Tensor:
    """(B,) how far the student's answer is from the teacher's; 0 where their answers are the same.

    link "softmax": T^2 KL(p || q), p = softmax(teacher / T) and q = softmax(student / T). "sigmoid": the same of each
    logit's two outcomes, summed over logits. "identity": mean over c of (teacher - student)^2; T has no part in it.
    T^2 keeps the size of the gradient as T grows. Hinton, Vinyals & Dean 2015.
    """
    teacher_bc, student_bc = teacher_bc.float(), student_bc.float()
    if link == "identity":
        return (teacher_bc - student_bc).square().mean(1)
    t_bc, s_bc = teacher_bc / temperature, student_bc / temperature
    if link == "sigmoid":
        yes = t_bc.sigmoid() * (logsigmoid(t_bc) - logsigmoid(s_bc))
        no = (-t_bc).sigmoid() * (logsigmoid(-t_bc) - logsigmoid(-s_bc))
        return temperature**2 * (yes + no).sum(1)
    logp, logq = t_bc.log_softmax(1), s_bc.log_softmax(1)
    return temperature**2 * (logp.exp() * (logp - logq)).sum(1)


class Distilled(TrainableLearner):
    """A learner that is taught by labels and by a teacher: batches hold the teacher's logits as the target `TEACHER`.

    learner: the student; its weights are all that is trained. weight: the teacher's share of the loss, 0 to 1. Rows
    without a label are taught by the teacher alone. Raises InputError for shares and temperatures that can't be.
    """

    def __init__(self, learner: TrainableLearner, *, weight: float = 0.5, temperature: float = 2.0) -> None:
        super().__init__()
        check(weight, temperature)
        if "decode" in learner.task.capabilities:
            raise InputError("a model that writes text can't be taught by another's logits; name a label as the target")
        self.learner, self.weight, self.temperature = learner, weight, temperature
        self.task = learner.task

    @property
    def reads(self) -> Sequence[str]:
        """What the student reads."""
        return self.learner.reads

    def infer(self, inputs: Mapping[str, Masked]) -> Output:
        """The student's answer."""
        return self.learner.infer(inputs)

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Output]:
        """The student's."""
        return self.learner.recombine(inputs)

    def describe(self) -> list[str]:
        """The student."""
        return self.learner.describe()

    def deployed(self) -> Learner:
        """The student, without its teacher's loss."""
        return self.learner

    def loss(self, batch: Batch) -> Losses:
        """The weighted sum, over the rows that have a label and those that the teacher has answered."""
        targets = dict(batch.targets)
        teacher = targets.pop(TEACHER)
        losses = self.learner.loss(Batch(batch.inputs, targets))
        apart = divergence(zeroed(teacher), logits_of(self.infer(batch.inputs)), self.task.link, self.temperature)
        here = teacher.present()
        teaching = torch.where(here, apart, 0).sum() / here.sum().clamp(min=1)
        total = (1 - self.weight) * losses.total + self.weight * teaching
        return Losses(total, {**losses.parts, "teacher": teaching})


def check(weight: float, temperature: float) -> None:
    """Raises InputError for a share of the loss or a temperature that can't be."""
    if not 0 <= weight <= 1:
        raise InputError(f"--weight can't be {weight!r}; it is the teacher's share of the loss, from 0 to 1")
    if not 0 < temperature < float("inf"):
        raise InputError(f"--temperature can't be {temperature!r}; it must be a finite number above 0, such as 2")
