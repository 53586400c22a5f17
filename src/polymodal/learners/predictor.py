"""Many modalities -> one target."""

from collections.abc import Mapping

from torch import Tensor, nn

from polymodal.batch import Batch, Losses, Masked
from polymodal.errors import InputError
from polymodal.fusion.base import Fusion, Late
from polymodal.learners.base import Learner
from polymodal.modalities.base import Encoder
from polymodal.nn import Named
from polymodal.ops import masked_mean
from polymodal.tasks.base import Task


class Predictor(Learner):
    """Encoders, a fusion, and a linear head for the task.

    inputs --encoder of each--> tokens --fusion--> tokens --masked mean--> (B, dim) --dropout, linear--> (B, outputs)
    After a late fusion, whose tokens are logits already, no head is added.

    encoders: by modality name, in any order. fusion: built for the same names and the encoders' `dim`.
    Raises InputError where they do not fit together.
    """

    def __init__(self, encoders: Mapping[str, Encoder], fusion: Fusion, task: Task, *, dropout: float = 0.1) -> None:
        super().__init__()
        if {m: e.dim for m, e in encoders.items()} != dict(fusion.dims):
            raise InputError(
                f"the encoders give { {m: e.dim for m, e in encoders.items()} } but {type(fusion).__name__} was "
                f"built for {dict(fusion.dims)}; build it with dims={{name: encoder.dim}}"
            )
        if isinstance(fusion, Late) and fusion.dim != task.outputs:
            raise InputError(
                f"{type(fusion).__name__} is a late fusion, so its dim must be the task's number of outputs, "
                f"{task.outputs}, but it is {fusion.dim}"
            )
        self.encoders, self.fusion, self.task, self.dropout = Named(encoders), fusion, task, dropout
        late = isinstance(fusion, Late)
        self.head = nn.Identity() if late else nn.Sequential(nn.Dropout(dropout), nn.Linear(fusion.dim, task.outputs))

    def predict(self, inputs: Mapping[str, Masked]) -> Tensor:
        """(B, outputs) logits; `task.decode` turns them into words. Rows with nothing present get a prior."""
        tokens = {m: encoder(inputs[m]) for m, encoder in self.encoders.items()}
        logits: Tensor = self.head(masked_mean(self.fusion(tokens)))
        return logits

    def loss(self, batch: Batch) -> Losses:
        """The task's loss over the rows that have a label."""
        (target,) = batch.targets.values()
        loss = self.task.loss(self.predict(batch.inputs), target)
        return Losses(loss, {"loss": loss})
