"""Candidates on the same folds and seeds: what each scored, which differences are more than chance, and what to use.

The verdict is about the best fusion, against the best single modality and against plain concatenation. What
to use is the simplest candidate within one standard error of the best of all (Breiman et al. 1984): single modalities
before concat, this before fusions, these before ensembles. A claim that one is better has to pass the test; a choice
has to be made either way. Baselines are what the best candidate is measured against, and never used.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from polymodal.evaluate.compare import BASELINES, UNITS, gain_text, sentence
from polymodal.evaluate.emap import Cost
from polymodal.evaluate.information import Shares
from polymodal.evaluate.intervals import Interval
from polymodal.evaluate.significance import LEVEL, PairedTest, Ranks, average_ranks, corrected_t, holm
from polymodal.view.text import interval, many, not_shown, some

SINGLE, CONCAT = "single", "concat"  # families: of networks, and of features
TIERS = {  # by family, the simplest first
    "constant": -1, "persistence": -1, "single": 0, "concat": 1, "late": 2, "fusion": 2, "hybrid": 2, "ensemble": 3,
}  # fmt: skip
TEST = "corrected resampled t-test"


class Entry(NamedTuple):
    """A candidate. scores: the main metric in each fold of each repeat, NaN where it has none. dropped: why it has not
    been run on all folds, though there was time."""

    name: str  # "gated", "concat", "photo alone"
    family: str  # one of TIERS
    fused: bool  # of several modalities
    modalities: list[str]
    scores: list[list[float]]
    parameters: int | None = None
    seconds: float | None = None
    memory_mb: float | None = None
    note: str = ""
    dropped: str = ""


class Versus(NamedTuple):
    """The gain of one candidate over another: positive is better. p is adjusted (Holm) for all of a leaderboard."""

    name: str
    rival: str
    gain: Interval
    p: float
    adjusted: float

    @property
    def clear(self) -> bool:
        """More than chance, the number of tests allowed for, and the interval says so too."""
        return self.adjusted < LEVEL and (self.gain.low > 0 or self.gain.high < 0)

    @property
    def slight(self) -> bool:
        """Within one standard error, by the width of the interval; or of unknown error."""
        return not abs(self.gain.value) > (self.gain.high - self.gain.low) / (2 * 1.96)


class Leaderboard(NamedTuple):
    """A comparison: `means` are of `entries`, in the same order, the best first."""

    metric: str
    higher: bool
    folds: int
    repeats: int
    test_share: float
    entries: list[Entry]
    means: list[Interval]
    method: str  # of the tests
    tests: list[Versus]
    ranks: Ranks | None
    use: str  # the recommended candidate
    verdict: str
    rows: int
    groups: int | None  # how many, where rows come in groups
    information: list[Shares]
    emap: Cost | None
    left_out: dict[str, str]  # candidates that a time limit left without some folds, or all, and why

    def __repr__(self) -> str:
        scores = (f"{e.name} {interval(m)}" for e, m in zip(self.entries, self.means, strict=True))
        return f"<Leaderboard by {self.metric} on {many(self.rows, 'row')}: {some(scores, 4)}>"

    def to_json(self) -> dict[str, Any]:
        """Plain containers; what is undefined is None."""
        plain: dict[str, Any] = _plain(self)
        return plain

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> "Leaderboard":
        """What `to_json` wrote."""
        fields = dict(form)
        fields["entries"] = [
            Entry(**{**e, "scores": [[_number(x) for x in row] for row in e["scores"]]}) for e in form["entries"]
        ]
        fields["means"] = [_interval(x) for x in form["means"]]
        fields["tests"] = [
            Versus(t["name"], t["rival"], _interval(t["gain"]), _number(t["p"]), _number(t["adjusted"]))
            for t in form["tests"]
        ]
        fields["ranks"] = None if form["ranks"] is None else Ranks(**form["ranks"])
        fields["information"] = [Shares(**_fields(x)) for x in form["information"]]
        fields["emap"] = None if form["emap"] is None else Cost(**_fields(form["emap"]))
        return cls(**fields)


def leaderboard(
    metric: str,
    higher: bool,
    entries: Sequence[Entry],
    test_share: float,
    rows: int,
    groups: int | None = None,
    pair_test: Callable[[str, str], PairedTest] | None = None,
    method: str = TEST,
    information: Sequence[Shares] = (),
    emap: Cost | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Leaderboard:
    """Rank the entries, test them, and say what follows.

    A candidate that was dropped stands where its difference from the best one, on the folds of both, puts it, and is
    not tested again. Tested: each fused candidate against the best single modality and against concat, and the best of
    all against the best of each simpler tier and against baselines; Holm's adjustment is over all of these. pair_test:
    the gain (in the metric's own direction) of one named candidate over another, where the corrected t-test over folds
    is not wanted, such as `significance.paired_bootstrap` over groups; `method` names it.
    """
    if not entries:
        raise ValueError("a leaderboard needs an entry")
    sign = 1.0 if higher else -1.0
    by_name = {e.name: e for e in entries}

    def over_folds(a: str, b: str) -> PairedTest:
        both = zip(by_name[a].scores, by_name[b].scores, strict=True)
        return corrected_t([[x - y for x, y in zip(*pair, strict=True)] for pair in both], test_share)

    def place(e: Entry) -> tuple[bool, float, int]:
        value = means[e.name].value
        if e.dropped:
            value = means[best].value + over_folds(e.name, best).gain.value
        return math.isnan(value), -sign * value, TIERS.get(e.family, 2)

    means = {e.name: corrected_t(e.scores, test_share).gain for e in entries}
    best = min((e for e in entries if not e.dropped), key=place).name
    every = sorted(entries, key=place)
    order = [e for e in every if not e.dropped and e.family not in BASELINES]
    baselines = [e.name for e in every if e.family in BASELINES]
    pairs = _pairs(order, baselines)
    results = [(pair_test or over_folds)(a, b) for a, b in pairs]
    gains = [r.gain if higher else Interval(-r.gain.value, -r.gain.high, -r.gain.low) for r in results]
    p_values = holm([r.p for r in results])
    tests = [Versus(*pair, g, r.p, q) for pair, g, r, q in zip(pairs, gains, results, p_values, strict=True)]
    use, text = _say(order, baselines, metric, tests, rows)
    if left_out:
        by_reason: dict[str, list[str]] = {}
        for name, why in left_out.items():
            by_reason.setdefault(why, []).append(name)
        names = "; ".join(f"{', '.join(those)} ({why})" for why, those in by_reason.items())
        text += f" Not run on all folds: {names}. Give a longer --time-limit, and --resume."
    return Leaderboard(
        metric=metric,
        higher=higher,
        folds=max((len(row) for e in every for row in e.scores), default=0),
        repeats=max(len(e.scores) for e in every),
        test_share=test_share,
        entries=every,
        means=[_within(means[e.name], metric) for e in every],
        method=method,
        tests=tests,
        ranks=average_ranks([e.name for e in order], [e.scores for e in order], higher),
        use=use,
        verdict=text,
        rows=rows,
        groups=groups,
        information=list(information),
        emap=emap,
        left_out=dict(left_out or {}),
    )


def _within(x: Interval, metric: str) -> Interval:
    """The interval without what the metric can't be: t knows nothing of bounds."""
    most = 1.0 if UNITS.get(metric) == 100 else math.inf
    least = 0.0 if metric not in ("r2", "quadratic_kappa") else -math.inf
    return Interval(x.value, max(x.low, least), min(x.high, most))


def rivals(order: Sequence[Entry]) -> list[Entry]:
    """The best single modality and concat, where there are such; entries stand in the order of their means."""
    single = [e for e in order if e.family == SINGLE][:1]
    return single + [e for e in order if e.family == CONCAT][:1]


def _tier(entry: Entry) -> int:
    return TIERS.get(entry.family, TIERS["fusion"]) if entry.fused else 0


def _leaders(order: Sequence[Entry]) -> list[Entry]:
    """The best entry of each tier, up to that of the best of all; the simplest first."""
    first: dict[int, Entry] = {}
    for e in order:
        first.setdefault(_tier(e), e)
    return [first[t] for t in sorted(first) if t <= _tier(order[0])]


def _pairs(order: Sequence[Entry], baselines: Sequence[str]) -> list[tuple[str, str]]:
    if not order:
        return []
    best = order[0].name
    pairs = [(e.name, r.name) for e in order if e.fused for r in rivals(order) if r.name != e.name]
    pairs += [(best, e.name) for e in _leaders(order) if e.name != best]
    return [*dict.fromkeys(pairs), *((best, b) for b in baselines)]


def _say(
    order: Sequence[Entry], baselines: Sequence[str], metric: str, tests: Sequence[Versus], rows: int
) -> tuple[str, str]:
    """What to use, and the verdict."""
    if not order:
        return "", "No candidate was finished in the time."
    best, by_pair = order[0], {(t.name, t.rival): t for t in tests}
    beside = [versus_text(t, metric, len(tests), rows) for t in tests if t.rival in baselines]
    if len(order) == 1:
        alone = f"{best.name} is the only candidate, so there is nothing to compare it with."
        return best.name, " ".join([*beside, alone])
    use = next(e for e in _leaders(order) if e is best or by_pair[best.name, e.name].slight)
    fused = next((e for e in order if e.fused and e.family != CONCAT), next((e for e in order if e.fused), None))
    lines = []
    if fused is not None:
        of = [by_pair[fused.name, r.name] for r in rivals(order) if r.name != fused.name]
        of += [t for t in tests if (t.name, t.rival) == (best.name, use.name) and t not in of]
        lines = [versus_text(t, metric, len(tests), rows) for t in of]
    lines += beside
    if use is best:
        simplest = (
            " and no candidate is simpler" if _tier(best) == 0 else ", and nothing simpler is within a standard error"
        )
        lines.append(f"Use {use.name}: it has the best mean{simplest}.")
    else:
        lines.append(f"Use {use.name}: it is the simplest within one standard error of the best, {best.name}.")
    return use.name, " ".join(lines)


def versus_text(test: Versus, metric: str, tests: int, rows: int) -> str:
    """One test in words.

    >>> versus_text(Versus("gated", "text alone", Interval(0.021, 0.008, 0.034), 0.001, 0.004), "accuracy", 4, 214)
    'gated beats text alone by 2.1 points of accuracy [0.8, 3.4] (p = 0.004 after Holm).'
    """
    gain = test.gain
    if math.isnan(gain.low) and not math.isnan(gain.value):
        size = gain_text(gain, metric)
        return (
            f"{test.name} and {test.rival} differ by {size}, but one fold can't tell whether that is noise: take more."
        )
    p = f" (p {chance(test.adjusted)} after Holm)"
    undone = not test.clear and (gain.low > 0 or gain.high < 0)
    p += f", since all {tests} tests are allowed for" if undone else ""
    return f"{sentence(test.name, test.rival, gain, metric, rows, p, clear=test.clear)}."


def chance(p: float) -> str:
    """A p-value as words have it: "= 0.004", "< 0.001"."""
    return "unknown" if math.isnan(p) else "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def interaction(x: Cost, metric: str) -> str:
    """What the additive projection says, in words."""
    size = gain_text(x.gain, metric)
    if x.gain.low > 0:
        return f"Interaction between modalities gives {x.name} {size}: a sum of one function a modality can't do that."
    if x.gain.high < 0:
        return f"{x.name} is worse for the interaction that it learned, by {size}: a sum of parts is better."
    none = not_shown(f"gain of {x.name} by interaction between modalities", x.rows, "No")
    return f"{none}: {size}."


def _plain(x: Any) -> Any:
    if isinstance(x, tuple) and hasattr(x, "_asdict"):
        return {k: _plain(v) for k, v in x._asdict().items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x


def _number(x: Any) -> Any:
    return math.nan if x is None else x


def _interval(form: Mapping[str, float | None]) -> Interval:
    return Interval(*(_number(form[k]) for k in Interval._fields))


def _fields(form: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _interval(v) if isinstance(v, Mapping) else _number(v) for k, v in form.items()}
