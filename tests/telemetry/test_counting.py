"""Counting into fixed buckets, against numpy's histogram in float64."""

import math

import numpy as np
import pytest
import torch

from bnexp.telemetry.counting import (
    ACTIVATIONS,
    BUCKETS,
    GRADIENTS,
    VARIANCES,
    Grid,
    count,
    histogram,
    tally,
    tally_by_adding,
)

GRIDS = {"activations": ACTIVATIONS, "gradients": GRADIENTS, "variances": VARIANCES}


def counted(values, grid):
    return histogram(count(values, grid).numbers.tolist(), grid)


def numpy_counts(values, grid):
    """numpy's buckets are [low, high), ours (low, high]: so both are turned around."""
    values = values.double().numpy().ravel()
    edges = np.array([-math.inf, *grid.limits[:-1], math.inf])
    return np.histogram(-values[np.isfinite(values)], -edges[::-1])[0][::-1].tolist()


def distributions():
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], 5000)
    spoiled = rng.normal(size=5000)
    spoiled[::7], spoiled[::11], spoiled[::13] = np.nan, np.inf, -np.inf
    return {
        "uniform": rng.uniform(-3, 5, 5000),
        "gaussian": rng.normal(size=5000),
        "narrow": rng.normal(0, 0.05, 5000),
        "wide": rng.normal(0, 50, 5000),
        "gradients": rng.normal(size=5000) * 10 ** rng.uniform(-9, 2, 5000),
        "positive": rng.lognormal(0, 6, 5000),
        "all equal": np.full(100, 0.25),
        "all zero": np.zeros(9),
        "negative zero": np.array([-0.0, 0.0]),
        "with non-finite": spoiled,
        "only nan": np.full(5, np.nan),
        "1e-30 to 1e30": signs * 10 ** rng.uniform(-30, 30, 5000),
        "subnormal": signs * 10 ** rng.uniform(-45, -38, 5000),
        "empty": np.empty(0),
    }


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("values", distributions().values(), ids=distributions())
def test_counts_are_those_of_numpy(values, grid):
    values = torch.from_numpy(values).float()
    drawn, non_finite = counted(values, grid)
    assert drawn.counts == numpy_counts(values, grid)
    assert non_finite == np.sum(~np.isfinite(values.numpy()))
    assert drawn.limits == grid.limits


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_counts_in_other_number_formats_are_those_of_numpy(dtype, grid):
    values = torch.from_numpy(distributions()["gradients"]).float().to(dtype)
    drawn, non_finite = counted(values, grid)
    assert (drawn.counts, non_finite) == (numpy_counts(values, grid), 0)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_value_on_a_limit_belongs_below_it_and_the_next_float_above(grid):
    inner = torch.tensor(grid.limits[:-1])
    assert inner.double().tolist() == grid.limits[:-1]
    one_each = [1] * (BUCKETS - 1)
    assert counted(inner, grid)[0].counts == [*one_each, 0]
    assert counted(torch.nextafter(inner, torch.tensor(math.inf)), grid)[0].counts == [0, *one_each]


@pytest.mark.parametrize("values", [range(-200, 201), [7] * 5], ids=["all", "equal"])
def test_whole_numbers_are_counted_as_numpy_does(values):
    grid = Grid(range(-30, 33))
    values = torch.tensor(list(values))
    drawn, _ = counted(values, grid)
    assert drawn.counts == numpy_counts(values.float(), grid)
    assert sum(drawn.counts) == len(values)


@pytest.mark.parametrize("grid", [ACTIVATIONS, GRADIENTS])
def test_a_signed_grid_counts_the_negative_values_mirrored(grid):
    values = torch.from_numpy(distributions()["1e-30 to 1e30"]).float()
    assert counted(-values, grid)[0].counts == counted(values, grid)[0].counts[::-1]


@pytest.mark.parametrize("shift", [-10, 0, 10])
def test_moments_are_those_of_the_finite_values(shift):
    values = torch.from_numpy(distributions()["with non-finite"]).float() + shift
    drawn, _ = counted(values, ACTIVATIONS)
    finite = values.double().numpy()
    finite = finite[np.isfinite(finite)]
    assert (drawn.minimum, drawn.maximum) == (finite.min(), finite.max())
    assert drawn.total == pytest.approx(math.fsum(finite), rel=1e-12, abs=1e-12)
    assert drawn.sum_squares == pytest.approx(math.fsum(finite**2), rel=1e-12, abs=0)


def test_the_square_of_1e30_does_not_overflow_and_it_is_in_the_last_bucket():
    drawn, non_finite = counted(torch.tensor([1e30, -1e30, 2.0]), ACTIVATIONS)
    assert (drawn.counts[0], drawn.counts[-1], non_finite) == (1, 1, 0)
    assert drawn.sum_squares == pytest.approx(2e60, rel=1e-6, abs=0)


@pytest.mark.parametrize("values", [[math.nan, math.inf, -math.inf], []])
def test_where_nothing_is_finite_nothing_is_counted_and_there_is_no_minimum(values):
    drawn, non_finite = counted(torch.tensor(values), ACTIVATIONS)
    assert (sum(drawn.counts), drawn.total, drawn.sum_squares, non_finite) == (0, 0, 0, len(values))
    assert math.isnan(drawn.minimum) and math.isnan(drawn.maximum)


def test_every_nan_is_told_apart_from_zero_whatever_its_bits():
    patterns = [0x7F800001, 0x7FC00000, 0x7FFFFFFF, -0x400000, -1, -0x7FFFFF]
    values = torch.tensor(patterns, dtype=torch.int32).view(torch.float32)
    assert values.isnan().all()
    assert counted(values, ACTIVATIONS)[1] == len(patterns)


def test_the_layout_in_memory_does_not_matter():
    x = torch.randn(4, 6, 5, 7, generator=torch.Generator().manual_seed(0))
    flat = counted(x, ACTIVATIONS)
    assert counted(x.to(memory_format=torch.channels_last), ACTIVATIONS)[0].counts == flat[0].counts
    part = x.transpose(0, 3)[1:]
    assert counted(part, ACTIVATIONS)[0].counts == numpy_counts(part, ACTIVATIONS)


def test_without_bincount_the_counts_are_the_same():
    buckets = ACTIVATIONS.buckets(torch.from_numpy(distributions()["with non-finite"]).float())
    assert torch.equal(tally_by_adding(buckets), tally(buckets))


def test_away_from_the_cpu_nothing_is_read_while_counting():
    assert count(torch.empty(3, 4, device="meta"), ACTIVATIONS).numbers.device.type == "meta"


def test_it_changes_nothing():
    x = torch.tensor([1.0, math.nan, -math.inf, 0.5])
    before = x.clone()
    count(x, ACTIVATIONS)
    assert torch.equal(x.view(torch.int32), before.view(torch.int32))


@pytest.mark.parametrize(
    ("grid", "deviations"),
    [(ACTIVATIONS, [0.05, 0.3, 1.0, 10.0, 50.0]), (GRADIENTS, [1e-6, 1e-3, 1.0])],
    ids=["activations", "gradients"],
)
def test_a_gaussian_of_any_usual_size_fills_several_buckets_and_none_too_much(grid, deviations):
    for deviation in deviations:
        values = deviation * torch.randn(20_000, generator=torch.Generator().manual_seed(0))
        counts = np.array(counted(values, grid)[0].counts) / 20_000
        assert np.sum(counts > 0.005) >= 8, deviation
        assert counts.max() < 0.25, deviation
        assert counts[0] + counts[-1] < 0.05, deviation


@pytest.mark.parametrize(
    ("grid", "first", "last"),
    [(ACTIVATIONS, -102, 102), (GRADIENTS, -8.9, 8.9), (VARIANCES, 1.2e-6, 17_800)],
    ids=GRIDS,
)
def test_the_inner_limits_are_those_of_the_documentation(grid, first, last):
    assert grid.limits[0] == pytest.approx(first, rel=0.02)
    assert grid.limits[-2] == pytest.approx(last, rel=0.02)
    assert all(low < high for low, high in zip(grid.limits, grid.limits[1:], strict=False))
    assert len(grid.limits) == BUCKETS <= 64


def test_a_variance_of_1_lies_inside_its_bucket():
    above = next(limit for limit in VARIANCES.limits if limit >= 1)
    assert above > 1.2


def test_another_number_of_edges_is_refused():
    with pytest.raises(ValueError, match="63 edges, got 3"):
        Grid([1, 2, 3])
