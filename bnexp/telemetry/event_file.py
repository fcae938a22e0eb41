"""One of TensorBoard's event files, written by the thread that trains.

TensorBoard's own writer hands records to a second thread that takes their checksums in a Python loop: 0.3 ms
of the interpreter, which the training thread then waits for, for the scalars of one step.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

from bnexp import plain_files
from bnexp.protocols import Measurement
from bnexp.telemetry.jsonl import closed_on_error
from bnexp.telemetry.summaries import of_histograms

VERSION = "brain.Event:2"
FLUSH_S = 10  # a killed run loses no more than this; the library's own default is two minutes


class EventFile:
    """A new event file in `folder`, readable by TensorBoard while it grows.

    A run's are in its own folder: no folder, and so no other run in TensorBoard's list. Values are float32
    there; not-a-number and infinities are kept.

    Args:
        start: the first step. TensorBoard forgets what earlier files of the folder hold at this step and
            later, so this step's row must be written again. (A new run too says 0: at a first start
            TensorBoard's slow loader forgets nothing.) None forgets nothing.
        flush_s: seconds after which a record written is on disk, at the latest with the next one.
        suffix: ends the file's name.
    """

    def __init__(
        self, folder: Path, *, start: int | None, flush_s: float = FLUSH_S, suffix: str = ""
    ) -> None:
        self._start = start or 0
        self._file = _new_file(folder, suffix, later=start is not None)
        self._written, self._bytes = hashlib.sha256(), 0
        self._flush_s, self._flushed_at = flush_s, time.monotonic()
        self._rows: dict[tuple[str, ...], _Row] = {}
        with closed_on_error(self._file):
            self._write(Event(file_version=VERSION))
            if start is not None:
                self._write(Event(step=start, session_log=SessionLog(status=SessionLog.START)))
            self.flush()

    def write(self, step: int, measurement: Measurement) -> None:
        """Write what was measured at `step`; a histogram that counts nothing is left out."""
        if measurement.scalars:
            self._write_scalars(measurement.scalars, step)
        if any(any(histogram.counts) for histogram in measurement.histograms.values()):
            self._write(Event(step=step, summary=of_histograms(measurement.histograms)))

    def add(self, summary: Summary, step: int) -> None:
        """Write a summary of another kind: knobs, a layout of charts, text, an image.

        One of a step before `start` is there already and left out.
        """
        if step >= self._start:
            self._write(Event(step=step, summary=summary))

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()
        self._flushed_at = time.monotonic()

    def mark(self) -> dict[str, Any]:
        """Put everything on the disk; return what tells whether it is still there."""
        self.flush()
        os.fsync(self._file.fileno())
        name = Path(self._file.name).name
        return {"name": name, "bytes": self._bytes, "sha256": self._written.hexdigest()}

    def close(self) -> None:
        self._file.close()

    def _write_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Write one event for all scalars; values are float32 there, those beyond it infinite."""
        tags = tuple(scalars)
        if tags not in self._rows:
            self._rows[tags] = _Row(tags)
        head = Event(wall_time=time.time(), step=step).SerializeToString()
        self._write_record(head + self._rows[tags].filled(scalars.values()))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._write_record(event.SerializeToString())

    def _write_record(self, data: bytes) -> None:
        length = struct.pack("<Q", len(data))
        parts = length, _checksum(length), data, _checksum(data)
        record = b"".join(parts)
        self._file.write(record)
        self._written.update(record)
        self._bytes += len(record)
        if time.monotonic() - self._flushed_at > self._flush_s:
            self.flush()


def damaged(folder: Path, marks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of those files that do not hold any more what they held when they were marked."""
    return [mark["name"] for mark in marks if not _holds(folder / Path(mark["name"]).name, mark)]


def _holds(path: Path, mark: Mapping[str, Any]) -> bool:
    try:
        with plain_files.opened(path) as file:
            content = file.read(mark["bytes"])
    except OSError:
        return False
    return bool(hashlib.sha256(content).hexdigest() == mark["sha256"])


class _Row:
    """The message of a row of scalars, made once: only its numbers, of four bytes each, change."""

    def __init__(self, tags: Sequence[str]) -> None:
        values = [Summary.Value(tag=tag, simple_value=0) for tag in tags]
        # protobuf writes fields in the order of their numbers: a tag, then its value
        ends = np.cumsum([len(Summary(value=[value]).SerializeToString()) for value in values])
        message = Event(summary=Summary(value=values)).SerializeToString()
        self._bytes = np.frombuffer(bytearray(message), np.uint8)
        self._places = (len(message) - ends[-1] + ends - 4)[:, None] + np.arange(4)

    def filled(self, values: Collection[float]) -> bytes:
        with np.errstate(over="ignore"):
            numbers = np.fromiter(values, np.float64, len(values)).astype("<f4")
        self._bytes[self._places] = numbers.view(np.uint8).reshape(-1, 4)
        return self._bytes.tobytes()


def _new_file(folder: Path, suffix: str, *, later: bool) -> BinaryIO:
    """Open a file whose name comes after those that are there, as TensorBoard's reader wants it.

    Names start with the second in which a file was begun; `later` asks for another second than theirs.
    """
    seconds = (file.name.split(".")[3] for file in folder.glob("events.out.tfevents.*"))
    newest = max((int(second) for second in seconds if second.isdigit()), default=0)
    begun = max(int(time.time()), newest + later)
    for number in count():
        name = f"events.out.tfevents.{begun:010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        try:
            return (folder / (name + suffix)).open("xb")
        except FileExistsError:
            continue
    raise AssertionError("there is always another number")


def _checksum(data: bytes) -> bytes:
    """Return the CRC-32C of `data`, turned right by 15 bits and raised by 0xa282ead8."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
