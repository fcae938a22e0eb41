"""Batches follow from seed and step alone, cover an epoch once, and are normalized and shifted as said."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from bnexp.data.augment import PADDING, Shifts, shift
from bnexp.data.batches import EvalBatches, Pixels, TrainBatches
from bnexp.errors import ConfigError
from bnexp.protocols import Batch, Split


def random_split(num: int, channels: int = 1, size: int = 5, *, seed: int = 0) -> Split:
    """Random images whose label is their number."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (num, channels, size, size), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(num))


def batches_of(split: Split, **changes: object) -> TrainBatches:
    knobs = {
        "batch_size": 4,
        "accumulate": 1,
        "drop_last": False,
        "augment": False,
        "seed": 0,
        "device": "cpu",
        "pixels": Pixels(split, device="cpu"),
        "channels_last": False,
    }
    return TrainBatches(split, **(knobs | changes))  # type: ignore[arg-type]


def sizes(batches: TrainBatches, epoch: int = 0) -> list[list[int]]:
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    return [[len(batch) for batch in batches.group(step)] for step in steps]


def epoch_of(batches: TrainBatches, epoch: int = 0) -> Batch:
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    whole = [batch for step in steps for batch in batches.group(step)]
    return Batch(torch.cat([batch.inputs for batch in whole]), torch.cat([batch.targets for batch in whole]))


def assert_same(one: Batch, other: Batch) -> None:
    assert torch.equal(one.inputs, other.inputs)
    assert torch.equal(one.targets, other.targets)


@pytest.mark.parametrize("augment", [False, True])
def test_any_step_in_any_order_gives_the_same_batches(augment: bool) -> None:
    split = random_split(23, channels=3)
    knobs = {"accumulate": 2, "augment": augment, "seed": 7}
    in_order = [batches_of(split, **knobs).group(step) for step in range(9)]
    jumping = batches_of(split, **knobs)
    for step in (8, 0, 4, 3, 8, 2, 7, 1, 6, 5):
        for one, other in zip(jumping.group(step), in_order[step], strict=True):
            assert_same(one, other)


def test_every_example_comes_once_an_epoch_in_a_new_order() -> None:
    batches = batches_of(random_split(23), accumulate=2)
    orders = [epoch_of(batches, epoch).targets.tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert len(set(map(tuple, orders))) == 3


def test_seed_decides_the_order() -> None:
    split = random_split(23)
    one, other = (epoch_of(batches_of(split, seed=seed)).targets for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(1, 1), (3, 2), (8, 1), (23, 1), (40, 3)])
@pytest.mark.parametrize("epoch", [0, 2])
def test_order_and_shifts_do_not_depend_on_the_batch_size(
    batch_size: int, accumulate: int, epoch: int
) -> None:
    split = random_split(23, channels=3)
    one = batches_of(split, augment=True)
    other = batches_of(split, augment=True, batch_size=batch_size, accumulate=accumulate)
    assert_same(epoch_of(one, epoch), epoch_of(other, epoch))


def test_augmentation_does_not_change_the_order() -> None:
    split = random_split(23, channels=3)
    plain, shifted = (epoch_of(batches_of(split, augment=augment)) for augment in (False, True))
    assert torch.equal(plain.targets, shifted.targets)
    assert not torch.equal(plain.inputs, shifted.inputs)


def test_targets_belong_to_their_inputs() -> None:
    split = random_split(23)
    pixels = Pixels(split, device="cpu")
    whole = epoch_of(batches_of(split, pixels=pixels), epoch=1)
    assert torch.equal(whole.inputs, pixels(split.images)[whole.targets])


@pytest.mark.parametrize(
    ("num", "batch_size", "accumulate", "drop_last", "expected"),
    [
        (23, 4, 2, "auto", [[4, 4], [4, 4], [4, 3]]),
        (21, 4, 2, "auto", [[4, 4], [4, 4], [4]]),
        (21, 4, 2, False, [[4, 4], [4, 4], [4, 1]]),
        (21, 4, 2, True, [[4, 4], [4, 4], [4]]),
        (23, 4, 2, True, [[4, 4], [4, 4], [4]]),
        (17, 4, 2, "auto", [[4, 4], [4, 4]]),
        (17, 4, 2, False, [[4, 4], [4, 4], [1]]),
        (16, 4, 2, True, [[4, 4], [4, 4]]),
        (5, 1, 2, "auto", [[1, 1], [1, 1], [1]]),
        (5, 1, 2, True, [[1, 1], [1, 1], [1]]),
        (5, 8, 3, "auto", [[5]]),
        (5, 8, 1, False, [[5]]),
        (1, 8, 1, "auto", [[1]]),
        (5, 5, 1, True, [[5]]),
    ],
)
def test_updates_and_what_is_dropped(
    num: int, batch_size: int, accumulate: int, drop_last: bool | str, expected: list[list[int]]
) -> None:
    batches = batches_of(random_split(num), batch_size=batch_size, accumulate=accumulate, drop_last=drop_last)
    assert batches.steps_per_epoch == len(expected)
    assert sizes(batches) == sizes(batches, epoch=3) == expected
    groups = expected * 3
    for steps in range(len(groups) + 1):
        assert batches.epoch.passes_in(steps) == sum(map(len, groups[:steps]))
        assert batches.epoch.examples_in(steps) == sum(map(sum, groups[:steps]))
    assert batches.epoch.num_examples == sum(map(sum, expected))
    assert (batches.epoch.largest, batches.epoch.last) == (expected[0][0], expected[-1][-1])


def test_dropping_every_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"drop_last=true needs a batch_size of at most 5 .*got 8"):
        batches_of(random_split(5), batch_size=8, drop_last=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics_are_those_of_the_training_pixels(channels: int) -> None:
    split = random_split(50, channels)
    pixels = Pixels(split, device="cpu")
    oracle = split.images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(pixels.mean, oracle.mean(axis=(0, 2, 3)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(pixels.std, oracle.std(axis=(0, 2, 3)), rtol=1e-12, atol=1e-12)


def test_normalization_matches_numpy_in_double_precision() -> None:
    split = random_split(50, 3)
    normalized = Pixels(split, device="cpu")(split.images)
    assert normalized.dtype == torch.float32
    images = split.images.numpy().astype(np.float64)
    mean, std = (moment(axis=(0, 2, 3), keepdims=True) for moment in (images.mean, images.std))
    # The mean is a float32 of up to 255, so pixels near it keep an absolute error of 255 * 2**-24 / std.
    np.testing.assert_allclose(normalized.numpy(), (images - mean) / std, rtol=1e-5, atol=1e-6)


def test_nearly_constant_channel_keeps_its_spread() -> None:
    images = torch.full((1000, 1, 10, 10), 255, dtype=torch.uint8)
    images[0, 0, 0, 0] = 254
    std = Pixels(Split(images, torch.zeros(1000)), device="cpu").std[0]
    assert std == pytest.approx(np.sqrt(1e-5 * (1 - 1e-5)) / 255, rel=1e-12)


def test_constant_channel_becomes_zero() -> None:
    split = random_split(10, 2)
    split.images[:, 1] = 200
    pixels = Pixels(split, device="cpu")
    assert pixels.std[1] == 1
    assert (pixels(split.images)[:, 1] == 0).all()
    assert pixels(split.images)[:, 0].std() > 0.5


def shifted_by_hand(image_CHW: np.ndarray, row: int, column: int, mirrored: bool) -> np.ndarray:
    channels, height, width = image_CHW.shape
    result = np.zeros_like(image_CHW)
    for c, y, x in itertools.product(range(channels), range(height), range(width)):
        from_y, from_x = y + row - PADDING, (width - 1 - x if mirrored else x) + column - PADDING
        if 0 <= from_y < height and 0 <= from_x < width:
            result[c, y, x] = image_CHW[c, from_y, from_x]
    return result


@pytest.mark.parametrize("shape", [(3, 8, 10), (1, 7, 7), (2, 3, 2), (3, 1, 1)])
def test_shift_matches_a_slow_oracle_at_every_offset(shape: tuple[int, int, int]) -> None:
    places = list(itertools.product(range(9), range(9), (False, True)))
    images = torch.randn(len(places), *shape, generator=torch.Generator().manual_seed(0))
    rows, columns, mirrored = (torch.tensor(values) for values in zip(*places, strict=True))
    shifted = shift(images, Shifts(rows, columns, mirrored)).numpy()
    for image, place, got in zip(images.numpy(), places, shifted, strict=True):
        np.testing.assert_array_equal(got, shifted_by_hand(image, *place))


def found_shift(original: np.ndarray, got: np.ndarray) -> tuple[int, int, bool]:
    """Return the only (row, column, mirrored) that makes `got` of `original`."""
    [place] = [
        place
        for place in itertools.product(range(9), range(9), (False, True))
        if np.array_equal(shifted_by_hand(original, *place), got)
    ]
    return place


def places_of(channels: int, epoch: int = 0) -> list[tuple[int, int, bool]]:
    split = random_split(60, channels, size=6)
    pixels = Pixels(split, device="cpu")
    whole = epoch_of(batches_of(split, augment=True, pixels=pixels), epoch)
    originals = pixels(split.images)[whole.targets].numpy()
    return [found_shift(*pair) for pair in zip(originals, whole.inputs.numpy(), strict=True)]


def test_colour_images_are_cropped_anywhere_and_mirrored_by_half() -> None:
    rows, columns, mirrored = zip(*places_of(channels=3), strict=True)
    assert min(rows) == min(columns) == 0 and max(rows) == max(columns) == 8
    # A fair coin thrown 60 times: 30 with standard error 3.9.
    assert abs(sum(mirrored) - 30) < 4 * 3.9


def test_grey_images_are_cropped_and_never_mirrored() -> None:
    rows, columns, mirrored = zip(*places_of(channels=1), strict=True)
    assert min(rows) == min(columns) == 0 and max(rows) == max(columns) == 8
    assert not any(mirrored)


def test_shifts_change_with_the_epoch() -> None:
    assert places_of(channels=3, epoch=0) != places_of(channels=3, epoch=1)


@pytest.mark.parametrize("augment", [False, True])
def test_channels_last_changes_the_layout_and_nothing_else(augment: bool) -> None:
    split = random_split(23, 3)
    plain = batches_of(split, augment=augment).group(1)[0]
    last = batches_of(split, augment=augment, channels_last=True).group(1)[0]
    assert plain.inputs.is_contiguous()
    assert last.inputs.is_contiguous(memory_format=torch.channels_last)
    assert_same(plain, last)


def test_batches_first_seen_in_inference_mode_can_be_trained_on() -> None:
    batches = batches_of(random_split(6))
    with torch.inference_mode():
        batches.group(10)
    batch = batches.group(10)[0]
    logits = torch.zeros(len(batch), 6, requires_grad=True)
    torch.nn.functional.cross_entropy(logits * 1, batch.targets).backward()
    assert logits.grad is not None


def eval_batches(split: Split, batch_size: int) -> EvalBatches:
    pixels = Pixels(split, device="cpu")
    return EvalBatches(split, batch_size=batch_size, device="cpu", pixels=pixels, channels_last=False)


def test_evaluation_goes_through_the_split_in_order_every_time() -> None:
    split = random_split(23)
    batches = eval_batches(split, 10)
    assert len(batches) == 23
    for _ in range(2):
        whole = list(batches)
        assert [len(batch) for batch in whole] == [10, 10, 3]
        assert torch.equal(torch.cat([batch.targets for batch in whole]), split.labels)
        inputs: Tensor = torch.cat([batch.inputs for batch in whole])
        assert torch.equal(inputs, Pixels(split, device="cpu")(split.images))


def test_evaluation_uses_the_training_statistics() -> None:
    train, test = random_split(50), random_split(20, seed=1)
    pixels = Pixels(train, device="cpu")
    [batch] = EvalBatches(test, batch_size=50, device="cpu", pixels=pixels, channels_last=False)
    oracle = (test.images.double() / 255 - pixels.mean[0]) / pixels.std[0]
    torch.testing.assert_close(batch.inputs.double(), oracle, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
def test_every_device_gets_the_same_batches() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    split = random_split(23, 3)
    on_cpu = batches_of(split, augment=True)
    on_gpu = batches_of(split, augment=True, device="cuda", pixels=Pixels(split, device="cuda"))
    for step in range(12):
        for one, other in zip(on_cpu.group(step), on_gpu.group(step), strict=True):
            assert_same(one, Batch(other.inputs.cpu(), other.targets.cpu()))
