"""Standard streams that ignore a closed pipe."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


def ignore_closed_pipes() -> None:
    """Let `bnexp train | head` train to its end although nobody reads what it prints."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            setattr(sys, name, _dropping(stream))


class _Dropping(io.FileIO):
    """A file that drops what is written after its reader has closed the pipe."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(memoryview(data).cast("B"))


def _dropping(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        # a descriptor of its own, because the stream that is replaced may close the other
        io.BufferedWriter(_Dropping(os.dup(stream.fileno()), "wb", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
