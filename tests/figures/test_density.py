"""Smooth curves through histograms: the same areas, scipy's monotone cubic, nothing where nothing is."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from synthetic_runs import distribution_of

from bnexp.figures import density
from bnexp.figures.density import joined, smooth_density


@pytest.fixture
def normal():
    return distribution_of(np.random.default_rng(0).standard_normal(20_000))


def test_the_area_is_one(normal):
    x = np.linspace(-6, 6, 4001)
    assert np.trapezoid(smooth_density(normal, x), x) == pytest.approx(1, abs=2e-3)


def test_the_curve_follows_the_density_that_the_values_have(normal):
    x = np.linspace(-3, 3, 400)
    true = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    assert np.abs(smooth_density(normal, x) - true).max() < 0.03


def test_before_rounding_it_is_the_derivative_of_scipys_monotone_cubic(normal, monkeypatch):
    monkeypatch.setattr(density, "_blurred", lambda values, width: values)
    x = np.linspace(-2, 2, 401)
    edges, reached = joined(normal, 4 / density.BUCKETS_SEEN)
    expected = PchipInterpolator(edges, reached).derivative()(x)
    inside = (x > edges[1]) & (x < edges[-2])  # scipy extrapolates the slopes at both ends
    np.testing.assert_allclose(smooth_density(normal, x)[inside], expected[inside], rtol=1e-9, atol=1e-12)


def test_joining_moves_no_value_across_an_edge_that_stays(normal):
    edges, reached = joined(normal, 0.5)
    assert np.diff(edges).min() >= 0.5
    np.testing.assert_allclose(reached, normal.up_to(edges), rtol=0, atol=1e-12)
    assert set(edges) <= set(normal.edges) and (edges[0], edges[-1]) == (normal.edges[0], normal.edges[-1])


@pytest.mark.parametrize("value", [0.0, 0.7, -1.2])
def test_equal_values_become_a_peak_where_they_are(value):
    x = np.linspace(-2, 2, 401)
    curve = smooth_density(distribution_of([value] * 9), x)
    assert x[curve.argmax()] == pytest.approx(value, abs=0.06)
    assert np.trapezoid(curve, x) == pytest.approx(1, abs=0.02)
    assert curve[np.abs(x - value) > 0.4].max() < 1e-6


def test_there_is_nothing_beyond_the_values():
    x = np.linspace(-4, 4, 401)
    curve = smooth_density(distribution_of(np.random.default_rng(0).uniform(0, 1, 5000)), x)
    assert curve[(x < -0.4) | (x > 1.4)].max() < 1e-6
    assert (curve >= 0).all()
