"""Files that are there whole or not at all, whenever the process or the machine dies."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

DRAFT = re.compile(r"\.(.+)\.(\d+)\.tmp")  # the file's name and the process that writes it


def write_text(path: Path, text: str) -> None:
    """Replace `path` by a file that holds `text` in UTF-8; see `write`."""
    write(path, lambda file: file.write(text.encode()))


def write(path: Path, fill: Callable[[IO[bytes]], object], *, keep: Path | None = None) -> None:
    """Replace `path` by what `fill` writes; a reader sees the old file or the new one.

    A device or a pipe of that name is written into.

    Args:
        keep: a name that the old file then has, in place of what had it.
    Raises:
        OSError: the folder cannot be written, or the disk is full; the old file stays as it was.
    """
    try:
        _write(path, fill, keep)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def _write(path: Path, fill: Callable[[IO[bytes]], object], keep: Path | None) -> None:
    if not path.is_symlink() and path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as file:
            fill(file)
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None:
            with suppress(FileNotFoundError):
                os.replace(path, keep)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    sync_folder(path.parent)
    sweep(path.parent, path.name)


def target(path: Path) -> Path:
    """Return the file that a person means by a path of his own, who may have linked it.

    Links inside a run's folder are replaced instead: the folder may be someone else's.
    """
    return Path(os.path.realpath(path))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last, too: a file's own fsync covers its contents only."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove the drafts of processes that have died: those of one file, or of all in the folder."""
    for entry in os.listdir(folder):
        found = DRAFT.fullmatch(entry)
        if found and name in (None, found[1]) and not _lives(int(found[2])):
            with suppress(OSError):
                os.unlink(folder / entry)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True
