"""Published data sets by way of torchvision: read where present, else downloaded once."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import shutil
import socket
import sys
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from http.client import HTTPException
from pathlib import Path
from typing import Any

from torch import Tensor

from bnexp.data.file_lock import exclusive
from bnexp.errors import DataError
from bnexp.protocols import Dataset, Split

TIMEOUT_S = 30.0
UNAVAILABLE = (OSError, RuntimeError, HTTPException, EOFError, zlib.error, tarfile.TarError)
CORRUPT = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    EOFError,
    pickle.PickleError,
)


class NotDownloaded(DataError):
    """Data that is absent, and must not be downloaded now."""


_allowed: ContextVar[bool] = ContextVar("downloads allowed", default=True)


@contextlib.contextmanager
def no_downloads() -> Iterator[None]:
    """Refuse to download while the block runs: what is absent raises NotDownloaded."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


def published(name: str, data_dir: Path, *, folder: str, files: Sequence[str]) -> tuple[Any, Any]:
    """Return torchvision's data set `name` as (train, test), downloading it where a file is missing.

    Data that is present is only read: no lock, no network, no write access.

    Args:
        folder: where below `data_dir` torchvision keeps the unpacked `files`.
    Raises:
        DataError: absent and not to be had, or present and unreadable.
    """
    import torchvision.datasets  # type: ignore[import-untyped]

    kind = getattr(torchvision.datasets, name)
    home = data_dir / folder
    if not _present(home, files):
        if not _allowed.get():
            raise NotDownloaded(f"{name} is not in {data_dir}/")
        _download(kind, data_dir, folder, files)
    try:
        return kind(data_dir, train=True), kind(data_dir, train=False)
    except CORRUPT as error:
        raise DataError(
            f"{name} in {home} cannot be read ({_reason(error)}); delete that folder to download it again"
        ) from error


def checked(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: tuple[str, ...],
    *,
    home: Path,
    sizes: tuple[int, int],
) -> Dataset:
    """Return images and labels as a data set that fits together; one of other than the published sizes warns.

    Args:
        train, test: images uint8 (N, C, H, W) and labels int64 (N,).
        home: where the files are.
    Raises:
        DataError: a part without images, other numbers of images and labels, a label that is no class.
    """
    for images, labels in (train, test):
        if len(images) != len(labels) or not 0 < len(labels) or int(labels.max()) >= len(classes):
            raise DataError(
                f"{home} must hold a label from 0 to {len(classes) - 1} for every image, but has "
                f"{len(images)} images and {len(labels)} labels up to {max(labels.tolist(), default=0)}; "
                "delete that folder to download it again"
            )
    held = len(train[1]), len(test[1])
    warnings = (
        f"{home} holds {held[0]:,} training and {held[1]:,} test images, published were {sizes[0]:,} and "
        f"{sizes[1]:,}: delete that folder to download them again",
    )
    return Dataset(Split(*train), Split(*test), classes, warnings=warnings if held != sizes else ())


def _present(home: Path, files: Sequence[str]) -> bool:
    return all((home / file).is_file() for file in files)


def _download(kind: Any, data_dir: Path, folder: str, files: Sequence[str]) -> None:
    """Fetch into a folder beside the data and move every file in only when all are complete."""
    name = kind.__name__
    home, partial = data_dir / folder, data_dir / f".{name}.partial"
    waiting = f"Waiting for another process that downloads {name} into {data_dir}/ ..."
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with exclusive(data_dir / f".{name}.lock", waiting):
            if _present(home, files):
                return
            print(f"Downloading {name} into {data_dir}/ ...", file=sys.stderr, flush=True)
            with _emptied(partial), _quiet(), _socket_timeout(TIMEOUT_S):
                _fetch(kind, partial)
                home.mkdir(parents=True, exist_ok=True)
                for file in files:
                    os.replace(partial / folder / file, home / file)
    except UNAVAILABLE as error:
        raise DataError(
            f"{name} is not in {data_dir}/ and could not be downloaded ({_reason(error)}); "
            f"put the files {', '.join(files)} into {home}, or run with data=digits"
        ) from error


def _fetch(kind: Any, partial: Path) -> None:
    """Ask one mirror after the other; torchvision 0.26 stops at the first that serves a wrong checksum."""
    errors = []
    for mirror in getattr(kind, "mirrors", [None]):
        one_mirror = type(kind.__name__, (kind,), {"mirrors": [mirror]})
        try:
            one_mirror(partial, download=True)
            return
        except UNAVAILABLE as error:
            errors.append(error)
    raise errors[0]


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Provide an empty folder, also after a process that was killed here, and remove it in the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Swallow torchvision's progress bars."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: BaseException) -> str:
    """Return the last line of a message, which in torchvision's longer ones is the cause."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip("<>")
