"""CPU seconds of a process that only starts: the command line's help, and the import."""

import resource
import statistics
import subprocess
import sys

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import polymodal": ["-c", "import polymodal"],
    "polymodal --help": ["-m", "polymodal", "--help"],
    "import torch": ["-c", "import torch"],
}


def run(repeats: int = 5) -> dict[str, float]:
    """Median of user + system time over `repeats` processes each, in turn; the baseline is `python -c pass`."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats + 1):
        for name, args in COMMANDS.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *args], check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    median = {name: statistics.median(s[1:]) for name, s in seconds.items()}
    base = median["python -c pass"]
    return {f"{n}: CPU seconds": s for n, s in median.items()} | {
        f"{n} / python -c pass": median[n] / base for n in ("import polymodal", "polymodal --help")
    }
