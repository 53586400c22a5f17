"""A run works with as many cores as it may, on the device that is named; afterwards all is as before."""

import os

import pytest
import torch
from accelerate import Accelerator
from threadpoolctl import threadpool_info

import polymodal
from cases import over
from polymodal import InputError, Run, Search, Training
from polymodal.hardware import VARIABLE, cores, find_device, limited

ROWS = [{"x": i % 7, "y": float(i % 7)} for i in range(40)]
SMALL = [Search("concat", "tiny", baselines=False), Training(epochs=1)]


def threads() -> tuple[int, int, int]:
    """Of torch, of libraries for linear algebra, at most, and of polymodal itself."""
    return torch.get_num_threads(), max(x["num_threads"] for x in threadpool_info()), cores()


def test_cores_are_limited_for_as_long_as_the_run_goes_on():
    before = threads()
    with limited(3):
        assert threads() == (3, 3, 3)
        with limited(1):
            assert threads() == (1, 1, 1)
        assert threads() == (3, 3, 3)
    with limited(-1):
        assert threads()[0] == cores() == before[2]
    with limited(None):
        assert threads() == before
    assert threads() == before


def test_a_fit_is_given_them_and_forests_take_them(monkeypatch):
    from polymodal.learners import estimators
    from polymodal.training import loop

    seen = []
    monkeypatch.setattr(loop.memory, "keep_freed", lambda: seen.append(threads()))
    before = threads()
    polymodal.fit(ROWS, "y", task="regression", config=[*SMALL, Run(n_jobs=3, device="cpu")])
    assert seen == [(3, 3, 3)] and threads() == before and VARIABLE not in os.environ
    with limited(3):
        assert estimators.forest("ExtraTreesRegressor")(0, 1).n_jobs == 3


@over("n_jobs", [0, -2, 1.5, "2"])
def test_no_cores_are_refused(n_jobs):
    with pytest.raises(
        InputError, match=r"--n-jobs can't be .*; it must be a whole number from 1, or -1 for all cores"
    ):
        polymodal.fit(ROWS, "y", config=Run(n_jobs=n_jobs))


def test_the_device_that_is_named_is_that_of_training(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == "cpu"
    with pytest.raises(InputError, match=r"torch .* finds no device 'cuda' here; it finds: cpu$"):
        polymodal.fit(ROWS, "y", config=[Run(device="cuda")])
    with pytest.raises(InputError, match="the device can't be 'gpu'; it is one of auto, cpu, cuda, mps"):
        polymodal.fit(ROWS, "y", config=[Run(device="gpu")])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == "cuda" and find_device("cuda") == "cuda"
    with limited(None, "cpu"):
        assert Accelerator().device == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(InputError, match="the launcher gives each of several processes its own"), limited(None, "cpu"):
        pass


def test_another_device_holds_within_the_run_alone(monkeypatch):
    monkeypatch.setattr("polymodal.hardware.find_device", lambda device: "meta")
    with limited(None, "mps"):
        assert Accelerator().device == torch.device("meta")
    assert Accelerator().device != torch.device("meta")
