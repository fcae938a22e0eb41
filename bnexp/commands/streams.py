"""Standard streams that a command outlives: a closed pipe, a full disk, a stream that was never open."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any


def outlive_streams() -> None:
    """Let `bnexp train | head` train to its end although nobody reads what it prints, and `> /dev/full` too.

    Descriptors that are closed are opened on nothing: else the first files of a run would become them.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if not _is_open(number):
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
            if number > 0:
                setattr(sys, name, _text(_Dropping(number, OSError(errno.EBADF, os.strerror(errno.EBADF)))))
        elif number > 0 and isinstance(stream, io.TextIOWrapper):
            stream.flush()
            # a descriptor of its own, because the stream that is replaced may close the other
            setattr(sys, name, _text(_Dropping(os.dup(stream.fileno())), stream))


def lost() -> OSError | None:
    """Return why standard output did not take all that was printed; a reader that has left is no reason."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Dropping) else None


class _Dropping(io.FileIO):
    """A file that drops what it cannot take.

    Attributes:
        lost: the first error other than a closed pipe.
    """

    def __init__(self, descriptor: int, closed: OSError | None = None) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._closed = closed
        self.lost: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            if self._closed is not None:
                raise self._closed
            return super().write(data)
        except BrokenPipeError:
            pass
        except OSError as error:
            self.lost = self.lost or error
        return len(memoryview(data).cast("B"))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _text(raw: _Dropping, like: io.TextIOWrapper | None = None) -> io.TextIOWrapper:
    if like is None:
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace")
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=like.encoding,
        errors="backslashreplace" if like.errors == "strict" else like.errors,
        line_buffering=like.line_buffering,
        write_through=like.write_through,
    )
