"""Splits are exact in number, stratified, disjoint and seeded."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bnexp.data.splits import Splits, apportion, split
from bnexp.errors import ConfigError
from bnexp.protocols import Dataset, Split

COUNTS = (500, 300, 150, 50)


def numbered(counts: tuple[int, ...], *, seed: int = 0) -> Split:
    """A split in random order whose image i spells i in its two pixels."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    number = torch.arange(len(labels))
    return Split(torch.stack((number // 256, number % 256), 1).to(torch.uint8).view(-1, 1, 1, 2), labels)


def numbers(part: Split) -> Tensor:
    high, low = part.images.view(-1, 2).long().unbind(1)
    return high * 256 + low


def dataset(counts: tuple[int, ...] = COUNTS) -> Dataset:
    return Dataset(numbered(counts), numbered((3,) * len(counts)), tuple(map(str, range(len(counts)))))


def class_counts(part: Split | None) -> list[int]:
    assert part is not None
    return part.labels.bincount(minlength=len(COUNTS)).tolist()


def everything(splits: Splits) -> list[int]:
    parts = [splits.train] if splits.val is None else [splits.train, splits.val]
    return sorted(torch.cat([numbers(part) for part in parts]).tolist())


def test_fraction_is_held_out_with_the_classes_shares() -> None:
    splits = split(dataset(), train_size=None, val_fraction=0.1, seed=0)
    assert class_counts(splits.val) == [50, 30, 15, 5]
    assert class_counts(splits.train) == [450, 270, 135, 45]
    assert everything(splits) == list(range(1000))


def test_fraction_is_of_the_training_size() -> None:
    splits = split(dataset((2923, 3742, 1958, 1377)), train_size=5000, val_fraction=0.1, seed=0)
    assert splits.val is not None
    assert (len(splits.train), len(splits.val)) == (4500, 500)
    # 5000 / 10000 of each class, then a tenth of that, each rounded once.
    for got, share in zip(class_counts(splits.val), (146.15, 187.1, 97.9, 68.85), strict=True):
        assert abs(got - share) <= 1


def test_images_stay_with_their_labels_and_in_order() -> None:
    whole = dataset()
    splits = split(whole, train_size=700, val_fraction=0.3, seed=5)
    for part in (splits.train, splits.val):
        assert part is not None
        assert torch.equal(numbers(part), numbers(part).sort().values)
        assert torch.equal(part.labels, whole.train.labels[numbers(part)])


def test_seed_decides_which_images() -> None:
    def held_out(seed: int) -> list[int]:
        val = split(dataset(), train_size=None, val_fraction=0.1, seed=seed).val
        assert val is not None
        return numbers(val).tolist()

    assert held_out(0) == held_out(0)
    assert held_out(0) != held_out(1)


def test_choice_within_a_class_is_random() -> None:
    val = split(dataset(), train_size=None, val_fraction=0.1, seed=0).val
    assert val is not None
    # The mean of 100 of 1000 numbers drawn without replacement: 499.5 with standard error 27.4.
    assert abs(numbers(val).double().mean() - 499.5) < 4 * 27.4


def test_no_fraction_leaves_everything_to_training() -> None:
    whole = dataset()
    splits = split(whole, train_size=None, val_fraction=0.0, seed=0)
    assert splits.val is None
    assert torch.equal(splits.train.images, whole.train.images)
    assert torch.equal(splits.train.labels, whole.train.labels)


def test_published_test_part_is_untouched() -> None:
    whole = dataset()
    splits = split(whole, train_size=10, val_fraction=0.2, seed=0)
    assert splits.test is whole.test
    assert splits.classes == whole.classes


def test_rare_class_keeps_an_image_to_train_on() -> None:
    # By shares alone, 6 of (8, 1, 1) would be 5, 1 and 0.
    splits = split(dataset((8, 1, 1)), train_size=None, val_fraction=0.6, seed=0)
    assert class_counts(splits.val)[:3] == [6, 0, 0]
    assert class_counts(splits.train)[:3] == [2, 1, 1]


@pytest.mark.parametrize("train_size", [0, -5, 1001])
def test_impossible_training_size_is_refused(train_size: int) -> None:
    with pytest.raises(ConfigError, match=rf"data.train_size must lie between 1 and 1000 .*got {train_size}"):
        split(dataset(), train_size=train_size, val_fraction=0.1, seed=0)


@pytest.mark.parametrize("val_fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_impossible_fraction_is_refused(val_fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"data.val_fraction must lie in \[0, 1\)"):
        split(dataset(), train_size=None, val_fraction=val_fraction, seed=0)


def test_both_mistakes_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        split(dataset(), train_size=0, val_fraction=2, seed=0)
    assert len(caught.value.problems) == 2


def test_fraction_that_holds_nothing_out_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data.val_fraction=0.1 of 4 images is none at all"):
        split(dataset(), train_size=4, val_fraction=0.1, seed=0)


def test_fraction_that_empties_a_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"holds out 7 of 8 images in 4 classes"):
        split(dataset((2, 2, 2, 2)), train_size=None, val_fraction=0.9, seed=0)


def test_fraction_that_leaves_no_training_images_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"every class must keep an image"):
        split(dataset(), train_size=1, val_fraction=0.9, seed=0)


def test_largest_remainders_are_rounded_up() -> None:
    # Quotas 4.7, 3.1, 1.2 (of 9 out of 90): two floors of 8, and 0.7 is the largest remainder.
    assert apportion([47, 31, 12], 9) == [5, 3, 1]
    assert apportion([1, 1, 1], 2) == [1, 1, 0]


@given(st.lists(st.integers(0, 50), min_size=1).filter(any), st.data())
def test_shares_add_up_and_are_within_one_of_their_quota(counts: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(counts)))
    shares = apportion(counts, total)
    assert sum(shares) == total
    for share, count in zip(shares, counts, strict=True):
        assert 0 <= share <= count
        assert abs(share * sum(counts) - total * count) < sum(counts)


@given(st.lists(st.integers(1, 9), min_size=1), st.data())
def test_limits_are_kept(counts: list[int], data: st.DataObject) -> None:
    limits = [count - 1 for count in counts]
    total = data.draw(st.integers(0, sum(limits)))
    shares = apportion(counts, total, limits=limits)
    assert sum(shares) == total
    assert all(share <= limit for share, limit in zip(shares, limits, strict=True))


@pytest.mark.parametrize("train_size", [None, 700])
def test_a_published_validation_part_is_the_validation_split(train_size: int | None) -> None:
    whole = dataclasses.replace(dataset(), val=numbered((2, 2, 2, 1)))
    splits = split(whole, train_size=train_size, val_fraction=0.1, seed=0)
    assert splits.val is whole.val
    assert len(splits.train) == (train_size or 1000)
    assert splits.notes == (
        "validation is the data's own part of 7 images: data.val_fraction=0.1 has no effect",
    )


def test_no_fraction_goes_without_a_published_validation_part() -> None:
    whole = dataclasses.replace(dataset(), val=numbered((2, 2, 2, 1)))
    splits = split(whole, train_size=None, val_fraction=0, seed=0)
    assert splits.val is None and len(splits.train) == 1000
    assert splits.notes == (
        "the data's own validation part of 7 images is not used: data.val_fraction=0 wants none",
    )
    with pytest.raises(ConfigError, match=r"lie in \[0, 1\), got 1"):
        split(whole, train_size=None, val_fraction=1, seed=0)


def test_a_held_out_fraction_needs_no_words() -> None:
    assert split(dataset(), train_size=None, val_fraction=0.1, seed=0).notes == ()
