"""One of TensorBoard's event files, written by the thread that trains.

TensorBoard's own writer hands records to a second thread that takes their checksums in a Python loop: 0.3 ms
of the interpreter, which the training thread then waits for, for the scalars of one step.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from bnexp.telemetry.crc32c import masked_crc32c

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
        self._rows: dict[tuple[str, ...], Any] = {}
        self._write(event_pb2.Event(file_version=VERSION))
        if purge_step is not None:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(event_pb2.Event(step=purge_step, session_log=start))
        self.flush()

    def add_summary(self, summary: Any, step: int) -> None:
        """Write a `Summary` of any kind."""
        self._write(self._proto.Event(step=step, summary=summary))

    def add_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Write one event for all scalars; values are float32 there.

        The message of a row with the same tags is used again: making its parts anew takes most of the time.
        """
        tags = tuple(scalars)
        if tags not in self._rows:
            self._rows[tags] = self._proto.Event()
            for tag in tags:
                self._rows[tags].summary.value.add(tag=tag)
        event = self._rows[tags]
        event.step = step
        for part, value in zip(event.summary.value, scalars.values(), strict=True):
            part.simple_value = value
        self._write(event)

    def flush(self) -> None:
        """Hand everything to the system."""
        self._file.flush()
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        parts = length, _checksum(length), data, _checksum(data)
        self._file.write(b"".join(parts))
        if time.monotonic() - self._flushed_at > self._flush_s:
            self.flush()


def _new_file(folder: Path, suffix: str) -> BinaryIO:
    for number in count():
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{number}"
        try:
            return (folder / (name + suffix)).open("xb")
        except FileExistsError:
            continue
    raise AssertionError("there is always another number")


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(data))
