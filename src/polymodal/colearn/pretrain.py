"""Pretraining on rows without labels: encoders, and what they are asked."""

from polymodal.batch import Batch, Losses
from polymodal.heads.base import Shared
from polymodal.heads.pretraining import Questions
from polymodal.learners.base import Trainable
from polymodal.learners.encoders import Encoders


class Pretraining(Trainable):
    """Encoders of two modalities or more, and questions: trained, but with no answer to give."""

    def __init__(self, encoders: Encoders, questions: Questions) -> None:
        super().__init__()
        self.scale = questions.scale  # before the encoders': the norm of all gradients is summed in this order
        self.encoders, self.questions = encoders, questions

    def loss(self, batch: Batch) -> Losses:
        """The questions'."""
        return self.questions.loss(self.encoders(batch.inputs))

    def shared(self) -> dict[str, Shared]:
        """What a fresh learner may begin with, beside the encoders."""
        return self.questions.shared()
