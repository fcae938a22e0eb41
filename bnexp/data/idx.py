"""Data sets in MNIST's format: four idx files of grey images and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bnexp.data.download import published
from bnexp.errors import DataError
from bnexp.protocols import Dataset, Split

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(name: str, data_dir: Path, classes: tuple[str, ...]) -> Dataset:
    """Return torchvision's data set `name`, downloaded on first use.

    Raises:
        DataError: absent and not to be had, unreadable, or labels that do not fit the images.
    """
    folder = f"{name}/raw"
    train, test = published(name, data_dir, folder=folder, files=FILES)
    return Dataset(
        _split(train, classes, data_dir / folder), _split(test, classes, data_dir / folder), classes
    )


def _split(part: Any, classes: tuple[str, ...], home: Path) -> Split:
    images, labels = part.data.unsqueeze(1), part.targets.long()
    if len(images) != len(labels) or not 0 < len(labels) or int(labels.max()) >= len(classes):
        raise DataError(
            f"{home} must hold a label from 0 to {len(classes) - 1} for every image, but has {len(images)} "
            f"images and {len(labels)} labels up to {max(labels.tolist(), default=0)}; "
            "delete that folder to download it again"
        )
    return Split(images, labels)
