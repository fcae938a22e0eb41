"""Local workers that start while their sweep is being planned: loading torch takes each of them seconds."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

# What a job needs sooner or later; the last two draw its confusion matrix.
MODULES = ("bnexp.sweeps.job", "matplotlib.figure", "matplotlib.backends.backend_agg")


@contextmanager
def workers(jobs: int | None) -> Iterator[None]:
    """Start `jobs` joblib workers beside what the block does first; they end with the block.

    Joblib keeps its processes for the next call with as many, which Hydra's launcher then makes.
    """
    if jobs is None or jobs < 2:
        yield
        return
    thread = Thread(target=_start, args=(jobs,))
    thread.start()
    try:
        yield
    finally:
        # at once: all that jobs leave is on disk, and joblib would wait two seconds
        _end()
        thread.join()


def _start(jobs: int) -> None:
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    # max_nbytes as Hydra's launcher has it: workers of other settings are not kept
    start = Parallel(n_jobs=jobs, backend="loky", batch_size=1, max_nbytes=None)
    with suppress(RuntimeError, KeyboardInterrupt):  # they were ended before they had begun
        start(delayed(_load)() for _ in range(jobs))


def _end() -> None:
    from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]

    get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def _load() -> None:
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()  # joblib collects after each job, which took longer than to start the next
