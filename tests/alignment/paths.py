"""Every warping path through a small matrix, one after the other: the definition."""

from collections.abc import Iterator

import numpy as np

Path = list[tuple[int, int]]


def every(t: int, u: int) -> Iterator[Path]:
    """From (0, 0) to (t - 1, u - 1) by steps of one in either or in both."""

    def on(path: Path) -> Iterator[Path]:
        i, j = path[-1]
        if (i, j) == (t - 1, u - 1):
            yield path
        for step in ((i + 1, j + 1), (i + 1, j), (i, j + 1)):
            if step[0] < t and step[1] < u:
                yield from on([*path, step])

    return on([(0, 0)])


def summed(costs: np.ndarray, path: Path) -> float:
    return float(sum(costs[i, j] for i, j in path))
