"""What ends a worker, and what stops the job that it runs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bnexp.engine.interrupt import stoppable
from bnexp.errors import DataError
from bnexp.runs.sweeps import Sweep
from bnexp.sweeps.worker import stopping_with, work_in


def recorded(folder: Path) -> Sweep:
    return Sweep(folder / "sweep.json", [], [], [], [])


def test_a_sigterm_before_the_run_listens_stops_the_sweep(tmp_path: Path) -> None:
    """The run is asked as soon as it does."""
    sweep = recorded(tmp_path)
    with stopping_with(sweep):
        os.kill(os.getpid(), signal.SIGTERM)
        assert sweep.stop_file.exists()
        with stoppable() as stop:
            wait_until(stop)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_stop_file_stops_the_run_once(tmp_path: Path) -> None:
    """A second SIGTERM would end the run at once."""
    sweep = recorded(tmp_path)
    with stopping_with(sweep), stoppable() as stop:
        sweep.stop_file.touch()
        wait_until(stop)
        time.sleep(1)


def wait_until(stop: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not stop():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_machine_without_the_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="start it in a folder that all machines share"):
        work_in(tmp_path / "elsewhere")
