"""What tests of co-learning share."""

import signal

import pytest

from polymodal.training import loop


@pytest.fixture
def interrupted(monkeypatch):
    """A function of a step and of what trains: Ctrl-C comes in this step, counted from 1, and ends it."""

    def interrupted(step, work):
        steps, plain = [], loop.modality_dropout

        def counting(batch, p):
            steps.append(p)
            if len(steps) == step:
                signal.raise_signal(signal.SIGINT)
            return plain(batch, p)

        with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
            m.setattr(loop, "modality_dropout", counting)
            work()
        assert len(steps) == step

    return interrupted
