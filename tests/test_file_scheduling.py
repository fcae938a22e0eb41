"""A process that dies costs one test: every other one is run, and the run ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from file_scheduling import FileScheduling

HERE = Path(__file__).parent
DIES = """
import os
import pytest
from file_scheduling import FileScheduling

@pytest.mark.parametrize("number", range(3))
def test(number):
    if number == {fatal}:
        os.abort()
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_death_fails_one_test_and_no_other_is_lost(tmp_path: Path, workers: int) -> None:
    """The first, the middle and the last test of a file dies; the last file has one test, which dies."""
    for fatal in (0, 1, 2):
        (tmp_path / f"test_{fatal}.py").write_text(DIES.format(fatal=fatal))
    (tmp_path / "test_3_lives.py").write_text(DIES.format(fatal=-1))
    (tmp_path / "test_4_one.py").write_text("import os\n\ndef test():\n    os.abort()\n")
    options = ("-q", "-p", "no:cacheprovider", "-p", "xdist.plugin", "-p", "file_scheduling")
    workers_get_files = ("-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *workers_get_files, "."],
        cwd=tmp_path,
        env={"PYTHONPATH": str(HERE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout[-4000:]
    assert done.stdout.splitlines()[-1].startswith("4 failed, 9 passed in ")


class Worker:
    """As much of a worker as the scheduler asks for; what is sent to it, or an error once it is dead."""

    shutting_down = False
    gateway = SimpleNamespace(id="gw", spec="popen")

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.dead = False

    def shutdown(self) -> None:
        self.shutting_down = True

    def send_runtest_some(self, indices: list[int]) -> None:
        if self.dead:
            raise OSError("cannot send to a dead worker")
        self.sent += indices


def test_work_sent_to_a_dead_worker_goes_to_the_next_one() -> None:
    """Its death is noticed only when the scheduler, told of an earlier test's end, gives it the next file."""
    tests = [f"test_{file}.py::test_{number}" for file in "ab" for number in range(3)]
    scheduler = scheduling(1)
    first, second = Worker(), Worker()
    start(scheduler, first, tests)
    assert first.sent == [0, 1, 2]
    first.dead = True
    for ended in (0, 1):
        scheduler.mark_test_complete(first, ended)  # type: ignore[arg-type]
    assert scheduler.remove_node(first) == tests[2]  # type: ignore[arg-type]
    start(scheduler, second, tests)
    assert second.sent == [3, 4, 5]


def test_a_worker_that_is_not_ready_waits_for_its_files() -> None:
    """Two die at once; of the two that take their places, one is ready before the other."""
    tests = [f"test_{file}.py::test_{number}" for file in "abcd" for number in range(3)]
    scheduler, workers = scheduling(2), [Worker() for _ in range(4)]
    for worker in workers[:2]:
        scheduler.add_node(worker)  # type: ignore[arg-type]
        scheduler.add_node_collection(worker, tests)  # type: ignore[arg-type]
    scheduler.schedule()
    crashed = [scheduler.remove_node(worker) for worker in workers[:2]]  # type: ignore[arg-type]
    for worker in workers[2:]:
        scheduler.add_node(worker)  # type: ignore[arg-type]
    for ready in workers[2:]:
        scheduler.add_node_collection(ready, tests)  # type: ignore[arg-type]
        scheduler.schedule()
        assert ready.sent
    sent = {tests[index] for worker in workers[2:] for index in worker.sent}
    queued = {test for unit in scheduler.workqueue.values() for test, ended in unit.items() if not ended}
    assert sent | queued | {str(test) for test in crashed} == set(tests)


def scheduling(workers: int) -> FileScheduling:
    options = SimpleNamespace(loadscopereorder=False)
    config = SimpleNamespace(getvalue=lambda name: ["popen"] * workers, option=options)
    return FileScheduling(config)  # type: ignore[arg-type]


def start(scheduler: FileScheduling, worker: Worker, tests: list[str]) -> None:
    scheduler.add_node(worker)  # type: ignore[arg-type]
    scheduler.add_node_collection(worker, tests)  # type: ignore[arg-type]
    scheduler.schedule()
