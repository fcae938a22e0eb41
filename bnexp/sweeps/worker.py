"""A process that runs jobs: where it works, and when it stops.

A running job is stopped by one SIGTERM, which lets it finish its step and save; a second one would end it at
once. Whoever wants a sweep stopped makes its stop file, which workers on other machines see too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from bnexp.errors import DataError
from bnexp.runs.sweeps import Sweep

LOOK_S = 0.3
FATHERLESS_S = 5.0  # for a run to finish its step and save, after the process that launched it has died

_following: set[int] = set()


def work_in(folder: Path) -> None:
    """Go where relative paths mean what they meant to the person; a cluster starts workers anywhere.

    Raises:
        DataError: this machine has no such folder.
    """
    if Path.cwd() == folder:
        return
    try:
        os.chdir(folder)
    except OSError as error:
        raise DataError(
            f"a sweep's workers need the folder that it was started in, {folder} is not there on "
            f"{socket.gethostname()} ({error.strerror}): start it in a folder that all machines share"
        ) from error


def started_by() -> int:
    """Return the process that this one works for: the one that started it, or had a fork server start it."""
    parent: Any = multiprocessing.parent_process()
    return os.getppid() if parent is None else int(parent.pid)


def end_with_parent() -> None:
    """End this worker when its parent has died: it would go on with queued jobs, unseen, or wait for ever.

    The worker leaves the terminal's process group, so that a Ctrl-C reaches the launcher alone. A fork server
    ends with its launcher in turn; see `bnexp.sweeps.fork_server`.
    """
    parent = os.getppid()
    if parent in _following:
        return
    _following.add(parent)
    os.setpgid(0, 0)

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        asked, end = False, time.monotonic() + FATHERLESS_S
        while callable(signal.getsignal(signal.SIGTERM)) and time.monotonic() < end:  # during a job
            asked = asked or _ask_run()
            time.sleep(0.02)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def stopping_with(sweep: Sweep) -> Iterator[None]:
    """While a job runs, let the sweep's stop file stop it; outside its run SIGTERM does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            if sweep.stop_file.exists() and _ask_run():
                return

    before = signal.signal(signal.SIGTERM, _unheard)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGTERM, before)


def _unheard(number: int, frame: FrameType | None) -> None:
    """Take the place of SIGTERM's default, which would end a worker that has not yet begun its run."""


def _ask_run() -> bool:
    """Ask the run of this process to stop; False where none listens, or not yet."""
    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler) or handler is _unheard:
        return False
    os.kill(os.getpid(), signal.SIGTERM)
    return True
