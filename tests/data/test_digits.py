"""The embedded digits are the originals, scaled as documented, and split once and for all."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from bnexp.data.digits import EMBEDDED, digits, enlarge
from bnexp.protocols import Dataset, Split


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits(Path("does-not-exist"))


def checksum(split: Split) -> str:
    return hashlib.sha256(split.images.numpy().tobytes() + split.labels.numpy().tobytes()).hexdigest()[:16]


def test_embedded_digits_are_scikit_learns_originals() -> None:
    originals = pytest.importorskip("sklearn.datasets").load_digits()
    with np.load(EMBEDDED) as arrays:
        np.testing.assert_array_equal(arrays["images"], originals.images)
        np.testing.assert_array_equal(arrays["labels"], originals.target)


def test_embedded_file_is_small_and_names_its_licence() -> None:
    assert EMBEDDED.stat().st_size <= 45 * 1024
    licence = EMBEDDED.with_suffix(".LICENSE").read_text()
    assert "CC BY 4.0" in licence and "Alpaydin" in licence


def test_bytes_are_the_same_on_every_machine(dataset: Dataset) -> None:
    assert (checksum(dataset.train), checksum(dataset.test)) == ("dd77d20949c5effa", "bd6e99002afbd3dd")


def test_every_image_is_in_one_split(dataset: Dataset) -> None:
    with np.load(EMBEDDED) as arrays:
        everything = enlarge(arrays["images"])
    both = torch.cat((dataset.train.images, dataset.test.images))[:, 0].numpy()
    assert sorted(image.tobytes() for image in both) == sorted(image.tobytes() for image in everything)


def test_test_split_is_a_stratified_fifth(dataset: Dataset) -> None:
    train, test = (part.labels.bincount(minlength=10).double() for part in (dataset.train, dataset.test))
    assert len(dataset.test) == 359
    assert (test - (train + test) / 5).abs().max() <= 1


def test_shapes_and_types(dataset: Dataset) -> None:
    assert dataset.image_shape == (1, 28, 28)
    assert dataset.classes == tuple("0123456789")
    for part, num in ((dataset.train, 1438), (dataset.test, 359)):
        assert part.images.shape == (num, 1, 28, 28) and part.images.dtype == torch.uint8
        assert part.labels.shape == (num,) and part.labels.dtype == torch.int64


def test_images_are_bilinear_enlargements() -> None:
    with np.load(EMBEDDED) as arrays:
        small = torch.from_numpy(arrays["images"]).double().unsqueeze(1)
    oracle = functional.interpolate(small, size=28, mode="bilinear", align_corners=False) * 255 / 16
    enlarged = torch.from_numpy(enlarge(small[:, 0].numpy())).double().unsqueeze(1)
    # Rounding to whole greys is off by a half at most.
    torch.testing.assert_close(enlarged, oracle, rtol=0, atol=0.5 + 1e-9)


def test_constant_image_stays_constant() -> None:
    assert (enlarge(np.full((1, 8, 8), 16)) == 255).all()
    assert (enlarge(np.full((1, 8, 8), 0)) == 0).all()
