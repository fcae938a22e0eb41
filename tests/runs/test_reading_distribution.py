"""What a histogram says about its values, against numpy on the values themselves."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_runs import LIMITS, distribution_of

from bnexp.runs.distribution import bulk, distribution, quantile_of_mixture


def widest_bucket_at(value):
    place = int(np.searchsorted(LIMITS, value))
    return np.diff(LIMITS)[max(0, place - 2) : place + 1].max()


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_a_quantile_lies_within_a_bucket_of_the_true_one(values, share):
    found, true = distribution_of(values).quantile(share), np.quantile(values, share, method="inverted_cdf")
    assert abs(found - true) <= widest_bucket_at(true)
    assert min(values) <= found <= max(values)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=60))
def test_the_share_up_to_a_limit_is_exact(values):
    inner = np.asarray([limit for limit in LIMITS if min(values) < limit < max(values)])
    expected = [np.mean(np.asarray(values) <= limit) for limit in inner]
    np.testing.assert_allclose(distribution_of(values).up_to(inner), expected, rtol=0, atol=1e-12)


def test_moments_are_those_of_the_values():
    values = np.random.default_rng(0).standard_normal(1000) * 3 + 1
    assert distribution_of(values).mean == pytest.approx(values.mean(), rel=1e-12)
    assert distribution_of(values).std == pytest.approx(values.std(), rel=1e-12)
    assert distribution_of(values).total == 1000


def test_density_over_all_cells_is_the_share_of_values_in_them():
    values = np.random.default_rng(0).standard_normal(1000)
    cells = np.asarray([limit for limit in LIMITS if -4 < limit < 4])
    share = distribution_of(values).density(cells) * np.diff(cells)
    expected = [np.mean((values > low) & (values <= high)) for low, high in itertools.pairwise(cells)]
    np.testing.assert_allclose(share, expected, rtol=0, atol=1e-12)


def test_equal_values_stand_at_one_place():
    found = distribution_of([0.3] * 7)
    assert list(found.edges) == [0.3, 0.3] and list(found.counts) == [7]
    assert found.quantile(0.15) == found.quantile(0.85) == 0.3
    assert found.below(np.asarray([0.3])) == 0 and found.up_to(np.asarray([0.3])) == 1
    assert found.std == 0


def test_a_mixture_weighs_few_values_like_many():
    few, many = distribution_of([5.0]), distribution_of([-5.0] * 1000)
    assert quantile_of_mixture([few, many], 0.49) == pytest.approx(-5.0)
    assert quantile_of_mixture([few, many], 0.51) == pytest.approx(5.0)


def test_the_bulk_does_not_care_for_outliers():
    values = np.random.default_rng(0).standard_normal(10_000)
    calm = bulk([distribution_of(values)])
    values[:20] = 1e6
    wild = bulk([distribution_of(values, [*LIMITS[:-1], 2e6])])
    assert calm == pytest.approx((-2.6, 2.6), abs=0.4)
    assert wild == pytest.approx(calm, abs=0.2)


def test_the_bulk_is_symmetric_only_around_zero():
    random = np.random.default_rng(0)
    low, high = bulk([distribution_of(random.standard_normal(1000) + 0.5)])
    assert low == -high
    low, high = bulk([distribution_of(random.uniform(0, 1, 1000))])
    assert low == pytest.approx(0, abs=0.02) and high == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-9, 70.0])
def test_the_bulk_of_one_value_has_a_width(value):
    low, high = bulk([distribution_of([value] * 4)])
    assert low < value < high


def test_nothing_counted_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        distribution([1.0], [0.0], minimum=0, maximum=0, total=0, sum_squares=0)
