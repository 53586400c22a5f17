"""Processes that stand ready and time one thing whenever they are asked, so that two of them can be timed in turn.

The line "name" comes in, its milliseconds go out. Nothing of polymodal or torch is imported here: a TensorFlow process
speaks the same way.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120


def serve(things: Mapping[str, Callable[[], Any]]) -> None:
    """Time what is asked for until the input ends. A dict that a thing returns is its answer, in place of a time."""
    for line in sys.stdin:
        times: list[float] = []
        while not times or (sum(times) < SHORT and len(times) < SHORT // 20):
            began = time.perf_counter()
            found = things[line.strip()]()
            times.append(1000 * (time.perf_counter() - began))
        sys.stdout.write(json.dumps(found if isinstance(found, dict) else statistics.median(times)) + "\n")
        sys.stdout.flush()


SHORT = 300.0  # milliseconds: what takes less is timed several times, and the median told


class Asked:
    """A process that serves."""

    def __init__(self, command: Sequence[str], threads: int) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ | limits, cwd=ROOT)

    def __call__(self, name: str) -> Any:
        """The answer to one question."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.process.args)} ended when asked for {name}")
        return json.loads(line)

    def close(self) -> None:
        """Let it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
