"""Any tree of images: train/CLASS/* and test/CLASS/*, and val/CLASS/* where there is one."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bnexp.data.decode import Decoded, decode
from bnexp.data.findings import readable
from bnexp.data.image_cache import cached
from bnexp.data.image_tree import WANTED, Classes, image_tree
from bnexp.errors import ConfigError, DataError
from bnexp.protocols import Dataset, Split

# Of what `decode` makes of a file: another number makes it anew.
DECODER = 2


def image_folder(data_dir: Path, *, root: str | None = None) -> Dataset:
    """Return the images below `root`, decoded once and kept in `data_dir`/cache.

    See `image_tree` for what belongs to the data, `decode` for colours, depths and transparency.

    Raises:
        ConfigError: no root.
        DataError: a tree that does not fit, an image that cannot be read, images of different sizes.
    """
    if root is None:
        raise ConfigError(WANTED)
    tree = image_tree(Path(root).expanduser())
    cache = data_dir / "cache"
    decoded = cached(
        cache, _fingerprint(tree.root, tree.files), lambda: _decode(tree.root, tree.files, cache)
    )
    labels = {part: _labels(classes) for part, classes in tree.parts.items()}
    images = torch.split(decoded.images, [len(part) for part in labels.values()])
    splits = {
        part: Split(*pair)
        for part, pair in zip(labels, zip(images, labels.values(), strict=True), strict=True)
    }
    return Dataset(
        splits["train"],
        splits["test"],
        tuple(tree.parts["train"]),
        val=splits.get("val"),
        notes=(*tree.notes, *decoded.notes),
        warnings=(*tree.warnings, *decoded.warnings),
    )


def _labels(classes: Classes) -> Tensor:
    counts = torch.tensor([len(images) for images in classes.values()])
    return torch.arange(len(counts)).repeat_interleave(counts)


def _fingerprint(root: Path, files: Sequence[Path]) -> str:
    """Return ROOT-STATE: the first part tells the root, the second also files' names, sizes and times."""
    digest = hashlib.sha256(os.fsencode(root.resolve()))
    name = digest.hexdigest()[:16]
    digest.update(f"\n{DECODER}".encode())
    for path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(
                f"{readable(path)} cannot be read ({error.strerror}); remove or replace it"
            ) from error
        digest.update(b"\n" + os.fsencode(path.relative_to(root)))
        digest.update(f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return f"{name}-{digest.hexdigest()[:32]}"


def _decode(root: Path, files: Sequence[Path], cache: Path) -> Decoded:
    before = _fingerprint(root, files)
    print(f"Decoding {len(files):,} images once into {cache} ...", file=sys.stderr, flush=True)
    decoded = decode(files, root)
    if _fingerprint(root, image_tree(root).files) != before:
        raise DataError(f"{readable(root)} changed while its images were read; run again when it is at rest")
    return decoded
