"""The race of a comparison: who is dropped, against the rule in so many words, and what is next, against a small world."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from polymodal.evaluate.intervals import difference
from polymodal.experiment import race as racing
from polymodal.experiment.parts import Fold, Part
from polymodal.experiment.race import Race, Turn
from polymodal.output import Scores
from polymodal.tasks import TASKS

ROWS, K = 200, 4
TRUTH = ["ab"[i % 2] for i in range(ROWS)]
FOLDS = [Fold(0, k, [i for i in range(ROWS) if i % K != k], list(range(k, ROWS, K))) for k in range(K)]
TASK = TASKS["binary"]().fit(TRUTH)
JOBS = {"features": [], "a alone": ["a"], "b alone": ["b"], "concat": ["a", "b"], "gated": ["a", "b"]}
FAMILY = {"a alone": "single", "b alone": "single", "concat": "concat"}


class Clock(SimpleNamespace):
    """A budget that is spent by hand."""

    left: float


def made(left: float = np.inf, groups: Sequence[Any] | None = None, jobs: Sequence[str] = tuple(JOBS)) -> Race:
    problem: Any = SimpleNamespace(
        task=TASK, table=SimpleNamespace(rows=ROWS), cells=lambda table: TRUTH, groups=lambda table: groups
    )
    return Race(problem, FOLDS, {j: JOBS[j] for j in jobs}, {}, Clock(left=left))  # type: ignore[arg-type]


def part(name: str, fold: int, wrong: int, family: str = "") -> Part:
    """Right in all rows of the fold but the first ones."""
    y = torch.tensor([TRUTH[i] == "b" for i in FOLDS[fold].test]).long()
    y[:wrong] = 1 - y[:wrong]
    logits = 4.0 * torch.nn.functional.one_hot(y, 2)
    return Part(name, family or FAMILY.get(name, "fusion"), [], logits, 0, 1.0, None)


def run(race: Race, wrong: dict[str, int], seconds: dict[str, float] | None = None) -> list[tuple[int, str]]:
    """Race to the end: what was run on which fold. The clock goes on."""
    out, cost = [], seconds or {}
    while (turn := race.next()) is not None:
        spent = cost.get(turn.job, 0.0)
        long = turn.seconds is not None and spent > turn.seconds
        race.budget.left -= turn.seconds if long else spent  # type: ignore[attr-defined, misc, operator]
        out.append((turn.fold, turn.job))
        race.add(turn.fold, turn.job, [] if long else [part(turn.job, turn.fold, wrong[turn.job])], spent)
    return out


def of(turns: Sequence[tuple[int, str]], job: str) -> list[int]:
    return [fold for fold, j in turns if j == job]


@pytest.mark.parametrize("groups", [None, [i // 8 for i in range(ROWS)]])
def test_far_is_three_standard_errors_of_the_difference_on_the_folds_of_both(groups: Sequence[Any] | None) -> None:
    race = made(groups=groups)
    for fold in range(K):
        race.add(fold, "features", [part("features", fold, 0)], 1.0)
    race.add(0, "gated", [part("gated", 0, 13)], 1.0)
    race.add(2, "gated", [part("gated", 2, 13)], 1.0)
    rows = [*FOLDS[0].test, *FOLDS[2].test]
    a, b = (Scores(torch.cat([part(n, k, w).logits for k in (0, 2)])) for n, w in (("features", 0), ("gated", 13)))
    target = TASK.collate([TASK.encode(TRUTH[i]) for i in rows])
    gain = difference(TASK, a, b, target, "accuracy", groups and [groups[i] for i in rows])
    errors = gain.value / ((gain.high - gain.low) / (2 * 1.96))
    found = race.behind("gated")
    assert errors > 3 and found is not None and found.errors == pytest.approx(errors)
    assert found.describe() == f"dropped after 2 folds, {errors:.1f} standard errors behind features"


def test_what_is_far_behind_on_a_fold_is_run_on_no_other() -> None:
    wrong = {"features": 2, "a alone": 3, "b alone": 30, "concat": 3, "gated": 3}
    turns = run(made(), wrong)
    assert turns[:5] == [(0, j) for j in JOBS], "all are run on the first fold"
    assert of(turns, "b alone") == [0] and all(of(turns, j) == [0, 1, 2, 3] for j in JOBS if j != "b alone")
    assert turns[5:] == sorted(turns[5:], key=lambda t: (t[0], [*JOBS].index(t[1]))), "fold by fold"


def test_the_best_single_modality_and_concat_stay_since_fusion_is_measured_against_them() -> None:
    wrong = {"features": 2, "a alone": 20, "b alone": 30, "concat": 20, "gated": 20}
    turns = run(made(), wrong)
    assert [len(of(turns, j)) for j in JOBS] == [4, 4, 1, 4, 1]


def test_all_that_is_behind_only_by_noise_is_run_on_all_folds() -> None:
    turns = run(made(), {"features": 4, "a alone": 5, "b alone": 4, "concat": 4, "gated": 5})
    assert len(turns) == K * len(JOBS)


def test_a_candidate_is_begun_where_there_is_time_for_all_its_folds() -> None:
    """40 s: features have 4 x 1, each modality alone 4 x 2; concat and gated may need 4 x 4 each, so one of them fits."""
    cost = {"features": 1.0, "a alone": 2.0, "b alone": 2.0, "concat": 4.0, "gated": 4.0}
    race = made(left=42.0)
    turns = run(race, dict.fromkeys(JOBS, 4), cost)
    assert [len(of(turns, j)) for j in JOBS] == [4, 4, 4, 4, 0] and race.budget.left >= 0
    assert race.end() == {"gated": "no time was left for 4 folds of more than 4 s"}


def test_time_that_a_dropped_candidate_leaves_is_spent_on_the_next() -> None:
    cost = {"features": 1.0, "a alone": 2.0, "b alone": 2.0, "concat": 4.0, "gated": 4.0}
    turns = run(made(left=54.0), {**dict.fromkeys(JOBS, 4), "features": 3, "gated": 3}, cost)
    assert [len(of(turns, j)) for j in JOBS] == [4, 4, 4, 4, 4]
    left = 54.0 - 6.0  # that is what three folds of a modality alone cost
    turns = run(made(left=left), {**dict.fromkeys(JOBS, 4), "features": 3, "gated": 3}, cost)
    assert [len(of(turns, j)) for j in JOBS] == [4, 4, 4, 4, 0]
    turns = run(made(left=left), {**dict.fromkeys(JOBS, 4), "features": 3, "gated": 3, "b alone": 40}, cost)
    assert [len(of(turns, j)) for j in JOBS] == [4, 4, 1, 4, 4]


def test_features_have_a_share_of_the_time_where_networks_are_tried_too() -> None:
    assert made(left=100.0).next() == Turn(0, "features", pytest.approx(100 * 0.5 / 4))
    assert made(left=100.0, jobs=["features"]).next() == Turn(0, "features", pytest.approx(100 / 4))
    assert made().next() == Turn(0, "features", None)


def test_where_time_runs_short_folds_are_left_out_for_all() -> None:
    race = made(left=1000.0, jobs=["concat", "gated"])
    race.add(0, "concat", [part("concat", 0, 4)], 10.0)
    race.add(0, "gated", [part("gated", 0, 4)], 10.0)
    race.budget.left = 35.0  # type: ignore[misc]
    turns = run(race, {"concat": 4, "gated": 4}, {"concat": 10.0, "gated": 10.0})
    assert turns == [(1, "concat"), (1, "gated")]
    assert race.end() == {"2 of 4 folds": "no time was left"} and race.folds == FOLDS[:2]
    assert all({*parts} == {0, 1} for parts in race.parts.values())


def test_of_folds_that_some_lack_those_are_kept_that_make_the_most_answers() -> None:
    def ends(*folds: int) -> int:
        race = made()
        for n, name in zip(folds, ("concat", "gated", "a alone"), strict=False):
            for fold in range(n):
                race.add(fold, name, [part(name, fold, 4)], 1.0)
        race.end()
        return len(race.folds)

    assert ends(4, 4, 1) == 4 and ends(4, 3, 3) == 3 and ends(4, 2) == 4 and ends() == 4


def test_what_time_ended_has_no_part_and_is_begun_anew_only_with_much_more() -> None:
    race = made(left=100.0, jobs=["a alone", "b alone"])
    turns = run(race, {"a alone": 4, "b alone": 4}, {"a alone": 30.0, "b alone": 5.0})
    assert of(turns, "a alone") == [0] and of(turns, "b alone") == [0, 1, 2, 3] and "a alone" not in race.parts
    assert race.end() == {"a alone": "30 s were not enough for repeat 1, fold 1"}
    race = made(left=100.0, jobs=["a alone"])
    race.add(0, "a alone", [], 20.0)
    assert race.next() is None
    race.budget.left = 120.0  # type: ignore[misc]
    assert race.next() == Turn(0, "a alone", 30.0)


def test_a_row_that_repeats_test_again_is_one_piece_of_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(racing, "difference", lambda *a: seen.append(a[5]) or difference(*a))
    twice = [*FOLDS, *(f._replace(repeat=1) for f in FOLDS)]
    race = made()
    again = Race(
        SimpleNamespace(task=TASK, table=SimpleNamespace(rows=ROWS), cells=lambda t: TRUTH, groups=lambda t: None),  # type: ignore[arg-type]
        twice, {"concat": [], "gated": []}, {}, race.budget,
    )  # fmt: skip
    for fold in (0, 4):
        again.add(fold, "concat", [part("concat", fold % 4, 0)], 1.0)
        again.add(fold, "gated", [part("gated", fold % 4, 5)], 1.0)
    again.behind("gated")
    (groups,) = seen
    assert len(groups) == 100 and len(set(groups)) == 50
