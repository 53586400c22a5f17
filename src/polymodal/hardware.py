"""What may be used of the machine: how many cores, and the device that networks are on."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from polymodal.errors import InputError, is_whole

AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda", "mps")
VARIABLE = "ACCELERATE_TORCH_DEVICE"  # where accelerate looks for a device
LIMITS: list[int] = []  # of the number of cores, the one that holds last


def cores() -> int:
    """How many cores may be used: as many as the innermost `limited` says, or all that this process has."""
    if LIMITS:
        return LIMITS[-1]
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_device(device: str) -> str:
    """The device of this name; of "auto" a GPU of CUDA, where there is one, else the CPU.

    Raises InputError for one that is not there.
    """
    import torch

    if device not in DEVICES:
        raise InputError(f"the device can't be {device!r}; it is one of {', '.join(DEVICES)}")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == AUTO:
        return "cuda" if there["cuda"] else "cpu"
    if not there[device]:
        names = ", ".join(name for name, is_there in there.items() if is_there)
        raise InputError(f"torch {torch.__version__} finds no device {device!r} here; it finds: {names}")
    return device


@contextmanager
def limited(n_jobs: int | None, device: str = AUTO) -> Iterator[None]:
    """Within it at most `n_jobs` cores work (-1: all; None: as many as libraries like), and networks train on `device`.

    Raises InputError for a number that can't be, and for a device that is not there.
    """
    with ExitStack() as stack:
        if device != AUTO:
            stack.enter_context(_on(find_device(device)))
        if n_jobs is not None:
            stack.enter_context(_of(n_jobs))
        yield


@contextmanager
def _of(n_jobs: int) -> Iterator[None]:
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    if not is_whole(n_jobs, 1) and n_jobs != -1:
        raise InputError(f"--n-jobs can't be {n_jobs!r}; it must be a whole number from 1, or -1 for all cores")
    count, before = cores() if n_jobs == -1 else n_jobs, torch.get_num_threads()
    LIMITS.append(count)
    try:
        with threadpool_limits(count):
            torch.set_num_threads(count)
            yield
    finally:
        torch.set_num_threads(before)
        LIMITS.pop()


@contextmanager
def _on(device: str) -> Iterator[None]:
    from accelerate.state import AcceleratorState

    if "LOCAL_RANK" in os.environ:
        raise InputError(
            f"the device can't be {device!r}, since the launcher gives each of several processes its own; leave it out"
        )
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = device
    AcceleratorState._reset_state(reset_partial_state=True)  # it is made once a process, with the device of that time
    try:
        yield
    finally:
        os.environ.pop(VARIABLE)
        if before is not None:
            os.environ[VARIABLE] = before
        AcceleratorState._reset_state(reset_partial_state=True)
