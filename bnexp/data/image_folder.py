"""Any tree of images: train/CLASS/* and test/CLASS/*."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bnexp.data.decode import decode
from bnexp.data.image_cache import cached
from bnexp.errors import ConfigError, DataError
from bnexp.protocols import Dataset, Split

PARTS = ("train", "test")
EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
WANTED = "data.root must name a folder with train/CLASS/* and test/CLASS/*"

Listing = dict[str, dict[str, list[Path]]]  # part -> class -> images, all sorted by name


def image_folder(data_dir: Path, *, root: str | None = None) -> Dataset:
    """Return the images below `root`, decoded once and kept in `data_dir`/cache.

    Classes are the folders' names in sorted order; images may lie deeper inside them. Hidden files and
    files without an image's extension are passed over. See `decode` for colours and depths.

    Raises:
        ConfigError: no root.
        DataError: a missing folder, classes that differ between train and test, a class without images, an
            image that cannot be read, images of different sizes.
    """
    if root is None:
        raise ConfigError(WANTED)
    tree = Path(root).expanduser()
    listing = _listing(tree)
    files, cache = _files(listing), data_dir / "cache"
    images = cached(cache, _fingerprint(tree, files), lambda: _decode(tree, files, cache))
    labels = [_labels(listing[part]) for part in PARTS]
    train, test = (
        Split(*pair) for pair in zip(torch.split(images, [len(part) for part in labels]), labels, strict=True)
    )
    return Dataset(train, test, tuple(listing["train"]))


def _listing(tree: Path) -> Listing:
    if not tree.is_dir():
        raise DataError(f"{WANTED}, got {tree}, which is no folder")
    listing = {part: _classes(tree, part) for part in PARTS}
    for part, other in (PARTS, PARTS[::-1]):
        if lacking := listing[part].keys() - listing[other].keys():
            raise DataError(
                f"train and test must hold the same classes, {tree / other} lacks {_some(sorted(lacking))}"
            )
    return listing


def _classes(tree: Path, part: str) -> dict[str, list[Path]]:
    if not (tree / part).is_dir():
        raise DataError(f"{WANTED}, got {tree}, which holds no folder {part}")
    names = sorted(entry.name for entry in os.scandir(tree / part) if entry.is_dir() and _visible(entry.name))
    if not names:
        raise DataError(f"{WANTED}, got {tree / part}, which holds no folders")
    classes = {name: _images(tree / part / name) for name in names}
    if empty := [name for name, images in classes.items() if not images]:
        raise DataError(f"every class must hold images, but {tree / part} has none in {_some(empty)}")
    return classes


def _images(folder: Path) -> list[Path]:
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = filter(_visible, folders)
        found += [Path(here, name) for name in names if _visible(name) and _is_image(name)]
    return sorted(found)


def _visible(name: str) -> bool:
    return not name.startswith(".")


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _labels(classes: dict[str, list[Path]]) -> Tensor:
    counts = torch.tensor([len(images) for images in classes.values()])
    return torch.arange(len(counts)).repeat_interleave(counts)


def _files(listing: Listing) -> list[Path]:
    return [image for part in PARTS for images in listing[part].values() for image in images]


def _fingerprint(tree: Path, files: Sequence[Path]) -> str:
    """Return ROOT-STATE: the first part tells the root, the second also files' names, sizes and times."""
    digest = hashlib.sha256(os.fsencode(tree.resolve()))
    root = digest.hexdigest()[:16]
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); remove or replace it") from error
        digest.update(b"\n" + os.fsencode(path.relative_to(tree)))
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return f"{root}-{digest.hexdigest()[:32]}"


def _decode(tree: Path, files: Sequence[Path], cache: Path) -> Tensor:
    before = _fingerprint(tree, files)
    print(f"Decoding {len(files):,} images once into {cache} ...", file=sys.stderr, flush=True)
    images = decode(files)
    if _fingerprint(tree, _files(_listing(tree))) != before:
        raise DataError(f"{tree} changed while its images were read; run again when it is at rest")
    return images
