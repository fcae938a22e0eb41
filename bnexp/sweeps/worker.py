"""A process that runs jobs: where it works, and when it stops.

A running job is stopped by one SIGTERM, which lets it finish its step and save; a second one would end it at
once. Whoever wants a sweep stopped makes its stop file, which workers on other machines see too.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bnexp.errors import DataError
from bnexp.runs.sweeps import Sweep

LOOK_S = 0.3
ORPHAN_GRACE_S = 5.0  # for a run to finish its step and save, after the process that launched it has died
# What a job needs sooner or later; the last two draw its confusion matrix.
MODULES = (
    "bnexp.experiment.run",
    "bnexp.experiment.recording",
    "torchvision.utils",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
)

_followed: set[int] = set()


def begin() -> None:
    """Make this process a worker of `bnexp.sweeps.pool`: it ignores Ctrl-C and ends with its launcher."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_launcher()
    load()


def load() -> None:
    """Import what jobs need."""
    for name in MODULES:
        importlib.import_module(name)


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


def launcher() -> int:
    """Return the process that this one works for: the one that started it, or had a fork server start it."""
    parent = multiprocessing.parent_process()
    return os.getppid() if parent is None or parent.pid is None else parent.pid


def end_with_launcher() -> None:
    """End this worker when its launcher has died: it would go on with queued jobs, unseen, or wait for ever.

    A running job saves itself first. The worker leaves the terminal's process group, so that a Ctrl-C reaches
    the launcher alone.
    """
    if launcher() in _followed:
        return
    _followed.add(launcher())
    os.setpgid(0, 0)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    process = multiprocessing.parent_process()
    if process is None or process.pid == parent:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
    else:  # the parent is the fork server, which outlives the launcher as long as it has forks
        process.join()
    asked, end = False, time.monotonic() + ORPHAN_GRACE_S
    while callable(signal.getsignal(signal.SIGTERM)) and time.monotonic() < end:  # during a job
        asked = asked or _ask_run()
        time.sleep(0.02)
    os._exit(1)


@contextmanager
def stopping_with(sweep: Sweep) -> Iterator[None]:
    """Let the sweep's stop file stop the run of this block; SIGTERM makes that file until the run listens."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_S):
            if sweep.stop_file.exists() and _ask_run():
                return

    before = signal.signal(signal.SIGTERM, _StopSweep(sweep))
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class _StopSweep:
    """Takes the place of SIGTERM's default, which would end a worker that has not yet begun its run."""

    sweep: Sweep

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.sweep.stop_file.touch()


def _ask_run() -> bool:
    """Ask the run of this process to stop; False where none listens, or not yet."""
    handler = signal.getsignal(signal.SIGTERM)
    if not callable(handler) or isinstance(handler, _StopSweep):
        return False
    os.kill(os.getpid(), signal.SIGTERM)
    return True
