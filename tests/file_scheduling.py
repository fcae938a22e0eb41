"""One test file, one worker: how pytest-xdist hands out the tests, and what it does when a worker dies."""

from __future__ import annotations

from contextlib import suppress

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController


class FileScheduling(LoadFileScheduling):
    """Files in the order of collection; the death of a worker costs the test that ran, and no other.

    pytest-xdist 3.8 hands that test out again, and with it the files that the dead worker had finished: a
    worker that is given such an empty file waits for ever, so that one crash keeps the whole run from ending
    (https://github.com/pytest-dev/pytest-xdist/issues/1378).
    """

    def remove_node(self, node: WorkerController) -> str | None:
        """Return the test that `node` died of, None where it had ended all of its own; queue what is left."""
        left = unfinished(self.assigned_work.pop(node))
        if not left:
            return None
        tests = next(iter(left.values()))
        crashed = next(test for test, ended in tests.items() if not ended)
        tests[crashed] = True
        self.workqueue.update(unfinished(left))
        return crashed

    # A worker may be dead before its death is known. What could not be sent to it is already noted as its
    # work, and `remove_node` queues it again.

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        with suppress(OSError):
            super().mark_test_complete(node, item_index, duration)

    def schedule(self) -> None:
        late = self.collection is not None
        # Where several workers die at once, one that takes a place is not ready yet when the next one is.
        unready = [node for node in self.assigned_work if node not in self.registered_collections]
        kept = {node: self.assigned_work.pop(node) for node in unready}
        with suppress(OSError):
            super().schedule()
        # A worker starts a test once it knows the next one, or that there is none: one that takes a dead
        # worker's place with a single test would wait (https://github.com/pytest-dev/pytest-xdist/issues/1327).
        if late:
            with suppress(OSError):
                super().schedule()
        self.assigned_work.update(kept)


def unfinished(files: dict[str, dict[str, bool]]) -> dict[str, dict[str, bool]]:
    return {file: tests for file, tests in files.items() if not all(tests.values())}


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FileScheduling:
    return FileScheduling(config, log)
