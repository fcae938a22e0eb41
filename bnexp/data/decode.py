"""Image files to one tensor of bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bnexp.errors import DataError

GREY_MODES = frozenset(("1", "L", "LA", "La"))
DEEP_MODES = frozenset(("I", "I;16", "I;16L", "I;16B", "I;16N"))
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
DEEPEST = 65535
WORKERS = min(8, os.cpu_count() or 1)

T = TypeVar("T")
Header = tuple[tuple[int, int], bool]  # (width, height), whether it is in colour


def decode(files: Sequence[Path]) -> Tensor:
    """Return the images as bytes, in the order of `files`.

    Three channels where any image is in colour (a palette counts as colour), else one. Transparency is
    dropped. Greys of 16 bits (or 32-bit integers up to 65535) are scaled to 8: round(255 v / 65535).

    Shape: uint8 (N, C, H, W).
    Raises:
        DataError: files that cannot be read, or images of more than one size.
    """
    headers = _read_all(lambda _, path: _header(path), files)
    (width, height), _ = headers[0]
    for path, (size, _) in zip(files, headers, strict=True):
        if size != (width, height):
            raise DataError(
                f"all images must have one size, but {files[0]} is {width} x {height} and "
                f"{path} is {size[0]} x {size[1]}; resize them first"
            )
    colour = any(in_colour for _, in_colour in headers)
    images_NCHW = np.empty((len(files), 3 if colour else 1, height, width), dtype=np.uint8)

    def fill(index: int, path: Path) -> None:
        images_NCHW[index] = _pixels(path, colour)

    _read_all(fill, files)
    return torch.from_numpy(images_NCHW)


def _read_all(read: Callable[[int, Path], T], files: Sequence[Path]) -> list[T]:
    """Return read(index, file) for every file, on several threads (PIL decodes outside Python's lock)."""
    unreadable: dict[Path, Exception] = {}

    def attempt(index: int, path: Path) -> T:
        try:
            return read(index, path)
        except UNREADABLE as error:
            unreadable[path] = error
            return cast(T, None)

    with ThreadPoolExecutor(WORKERS) as pool:
        results = list(pool.map(attempt, range(len(files)), files))
    if unreadable:
        named = [path for path in files if path in unreadable][:3]
        raise DataError(
            f"{len(unreadable):,} of {len(files):,} images cannot be read: {', '.join(map(str, named))}"
            f"{' and others' if len(unreadable) > 3 else ''} ({unreadable[named[0]]}); remove or replace them"
        )
    return results


def _header(path: Path) -> Header:
    with Image.open(path) as image:
        if image.mode == "F":
            raise ValueError("its pixels are floating-point numbers of no known range")
        return image.size, image.mode not in GREY_MODES | DEEP_MODES


def _pixels(path: Path, colour: bool) -> np.ndarray:
    """Return one image as bytes (C, H, W), or (H, W), which fills every channel."""
    with Image.open(path) as image:
        if image.mode in DEEP_MODES:
            return _eight_bits(np.asarray(image.convert("I")))
        if not colour:
            return np.asarray(image.convert("L"))
        if image.mode in ("P", "PA"):
            # Straight to RGB, PIL warns about palettes whose colours are transparent.
            image = image.convert("RGBA")
        return np.moveaxis(np.asarray(image.convert("RGB")), 2, 0)


def _eight_bits(values: np.ndarray) -> np.ndarray:
    # PIL's own conversion cuts everything above 255 off.
    if values.min() < 0 or values.max() > DEEPEST:
        raise ValueError(f"values must lie in 0 to {DEEPEST}")
    scaled: np.ndarray = (values.astype(np.int64) * 255 + DEEPEST // 2) // DEEPEST
    return scaled.astype(np.uint8)
