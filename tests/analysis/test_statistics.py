"""Means, intervals and paired tests against scipy.stats and forms that close for two and three values."""

import math

import numpy as np
import pytest
from scipy import stats

from bnexp.analysis.statistics import binomial_half_width, estimate, holm, paired, two_sided


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


def test_equal_differences_are_no_proof():
    """Without a grid nothing says how much they would vary: no interval, no p."""
    assert paired([0.5, 0.75], [0.5, 0.75]).p == 1
    found = paired([0.5, 0.75], [0.25, 0.5])
    assert (found.estimate.mean, found.estimate.half_width, found.p) == (0.25, None, None)


@pytest.mark.parametrize("n, hits", [(2, 1), (2, 8), (3, 1), (3, 40), (10, 3)])
def test_equal_differences_on_a_grid_have_the_spread_of_rounding(n, hits):
    """By scipy's t: n differences of `hits` images each of 512, tested by half an image less in their sum."""
    found = paired([(256 + hits) / 512] * n, [256 / 512] * n, 1 / 512)
    error = math.sqrt(1 / 6) / 512 / math.sqrt(n)
    np.testing.assert_allclose(found.p, 2 * stats.t.sf((hits - 0.5 / n) / 512 / error, n - 1), rtol=1e-9)
    half_width = stats.t.ppf(0.975, n - 1) * error + 0.5 / n / 512
    np.testing.assert_allclose(found.estimate.half_width, half_width, rtol=1e-9)
    mean = estimate([256 / 512] * n, 1 / 512)
    expected = stats.t.ppf(0.975, n - 1) * math.sqrt(1 / 12) / 512 / math.sqrt(n) + 0.5 / n / 512
    np.testing.assert_allclose(mean.half_width, expected, rtol=1e-9)


@pytest.mark.parametrize("examples", [359, 10_000])
@pytest.mark.parametrize("n", range(2, 11))
@pytest.mark.parametrize("spread", [0.003, 0.005, 0.01])
def test_without_an_effect_one_comparison_in_twenty_is_significant(examples, n, spread):
    """Shares of whole images with equal true means, 20,000 times: at most 5 % and 3 standard errors."""
    random, repeats = np.random.default_rng([examples, n, round(1000 * spread)]), 20_000
    one, other = np.round(examples * random.normal(0.9, spread, (2, repeats, n))) / examples
    p = two_sided((one - other).mean(1), (one - other).std(1, ddof=1), n, 1 / examples)
    assert (p < 0.05).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
    for place in range(3):  # what was simulated is what is printed, and the interval says the same
        found = paired(one[place].tolist(), other[place].tolist(), 1 / examples)
        np.testing.assert_allclose(found.p, p[place], rtol=1e-6)
        assert (found.p < 0.05) == (abs(found.estimate.mean) > found.estimate.half_width)


def test_lost_pairs_leave_no_p():
    found = paired([1.0, 4.0], [0.0, 0.0], lost=1)
    assert found.p is None and found.lost == 1 and found.estimate.half_width is not None


def test_holm_by_hand():
    """m = 3: 0.01 times 3, 0.02 times 2, 0.04 as it is but no less than those before; None does not count."""
    np.testing.assert_allclose(holm([0.02, 0.01, 0.04]), [0.04, 0.03, 0.04], rtol=1e-12)
    assert holm([None, 0.03, None]) == [None, 0.03, None] and holm([]) == []
    assert holm([0.6, 0.5]) == [1.0, 1.0]


def test_the_error_of_the_test_set_is_wilsons():
    interval = stats.binomtest(350, 359).proportion_ci(0.95, "wilson")
    half_width = (interval.high - interval.low) / 2
    np.testing.assert_allclose(binomial_half_width(350 / 359, 359), half_width, rtol=1e-9)
    assert 0.004 < binomial_half_width(1.0, 359) < 0.006


def test_no_values_and_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="at least one value"):
        estimate([])
    with pytest.raises(ValueError):
        paired([1.0, 2.0], [1.0])
