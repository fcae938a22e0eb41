"""Percentiles of a sample: which values are taken, and what is made of them."""

import numpy as np
import pytest
import torch

from bnexp.telemetry.percentiles import SAMPLE, Sampler, percentiles, places, ranked_on_device

SHAPES = [
    (8, 6, 28, 28),
    (64, 16, 10, 10),
    (512, 6, 28, 28),
    (987, 8, 8, 8),
    (33, 512),
    (64, 128, 4, 4),
    (7, 5, 300),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_channel_row_and_column_gets_its_share_of_the_sample(shape):
    where = np.unravel_index(places(shape).numpy(), shape)
    assert len(where[0]) == SAMPLE
    for axis, size in enumerate(shape[1:], start=1):
        share = np.bincount(where[axis], minlength=size) / SAMPLE * size
        assert share.min() > 0, axis
        assert np.abs(share - 1).max() <= 0.35 + 1.5 * size / SAMPLE, axis


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_percentiles_of_channels_that_are_constant_are_those_of_the_channels(shape):
    channels = torch.arange(shape[1]).float()
    x = channels.view(-1, *(1,) * (len(shape) - 2)).expand(shape)
    found = percentiles([Sampler()(x)])[0].numpy()
    assert np.abs(found - np.percentile(channels, [15, 50, 85])).max() <= max(1, 0.02 * shape[1])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_percentiles_of_the_sample_are_near_those_of_all_values(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    oracle = np.percentile(x.numpy(), [15, 50, 85])
    density = np.exp(-(np.array([1.0364, 0, 1.0364]) ** 2) / 2) / np.sqrt(2 * np.pi)
    standard_error = np.sqrt([0.15 * 0.85, 0.25, 0.15 * 0.85]) / density / np.sqrt(SAMPLE)
    assert np.all(np.abs(percentiles([Sampler()(x)])[0].numpy() - oracle) <= 4 * standard_error)


@pytest.mark.parametrize("shape", [(1,), (5, 3), (2, 84), (4, 4, 8, 8)], ids=str)
def test_of_a_small_tensor_every_value_is_taken_once(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert sorted(Sampler()(x).tolist()) == sorted(x.flatten().tolist())


def test_the_sample_is_at_the_same_places_in_every_memory_layout_and_copied():
    x = torch.randn(16, 6, 28, 28, generator=torch.Generator().manual_seed(0))
    sampler = Sampler()
    sample = sampler(x)
    assert torch.equal(sampler(x.to(memory_format=torch.channels_last)), sample)
    before = sample.clone()
    x.zero_()
    assert torch.equal(sample, before)


def test_percentiles_are_the_values_of_nearest_rank_for_samples_of_any_length():
    generator = torch.Generator().manual_seed(0)
    samples = [torch.randn(n, generator=generator) for n in (1, 2, 7, 7, 7, 101, 1024, 1024, 7)]
    found = percentiles(samples).numpy()
    for sample, row in zip(samples, found, strict=True):
        oracle = np.percentile(sample.numpy(), [15, 50, 85], method="nearest")
        assert row.tolist() == oracle.tolist()


def test_samples_stay_in_their_order():
    values = torch.tensor([3.0, 1.0, 2.0])
    percentiles([values])
    assert values.tolist() == [3.0, 1.0, 2.0]


def test_on_a_device_the_percentiles_are_the_same():
    generator = torch.Generator().manual_seed(0)
    samples = [torch.randn(n, generator=generator) for n in (1, 2, 7, 1024)]
    samples[2][3:5] = float("nan")
    assert torch.equal(ranked_on_device(samples).nan_to_num(9.0), percentiles(samples).nan_to_num(9.0))


def test_not_a_number_ranks_above_infinity():
    values = torch.tensor([float("nan"), -1.0, float("inf"), 0.0, float("nan")])
    assert percentiles([values])[0, :2].tolist() == [0.0, float("inf")]
    assert percentiles([values])[0, 2].isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_ranked_as_it_is(dtype):
    values = torch.randn(101, generator=torch.Generator().manual_seed(0)).to(dtype)
    oracle = np.sort(values.float().numpy())[[15, 50, 85]]
    assert percentiles([values])[0].tolist() == oracle.tolist()


def test_away_from_the_cpu_nothing_is_read():
    samples = [Sampler()(torch.empty(8, 6, 28, 28, device="meta")), torch.empty(5, device="meta")]
    assert percentiles(samples).shape == (2, 3)
