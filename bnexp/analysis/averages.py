"""The curves of runs that differ in their seed alone, averaged step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from bnexp.runs.reading import Series

NO_MEASUREMENTS = ("epoch", "examples")  # how far training was, which a row says beside its scalars


@dataclass(frozen=True)
class Average:
    """One scalar over several runs: `mean` and `std` (with n - 1) float64 at `steps` int64, all (rows,)."""

    steps: NDArray[np.int64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def averages(runs: Sequence[Mapping[str, Series]]) -> dict[str, Average]:
    """Return the average of each scalar that all runs logged, at the steps that all of them logged.

    A scalar that each run logged once is a final one: its step, the last of theirs, may differ. A step at
    which a run's value, or what comes of it, is not finite is left out, and so is a scalar without steps.

    Args:
        runs: two or more, as `read_metrics` returns them.
    Raises:
        ValueError: fewer.
    """
    if len(runs) < 2:
        raise ValueError(f"an average needs two runs or more, got {len(runs)}")
    shared = [tag for tag in runs[0] if tag not in NO_MEASUREMENTS and all(tag in run for run in runs)]
    found = {tag: _average([run[tag] for run in runs]) for tag in shared}
    return {tag: one for tag, one in found.items() if len(one.steps)}


def _average(series: Sequence[Series]) -> Average:
    if all(len(one) == 1 for one in series):
        steps = np.max([one.steps for one in series], axis=0)
        values = np.stack([one.values for one in series])
    else:
        steps = reduce(np.intersect1d, [one.steps for one in series])
        values = np.stack([one.values[np.isin(one.steps, steps)] for one in series])
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = values.mean(axis=0), values.std(axis=0, ddof=1)
    kept = np.isfinite(mean) & np.isfinite(std)
    return Average(steps[kept], mean[kept], std[kept])
