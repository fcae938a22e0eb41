"""A histogram as it is read back: where its values lie, whatever its buckets are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """Counts between finite edges: counts[i] values lie in (edges[i], edges[i + 1]], evenly spread.

    The first bucket that counts something begins at the least value, the last ends at the greatest; empty
    buckets beyond them are gone.

    edges: (buckets + 1,), never falling; two are equal where all values of a bucket are.
    counts: (buckets,).
    mean, std: those of the values themselves, not of the buckets.
    """

    edges: Array
    counts: Array
    mean: float
    std: float

    @property
    def total(self) -> float:
        """How many values were counted."""
        return float(self.counts.sum())

    def up_to(self, x: Array) -> Array:
        """Return the share of values in (-inf, x]."""
        return np.interp(x, self.edges, self._reached(), left=0.0, right=1.0)

    def below(self, x: Array) -> Array:
        """Return the share of values in (-inf, x), less than `up_to` where equal values are."""
        return 1 - np.interp(-x, -self.edges[::-1], 1 - self._reached()[::-1], left=0.0, right=1.0)

    def density(self, cells: Array) -> Array:
        """Return the share of values a unit of x in each cell (cells[i], cells[i + 1]]."""
        return np.diff(self.up_to(cells)) / np.diff(cells)

    def quantile(self, share: float) -> float:
        """Return the least value that `share` of the values do not exceed, to within a bucket."""
        return quantile_of_mixture([self], share)

    def _reached(self) -> Array:
        return np.concatenate([[0.0], np.cumsum(self.counts)]) / self.total


def distribution(
    limits: Sequence[float],
    counts: Sequence[float],
    *,
    minimum: float,
    maximum: float,
    total: float,
    sum_squares: float,
) -> Distribution:
    """Return what a histogram says; the arguments are the fields of `bnexp.protocols.Histogram`.

    Raises:
        ValueError: it counts nothing.
    """
    number = np.asarray(counts, dtype=np.float64)
    filled = np.flatnonzero(number)
    if not filled.size:
        raise ValueError("a distribution needs at least one value, got none")
    first, last = int(filled[0]), int(filled[-1])
    edges = np.concatenate([[minimum], np.asarray(limits[first:last], dtype=np.float64), [maximum]])
    # An extreme may lie across the limit beside it when one of them was rounded.
    edges = np.maximum.accumulate(np.minimum(edges, maximum))
    size = float(number.sum())
    mean = total / size
    spread = sum_squares / size - mean * mean
    return Distribution(edges, number[first : last + 1], mean, math.sqrt(max(spread, 0.0)))


def quantile_of_mixture(parts: Sequence[Distribution], share: float) -> float:
    """Return the least x that `share` of the values do not exceed, each distribution weighing the same."""
    edges = np.unique(np.concatenate([part.edges for part in parts]))
    below = np.mean([part.below(edges) for part in parts], axis=0)
    up_to = np.mean([part.up_to(edges) for part in parts], axis=0)
    x, reached = np.repeat(edges, 2), np.column_stack([below, up_to]).ravel()
    # A share that is reached exactly must not be missed by a rounding.
    place = min(int(np.searchsorted(reached, share - 1e-12)), len(x) - 1)
    if place == 0 or reached[place] <= reached[place - 1]:
        return float(x[place])
    step = (share - reached[place - 1]) / (reached[place] - reached[place - 1])
    return float(x[place - 1] + min(step, 1.0) * (x[place] - x[place - 1]))


def bulk(parts: Sequence[Distribution], share: float = 0.99) -> tuple[float, float]:
    """Return the range of the middle `share` of the values, each distribution weighing the same.

    A range with much on both sides of zero is made symmetric; one that holds a single value is widened.
    """
    low, high = quantile_of_mixture(parts, (1 - share) / 2), quantile_of_mixture(parts, (1 + share) / 2)
    if min(-low, high) > 0.2 * max(-low, high):
        high = max(-low, high)
        low = -high
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        widening = 0.5 * abs(low) or 0.5
        low, high = low - widening, high + widening
    return low, high
