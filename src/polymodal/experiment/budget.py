"""A time limit, spent by parts: how much is left, what the next part may take, and whether there is time for it."""

import math
import time
from typing import NamedTuple, Self


class Budget(NamedTuple):
    """From a start to a deadline, in seconds of the clock `time.monotonic`; infinite where there is no limit."""

    start: float
    deadline: float

    @classmethod
    def of(cls, seconds: float | None, since: float | None = None) -> Self:
        """A budget of so many seconds, counted from a reading of the clock, by default from now; None has no limit."""
        start = time.monotonic() if since is None else since
        return cls(start, math.inf if seconds is None else start + seconds)

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
