"""One of TensorBoard's event files, written by the thread that trains.

TensorBoard's own writer hands records to a second thread that takes their checksums in a Python loop: 0.3 ms
of the interpreter, which the training thread then waits for, for the scalars of one step.
"""

from __future__ import annotations

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

VERSION = "brain.Event:2"


class EventFile:
    """A new event file in `folder`, readable by TensorBoard while it grows.

    Args:
        purge_step: TensorBoard forgets what earlier files of the folder hold at this step and later.
        flush_s: seconds after which a record written is on disk, at the latest with the next one.
        suffix: ends the file's name.
    """

    def __init__(self, folder: Path, *, purge_step: int | None, flush_s: float, suffix: str = "") -> None:
        # Here and not above: reading a run must not wait for TensorBoard.
        from tensorboard.compat.proto import event_pb2  # type: ignore[import-untyped]

        self._proto: Any = event_pb2
        self._file = _new_file(folder, suffix)
        self._flush_s, self._flushed_at = flush_s, time.monotonic()
        self._rows: dict[tuple[str, ...], _Row] = {}
        self._write(event_pb2.Event(file_version=VERSION))
        if purge_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(event_pb2.Event(step=purge_step, session_log=start))
        self.flush()

    def add_summary(self, summary: Any, step: int) -> None:
        """Write a `Summary` of any kind."""
        self._write(self._proto.Event(step=step, summary=summary))

    def add_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Write one event for all scalars; values are float32 there, those beyond it infinite."""
        tags = tuple(scalars)
        if tags not in self._rows:
            self._rows[tags] = _Row(tags)
        head = self._proto.Event(wall_time=time.time(), step=step).SerializeToString()
        self._write_record(head + self._rows[tags].filled(scalars.values()))

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._write_record(event.SerializeToString())

    def _write_record(self, data: bytes) -> None:
        length = struct.pack("<Q", len(data))
        parts = length, _checksum(length), data, _checksum(data)
        self._file.write(b"".join(parts))
        if time.monotonic() - self._flushed_at > self._flush_s:
            self.flush()


class _Row:
    """The message of a row of scalars, made once: only its numbers, of four bytes each, change."""

    def __init__(self, tags: Sequence[str]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

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


def _new_file(folder: Path, suffix: str) -> BinaryIO:
    for number in count():
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        try:
            return (folder / (name + suffix)).open("xb")
        except FileExistsError:
            continue
    raise AssertionError("there is always another number")


def _checksum(data: bytes) -> bytes:
    """Return the CRC-32C of `data`, turned right by 15 bits and raised by 0xa282ead8."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
