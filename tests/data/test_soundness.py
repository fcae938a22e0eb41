"""Data that cannot teach, or cannot judge what was learned, is told in a line with its count."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bnexp.data.soundness import warnings
from bnexp.protocols import Dataset, Split


def part(*images: tuple[int, int]) -> Split:
    """Return a split of (value, label): each image is of one value, but for a corner."""
    values = torch.tensor([value for value, _ in images], dtype=torch.uint8)
    pixels = values.view(-1, 1, 1, 1).repeat(1, 3, 4, 5)
    pixels[:, 0, 0, 0] = 9
    return Split(pixels, torch.tensor([label for _, label in images]))


def told(
    train: Split, test: Split, val: Split | None = None, classes: Sequence[str] = ("a", "b")
) -> list[str]:
    return warnings(Dataset(train, test, tuple(classes), val=val))


TRAIN, TEST = part((1, 0), (2, 0), (3, 1), (4, 1)), part((11, 0), (12, 1))


def test_sound_data_needs_no_words() -> None:
    assert told(TRAIN, TEST, part((21, 0), (22, 1))) == []


def test_the_same_image_twice_in_one_class_needs_no_words() -> None:
    assert told(part((1, 0), (1, 0), (3, 1)), TEST) == []


def test_one_class() -> None:
    (line,) = told(part((1, 0), (2, 0)), part((3, 0)), classes=("a",))
    assert line == "the data has one class, a: every answer is right, and there is nothing to learn"


def test_all_images_equal() -> None:
    (line,) = told(part((1, 0), (1, 0), (1, 1)), TEST)
    assert line == "all 3 training images are equal: there is nothing to learn from"


def test_equal_images_of_two_classes_are_counted_on_both_sides() -> None:
    (line,) = told(part((1, 0), (1, 1), (1, 1), (2, 0), (3, 1)), TEST)
    assert line.startswith("3 of 5 training images have the same pixels as one of another class")


def test_training_images_among_those_that_judge() -> None:
    found = told(TRAIN, part((1, 0), (11, 0), (4, 0), (12, 1)), part((2, 0), (22, 1)))
    assert [line.partition(":")[0] for line in found] == [
        "2 of 4 test images have the same pixels as a training image",
        "1 of 2 validation images have the same pixels as a training image",
    ]


def test_classes_that_a_part_has_no_image_of() -> None:
    found = told(part((1, 0), (2, 1)), part((3, 0)), part((4, 1)), classes=("a", "b", "c"))
    assert found == [
        "no training image is of c (1 of 3 classes)",
        "no test image is of b, c (2 of 3 classes)",
        "no validation image is of a, c (2 of 3 classes)",
    ]
