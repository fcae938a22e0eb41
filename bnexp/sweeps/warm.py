"""Local workers that start while a sweep's words are looked at, and then share its planning."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from threading import Event, Thread
from typing import Any, Protocol, TypeVar

from bnexp.sweeps.worker import end_with_parent

Given = TypeVar("Given")
Made = TypeVar("Made")
LOADED, FORK_SERVER = "bnexp.sweeps.loaded", "bnexp.sweeps.fork_server"
FORKS = sys.platform == "linux"  # elsewhere the libraries that torch brings do not survive it


class Each(Protocol):
    """A map() to a list, wherever its calls run."""

    def __call__(self, function: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]: ...


@contextmanager
def workers(jobs: int | None) -> Iterator[Each]:
    """Start `jobs` joblib workers beside what the block does; they end with the block.

    Gives a map() whose calls run in them, in this process where there are none. Joblib keeps its processes
    for the next call with as many, which Hydra's launcher then makes.
    """
    if jobs is None or jobs < 2:
        yield here
        return
    with _forked() if FORKS else nullcontext():
        yield from _pool(jobs)


def _pool(jobs: int) -> Iterator[Each]:
    loaded, unwanted = Event(), Event()
    thread = Thread(target=_start, args=(jobs, loaded, unwanted))
    thread.start()

    def each(function: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
        thread.join()
        return _parallel(jobs, function, items)

    try:
        yield each
    finally:
        unwanted.set()
        if FORKS and not loaded.is_set():
            _load_no_more()
            thread.join()
        _end()
        thread.join()


def here(function: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
    return list(map(function, items))


@contextmanager
def _forked() -> Iterator[None]:
    """Let workers be forked from one process that has loaded torch, instead of each loading it.

    As joblib's own workers they do not run the script that this process runs, whose file is hidden for that.
    """
    main = sys.modules["__main__"].__dict__
    shown = {name: main.get(name) for name in ("__file__", "__spec__")}
    main.update(dict.fromkeys(shown))
    try:
        _start_fork_server()
        yield
    finally:
        main.update(shown)


def _start_fork_server() -> None:
    from multiprocessing import forkserver, resource_tracker

    from joblib.externals.loky.backend.context import set_start_method  # type: ignore[import-untyped]

    set_start_method("forkserver", force=True)
    multiprocessing.set_forkserver_preload([FORK_SERVER])
    resource_tracker.ensure_running()
    # the new process inherits it: a Ctrl-C waits there until `LOADED` has said what to do
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _load_no_more() -> None:
    """End the process that loads torch: whoever waits for its workers would wait for that."""
    from multiprocessing import forkserver

    multiprocessing.set_forkserver_preload([])  # of one that may yet be started in its place
    server: Any = getattr(forkserver, "_forkserver", None)
    process = getattr(server, "_forkserver_pid", None)
    if process is not None:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _start(jobs: int, loaded: Event, unwanted: Event) -> None:
    with suppress(Exception):  # they were ended before they had begun, or fail again when they are needed
        if FORKS:
            first = multiprocessing.get_context("forkserver").Process()
            first.start()  # returns once the process that it is forked from has loaded
            first.join()
        loaded.set()
        if not unwanted.is_set():
            _parallel(jobs, _load, range(jobs))


def _parallel(jobs: int, function: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    # max_nbytes as Hydra's launcher has it: workers of other settings are not kept
    run = Parallel(n_jobs=jobs, backend="loky", batch_size=1, max_nbytes=None)
    found: list[Made] = run(delayed(function)(item) for item in items)
    return found


def _end() -> None:
    """At once: all that jobs leave is on disk, and joblib would wait two seconds."""
    from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]

    get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def _load(_: int) -> None:
    end_with_parent()
    importlib.import_module(LOADED)
