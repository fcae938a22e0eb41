"""What a run logs, collected into one row a step and handed to the files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import Any

from bnexp.protocols import Measurement
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.jsonl import MetricsFile

COLUMNS = ("step", "epoch", "examples")


class RunWriter:
    """Merges everything written under one step and hands it on when the step advances.

    After `flush` or `close` it is on disk, the step so far included; leaving the context closes, also on
    an exception. TensorBoard keeps one value of a tag at a step: the first that was flushed.

    Args:
        metrics, board: both new, or both opened with one `resume_step`.
        earlier: the marks of the event files before `board`, of a run that goes on.
    """

    def __init__(
        self, metrics: MetricsFile, board: EventFile, earlier: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self._metrics = metrics
        self._board = board
        self._earlier = [dict(mark) for mark in earlier]
        self._columns: dict[str, Any] = {}
        self._row = Measurement()
        self._in_board: set[str] = set()
        self._unwritten = metrics.pending is not None
        for key, value in (metrics.pending or {}).items():
            if key in COLUMNS:
                self._columns[key] = value
            else:
                self._row.scalars[key] = math.nan if value is None else value

    def write(self, step: int, measurement: Measurement, *, epoch: float, examples: int) -> None:
        """Add a measurement to the row of `step`; a tag written again takes the later value.

        Args:
            epoch, examples: how far training was at this step, in passes over the data and in examples.
        Raises:
            ValueError: when the row is handed on, if its step lies before the one before.
        """
        if self._columns and self._columns["step"] != step:
            self._hand_on()
            self._row = Measurement()
            self._in_board = set()
        self._columns = {"step": step, "epoch": epoch, "examples": examples}
        self._row.update(measurement)
        self._unwritten = True

    def flush(self) -> None:
        """Put everything so far on disk."""
        self._hand_on()
        self._metrics.flush()
        self._board.flush()

    def mark(self) -> dict[str, Any]:
        """Put everything so far on disk; return what tells later whether it is still there."""
        self.flush()
        return {"metrics": self._metrics.mark(), "events": [*self._earlier, self._board.mark()]}

    def close(self) -> None:
        """Put everything on disk and close both files."""
        with closing(self._metrics), closing(self._board):
            self._hand_on()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):
            self.close()
            return
        with suppress(OSError):  # of a disk that is full: the first error says so
            self.close()

    def _hand_on(self) -> None:
        if not self._unwritten:
            return
        self._metrics.put(self._columns | self._row.scalars)
        fresh = self._row if not self._in_board else self._without(self._in_board)
        self._board.write(self._columns["step"], fresh)
        self._in_board |= fresh.scalars.keys() | fresh.histograms.keys()
        self._unwritten = False

    def _without(self, tags: set[str]) -> Measurement:
        return Measurement(
            {tag: value for tag, value in self._row.scalars.items() if tag not in tags},
            {tag: value for tag, value in self._row.histograms.items() if tag not in tags},
        )
