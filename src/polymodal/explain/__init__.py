"""Why a model answers as it does: `explain` one row of a table, `overall.overall` all of its rows.

A model that writes is explained by what each word attended to (`Explanation`); one that answers by its modalities, what
in them made the answer, and the training rows like it (`Reasons`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polymodal.decoders.base import Decoding
    from polymodal.explain.attention import Explanation
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
    output: str | None = None,
    method: str = "auto",
    train: Any = None,
    parts: bool = True,
    progress: bool | None = None,
) -> "Explanation | Reasons":
    """The explanation that fits the model. Arguments are those of `attention.caption` or of `reasons.reasons`.

    Raises InputError for a model that writes in another way, which nothing explains yet, and what those raise.
    """
    from polymodal.explain import attention, reasons

    if "decode" in model.task.capabilities:
        return attention.caption(model, table, row, how=how, without=without, cache=cache)
    return reasons.reasons(
        model, table, row, output=output, method=method, train=train, parts=parts, without=without, cache=cache,
        progress=progress,
    )  # fmt: skip
