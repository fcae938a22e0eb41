"""Training, validation and test: stratified, seeded, and exact in number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor

from bnexp.choices import misfits
from bnexp.errors import ConfigError
from bnexp.protocols import Dataset, Split
from bnexp.seeding import stream


@dataclass(frozen=True)
class Splits:
    """What a run trains on, chooses by and is judged by; val is None where nothing is held out.

    notes: what became of a part that was published for validation.
    """

    train: Split
    val: Split | None
    test: Split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def split(dataset: Dataset, *, train_size: int | None, val_fraction: float, seed: int) -> Splits:
    """Take `train_size` images of the published training part and hold `val_fraction` of them out.

    Both keep the classes' shares, rounded by largest remainder, so that the totals are exact: the validation
    split has round(val_fraction * train_size) images. Which images depends on the seed; each split keeps the
    data set's order. The published test part stays as it is. A part that was published for validation is the
    validation split as it is, whatever `val_fraction` says, unless it is 0.

    Args:
        train_size: None takes all.
        val_fraction: 0 holds nothing out, and goes without validation.
    Raises:
        ConfigError: a size or a fraction that leaves a split, or a class of the training split, empty.
    """
    labels = dataset.train.labels
    num_train, num_val = _sizes(len(labels), train_size, val_fraction, held_out=dataset.val is None)
    classes = _shuffled_by_class(labels, len(dataset.classes), seed)
    taken = apportion([len(members) for members in classes], num_train)
    spare = [max(count - 1, 0) for count in taken]
    if num_val > sum(spare):
        raise ConfigError(
            f"every class must keep an image to train on, but data.val_fraction={val_fraction} holds out "
            f"{num_val} of {num_train} images in {len(classes)} classes; lower it or raise data.train_size"
        )
    held_out = apportion(taken, num_val, limits=spare)
    train = [members[val:end] for members, val, end in zip(classes, held_out, taken, strict=True)]
    held = [members[:end] for members, end in zip(classes, held_out, strict=True)]
    val, notes = _validation(dataset, val_fraction)
    return Splits(
        train=_take(dataset.train, train),
        val=_take(dataset.train, held) if num_val else val,
        test=dataset.test,
        classes=dataset.classes,
        notes=notes,
    )


def _validation(dataset: Dataset, val_fraction: float) -> tuple[Split | None, tuple[str, ...]]:
    """Return the part that was published for validation, unless none is wanted, and what to say of it."""
    if dataset.val is None:
        return None, ()
    size = f"{len(dataset.val):,} images"
    if val_fraction == 0:
        return None, (
            f"the data's own validation part of {size} is not used: data.val_fraction=0 wants none",
        )
    note = f"validation is the data's own part of {size}: data.val_fraction={val_fraction:g} has no effect"
    return dataset.val, (note,)


def _sizes(available: int, train_size: int | None, val_fraction: float, *, held_out: bool) -> tuple[int, int]:
    problems = []
    if train_size is not None and not 1 <= train_size <= available:
        problems.append(
            f"data.train_size must lie between 1 and {available} (what the data has), or be null for all; "
            f"got {train_size}"
        )
    problems += misfits("data", val_fraction=val_fraction)
    if problems:
        raise ConfigError(problems)
    num_train = available if train_size is None else train_size
    if not held_out:
        return num_train, 0
    num_val = round(val_fraction * num_train)
    if val_fraction > 0 and num_val == 0:
        raise ConfigError(
            f"data.val_fraction={val_fraction} of {num_train} images is none at all; raise it, or set it "
            "to 0 to go without validation"
        )
    return num_train, num_val


def apportion(counts: Sequence[int], total: int, *, limits: Sequence[int] | None = None) -> list[int]:
    """Share `total` out in proportion to `counts`, in whole numbers that add up, by largest remainder.

    Share c is floor(total * counts[c] / sum(counts)), plus one for the largest remainders (the first of
    equals), and at most limits[c], which must be no less than that floor and add up to `total` or more.
    """
    everything = sum(counts)
    limits = counts if limits is None else limits
    shares = [total * count // everything for count in counts]
    by_remainder = cycle(sorted(range(len(counts)), key=lambda c: -(total * counts[c] % everything)))
    while sum(shares) < total:
        c = next(by_remainder)
        shares[c] += shares[c] < limits[c]
    return shares


def _shuffled_by_class(labels: Tensor, num_classes: int, seed: int) -> list[Tensor]:
    order = torch.randperm(len(labels), generator=stream(seed, "split"))
    return [order[labels[order] == c] for c in range(num_classes)]


def _take(split: Split, members: Sequence[Tensor]) -> Split:
    index = torch.cat(list(members)).sort().values
    return Split(split.images[index], split.labels[index])
