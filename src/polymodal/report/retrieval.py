"""What a person reads of an aligned model: at the end of `align`, and of `evaluate`."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from polymodal.aligned import AlignedModel
from polymodal.data.encode import Bad
from polymodal.evaluate.retrieval import Retrieval
from polymodal.view.blocks import Block, Facts, Table, Words, unreadable
from polymodal.view.text import digits, ends, many, number


def summary(model: AlignedModel, out: Path) -> list[Block]:
    """The end of `align`: what was aligned, how, and how well modalities find each other on validation rows."""
    report, schema = model.report, model.preprocessor.schema
    kinds = {m: kind for m, (kind, _) in schema.modalities().items()}
    held = "given" if report.valid_given else "held out"
    facts = [
        ("modalities", ", ".join(m if m == kinds[m] else f"{m} ({kinds[m]})" for m in model.modalities)),
        ("rows", f"{report.rows['train']:,} to train on, {report.rows['valid']:,} to validate on ({held})"),
        ("the model", model.learner.describe()[0]),
    ]
    assert report.valid is not None
    folder = shlex.quote(str(out))
    end = (
        f"{report.seconds:.0f} s, at most {report.peak_memory_mb:,.0f} MB. The model is in {out}; next:\n"
        f"  polymodal evaluate {folder} TABLE                       how modalities find each other in other rows\n"
        f"  polymodal embed {folder} TABLE --out points.npy         points of rows in the shared space"
    )
    scores = Retrieval.from_json(report.valid)
    return [
        Facts(facts),
        *unreadable(report.bad),
        *map(Words, report.notes),
        *_directions(scores),
        Words(""),
        Words(end),
    ]


def evaluation(scores: Retrieval) -> list[Block]:
    """How modalities find each other, each for each."""
    return [*_directions(scores), *unreadable(scores.bad)]


def embedded(rows: int, without: int, out: Path, bad: Sequence[Bad]) -> list[Block]:
    """The end of `embed`."""
    empty = f", {many(without, 'of them')} without a cell to embed (NaN)" if without else ""
    return [Words(f"{many(rows, 'row')}{empty}; written to {out}"), *unreadable(bad)]


def _directions(scores: Retrieval) -> list[Block]:
    """Recall and the median rank, which fit a terminal; JSON has the others, too."""
    head = ["", "queries", "gallery", "R@1", "95% interval", "R@5", "R@10", "rank"]
    lines = []
    for d in scores.directions:
        first, *others = (d.metrics[k] for k in ("recall@1", "recall@5", "recall@10"))
        values = [digits(first.value), ends(first), *(digits(x.value) for x in others)]
        name, rank = f"{d.source} -> {d.target}", number(d.metrics["median_rank"].value)
        lines.append([name, f"{d.queries:,}", f"{d.gallery:,}", *values, rank])
    return [Table(f"what finds what, among {many(scores.rows, 'row')} (recall, and the median rank)", head, lines)]
