"""The real MNIST, where BNEXP_DATA names a folder that holds it."""

import os
from pathlib import Path

import pytest

from bnexp.data import soundness
from bnexp.data.mnist import mnist
from bnexp.data.pixels import Pixels
from bnexp.data.splits import split
from bnexp.protocols import Dataset

TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    folder = Path(os.environ.get("BNEXP_DATA", ""))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip("BNEXP_DATA names no folder with MNIST/raw")
    return mnist(folder)


def test_published_sizes_and_label_counts(dataset: Dataset) -> None:
    assert dataset.image_shape == (1, 28, 28)
    assert (dataset.notes, dataset.warnings, soundness.warnings(dataset)) == ((), (), [])
    assert dataset.train.labels.bincount().tolist() == TRAIN_COUNTS
    assert dataset.test.labels.bincount().tolist() == TEST_COUNTS


def test_first_training_digit_is_a_five(dataset: Dataset) -> None:
    assert dataset.train.labels[0] == 5
    assert dataset.train.images[0, 0, 5, 12:16].tolist() == [3, 18, 18, 18]


def test_statistics_are_the_well_known_ones(dataset: Dataset) -> None:
    pixels = Pixels(dataset.train, device="cpu")
    assert (round(pixels.mean[0], 4), round(pixels.std[0], 4)) == (0.1307, 0.3081)


def test_a_tenth_is_held_out_with_the_classes_shares(dataset: Dataset) -> None:
    splits = split(dataset, train_size=None, val_fraction=0.1, seed=0)
    assert splits.val is not None
    assert (len(splits.train), len(splits.val)) == (54000, 6000)
    shares = [count / 10 for count in TRAIN_COUNTS]
    held_out = splits.val.labels.bincount().tolist()
    assert all(abs(got - share) < 1 for got, share in zip(held_out, shares, strict=True))
