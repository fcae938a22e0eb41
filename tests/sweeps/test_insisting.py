"""One Ctrl-C is a wish; one that comes again is an end, and no error of the launcher's."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bnexp.runs.sweeps import Sweep
from bnexp.sweeps.follow import LOOK_S, stoppable


def recorded(folder: Path) -> Sweep:
    return Sweep(folder / "sweep.json", [], [], [], [])


def test_two_signals_at_once_are_one_wish(tmp_path: Path) -> None:
    sweep = recorded(tmp_path)
    with stoppable(sweep):
        assert not sweep.stop_file.exists()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert sweep.stop_file.exists()


def test_a_second_one_ends_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), stoppable(recorded(tmp_path)):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.2 * LOOK_S)
        os.kill(os.getpid(), signal.SIGINT)


def test_what_the_launcher_says_of_its_lost_workers_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), stoppable(recorded(tmp_path)):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.2 * LOOK_S)
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("the executor has been shut down") from None


def test_a_launchers_error_without_a_signal_is_shown(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="lost"), stoppable(recorded(tmp_path)):
        raise RuntimeError("lost")
