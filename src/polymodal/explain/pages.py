"""Explanations as pages: a caption's words, the reasons of one row, and which modality a table's answers come from.

`view.page` makes HTML of them, and `view.sheet` a PNG.
"""

from collections.abc import Sequence

import numpy as np

from polymodal.data.encode import Bad
from polymodal.explain.attention import Explanation
from polymodal.explain.evidence import attribution_blocks, faith, faithfulness_text, strongest
from polymodal.explain.nearest import FUSED, Nearest, Neighbour
from polymodal.explain.overall import Overall, Summary
from polymodal.explain.overall import strongest as largest
from polymodal.explain.parts import Attribution
from polymodal.explain.reasons import Reasons
from polymodal.view.blocks import (
    Attended,
    Bar,
    Bars,
    Block,
    Card,
    Cards,
    Heading,
    Layer,
    Page,
    Section,
    Table,
    Words,
    small,
)  # fmt: skip
from polymodal.view.text import figure, interval, many, short, with_sign

LABELS, BARS, PAIRS, WORDS = 10, 8, 15, 40  # that a page shows
NAME = 80  # characters of a name
MEANS = {
    "integrated-gradients": "what each part adds to the answer on the way from a row without it, in log odds of a "
    "label or in the unit of the value",
    "occlusion": "what the answer loses where the part alone is hidden",
    "rollout": "the share of the fusion's attention, through all its layers, that the part gets",
}


# --- a caption ----------------------------------------------------------------------------------------


def caption(e: Explanation, *, command: str = "") -> Page:
    """What each word looked at."""
    title = f"{e.table}, row {e.row}"
    notes: list[Block] = [small(title), *(Words(f"Reference: {r}") for r in e.references)]
    notes += _lacking(e.absent, e.bad)
    words = e.words[:WORDS]
    if not words:
        return Page("explanation", title, e.text or "(no word)", notes, (), command=command)
    layers = [attention for m in e.maps if (attention := _layer(e, m)) is not None]
    more = len(e.words) - WORDS
    blocks: list[Block] = [
        Attended(words, e.sentences()[:WORDS], layers),
        *([small(f"{more} more words are not shown; explain --out FILE.json has them all.")] if more > 0 else []),
        small("What a word attended to stays bright; a line runs around all that got at least half of its largest "
              "attention. Each map is scaled to its own largest value: the shares say how much it weighs."),
    ]  # fmt: skip
    places, share = e.told(), e.share
    head = ["word", "probability", *(x for m in e.maps for x in (m, "where")), "nothing"]
    rows = [
        [w, f"{np.exp(e.logprob[i]):.2f}", *(x for m in e.maps for x in (f"{share[m][i]:.0%}", places[m][i])),
         f"{e.nothing[i]:.0%}"]
        for i, w in enumerate(words)
    ]  # fmt: skip
    table = Table(
        "Each word's attention by modality, and where most of it went", head, rows, frozenset(range(3, len(head), 2))
    )
    nothing = small(
        "Nothing is a token of the model's own that stands for no input: words that follow from those before them "
        "attend to it."
    )
    sections = [
        Section("looked", "What each word looked at", blocks),
        Section("shares", "Shares of attention", [table, nothing]),
    ]
    return Page("explanation", title, e.text, notes, sections, command=command)


def _layer(e: Explanation, modality: str) -> Layer | None:
    """A modality under the words; None where there is nothing to see, as of a single token."""
    a_ws, share = e.maps[modality][:WORDS], e.share[modality]
    notes = [f"p {np.exp(e.logprob[i]):.2f}, {share[i]:.0%} of attention" for i in range(len(a_ws))]
    return e.where[modality].attended(a_ws, modality, notes)


# --- a row --------------------------------------------------------------------------------------------


def row(e: Reasons, *, command: str = "") -> Page:
    """Which modality, what in it, and which training rows are like the row."""
    says = "" if e.truth is None else f"; the table says {short(e.truth, NAME)}"
    title = f"{e.table}, row {e.row}"
    head = [small(title + says), *_lacking(e.absent, e.bad), *(small(n) for n in e.notes)]
    sections = [*_answer(e), Section("which", "Which modality", _which(e))]
    sections += [
        Section(f"part{i}", f"What in {short(a.modality, NAME)}", _part(e, a)) for i, a in enumerate(e.attributions)
    ]
    modalities = {a.modality for a in e.attributions}
    if rest := [x.block(m) for m, x in e.cells.items() if m not in modalities]:
        sections.append(Section("cells", "The row", rest))
    if e.nearest is not None and e.nearest.spaces:
        sections.append(Section("near", "Training rows most like it", _near(e.nearest)))
    return Page("explanation", title, f"Predicted: {short(e.text, 400)}", head, sections, command=command)


def _lacking(absent: Sequence[str], bad: Sequence[Bad]) -> list[Block]:
    out: list[Block] = [small(f"Without {short(m, NAME)}: it is hidden, empty or can't be read.") for m in absent]
    return [*out, *(Words(f"Can't be read, so it was left out: {b}") for b in bad)]


def _answer(e: Reasons) -> list[Section]:
    chances = sorted(e.chances.items(), key=lambda x: -x[1])
    more = f", of the {LABELS} likeliest of {len(chances)}" if len(chances) > LABELS else ""
    bars = [Bar(short(k, NAME), v, f"{v:.3f}") for k, v in chances[:LABELS]]
    return [Section("answer", "The answer", [Bars(f"Probability of each label{more}", bars)])] if bars else []


def _which(e: Reasons) -> list[Block]:
    c = e.contributions
    present = [(m, i) for i, m in enumerate(c.modalities) if c.present[0, i]]
    values = [_bar(m, float(c.shapley[0, i]), float(c.error[0, i])) for m, i in present]
    values.sort(key=lambda x: -abs(x.value))
    values += [Bar(short(m, NAME), float("nan"), "absent") for m in e.absent]
    unit = f"{e.unit[0].upper()}{e.unit[1:]}"
    out: list[Block] = [
        Words(f"{unit} is {figure(float(c.answer[0]))}. With nothing known of the row it would be "
              f"{figure(float(c.base[0]))}; the modalities add up to the difference."),
        Bars("Shapley value of each modality: what it adds, on average over all orders in which the modalities could "
             "become known", values),
    ]  # fmt: skip
    if len(present) < 2:
        return out
    alone = sorted((_bar(m, float(c.alone[0, i]), 0.0) for m, i in present), key=lambda x: -x.value)
    pairs = [_bar(f"{a}, {b}", x, error) for a, b, x, error in e.interactions[:BARS]]
    out += [
        Bars("Alone: what the answer changes by when this modality is all that is known", alone),
        Bars("Interaction of two modalities: what both together add beyond what each adds without the other", pairs),
    ]
    if not np.isnan(c.additive[0]):
        out.append(
            Words(f"The best sum of functions of one modality each says {figure(float(c.additive[0]))}; the other "
                  f"{with_sign(float(c.crossmodal[0]))} of the answer is cross-modal.")
        )  # fmt: skip
    return out


def _bar(name: str, value: float, error: float) -> Bar:
    return Bar(short(name, NAME), value, with_sign(value) + (f" ± {error:.3f}" if error else ""))


def _part(e: Reasons, a: Attribution) -> list[Block]:
    how = a.method.replace("-", " ")
    means = (
        f"By {how}: {MEANS[a.method]}. Orange, solid lines and bars to the right or upwards speak for "
        f"{short(a.output, NAME)}; blue, dotted or hatched, to the left or downwards, against it."
    )
    return [
        small(means), *attribution_blocks(a), *strongest(a, "Parts"), Heading("How far to trust this"), Words(faith(a)),
        *faithfulness_text(a, e.unit),
    ]  # fmt: skip


def _near(neighbours: Nearest) -> list[Block]:
    out: list[Block] = [
        small(f"Of the {neighbours.rows:,} rows of {neighbours.table}, by cosine distance of {neighbours.by} "
              "(0: the same direction, 1: unrelated). A dashed border: the nearest of another label than the predicted "
              "one.")
    ]  # fmt: skip
    for s in neighbours.spaces:
        away = None if s.other is None else s.other.row
        cards = [_neighbour(n, n.row == away) for n in s.nearest]
        if s.other is not None and away not in [n.row for n in s.nearest]:
            cards.append(_neighbour(s.other, True))
        name = "all together" if s.modality == FUSED else short(s.modality, NAME)
        out += [Heading(f"By {name}"), Cards(cards)]
    return out


def _neighbour(n: Neighbour, odd: bool) -> Card:
    label = "no label" if n.label is None else short(n.label, NAME)
    lines = [label + " (another label)" * odd, f"distance {n.distance:.3f}"]
    return Card(f"Row {n.row}", lines, [x.block(m, thumb=True) for m, x in n.cells.items()], odd)


# --- a table ------------------------------------------------------------------------------------------


def table(e: Overall, *, command: str = "") -> Page:
    """Which modality the answers of a table come from."""
    of = f"{e.table}: {e.rows:,} of {e.total:,} rows, {e.task}. Explained is {e.unit}."
    parts = (
        ("size", "Size of each modality's part", sizes(e)),
        ("pairs", "How they go together", pairs(e)),
        ("classes", "By predicted label", classes(e)),
    )
    sections = [Section(key, title, blocks) for key, title, blocks in parts if blocks]
    if e.bad:
        first = [Words(f"{many(len(e.bad), 'cell')} left out; the first:"), *(Words(str(b)) for b in e.bad[:10])]
        sections.append(Section("bad", "Cells that can't be read", first))
    title, heading = f"{e.table}: which modality", "Which modality the answers come from"
    return Page("explanation", title, heading, [small(str(x)) for x in (of, *e.notes)], sections, command=command)


def sizes(e: Overall) -> list[Block]:
    """How much each modality adds."""
    shares = sorted(e.summary.modalities, key=lambda m: -m.size.value)
    names = [short(m.modality, NAME) for m in shares]
    bars = [Bar(n, m.size.value, interval(m.size), m.size[1:]) for n, m in zip(names, shares, strict=True)]
    rows = [
        [n, interval(m.size), with_sign(m.mean), with_sign(m.alone), f"{m.largest:.0%}", f"{m.absent:,}"]
        for n, m in zip(names, shares, strict=True)
    ]
    head = ["modality", "mean |value| [95% interval]", "mean value", "mean alone", "largest in", "absent in"]
    return [
        Bars("Mean absolute Shapley value over the rows; the thin line is its 95% bootstrap interval", bars),
        Table("Figures of each modality", head, rows),
        small("Largest in: of the rows in which any modality counts, the share in which this one counts most."),
    ]


def pairs(e: Overall) -> list[Block]:
    """What modalities bring together; nothing of a single one."""
    top = sorted(e.summary.pairs, key=lambda p: -p.size if p.size == p.size else 0.0)[:PAIRS]
    rows = [
        [f"{short(p.first, NAME)}, {short(p.second, NAME)}", with_sign(p.mean), figure(p.size), f"{p.rows:,}"]
        for p in top
    ]
    caption = (
        "Interactions over the rows that have both: above 0 each makes the other worth more, below 0 they say the same"
    )
    table = Table(caption, ["modalities", "mean", "mean size", "rows"], rows)
    bars = [_bar(f"{p.first}, {p.second}", p.mean, 0.0) for p in top]
    return [*_additive(e.summary), Bars("Mean interaction", bars), table] if rows else []


def classes(e: Overall, most: int = 40) -> list[Block]:
    """How much each modality adds by predicted label; nothing of numbers."""
    per_label, names = list(e.summary.classes.items()), [m.modality for m in e.summary.modalities]
    if not per_label:
        return []
    rows = [[short(k, NAME), f"{x['rows']:,}", *(figure(x["size"][m]) for m in names)] for k, x in per_label[:most]]
    best = [(i, 2 + names.index(m)) for i, (_, x) in enumerate(per_label[:most]) for m in largest(x["size"])]
    more = f"; the {most} commonest of {len(per_label)}" if len(per_label) > most else ""
    caption, head = f"Mean absolute Shapley value; the largest of each label in bold{more}", ["label", "rows"]
    return [Table(caption, [*head, *(short(m, NAME) for m in names)], rows, strong=frozenset(best))]


def _additive(s: Summary) -> list[Block]:
    """How much of the answers is additive; nothing where that is unknown."""
    if s.crossmodal != s.crossmodal or len(s.modalities) < 2:
        return []
    return [
        Words(f"Over {s.split:,} rows a sum of functions of one modality each differs from the answer by "
              f"{figure(s.crossmodal)} on average (the cross-modal part), and moves it by {figure(s.additive)} from "
              "what it is with nothing known.")
    ]  # fmt: skip
