"""Training time without evaluation, saving and waiting for a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds spent training so far, going on from `seconds`; also the rate since the last reading."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._counted = seconds
        self._running_since: float | None = time.perf_counter()
        self._read_at = seconds
        self._read_examples: int | None = None

    @property
    def seconds(self) -> float:
        if self._running_since is None:
            return self._counted
        return self._counted + time.perf_counter() - self._running_since

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._counted, self._running_since = self.seconds, None
        try:
            yield
        finally:
            self._running_since = time.perf_counter()

    def rate(self, examples: int, latest: int) -> float:
        """Return examples per second since the last call.

        Args:
            examples: all examples so far.
            latest: those of the step just computed, which is all that the first call can speak of.
        """
        now = self.seconds
        before = examples - latest if self._read_examples is None else self._read_examples
        elapsed = now - self._read_at
        self._read_at, self._read_examples = now, examples
        return (examples - before) / elapsed if elapsed > 0 else 0.0
