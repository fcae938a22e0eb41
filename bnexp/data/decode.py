"""Image files to one tensor of bytes: what a viewer shows, on a white page."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from bnexp.data.findings import Findings, readable, several
from bnexp.data.picture import KINDS, UNREADABLE, formats, read_header, read_picture
from bnexp.errors import DataError

STDERR = 2
WORKERS = min(8, os.cpu_count() or 1)

T = TypeVar("T")


@dataclass(frozen=True)
class Decoded:
    """Images uint8 (N, C, H, W), and what a user should know of them."""

    images: Tensor
    notes: list[str]
    warnings: list[str]


def decode(files: Sequence[Path], root: Path) -> Decoded:
    """Return the images as bytes, in the order of `files`.

    Three channels where any image is in colour (a palette counts as colour), else one. Turned as the
    orientation tag says. What is transparent shows white: round(a v + (1 - a) 255) for opacity a. Greys of 16
    bits (or 32-bit integers up to 65535) are scaled to 8: round(255 v / 65535), those of 12 bits by 4095; of
    colours of 16 bits the upper 8 are kept. CMYK is (1 - c)(1 - k). Of several pictures the first is taken.
    Colour profiles and gamma are not applied.

    Args:
        root: the folder that examples are named from.
    Raises:
        DataError: files that cannot be read, images of more than one size, or more than fit into memory.
    """
    with _silence():
        headers = _read_all(lambda _, path: read_header(path), files)
        _refuse_sizes(files, [header.size for header in headers], turned=True)
        width, height = headers[0].size
        channels = 3 if any(header.in_colour for header in headers) else 1
        images_NCP = _room(len(files), channels, width * height)

        def fill(index: int, path: Path) -> tuple[int, int]:
            pixels_CHW, kinds = read_picture(path)
            headers[index].kinds.update(kinds)
            grey_or_colour, height, width = pixels_CHW.shape
            images_NCP[index] = pixels_CHW.reshape(grey_or_colour, -1)
            return width, height

        sizes = _read_all(fill, files)
    _refuse_sizes(files, sizes)
    findings = Findings()
    for path, found in zip(files, headers, strict=True):
        for kind in KINDS:
            if kind in found.kinds:
                findings.add(kind, readable(path.relative_to(root)))
    width, height = sizes[0]
    images = torch.from_numpy(images_NCP).view(-1, channels, height, width)
    return Decoded(images, findings.lines(harmless=True), findings.lines(harmless=False))


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Pillow and the C libraries below it print from the user, who gets a line that says more."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # without a handler Python prints what it logs
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        stderr = os.dup(STDERR)
        os.dup2(nowhere.fileno(), STDERR)  # libtiff writes to the descriptor itself
        try:
            yield
        finally:
            os.dup2(stderr, STDERR)
            os.close(stderr)


def _read_all(read: Callable[[int, Path], T], files: Sequence[Path]) -> list[T]:
    """Return read(index, file) for every file, on several threads (Pillow decodes outside Python's lock)."""
    unreadable: dict[Path, str] = {}

    def attempt(index: int, path: Path) -> T:
        try:
            return read(index, path)
        except UNREADABLE as error:
            unreadable[path] = _reason(path, error)
            return cast(T, None)

    with ThreadPoolExecutor(WORKERS) as pool:
        results = list(pool.map(attempt, range(len(files)), files))
    if unreadable:
        named = [path for path in files if path in unreadable]
        raise DataError(
            f"{len(unreadable):,} of {len(files):,} images cannot be read: {several([*map(str, named)])} "
            f"({unreadable[named[0]]}); remove or replace them"
        )
    return results


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(formats())}" if path.stat().st_size else "it is empty"
    return readable(str(error) or type(error).__name__)


def _refuse_sizes(files: Sequence[Path], sizes: Sequence[tuple[int, int]], *, turned: bool = False) -> None:
    """Refuse images of more than one size; `turned` ones of swapped width and height may yet be of one."""
    first = sizes[0]
    same = {first, first[::-1]} if turned else {first}
    for path, size in zip(files, sizes, strict=True):
        if size not in same:
            raise DataError(
                f"all images must have one size, but {readable(files[0])} is {first[0]} x {first[1]} and "
                f"{readable(path)} is {size[0]} x {size[1]}; resize them first"
            )


def _room(*shape: int) -> np.ndarray:
    """Return an array for bytes, which takes memory as it is filled."""
    needed, present = prod(shape), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present:
        raise DataError(
            f"all images must fit into memory as bytes: these {shape[0]:,} take {needed / 1e9:,.1f} GB, this "
            f"machine has {present / 1e9:,.1f}; make them smaller, or take fewer"
        )
    return np.empty(shape, dtype=np.uint8)
