"""The sections about robustness, and about which modality the answers come from."""

from collections.abc import Sequence

from polymodal.errors import InputError
from polymodal.explain.overall import Overall, overall
from polymodal.explain.pages import classes, pairs, sizes
from polymodal.report.study import NAME, Study
from polymodal.robustness import Robustness, plots, robustness
from polymodal.robustness.result import Noisy
from polymodal.robustness.sentences import HOW
from polymodal.view.blocks import Block, Heading, Picture, Section, Table, Words, small
from polymodal.view.plot import Ends
from polymodal.view.text import interval, short

ROWS, LEVELS = 300, 4  # rows that noise is tried on, and its levels
SUBSETS, MODALITIES, CLASSES = 31, 8, 12
EXPLAIN = 500


def robustness_of(study: Study) -> Robustness | str:
    """Subsets, removed cells and noise on a part of the sample; or why there are none."""
    if study.truth is None:
        return "Without labels nothing can be said of what absence and noise cost."
    try:
        return robustness(study.model, study.table, levels=LEVELS, limit=ROWS, seed=study.seed, cache=study.cache)
    except InputError as e:
        return f"Robustness could not be measured: {e}"


def sturdy(study: Study, robustness: Robustness | str) -> Section:
    """What absent and noisy modalities cost."""
    if isinstance(robustness, str):
        return Section("robustness", "Robustness", [Words(robustness)])
    whole = f"{robustness.metric} with everything there is {interval(robustness.clean)}"
    blocks: list[Block] = [
        small(f"Of {robustness.rows:,} rows with a label; {whole}."),
        *(Words(s) for s in robustness.sentences),
    ]
    blocks += [*_subsets(robustness), *_absence(robustness), *_noise(robustness)]
    blocks += [small(note.text) for note in robustness.notes if note.text]
    return Section("robustness", "Robustness", blocks)


def _subsets(robustness: Robustness) -> list[Block]:
    if len(robustness.subsets) < 2:
        return []
    subsets = [robustness.subsets[0], *sorted(robustness.subsets[1:], key=lambda s: s.loss.value)]
    more = f", the {SUBSETS} that lose most" if len(subsets) > SUBSETS else ""
    worst = subsets if not more else [subsets[0], *subsets[1 - SUBSETS :]]
    names = [" + ".join(short(m, 30) for m in s.present) for s in worst]
    title = f"{robustness.metric} with these modalities alone{more}"
    lines = [[n, interval(s.score), interval(s.loss), f"{s.seen:,}"] for n, s in zip(names, worst, strict=True)]
    head = ["present", f"{robustness.metric} [95% interval]", "loss [95% interval]", "rows that have any of them"]
    return [
        Heading("Modalities that are missing"),
        Picture(f"{title}; the diamond and the dashed line are all of them.", plots.subsets(robustness, worst)),
        Table(title, head, lines),
    ]  # fmt: skip


def _absence(robustness: Robustness) -> list[Block]:
    if not robustness.absence:
        return []
    title = f"{robustness.metric} as cells are removed"
    rows = [
        [f"{a.share:.0%}", HOW[a.how].format(by=short(a.by, 40)), interval(a.score), f"{a.empty:.0%}"]
        for a in robustness.absence
        if a.share
    ]
    head = ["share of cells", "removed", f"{robustness.metric} [95% interval]", "rows left with nothing"]
    return [
        Heading("Cells that are missing"),
        Picture(f"{title}, in {len({a.how for a in robustness.absence})} ways.", plots.absence(robustness)),
        Table(title, head, rows, frozenset([1]), folded=True),
    ]  # fmt: skip


def _noise(robustness: Robustness) -> list[Block]:
    if not robustness.noise:
        return []
    by: dict[str, list[Noisy]] = {}
    for x in robustness.noise:
        by.setdefault(x.modality, []).append(x)
    # the modalities that noise costs most
    modalities = sorted(
        by, key=lambda m: -max((x.loss.value for x in by[m] if x.loss.value == x.loss.value), default=0.0)
    )
    out: list[Block] = [Heading("Cells that are noisy")]
    if len(modalities) > MODALITIES:
        out.append(small(f"The {MODALITIES} of {len(modalities)} modalities that noise costs most."))
    scores = [x.score.value for x in robustness.noise if x.score.value == x.score.value]
    pad = 0.05 * (max(scores) - min(scores) or 1.0) if scores else 0.0
    ends = (min(scores) - pad, max(scores) + pad) if scores else None
    for m in modalities[:MODALITIES]:
        out += _curves(robustness, m, by[m], ends)
    return out


def _curves(robustness: Robustness, modality: str, noise: Sequence[Noisy], ends: Ends) -> list[Block]:
    title = f"{robustness.metric} as {short(modality, NAME)} gets noisy"
    rows = [[x.kind, x.severity, interval(x.score), interval(x.loss)] for x in noise if x.level]
    head = ["noise", "how much", f"{robustness.metric} [95% interval]", "loss [95% interval]"]
    return [
        Picture(f"{title}.", plots.noise(robustness, modality, ends)),
        Table(title, head, rows, frozenset([1]), folded=True),
    ]


def explanation_of(study: Study) -> Overall | str:
    """Contributions of modalities on a part of the sample; or why there are none."""
    if study.writes:
        return (
            "The model writes texts, whose parts come from all modalities at once; Shapley values are of single "
            "answers, so there are none here. polymodal explain shows what each word attended to."
        )
    try:
        return overall(study.model, study.table, limit=EXPLAIN, seed=study.seed, cache=study.cache)
    except InputError as e:
        return f"Contributions could not be computed: {e}"


def contributions(overall: Overall | str) -> Section:
    """Which modality the answers come from."""
    title = "Which modality the answers come from"
    if isinstance(overall, str):
        return Section("contributions", title, [Words(overall)])
    blocks: list[Block] = [
        Words(f"Of {overall.rows:,} rows: Shapley values say how much each modality adds to {overall.unit}, from real "
              "absence: a modality that is left out is as absent as an empty cell. They add up to the answer, less "
              "what the model says of a row that has nothing."),
        *sizes(overall)[1:],  # its bars are in the result
    ]  # fmt: skip
    for heading, more in (
        ("What modalities bring together", pairs(overall)),
        ("By predicted label", classes(overall, CLASSES)),
    ):
        blocks += [Heading(heading), *more] if more else []
    blocks += [small(note.text) for note in overall.notes if note.text]
    return Section("contributions", title, blocks)
