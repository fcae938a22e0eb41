"""What a few seeds allow to say: means with intervals, paired differences, and several tests at once.

Both are Student's (1908): measurements of different seeds are taken as independent draws of one normal
distribution, and so are differences between runs that share a seed.

A share of examples is a whole number of them divided by theirs, so a few seeds often agree by rounding alone,
and a spread of 0 would prove everything. Rounding to a grid of step h adds a variance of h^2 / 12 (Sheppard
1898), twice that to a difference; no spread is taken to be less. The sum of n differences lies on the grid
too: it is tested by the middle between two of its points, which is h / (2 n) of the mean (Yates 1934).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
STEPS_OF_A_MEAN, STEPS_OF_A_DIFFERENCE = math.sqrt(1 / 12), math.sqrt(1 / 6)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` values.

    std: that of the values, with n - 1. half_width: of the 95 % interval, on a grid of step h
    t(0.975, n - 1) s / sqrt(n) + h / (2 n), where s is std, or what rounding gives if that is more. Both are
    None for a single value, which says nothing of its own spread.
    """

    n: int
    mean: float
    std: float | None
    half_width: float | None


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, its interval, and the two-sided p of a mean of zero (paired t-test).

    lost: pairs of which a run has no number, such as a diverged one. Those that are left are a selection, so
        there is no p then.
    holm: p corrected for the number of tests; see `holm`.
    """

    estimate: Estimate
    p: float | None
    lost: int = 0
    holm: float | None = None


def estimate(values: Sequence[float], step: float = 0.0) -> Estimate:
    """Return the mean of at least one value, and how far to trust it.

    Args:
        step: of the grid on which the values lie, such as 1 / examples of a share of them.
    Raises:
        ValueError: no value.
    """
    return _estimate(values, step, STEPS_OF_A_MEAN)


def paired(
    values: Sequence[float], baseline: Sequence[float], step: float = 0.0, lost: int = 0
) -> Difference:
    """Return values - baseline, pair by pair.

    p is None for a single pair and where pairs are lost. Differences that are equal to the last bit and on no
    known grid say nothing of their spread: they have neither interval nor p, unless all are 0, whose p is 1.

    Raises:
        ValueError: no pair, or sequences of unequal length.
    """
    differences = [one - other for one, other in zip(values, baseline, strict=True)]
    found = _estimate(differences, step, STEPS_OF_A_DIFFERENCE)
    if found.std is None or lost:
        return Difference(found, None, lost)
    if max(found.std, step) == 0:
        same = found.mean == 0
        return Difference(found if same else replace(found, half_width=None), 1.0 if same else None)
    p = two_sided(np.asarray(found.mean), np.asarray(found.std), found.n, step)
    return Difference(found, float(p))


def two_sided(mean: Floats, std: Floats, n: int, step: float) -> Floats:
    """Return p of means of n differences on a grid of step `step`, whose true mean is 0; elementwise."""
    # Here and not above: scipy takes longer than most answers that do not need it.
    from scipy.special import stdtr  # type: ignore[import-untyped]

    error = np.maximum(std, STEPS_OF_A_DIFFERENCE * step) / math.sqrt(n)
    p: Floats = 2 * stdtr(n - 1, -np.maximum(np.abs(mean) - step / (2 * n), 0) / error)
    return p


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p corrected for how many there are, in the same order; None stays, and does not count.

    The k-th smallest of m becomes the largest of (m - i + 1) p_i over i <= k, at most 1: with these, the
    chance of one false alarm or more among all is at most what each is held against.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    ranked = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(ranked):
        largest = max(largest, min(1.0, (len(ranked) - rank) * p))
        found[place] = largest
    return found


def binomial_half_width(share: float, examples: int) -> float:
    """Return half of Wilson's 95 % interval of a share of so many examples drawn at random.

    With z = 1.96: z / (1 + z^2 / N) sqrt(p (1 - p) / N + z^2 / (4 N^2)); not 0 where all examples are right.

    Source: Wilson 1927, Journal of the American Statistical Association 22(158).
    """
    from scipy.special import ndtri

    z2 = float(ndtri((1 + CONFIDENCE) / 2)) ** 2 / examples
    return math.sqrt(z2) * math.sqrt(share * (1 - share) + z2 / 4) / (1 + z2)


def _estimate(values: Sequence[float], step: float, steps: float) -> Estimate:
    """Return the mean of values whose spread is at least `steps` steps of the grid."""
    if not values:
        raise ValueError("a mean needs at least one value, got none")
    array = np.asarray(values, dtype=np.float64)
    n, mean = len(array), float(array.mean())
    if n == 1:
        return Estimate(1, mean, None, None)
    from scipy.special import stdtrit

    if (array == array[0]).all():  # rounding would leave a spread
        mean, std = float(array[0]), 0.0
    else:
        std = float(array.std(ddof=1))
    quantile = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
    return Estimate(n, mean, std, quantile * max(std, steps * step) / math.sqrt(n) + step / (2 * n))
