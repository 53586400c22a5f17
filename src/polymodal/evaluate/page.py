"""A leaderboard as a page, and in brief for a terminal."""

from collections.abc import Mapping

from polymodal.evaluate.compare import BASELINES
from polymodal.evaluate.leaderboard import CONCAT, Entry, Leaderboard, chance, interaction, rivals
from polymodal.evaluate.significance import alike
from polymodal.view import plot
from polymodal.view.blocks import Block, Page, Picture, Section, Table, Words, small
from polymodal.view.plot import Plot, Span
from polymodal.view.text import DASH, digits, ends, interval, many

PARTS = ("redundancy", "unique_first", "unique_second", "synergy")


def page(leaderboard: Leaderboard, *, title: str, command: str = "") -> Page:
    """Verdict, candidates, differences, ranks, information, and how it was measured."""
    summary = [leaderboard.verdict, *([interaction(leaderboard.emap, leaderboard.metric)] if leaderboard.emap else [])]
    figures = plots(leaderboard)
    parts = [
        ("candidates", "Candidates", _candidates(leaderboard, figures)),
        ("tests", "Differences", _tests(leaderboard)),
        ("ranks", "Ranks over the folds", _ranks(leaderboard, figures)),
        ("information", "What the modalities tell", _information(leaderboard, figures)),
        ("emap", "How much needs interaction", _emap(leaderboard)),
        ("how", "How it was measured", _how(leaderboard)),
    ]
    sections = [Section(key, name, blocks) for key, name, blocks in parts if blocks]
    return Page("comparison", title, title, (), sections, summary, command)


def _candidates(leaderboard: Leaderboard, figures: Mapping[str, Plot]) -> list[Block]:
    legend = ", the dashed one concat" * any(e.family == CONCAT for e in leaderboard.entries)
    kinds = "Circles are fused, diamonds single modalities, squares baselines"
    caption = f"{kinds}; the dotted line is the best single modality{legend}."
    notes = any(_note(e) for e in leaderboard.entries)
    return [Picture(caption, figures["intervals"]), _table(leaderboard, notes)]


def _note(entry: Entry) -> str:
    return "; ".join(filter(None, (entry.dropped, entry.note)))


def _table(leaderboard: Leaderboard, notes: bool) -> Table:
    """The candidates, the best first. notes: whether there is a column of notes."""
    repeats = f" of {leaderboard.repeats} repeats" if leaderboard.repeats > 1 else ""
    better = "higher" if leaderboard.higher else "lower"
    head = ["candidate", leaderboard.metric, "95% interval", "kind", "parameters", "seconds", "memory, MB"]
    head += ["note"] * notes
    best = [i for i, e in enumerate(leaderboard.entries) if e.name == leaderboard.use]
    rows = [
        [e.name + " (recommended)" * (i in best), digits(m.value), ends(m), e.family, amount(e.parameters),
         amount(e.seconds, 1), amount(e.memory_mb), *[_note(e)] * notes]
        for i, (e, m) in enumerate(zip(leaderboard.entries, leaderboard.means, strict=True))
    ]  # fmt: skip
    strong = frozenset((i, k) for i in best for k in range(len(head)))
    title = f"{leaderboard.metric}, {better} is better; mean of {leaderboard.folds} folds{repeats}"
    title += f" on {many(leaderboard.rows, 'row')}"
    return Table(title, head, rows, frozenset({3, 7}), strong, folded=False)


def _tests(leaderboard: Leaderboard) -> list[Block]:
    head = ["candidate", "against", "gain", "95% interval", "p", "adjusted p", "more than noise"]
    rows = [
        [t.name, t.rival, digits(t.gain.value, sign="+"), ends(t.gain), digits(t.p), digits(t.adjusted),
         "yes" if t.clear else "no"]
        for t in leaderboard.tests
    ]  # fmt: skip
    of = f"{leaderboard.method}, p adjusted for {len(rows)} tests (Holm)"
    return (
        [Table(f"Gain in {leaderboard.metric}, positive is better; {of}", head, rows, frozenset({1}))] if rows else []
    )


def _ranks(leaderboard: Leaderboard, figures: Mapping[str, Plot]) -> list[Block]:
    if leaderboard.ranks is None:
        return []
    by_rank = sorted(zip(leaderboard.ranks.means, leaderboard.ranks.names, strict=True))
    rows = [[name, digits(mean, 2)] for mean, name in by_rank]
    caption = "A bar joins candidates that are no further apart than the critical difference (Nemenyi)."
    order = "Folds of one table share rows, so this shows how consistent the order is; decide by the differences above."
    return [
        Picture(caption, figures["ranks"]),
        Table("Mean rank, 1 is best", ["candidate", "mean rank"], rows),
        small(f"All candidates alike: p {chance(leaderboard.ranks.p)} (Friedman). {order}"),
    ]


def _information(leaderboard: Leaderboard, figures: Mapping[str, Plot]) -> list[Block]:
    if not leaderboard.information:
        return []
    head = ["first", "second", "total", "redundancy", "only first", "only second", "synergy", "of"]
    rows = [
        [s.first, s.second, *(interval(x, 2) for x in (s.total, *(getattr(s, p) for p in PARTS))), digits(s.entropy)]
        for s in leaderboard.information
    ]
    bound = "" if all(s.fused for s in leaderboard.information) else (
        "; where no fused model of just these two was trained, synergy is a lower bound"
    )  # fmt: skip
    title = "Bits about the target, with 95% intervals, estimated from held-out predictions"
    return [
        Picture(
            "Redundancy is what either modality says, synergy what only both together say.", figures["information"]
        ),
        Table(title, head, rows, frozenset({1})),
        small(f"A model that misses something leaves it out here too{bound}."),
    ]


def _emap(leaderboard: Leaderboard) -> list[Block]:
    if (emap := leaderboard.emap) is None:
        return []
    parts = {"the model": emap.own, "without interaction": emap.additive, "gain by interaction": emap.gain}
    rows = [[name, digits(x.value), ends(x)] for name, x in parts.items()]
    title = f"{emap.name} on {emap.rows} held-out rows (EMAP, Hessel & Lee 2020)"
    return [Table(title, ["", leaderboard.metric, "95% interval"], rows)]


def _how(leaderboard: Leaderboard) -> list[Block]:
    groups = "" if leaderboard.groups is None else f" in {many(leaderboard.groups, 'group')}, kept whole"
    times = f", cut {leaderboard.repeats} times" if leaderboard.repeats > 1 else ""
    return [
        Words(f"{many(leaderboard.rows, 'row')}{groups}; every candidate on the same {leaderboard.folds} folds{times}.")
    ]


def amount(x: float | None, places: int = 0) -> str:
    """A number that may be unknown."""
    return DASH if x is None else f"{x:,.{places}f}"


def plots(leaderboard: Leaderboard) -> dict[str, Plot]:
    """Each plot that a leaderboard has something for: intervals, ranks, shares of information."""
    scores = [(e, m) for e, m in zip(leaderboard.entries, leaderboard.means, strict=True) if m.value == m.value]
    styles = {e.name: "--" if e.fused else ":" for e in rivals([e for e in leaderboard.entries if not e.dropped])}
    unit = f"{leaderboard.metric} ({'higher' if leaderboard.higher else 'lower'} is better)"
    rows = [
        Span(
            e.name + " (recommended)" * (e.name == leaderboard.use),
            m,
            e.name == leaderboard.use,
            "o" if e.fused else "s" if e.family in BASELINES else "D",
        )
        for e, m in scores
    ]
    lines = [(m.value, styles[e.name]) for e, m in scores if e.name in styles]
    title = f"{leaderboard.metric} of each candidate with its 95% interval"
    out = {"intervals": plot.spans(title, rows, unit, at=lines)}
    if (r := leaderboard.ranks) is not None:
        means = list(zip(r.names, r.means, strict=True))
        out["ranks"] = plot.ranks("Mean rank of each candidate over the folds", means, r.critical, alike(r))
    if leaderboard.information:
        shares = [
            (f"{s.first} (first) | {s.second} (second)", [getattr(s, p).value for p in PARTS])
            for s in leaderboard.information
        ]
        title, names = "What the modalities tell about the target", [p.replace("_", " ") for p in PARTS]
        out["information"] = plot.stacks(title, shares, names, "bits about the target")
    return out


def brief(leaderboard: Leaderboard) -> list[Block]:
    """The candidates and the verdict, for a terminal."""
    notes: dict[str, list[str]] = {}
    for e in leaderboard.entries:
        notes.setdefault(_note(e), []).append(e.name)
    notes.pop("", None)
    out: list[Block] = [
        _table(leaderboard, notes=False),
        *(Words(f"{', '.join(names)}: {note}") for note, names in notes.items()),
    ]
    if leaderboard.information:
        head = ["first", "second", "total", "redundancy", "only first", "only second", "synergy"]
        rows = [
            [s.first, s.second, digits(s.total.value, 2), *(digits(getattr(s, p).value, 2) for p in PARTS)]
            for s in leaderboard.information
        ]
        out.append(Table("bits about the target", head, rows, frozenset({1})))
    lines = [interaction(leaderboard.emap, leaderboard.metric)] if leaderboard.emap is not None else []
    return [*out, *map(Words, [*lines, leaderboard.verdict])]
