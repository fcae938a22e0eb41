"""Standard streams that outlive whoever reads them."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


def outlive_readers() -> None:
    """Let `bnexp train | head` train to its end: what stands in the run folder needs no reader."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.flush()
            setattr(sys, name, _unheard(stream))


class _Unheard(io.FileIO):
    """A file that takes and drops what nobody reads any more."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(memoryview(data).cast("B"))


def _unheard(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        # of its own, because the stream that it replaces may close the other
        io.BufferedWriter(_Unheard(os.dup(stream.fileno()), "wb", closefd=False)),
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
