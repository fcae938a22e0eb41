"""Decoded images kept in a file, so that only the first run decodes them."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from bnexp.data.decode import Decoded
from bnexp.data.file_lock import exclusive

BROKEN = (OSError, RuntimeError, ValueError, TypeError, EOFError, LookupError, pickle.UnpicklingError)


def cached(folder: Path, key: str, make: Callable[[], Decoded]) -> Decoded:
    """Return what is kept under `key`; where there is nothing, or it is damaged, make it and keep it.

    A key is SOURCE-STATE; a new state of a source takes the place of its older ones.
    Runs that start together make it once. Where `folder` cannot be written, it is made every time.
    """
    path = folder / f"{key}.pt"
    decoded = _load(path)
    if decoded is not None:
        return decoded
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            waiting = f"Waiting for another process that writes to {folder} ..."
            stack.enter_context(exclusive(folder / ".lock", waiting))
        except OSError as error:
            _note_unkept(folder, error)
            return make()
        decoded = _load(path)
        if decoded is None:
            decoded = make()
            _save(decoded, path)
    return decoded


def _load(path: Path) -> Decoded | None:
    if not path.is_file():
        return None
    try:
        return Decoded(**torch.load(path, weights_only=True))
    except BROKEN:
        return None


def _save(decoded: Decoded, path: Path) -> None:
    """Write beside `path` and rename, so that no reader ever sees half a file."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(asdict(decoded), file)
        os.replace(partial, path)
        source = path.name.partition("-")[0]
        for older in {*path.parent.glob(f"{source}-*.pt")} - {path}:
            older.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        _note_unkept(path.parent, error)


def _note_unkept(folder: Path, error: OSError | RuntimeError) -> None:
    reason = getattr(error, "strerror", None) or error
    print(f"Cannot write to {folder} ({reason}): the images are decoded anew in every run", file=sys.stderr)
