"""Training time without evaluation, saving and waiting for a person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds spent training so far, going on from `seconds` and `examples`; also the rate of late."""

    def __init__(self, seconds: float = 0.0, examples: int = 0) -> None:
        self._counted = seconds
        self._running_since: float | None = time.perf_counter()
        self._read_at = seconds
        self._read_examples = examples

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

    def rate(self, examples: int) -> float:
        """Return the examples per second since the last call, or since the clock began.

        Args:
            examples: all examples so far.
        """
        now = self.seconds
        done, elapsed = examples - self._read_examples, now - self._read_at
        self._read_at, self._read_examples = now, examples
        return done / elapsed if elapsed > 0 else 0.0
