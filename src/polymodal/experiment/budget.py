"""A time limit, spent by parts: how much is left, what the next part may take, and whether there is time for it."""

import math
import re
import time
from numbers import Real
from typing import NamedTuple, Self

from polymodal.errors import InputError


class Budget(NamedTuple):
    """From a start to a deadline, in seconds of the clock `time.monotonic`; infinite where there is no limit."""

    start: float
    deadline: float

    @classmethod
    def of(cls, seconds: float | None, since: float | None = None) -> Self:
        """A budget of so many seconds, counted from a reading of the clock, by default from now; None has no limit."""
        start = time.monotonic() if since is None else since
        return cls(start, math.inf if seconds is None else start + seconds)

    @classmethod
    def asked(cls, limit: float | str | None) -> Self:
        """A budget of a time limit as a person gives it; see `in_seconds`."""
        return cls.of(in_seconds(limit))

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def left(self) -> float:
        """Seconds to the deadline, which may be past."""
        return self.deadline - time.monotonic()

    def allows(self, seconds: float) -> bool:
        """Is there so much time left?"""
        return self.left >= seconds

    def seconds(self, fraction: float = 1.0) -> float | None:
        """This fraction of what is left, but a second at least, to get somewhere; None where there is no limit."""
        return None if math.isinf(self.deadline) else max(1.0, fraction * self.left)

    def less(self, seconds: float) -> "Budget":
        """The same, with so many seconds kept for what comes after."""
        return self._replace(deadline=self.deadline - seconds)

    def part(self, fraction: float) -> "Budget":
        """A budget of this fraction of what is left."""
        return Budget.of(self.seconds(fraction))


def in_seconds(limit: float | str | None) -> float | None:
    """Seconds of a time limit: a number of them, or "90", "90s", "10m", "1h30m". Raises InputError for anything else.

    >>> in_seconds("1h30m"), in_seconds(2.5)
    (5400.0, 2.5)
    """
    if limit is None:
        return None
    if isinstance(limit, str):
        match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", limit.strip())
        parts = [float(x or 0) for x in match.groups()] if match else [0.0]
        seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    else:
        seconds = float(limit) if isinstance(limit, Real) and not isinstance(limit, bool) else 0.0
    if not seconds > 0:
        raise InputError(f"the time limit can't be {limit!r}; write 90s, 10m or 1h30m, or a number of seconds above 0")
    return seconds
