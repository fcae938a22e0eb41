"""What bnexp raises on purpose; anything else is a bug and keeps its traceback.

    BnexpError                          the command line prints it as one line and exits with its code, 2
    ├── ConfigError (ValueError)        a choice or a value that cannot work; may hold several problems
    ├── ShapeError (ValueError)         a tensor that does not fit the layer it was given to
    ├── DataError (OSError)             data that is missing, unreadable or inconsistent
    ├── CheckpointError (RuntimeError)  a run folder or weights file that cannot be used
    └── StorageError (OSError)          a disk that is full or gone: nobody's mistake, and code 1

A message says what must hold, what was given, and what to do about it.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence
from typing import ClassVar

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what no other word on the command line changes


class BnexpError(Exception):
    """The root of bnexp's own errors."""

    code: ClassVar[int] = 2


class ConfigError(BnexpError, ValueError):
    """One or several choices that cannot work; `problems` holds a line for each."""

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ShapeError(BnexpError, ValueError):
    """A tensor whose shape does not fit the layer."""


class DataError(BnexpError, OSError):
    """Data that is missing, unreadable or inconsistent."""


class CheckpointError(BnexpError, RuntimeError):
    """A run folder or weights file that cannot be used."""


class StorageError(BnexpError, OSError):
    """What could be written when the command began, and can no more."""

    code = 1


def unwritable(path: object, error: OSError, mistake: str) -> BnexpError:
    """Return the error for what cannot be written: `mistake` says what to do where that is the user's."""
    if error.errno in FULL:
        return StorageError(f"{path} cannot be written ({error.strerror}): make room and try again")
    return ConfigError(mistake)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean ...?)', or nothing where no known name is near.

    A name that differs only in its dotted front (`lr` for `optimizer.lr`) is near too.
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    near = near or [full for full in names if full.rpartition(".")[2] == name.rpartition(".")[2]]
    near = near or difflib.get_close_matches(name, {full.rpartition(".")[2]: full for full in names}, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
