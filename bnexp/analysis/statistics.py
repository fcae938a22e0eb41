"""What a few seeds allow to say: means with intervals, and paired differences.

Both are Student's (1908): measurements of different seeds are taken as independent draws of one normal
distribution, and so are differences between runs that share a seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` values.

    std: that of the values, with n - 1; half_width: of the 95 % interval, t(0.975, n - 1) std / sqrt(n). Both
    are None for a single value, which says nothing of its own spread.
    """

    n: int
    mean: float
    std: float | None
    half_width: float | None


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, its interval, and the two-sided p of a mean of zero (paired t-test)."""

    estimate: Estimate
    p: float | None


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of at least one value, and how far to trust it.

    Raises:
        ValueError: no value.
    """
    if not values:
        raise ValueError("a mean needs at least one value, got none")
    array = np.asarray(values, dtype=np.float64)
    n, mean = len(array), float(array.mean())
    if n == 1:
        return Estimate(1, mean, None, None)
    # Here and not above: scipy takes longer than most answers that do not need it.
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    if (array == array[0]).all():  # rounding would leave a spread
        return Estimate(n, float(array[0]), 0.0, 0.0)
    std = float(array.std(ddof=1))
    return Estimate(n, mean, std, float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(n))


def paired(values: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Return values - baseline, pair by pair.

    p is None for a single pair; where all differences are equal it is 1 if they are zero and 0 otherwise.

    Raises:
        ValueError: no pair, or sequences of unequal length.
    """
    differences = [one - other for one, other in zip(values, baseline, strict=True)]
    found = estimate(differences)
    if found.std is None:
        return Difference(found, None)
    if found.std == 0:
        return Difference(found, 1.0 if found.mean == 0 else 0.0)
    from scipy.special import stdtr

    t = found.mean / (found.std / math.sqrt(found.n))
    return Difference(found, float(2 * stdtr(found.n - 1, -abs(t))))
