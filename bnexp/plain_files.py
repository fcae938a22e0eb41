"""Files of others, read at a bounded cost: a pipe is not waited for, an alias not followed for ever."""

from __future__ import annotations

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml

from bnexp.choices import LOADER

MOST_BYTES = 1 << 24  # of a configuration, a record or a result, which take kilobytes
MOST_VALUES = 100_000


def opened(path: Path) -> BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be opened, or is a pipe, a device or a folder.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return file


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Return what a regular file holds.

    Raises:
        OSError: it cannot be read, is no regular file, or holds more than `most` bytes.
    """
    with opened(path) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
        return file.read()


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Return the text in UTF-8 that a regular file holds.

    Raises:
        OSError: as `read_bytes`. UnicodeDecodeError: it is no UTF-8.
    """
    return read_bytes(path, most).decode()


def from_yaml(text: str) -> Any:
    """Read YAML that says no more than JSON can: neither dates nor a node within itself.

    Raises:
        ValueError, TypeError, RecursionError, yaml.YAMLError: it does, or its aliases multiply what it holds.
    """
    found = yaml.load(text, Loader=LOADER)
    if "*" in text:
        _count(found)
    json.dumps(found)
    return found


def _count(found: Any) -> None:
    """Refuse what aliases make too large to be looked at."""
    left, values = [found], 0
    while left:
        values += 1
        if values > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES:,} values, by aliases")
        item = left.pop()
        if isinstance(item, dict):
            left += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            left += item
