"""Why a model answers as it does, for one row of a table: `explain` finds the explanation that fits the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.decoders.base import Decoding
    from polymodal.explain.attention import Explanation
    from polymodal.model import Model


def explain(
    model: "Model",
    table: Any,
    row: int,
    *,
    how: "Decoding | None" = None,
    without: Sequence[str] = (),
    cache: Path | str | None = None,
) -> "Explanation":
    """What each word of the row's text attended to, or when it was said. Arguments are those of `attention.caption`.

    Raises InputError for a model that writes in another way or not at all, which nothing explains yet.
    """
    from polymodal.errors import InputError
    from polymodal.explain import attention
    from polymodal.learners.base import Generator
    from polymodal.learners.transcriber import Transcriber
    from polymodal.learners.translator import Translator

    if isinstance(model.learner, Translator | Transcriber):
        return attention.caption(model, table, row, how=how, without=without, cache=cache)
    kind = type(model.learner).__name__
    does = f"writes by a {kind}" if isinstance(model.learner, Generator) else f"answers {model.task.name} by a {kind}"
    raise InputError(
        f"this model {does}, and explain is not there yet for such models: it shows what each word attended to, of a "
        "model whose decoder attends to its inputs (gru, gru-dot, transformer, prefix), or when it was said (ctc)"
    )
