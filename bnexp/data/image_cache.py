"""Decoded images kept in a file, so that only the first run decodes them."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from bnexp.data.file_lock import exclusive

BROKEN = (OSError, RuntimeError, ValueError, EOFError, LookupError, pickle.UnpicklingError)


def cached(folder: Path, key: str, make: Callable[[], Tensor]) -> Tensor:
    """Return the tensor kept under `key`; where there is none, or a damaged one, make it and keep it.

    A key is SOURCE-STATE; a new state of a source takes the place of its older ones.
    Runs that start together make it once. Where `folder` cannot be written, it is made every time.
    """
    path = folder / f"{key}.pt"
    tensor = _load(path)
    if tensor is not None:
        return tensor
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            waiting = f"Waiting for another process that writes to {folder} ..."
            stack.enter_context(exclusive(folder / ".lock", waiting))
        except OSError as error:
            _note_unkept(folder, error)
            return make()
        tensor = _load(path)
        if tensor is None:
            tensor = make()
            _save(tensor, path)
    return tensor


def _load(path: Path) -> Tensor | None:
    if not path.is_file():
        return None
    try:
        tensor = torch.load(path, weights_only=True)
    except BROKEN:
        return None
    return tensor if isinstance(tensor, Tensor) else None


def _save(tensor: Tensor, path: Path) -> None:
    """Write beside `path` and rename, so that no reader ever sees half a file."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            torch.save(tensor, file)
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
