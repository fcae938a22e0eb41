"""Means, intervals and paired tests against scipy.stats and forms that close for two and three values."""

import math

import numpy as np
import pytest
from scipy import stats

from bnexp.analysis.statistics import estimate, paired


@pytest.mark.parametrize("n", [2, 3, 5, 10, 200])
def test_an_interval_is_that_of_student(n):
    values = np.random.default_rng(n).normal(0.9, 0.02, n).tolist()
    found = estimate(values)
    low, high = stats.t.interval(0.95, n - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found.n == n
    np.testing.assert_allclose(
        [found.mean - found.half_width, found.mean + found.half_width], [low, high], rtol=1e-12
    )
    np.testing.assert_allclose(found.std, math.sqrt(stats.tvar(values)), rtol=1e-12)


def test_two_and_three_values_by_hand():
    two = estimate([0.0, 2.0])  # one degree of freedom: Cauchy's quantile
    assert (two.n, two.mean) == (2, 1.0)
    np.testing.assert_allclose(
        [two.std, two.half_width], [math.sqrt(2), math.tan(0.475 * math.pi)], rtol=1e-12
    )
    three = estimate([1.0, 2.0, 3.0])  # two degrees: t = q sqrt(2 / (1 - q^2)) for the share q within
    half_width = 0.95 * math.sqrt(2 / (1 - 0.95**2)) / math.sqrt(3)
    np.testing.assert_allclose([three.mean, three.std, three.half_width], [2, 1, half_width], rtol=1e-12)


def test_a_single_value_says_nothing_of_its_spread():
    found = estimate([0.5])
    assert (found.n, found.mean, found.std, found.half_width) == (1, 0.5, None, None)
    difference = paired([0.5], [0.25])
    assert (
        difference.estimate.mean == 0.25 and difference.estimate.half_width is None and difference.p is None
    )


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.0])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_equal_values_have_no_spread_at_all(value, n):
    found = estimate([value] * n)
    assert (found.mean, found.std, found.half_width) == (value, 0.0, 0.0)


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_p_is_that_of_a_paired_t_test(n):
    random = np.random.default_rng(n)
    baseline = random.normal(0.9, 0.05, n)  # seeds differ by more than the effect: only pairs see it
    values = baseline + random.normal(0.01, 0.01, n)
    found, known = paired(values.tolist(), baseline.tolist()), stats.ttest_rel(values, baseline)
    np.testing.assert_allclose(found.p, known.pvalue, rtol=1e-9)
    interval = known.confidence_interval(0.95)
    half_width = (interval.high - interval.low) / 2
    np.testing.assert_allclose(found.estimate.half_width, half_width, rtol=1e-9)
    np.testing.assert_allclose(found.estimate.mean, np.mean(values) - np.mean(baseline), atol=1e-12)
    other_way = paired(baseline.tolist(), values.tolist())
    assert other_way.estimate.mean == -found.estimate.mean and other_way.p == found.p


def test_p_of_two_pairs_by_hand():
    found = paired([1.0, 4.0], [0.0, 0.0])  # differences 1 and 4: t = 2.5 / 1.5, Cauchy's tails
    np.testing.assert_allclose(found.p, 1 - 2 / math.pi * math.atan(5 / 3), rtol=1e-12)


def test_differences_without_spread():
    assert paired([0.5, 0.75], [0.5, 0.75]).p == 1
    assert paired([0.5, 0.75], [0.25, 0.5]).p == 0


def test_no_values_and_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="at least one value"):
        estimate([])
    with pytest.raises(ValueError):
        paired([1.0, 2.0], [1.0])
