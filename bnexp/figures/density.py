"""Smooth curves through histograms: the same share of values in every bucket."""

from __future__ import annotations

import numpy as np

from bnexp.runs.distribution import Array, Distribution

BUCKETS_SEEN = 36
BLUR_PARTS = 90


def joined(found: Distribution, distance: float) -> tuple[Array, Array]:
    """Return the edges that are at least `distance` apart, and the share of values up to each."""
    low, high = found.edges[0], found.edges[-1]
    if high - low < distance:
        middle = (low + high) / 2
        return np.asarray([middle - distance / 2, middle + distance / 2]), np.asarray([0.0, 1.0])
    edges = [low]
    for edge in found.edges:
        if edges[-1] + distance <= edge <= high - distance:
            edges.append(edge)
    reached = found.up_to(np.asarray([*edges, high]))
    reached[0] = 0.0
    return np.asarray([*edges, high]), reached


def smooth_density(found: Distribution, x: Array) -> Array:
    """Return the density at `x`: the derivative of a smooth curve through the cumulative counts.

    Buckets narrower than a 36th of the span of x are first joined, so that few counts in each do not make a
    curve ragged. The curve is the monotone cubic whose slope at an edge is the harmonic mean of counts /
    width beside it: it never falls, and gains over each bucket that bucket's share of the values. Its
    derivative has kinks at the edges, which a Gaussian of a 90th of the span rounds off.

    Shape: x (points,), evenly spaced -> (points,), per unit of x.
    Source: Fritsch & Butland 1984, doi:10.1137/0905021; departs from it in: slope 0 at both ends.
    """
    edges, reached = joined(found, (x[-1] - x[0]) / BUCKETS_SEEN)
    width = np.diff(edges)
    secant = np.diff(reached) / width
    slope = np.concatenate([[0.0], _harmonic_mean(width, secant), [0.0]])
    bucket = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(width) - 1)
    t = (x - edges[bucket]) / width[bucket]
    density = (
        6 * t * (1 - t) * secant[bucket]
        + (1 - t) * (1 - 3 * t) * slope[bucket]
        + t * (3 * t - 2) * slope[bucket + 1]
    )
    density = np.where((x >= edges[0]) & (x <= edges[-1]), np.maximum(density, 0.0), 0.0)
    return _blurred(density, len(x) / BLUR_PARTS)


def _blurred(values: Array, width: float) -> Array:
    """Return the mean under a Gaussian whose standard deviation is `width` points; ends count as mirrored."""
    reach = int(4 * width) + 1
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    return np.convolve(np.pad(values, reach, mode="symmetric"), weight / weight.sum(), mode="valid")


def _harmonic_mean(width: Array, secant: Array) -> Array:
    """Return the weighted harmonic mean of neighbouring secants, 0 where one of them is."""
    before, after = secant[:-1], secant[1:]
    weight = (width[:-1] + 2 * width[1:]) / (3 * (width[:-1] + width[1:]))
    both = before * after
    return np.where(both > 0, both / np.where(both > 0, weight * after + (1 - weight) * before, 1.0), 0.0)
