"""A time limit means the same however it is written, and what is none is refused."""

import math

import pytest

import polymodal
from cases import over
from polymodal.errors import InputError
from polymodal.experiment.budget import Budget, in_seconds


@over(
    "limit, seconds",
    [(None, None), (90, 90), (2.5, 2.5), ("90", 90), ("90s", 90), ("5m", 300), ("1h", 3600), ("1h30m", 5400),
     ("1h1m1.5s", 3661.5), (math.inf, math.inf)],
)  # fmt: skip
def test_a_time_limit_is_seconds(limit, seconds):
    assert in_seconds(limit) == seconds
    budget = Budget.asked(limit)
    assert budget.deadline == (math.inf if seconds is None else budget.start + seconds)


@over("limit", ["soon", "", "5 m", "m", "1d", "-5", 0, -1, "0s", math.nan, True, [3]])
def test_what_is_no_time_is_refused_before_any_work(limit):
    with pytest.raises(InputError, match=r"the time limit can't be .*; write 90s, 10m or 1h30m, or a number"):
        polymodal.fit("there is no such table.csv", "kind", time_limit=limit)
