"""One process at a time uses a run: an advisory lock that the system frees when its holder dies.

`fcntl` is imported where a lock is used, so that what only reads runs also works on systems without it.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from bnexp import plain_files
from bnexp.errors import FULL, CheckpointError

PATIENCE_S = 0.2  # longer than `is_held` looks in any other process


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which names the holder: "process 123 on host".

    The file stays when the lock is freed: removing it would let two processes lock two files of one name.

    Raises:
        CheckpointError: another process holds it, or the folder cannot be written or locked.
        OSError: the disk is full.
    """
    try:
        import fcntl
    except ImportError as error:
        raise CheckpointError("runs are locked as on Linux and macOS: on Windows use WSL") from error
    with _open(path) as file:
        if not _acquire(file.fileno(), path):
            holder = path.read_text().strip() or "another process"
            raise CheckpointError(f"run {path.parent} is in use by {holder}: wait until it ends, or stop it")
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield
        finally:
            # Closing alone would leave the lock with any forked child.
            fcntl.flock(file, fcntl.LOCK_UN)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file `path`; False where there is no such file."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        with plain_files.opened(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _open(path: Path) -> TextIO:
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, f"{path.name} is no regular file")
        return path.open("a+")
    except OSError as error:
        if error.errno in FULL:
            raise
        raise CheckpointError(
            f"a run in use must be writable, {path.parent} is not ({error.strerror}): copy it elsewhere"
        ) from error


def _acquire(descriptor: int, path: Path) -> bool:
    import fcntl

    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        except OSError as error:
            raise CheckpointError(
                f"a run needs a file system with file locks, {path.parent} has none ({error.strerror}): "
                "set runs_dir or output_dir to another disk"
            ) from error
