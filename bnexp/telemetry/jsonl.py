"""metrics.jsonl: one JSON object for each logged step, readable at every moment but for a torn last line."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from bnexp.errors import CheckpointError


class SupportsClose(Protocol):
    def close(self) -> None: ...


NOTHING: Mapping[str, Any] = {"bytes": 0, "rows": 0, "sha256": hashlib.sha256().hexdigest(), "row": ""}
FLUSH_S = 1  # a killed run loses no more rows than this, and a reader lags no more


@contextmanager
def closed_on_error(file: SupportsClose) -> Iterator[None]:
    """Close a file that something goes wrong with: left to the interpreter, a full disk is told once more."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            file.close()
        raise


class MetricsFile:
    """The rows of a run, in the order of their steps.

    A row that is put again replaces the last one of its step, so that what was known of a step when the run
    was saved is on disk and the finished file still has one object a step. Non-finite numbers become null.

    Args:
        resume_step: the step of the checkpoint that the run goes on from; later rows are removed, and so is
            a last line torn by a kill. None for a new run.
        mark: what `mark` returned when that checkpoint was saved; the rows are then again those of that
            moment, and `lost` says where they cannot be. None for checkpoints of versions that kept none.
    Attributes:
        pending: the row of `resume_step` as it was saved, to be put again with what is still to come;
            None where there is none.
        lost: what is missing from the rows, None where nothing is.
    Raises:
        CheckpointError: without a mark, a line before the last is no row.
        FileExistsError: a new run would overwrite the rows of another.
    """

    def __init__(
        self, path: Path, resume_step: int | None = None, mark: Mapping[str, Any] | None = None
    ) -> None:
        self.pending: dict[str, Any] | None = None
        self.lost: str | None = None
        self._last_step: int | None = None
        self._last = b""
        self._start = self._rows = 0
        self._before = hashlib.sha256()  # of the bytes before the last row, which may be put again
        self._flushed_at = time.monotonic()
        if resume_step is None or not path.exists():
            self._file: BinaryIO = path.open("x+b")
        else:
            self._file = path.open("r+b")
        with closed_on_error(self._file):
            if resume_step is not None and mark is not None:
                self._go_back_to(mark, path, resume_step)
            elif resume_step is not None:
                self._take([_row(line) for line in self._sound_lines(path, resume_step)], resume_step)

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
        # Overwrites first and cuts after: a kill in between leaves the new row and a torn line.
        if replaces:
            self._file.seek(self._start)
        self._file.write(line)
        if replaces:
            self._file.truncate()
            self._last = line
        else:
            self._began(step, line)
        if time.monotonic() - self._flushed_at > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()
        self._flushed_at = time.monotonic()

    def mark(self) -> dict[str, Any]:
        """Put everything on the disk; return what tells whether the rows so far are there, and the last one.

        The last is kept as a whole, since it may be put again after this moment.
        """
        self.flush()
        os.fsync(self._file.fileno())
        digest, row = self._before.hexdigest(), self._last.decode()
        return {"bytes": self._start, "rows": self._rows, "sha256": digest, "row": row}

    def close(self) -> None:
        self._file.close()

    def _began(self, step: int, line: bytes) -> None:
        """Count a row that stands after all others."""
        self._before.update(self._last)
        self._start += len(self._last)
        self._rows += bool(self._last)
        self._last_step, self._last = step, line

    def _go_back_to(self, mark: Mapping[str, Any], path: Path, step: int) -> None:
        content, last = self._file.read(mark["bytes"]), mark["row"].encode()
        if last and _parse(last) is None:
            raise CheckpointError(f"the checkpoint of {path.parent} must hold a row of metrics, and does not")
        if len(content) == mark["bytes"] and hashlib.sha256(content).hexdigest() == mark["sha256"]:
            lines = content.splitlines(keepends=True)
        else:
            self._file.seek(0)
            before = _row(last)[0] if last else step
            lines = _rising(self._file.read().splitlines(keepends=True), before)
            self.lost = (
                f"{path} is damaged: of {mark['rows']} rows before the checkpoint {len(lines)} can be read; "
                "the others are lost"
            )
        self._take([_row(line) for line in (*lines, last) if line], step)

    def _take(self, rows: list[tuple[int, bytes]], step: int) -> None:
        """Let the file hold these rows and no others, and go on after them."""
        for known, line in rows:
            self._began(known, line)
        content = b"".join(line for _, line in rows)
        self._file.seek(0)
        if self._file.read(len(content)) != content:
            self._file.seek(0)
            self._file.write(content)
        self._file.seek(len(content))
        self._file.truncate()
        self._file.flush()
        if rows and rows[-1][0] == step:
            self.pending = json.loads(rows[-1][1])

    def _sound_lines(self, path: Path, step: int) -> list[bytes]:
        """Return the lines up to `step`, without a last one that a kill tore."""
        lines = self._file.read().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            row = _parse(line)
            if row is None and number < len(lines):
                raise CheckpointError(f"{path} line {number} must be a row of metrics: delete that line")
            if row is None or row["step"] > step:
                return lines[: number - 1]
        return lines


def _rising(lines: list[bytes], before: int) -> list[bytes]:
    """Return those lines that are rows of steps that rise and lie before a step."""
    found: list[bytes] = []
    latest = -1
    for line in lines:
        row = _parse(line)
        if row is not None and latest < row["step"] < before:
            found.append(line)
            latest = row["step"]
    return found


def _row(line: bytes) -> tuple[int, bytes]:
    return json.loads(line)["step"], line


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the row, None if the line was torn."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not line.endswith(b"\n") or not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    return row
