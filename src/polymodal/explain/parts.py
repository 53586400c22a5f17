"""What in a modality made the answer: words, patches, seconds, segments, columns, dimensions, each with a score.

    row --cut--> parts --integrated gradients, occlusion or rollout--> (S,) scores --hide in their order--> Faithfulness

Axes: p set of hidden parts, s part.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from polymodal.batch import Masked
from polymodal.data.preprocess import Rows
from polymodal.data.table import Table
from polymodal.errors import InputError
from polymodal.explain import answers
from polymodal.explain.answers import Floats
from polymodal.explain.attention import position
from polymodal.explain.faithful import FEWEST, Faithfulness, correlation, faithfulness, randomised
from polymodal.explain.integrated import STEPS, can, integrated, logits, networks
from polymodal.explain.rollout import encode, onto, rollout
from polymodal.learners.base import Learner, evaluating
from polymodal.modalities import MODALITIES
from polymodal.modalities.places import Place
from polymodal.modalities.segments import Cut
from polymodal.model import Model

METHODS = ("auto", "integrated-gradients", "occlusion", "rollout")
BATCH = 64  # changed rows that are looked at together
DRAWS = 3  # random models that an explanation is compared with


class Attribution(NamedTuple):
    """How much each part of one modality of a row speaks for the explained output.

    view: of the modality, the one that the model reads first. where: what the parts are. scores: (S,), signed; exactly
    0 for a part of which the model sees nothing. method: "integrated-gradients": their sum is the log odds of the
    explained label (or the value that is predicted) less those of the row at its baseline; "occlusion": what the
    probability (or the value) loses without the part; "rollout": shares of the attention of all modalities. output:
    which answer is explained.
    """

    modality: str
    view: str
    where: Place
    scores: Floats
    method: str
    output: str
    faithful: Faithfulness

    def to_json(self) -> dict[str, Any]:
        """Plain containers."""
        head = {"modality": self.modality, "view": self.view, "method": self.method, "output": self.output}
        places = {"where": self.where.to_json(), "scores": self.scores.round(6).tolist()}
        return {**head, **places, "faithful": self.faithful.to_json()}


class Row(NamedTuple):
    """One row of a model, one of whose modalities is cut into parts. at: which quantity is explained."""

    model: Model
    inputs: Mapping[str, Masked]
    view: str
    kind: str
    cut: Cut
    at: int

    def outputs(self, away: NDArray[np.bool_], learner: Learner | None = None) -> Floats:
        """(P, S) hidden parts -> (P,) explained outputs, of another learner where one is given."""
        learner = self.model.learner if learner is None else learner
        out = []
        with evaluating(learner), torch.inference_mode():
            for start in range(0, len(away), BATCH):
                some = away[start : start + BATCH]
                changes = {v: x.hidden(some) for v, x in self.cut.views.items()}
                answer = logits(learner, self.inputs, changes, len(some)).float().cpu()
                out.append(learner.task.values(answer / self.model.scorer.temperature)[:, self.at])
        return np.concatenate(out)

    def there(self) -> NDArray[np.bool_]:
        """(S,) True for parts of which a view has something."""
        return np.asarray(np.any([x.there(self.cut.parts) for x in self.cut.views.values()], axis=0))


def attribute(
    model: Model,
    table: Any,
    row: int,
    modality: str,
    *,
    method: str = "auto",
    output: str | None = None,
    cache: Path | str | None = None,
    seed: int = 0,
) -> Attribution:
    """What in one modality of a row made the answer, and how faithful that explanation is.

    row: as everywhere, 1 is the first below the header. method: "auto" is integrated gradients where the model is a
    network that reads the modality itself, else occlusion. output: the label or target that is explained [the
    prediction]. Raises InputError for a row, method, modality or output that there is not, and for a modality of which
    the row has nothing.
    """
    table = Table.read(table)
    one = table.take([position(table, row)])
    rows = model.preprocessor.encode(one, None, cache=None if cache is None else Path(cache), quiet=True)
    return attribute_rows(model, one, rows, 0, modality, method=method, output=output, seed=seed)


def attribute_rows(
    model: Model,
    table: Table,
    rows: Rows,
    index: int,
    modality: str,
    *,
    method: str = "auto",
    output: str | None = None,
    seed: int = 0,
) -> Attribution:
    """`attribute` of the row at `index` of a table that is encoded already as `rows`, in the same order."""
    if method not in METHODS:
        raise InputError(f"there is no method {method!r}; it is one of: {', '.join(METHODS)}")
    names = model.task.quantities.names  # refuses models that write
    views = _views(model, rows, index, modality)
    kind, columns = model.preprocessor.schema.modalities()[modality]
    text = table.cells(columns[0])[index]
    codecs = {v: model.preprocessor.codecs[v] for v in views}
    files = any(c.takes_files for c in codecs.values())
    (cell,) = model.preprocessor.schema.cells(table.take([index]), modality, files)
    device = next((p.device for p in model.learner.parameters()), torch.device("cpu"))
    inputs = rows.only(model.learner.reads).batch([index]).to(device).inputs
    cut = MODALITIES[kind].cut(codecs, {v: inputs[v] for v in views}, cell, text)
    at = int(answers.outputs(model.task, model.logits(rows.take([index])), output)[0])
    one = Row(model, inputs, views[0], kind, cut, at)
    how = method if method != "auto" else "integrated-gradients" if _smooth(model, cut) else "occlusion"
    scores = method_scores(one, model.learner, how)
    same = _randomisation(one, scores, how, seed)
    faithful = faithfulness(scores, one.outputs, randomised=same, seed=seed)
    return Attribution(modality, views[0], cut.where, scores, how, names[at], faithful)


def method_scores(row: Row, learner: Learner, method: str, steps: Sequence[int] = STEPS) -> Floats:
    """(S,) the scores by a method other than "auto", of the row's model or of another learner in its place.

    steps: of integrated gradients.
    """
    if method == "integrated-gradients":
        scores = integrated(learner, row.inputs, row.cut, row.at, steps, row.model.scorer.temperature).scores
    elif method == "rollout":
        scores = _rollout(row, learner)
    else:
        one_by_one = np.eye(row.cut.parts + 1, row.cut.parts, dtype=bool)  # the last row hides nothing
        output_p = row.outputs(one_by_one, learner)
        scores = output_p[-1] - output_p[:-1]
    return np.where(row.there(), scores, 0.0)


def _views(model: Model, rows: Rows, index: int, modality: str) -> list[str]:
    """The views of a modality that the learner reads and the row has."""
    prep = model.preprocessor
    if modality not in prep.modalities:
        raise InputError(f"the model has no modality {modality!r}; it has: {', '.join(prep.modalities)}")
    reads = [v for v in model.learner.reads if prep.views[v] == modality]
    if not reads:
        raise InputError(f"the model's answer does not depend on {modality!r}, so there is nothing in it to explain")
    if here := [v for v in reads if rows.inputs[v][index] is not None]:
        return here
    present = {prep.views[v] for v in model.learner.reads if rows.inputs[v][index] is not None}
    also = f"; the row has: {', '.join(m for m in prep.modalities if m in present)}" if present else ""
    raise InputError(f"row {rows.numbers[index]} has nothing in {modality!r} that can be read or explained{also}")


def _smooth(model: Model, cut: Cut) -> bool:
    return model.precision == "no" and can(model.learner, cut)


def _rollout(row: Row, learner: Learner) -> Floats:
    """Shares of the fusion's attention, on the parts of this modality; those of all modalities sum to 1."""
    fusion = learner.fused_by()
    if fusion is None:
        raise InputError(
            f"rollout shows the attention of one network's fusion, and this model is a {learner.kind}; take "
            "the method integrated-gradients or occlusion"
        )
    with evaluating(learner):
        tokens = {v: encode(encoder, row.inputs[v]) for v, encoder in learner.sources().items()}
        share = rollout(fusion, learner.filled({v: t for v, (t, _) in tokens.items()}))[row.view]
    share_t = torch.einsum("bq,bqt->bt", share, tokens[row.view][1])[0].double().cpu().numpy()
    return onto(share_t, row.cut, row.view, row.model.preprocessor.codecs[row.view], row.kind)


def _randomisation(row: Row, scores: Floats, method: str, seed: int) -> float | None:
    """The mean over random models of the rank correlation with their scores; see `Faithfulness.randomised`."""
    learner = row.model.learner
    if not networks(learner) or not row.there().sum() >= FEWEST:
        return None
    there, correlations = row.there(), []
    for draw in range(DRAWS):
        other = randomised(learner, DRAWS * seed + draw)
        rough = method_scores(row, other, method, STEPS[:1])  # ranks need no more
        correlations.append(correlation(np.abs(scores[there]), np.abs(rough[there])))
    return float(np.mean(correlations))
