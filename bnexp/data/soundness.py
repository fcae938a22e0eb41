"""What no network can learn from, and what a test cannot judge, in any data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch

from bnexp.data.findings import counted, several
from bnexp.protocols import Dataset, Split


def warnings(dataset: Dataset) -> list[str]:
    """Return a line for each thing that makes a result on this data say less than it seems to say."""
    parts = {"training": dataset.train, "test": dataset.test}
    parts |= {"validation": dataset.val} if dataset.val is not None else {}
    return [*_labels(parts, dataset.classes), *_pixels(parts)]


def _labels(parts: dict[str, Split], classes: tuple[str, ...]) -> Iterator[str]:
    if len(classes) == 1:
        yield f"the data has one class, {classes[0]}: every answer is right, and there is nothing to learn"
        return
    for name, part in parts.items():
        present = torch.bincount(part.labels, minlength=len(classes)).tolist()
        absent = [label for label, count in zip(classes, present, strict=True) if not count]
        if absent:
            yield f"no {name} image is of {several(absent)} ({len(absent)} of {len(classes)} classes)"


def _pixels(parts: dict[str, Split]) -> Iterator[str]:
    train = parts["training"]
    labels: dict[bytes, set[int]] = {}
    digests = _digests(train)
    for digest, label in zip(digests, train.labels.tolist(), strict=True):
        labels.setdefault(digest, set()).add(label)
    if len(labels) == 1 < len(train):
        yield f"all {len(train):,} training images are equal: there is nothing to learn from"
        return
    torn = sum(len(labels[digest]) > 1 for digest in digests)
    if torn:
        yield (
            f"{torn:,} of {counted(len(train), 'training image')} have the same pixels as one of another "
            "class: no answer is right for both"
        )
    for name in ("test", "validation"):
        shared = sum(digest in labels for digest in _digests(parts[name])) if name in parts else 0
        if shared:
            yield (
                f"{shared:,} of {counted(len(parts[name]), f'{name} image')} have the same pixels as a "
                f"training image: {name} accuracy counts what was learned by heart"
            )


def _digests(part: Split) -> list[bytes]:
    images = part.images.flatten(1).contiguous().numpy()
    return [hashlib.sha1(image, usedforsecurity=False).digest() for image in images]
