"""Why a model answers as it does: `explain` one row of a table, `overall` all of its rows.

A model that writes is explained by what each word attended to (`Explanation`); one that answers by its modalities, what
in them made the answer, and the training rows like it (`Reasons`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.decoders.base import Decoding
    from polymodal.explain.attention import Explanation
    from polymodal.explain.overall import Overall
    from polymodal.explain.reasons import Reasons
    from polymodal.model import Model


def explain(
    model: "Model",
    table: Any,
    row: int,
    *,
    how: "Decoding | None" = None,
    without: Sequence[str] = (),
    cache: Path | str | None = None,
    **asked: Any,
) -> "Explanation | Reasons":
    """The explanation that fits the model. Arguments are those of `attention.caption` or of `reasons.reasons`.

    Raises InputError for a model that writes in another way, which nothing explains yet, and what those raise.
    """
    from polymodal.errors import InputError
    from polymodal.explain import attention, reasons
    from polymodal.learners.base import Generator
    from polymodal.learners.transcriber import Transcriber
    from polymodal.learners.translator import Translator

    if not isinstance(model.learner, Generator):
        return reasons.reasons(model, table, row, without=without, cache=cache, **asked)
    if not isinstance(model.learner, Translator | Transcriber):
        raise InputError(
            f"this model writes by a {type(model.learner).__name__}, and explain is not there yet for such models: it "
            "shows what each word attended to, of a model whose decoder attends to its inputs (gru, gru-dot, "
            "transformer, prefix), or when it was said (ctc)"
        )
    if asked:
        raise InputError(f"the model writes text, so {', '.join(sorted(asked))} can't be asked for; leave it out")
    return attention.caption(model, table, row, how=how, without=without, cache=cache)


def overall(model: "Model", table: Any, **asked: Any) -> "Overall":
    """Which modality a model's answers come from, over a table. Arguments are those of `overall.overall`.

    Raises InputError for a model that writes text, of which single rows are explained.
    """
    from polymodal.errors import InputError
    from polymodal.explain.overall import overall as found
    from polymodal.learners.base import Generator

    if isinstance(model.learner, Generator):
        raise InputError("the model writes text, which is explained row by row; name a row with --row")
    return found(model, table, **asked)
