"""Worker processes: what each is given, what the death of one does to the others, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from real_sweeps import PATIENCE_S, environment

from bnexp.sweeps import pool
from bnexp.sweeps.pool import Pool, opened, workers

KILLED = [0, signal.SIGKILL, 0]


def test_an_error_ends_what_runs() -> None:
    """Stands first: no pool is open yet."""
    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt), opened(2) as made:
        made.run(abs, [1, 2])
        made._submit(0, time.sleep, 600)
        processes = set(multiprocessing.active_children()) - before
        raise KeyboardInterrupt
    assert {process.exitcode for process in processes} == {-signal.SIGKILL}
    assert set(multiprocessing.active_children()) <= before


@pytest.fixture(scope="module", params=["forkserver", "spawn"])
def two(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """A pool of two workers: forks of a process that has loaded torch, or new ones, here without torch."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "spawn":
            patch.setattr(pool.worker, "begin", os.getpid)
            patch.setattr(pool.worker, "load", os.getpid)
        patch.setattr(pool, "METHOD", request.param)
        with opened(2) as made:
            yield made


def test_results_stand_in_the_order_of_the_items(two: Pool) -> None:
    assert two.each(str, range(7)) == list("0123456")


def test_calls_run_side_by_side_in_processes_that_stay(two: Pool) -> None:
    first = {future.result() for future in two.run(_process, [0.2] * 4)}
    assert len(first) == 2 and os.getpid() not in first
    assert set(two.each(_process, [0.2] * 4)) == first


def test_a_death_is_an_error_of_its_own_call_alone(two: Pool) -> None:
    first, killed, last = two.run(signal.raise_signal, KILLED)
    assert isinstance(killed.exception(), BrokenProcessPool)
    assert first.exception() is None and last.exception() is None
    assert two.each(abs, [-1, -2, -3]) == [1, 2, 3]
    with pytest.raises(BrokenProcessPool):
        two.each(signal.raise_signal, KILLED)


def test_what_a_call_raises_is_raised_here(two: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        two.each((1).__truediv__, [1, 0])


def test_a_pool_in_a_pool_is_the_same(two: Pool) -> None:
    with opened(5) as inner, workers(5) as each:
        assert inner is two
        assert each(abs, [-1]) == [1]
    assert two.each(abs, [-1]) == [1]


def test_items_are_asked_for_when_a_worker_is_free(two: Pool) -> None:
    """A thousand jobs are not composed before the first one starts."""
    asked: list[float] = []

    def items() -> Iterator[float]:
        for _ in range(3):
            asked.append(time.monotonic())
            yield 0.3

    two.run(time.sleep, items())
    assert asked[2] - asked[0] > 0.3


def test_one_job_at_a_time_needs_no_process() -> None:
    for jobs in (None, 1):
        with workers(jobs) as each:
            assert each(_process, [0.0]) == [os.getpid()]


def _process(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


DYING = """
import multiprocessing
from bnexp.sweeps import pool
preload = multiprocessing.set_forkserver_preload
multiprocessing.set_forkserver_preload = lambda names: preload(["dies"])
with pool.workers(2) as each:
    try:
        each(abs, [1, 2])
    except pool.BrokenProcessPool as error:
        print(error)
"""


def test_the_death_of_the_process_that_workers_are_forked_from_is_a_death_too(tmp_path: Path) -> None:
    (tmp_path / "dies.py").write_text("import os\nos._exit(3)\n")
    done = subprocess.run(
        [sys.executable, "-c", DYING],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    assert (done.stdout, done.stderr) == ("the process that workers are forked from has died\n", "")
