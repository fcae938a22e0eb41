"""metrics.jsonl: one JSON object for each logged step, readable at every moment but for a torn last line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from bnexp.errors import CheckpointError

FLUSH_S = 1  # a killed run loses no more rows than this, and a reader lags no more


class MetricsFile:
    """The rows of a run, in the order of their steps.

    A row that is put again replaces the last one of its step, so that what was known of a step when the run
    was saved is on disk and the finished file still has one object a step. Non-finite numbers become null.

    Args:
        resume_step: the step of the checkpoint that the run goes on from; later rows are removed, and so is
            a last line torn by a kill. None for a new run.
    Attributes:
        pending: the row of `resume_step` as it stands on disk, to be put again with what is still to come;
            None where there is none.
    Raises:
        CheckpointError: a line before the last is no row.
        FileExistsError: a new run would overwrite the rows of another.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        self.pending: dict[str, Any] | None = None
        self._last_step: int | None = None
        self._start = self._end = 0
        self._flushed_at = time.monotonic()
        if resume_step is None or not path.exists():
            self._file: BinaryIO = path.open("x+b")
        else:
            self._file = path.open("r+b")
            self._resume(path, resume_step)

    def put(self, row: Mapping[str, Any]) -> None:
        """Write `row`, with its `step`, in place of the row of that step or after all others.

        Raises:
            ValueError: the step lies before the last one.
        """
        step = row["step"]
        if self._last_step is not None and step < self._last_step:
            raise ValueError(f"steps must not go back, got {step} after {self._last_step}")
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        replaces = step == self._last_step
        if not replaces:
            self._last_step, self._start = step, self._end
        self._end = self._start + len(line)
        # Overwrites first and cuts after: a kill in between leaves the new row and a torn line.
        if replaces:
            self._file.seek(self._start)
        self._file.write(line)
        if replaces:
            self._file.truncate()
        if time.monotonic() - self._flushed_at > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        self._file.close()

    def _resume(self, path: Path, resume_step: int) -> None:
        row = None
        for number, line in enumerate(self._file, start=1):
            parsed = _parse(line)
            if parsed is None and self._file.read(1):
                self._file.close()
                raise CheckpointError(f"{path} line {number} must be a row of metrics: delete that line")
            if parsed is None or parsed["step"] > resume_step:
                break
            row, self._start, self._end = parsed, self._end, self._end + len(line)
        self._file.truncate(self._end)
        self._file.seek(self._end)
        if row is not None:
            self._last_step = row["step"]
            self.pending = row if row["step"] == resume_step else None


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the row, None if the line was torn."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if line.endswith(b"\n") and isinstance(row, dict) and "step" in row else None
