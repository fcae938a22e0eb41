"""Local workers: they load torch while a sweep's words are looked at, share its planning and run its jobs.

On Linux they are forks of one process that has loaded it (multiprocessing's fork server). Elsewhere the
libraries that torch brings do not survive a fork, and each worker loads them itself.

Each worker is an executor of its own: in one executor for all, a worker that dies takes with it what the
others run and what is queued.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from multiprocessing import forkserver
from typing import Protocol, TypeVar

from bnexp.sweeps import worker

Given = TypeVar("Given")
Made = TypeVar("Made")
METHOD = "forkserver" if sys.platform == "linux" else "spawn"

_open: Pool | None = None


class Each(Protocol):
    """A map() to a list, wherever its calls run."""

    def __call__(self, function: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]: ...


def in_this_process(function: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
    """Call `function` on each item here."""
    return list(map(function, items))


@contextmanager
def workers(jobs: int | None) -> Iterator[Each]:
    """Open a pool of `jobs` processes for this block, which calls in it share; give its map().

    Calls run in this process where there are no two jobs at a time.
    """
    if jobs is None or jobs < 2:
        yield in_this_process
        return
    with opened(jobs) as pool:
        yield pool.each


@contextmanager
def opened(size: int) -> Iterator[Pool]:
    """Give the pool of a block around this one, else one of `size` processes, which end with this block."""
    global _open
    if _open is not None:
        yield _open
        return
    _open = Pool(size)
    try:
        yield _open
    except BaseException:
        _open.kill()
        raise
    finally:
        pool, _open = _open, None
        pool.close()


class Pool:
    """Processes that run one call at a time each, started when there is something for them to do."""

    def __init__(self, size: int) -> None:
        self._strangers = set(multiprocessing.active_children())
        self._workers = [_worker() for _ in range(size)]
        if METHOD == "forkserver":
            _start_server()
        else:
            for index in range(size):
                self._submit(index, worker.load)

    def each(self, function: Callable[[Given], Made], items: Sequence[Given]) -> list[Made]:
        """Return the results of `function` on `items`.

        Raises:
            BrokenProcessPool: a process died; and whatever a call raises.
        """
        return [future.result() for future in self.run(function, items)]

    def run(self, function: Callable[[Given], Made], items: Iterable[Given]) -> list[Future[Made]]:
        """Call `function` on each of `items` and return the futures when all have ended.

        An item is asked for when a worker is free. A future holds BrokenProcessPool where its process died.
        """
        free, left = deque(range(len(self._workers))), ((item,) for item in items)
        futures: list[Future[Made]] = []
        running: dict[Future[Made], int] = {}
        while True:
            while free and (item := next(left, None)):
                futures.append(self._submit(free[0], function, *item))
                running[futures[-1]] = free.popleft()
            if not running:
                return futures
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                free.append(running.pop(future))

    def _submit(self, index: int, function: Callable[..., Made], *given: object) -> Future[Made]:
        """Hand a call to a worker, to a new one where it has died since its last call."""
        try:
            with _unscripted():
                return self._workers[index].submit(function, *given)
        except BrokenProcessPool:
            self._workers[index] = _worker()
            with _unscripted():
                return self._workers[index].submit(function, *given)
        except EOFError as error:
            raise BrokenProcessPool("the process that workers are forked from has died") from error

    def kill(self) -> None:
        """End all processes at once, whatever they do."""
        for process in set(multiprocessing.active_children()) - self._strangers:
            process.kill()

    def close(self) -> None:
        """Let all processes end; calls that have not begun are dropped."""
        for executor in self._workers:
            executor.shutdown(cancel_futures=True)


def _worker() -> ProcessPoolExecutor:
    """Return an executor of one process, which it starts at its first call."""
    return ProcessPoolExecutor(1, multiprocessing.get_context(METHOD), initializer=worker.begin)


def _start_server() -> None:
    """Start the process that workers are forked from, which begins to load; do not wait for it.

    It inherits that SIGINT is blocked: a Ctrl-C waits there until `bnexp.sweeps.preload` says what to do.
    """
    multiprocessing.set_forkserver_preload(["bnexp.sweeps.preload"])
    with _blocked_sigint():
        forkserver.ensure_running()


@contextmanager
def _unscripted() -> Iterator[None]:
    """Hide the script that this process runs from the workers that are started meanwhile.

    They would run it again. multiprocessing wants scripts to stand under `if __name__ == "__main__"`, and has
    no switch for workers that need nothing of the script; it finds the script by these two attributes.
    """
    main = sys.modules["__main__"].__dict__
    shown = {name: main.get(name) for name in ("__file__", "__spec__")}
    main.update(dict.fromkeys(shown))
    try:
        with _blocked_sigint() if METHOD == "spawn" else nullcontext():
            yield
    finally:
        main.update(shown)


@contextmanager
def _blocked_sigint() -> Iterator[None]:
    """Let processes that are started meanwhile begin with SIGINT blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
