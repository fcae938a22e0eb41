"""Whether running statistics have caught up with what the network does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bnexp import metrics
from bnexp.runs.reading import Series

Word = Literal["close", "catching up", "stale", "not finite"]

RECENT = 0.25  # the share of the rows that counts as recent, and that before it to compare with
TOLERANCE = 1.25
FALLING = 0.95
MUCH = 0.05  # accuracy
SURE = 2.0  # standard errors


def shortfall(result: Mapping[str, Any]) -> str | None:
    """Return how far evaluation falls short of the batch's own statistics, if it is so far that it misleads.

    Args:
        result: content of result.json, whose `GAP` holds both accuracies of the same examples. They must be
            apart by MUCH, and by two standard errors of two independent shares, which is more than of these.
    """
    found = result.get(metrics.GAP)
    if not found:
        return None
    running, batch, examples = found["running"], found["batch"], found["examples"]
    error = math.sqrt((running * (1 - running) + batch * (1 - batch)) / examples)
    if batch - running < max(MUCH, SURE * error):
        return None
    accuracy, split = metrics.of("accuracy"), metrics.SPLITS[found["split"]].partition(" {}")[0]
    return (
        f"by running statistics accuracy is {accuracy.text(running)}, by those of each batch "
        f"{accuracy.text(batch)} ({examples:,} {split} examples)"
    )


def judge(mean_gap: Series, var_gap: Series, batch_size: int) -> Word:
    """Return a word for the two gaps of a layer, `running_gap/<layer>/mean` and `.../var`.

    Even exact statistics differ from those of a batch of N examples. If these are Gaussian, with n = N - 1,

        std of (0 - batch_mean) / batch_std        sqrt(1 / (n - 1)), none at N = 2, where it is left out
        std of ln(1 / batch_var)                   about sqrt(2 / n + 2 / n^2)

    (Student's t and log chi-squared), and the mean of the absolute value is about 0.8 times that. Positions
    within an image depend on each other, so N counts examples whatever the layer. Each gap is taken relative
    to 1.25 of these, and the larger of the two decides:

        close         the median of the last quarter of the rows is at most 1
        catching up   it is more, but at most 0.95 of the median of the quarter before
        stale         it is more and does not fall
        not finite    the last row is not a number

    Args:
        batch_size: examples of a forward pass, N.
    """
    gap = relative_gap(mean_gap, var_gap, batch_size)
    if not gap.size or not math.isfinite(gap[-1]):
        return "not finite"
    recent = max(1, round(RECENT * gap.size))
    now = float(np.nanmedian(gap[-recent:]))
    if now <= 1:
        return "close"
    before = gap[-2 * recent : -recent]
    return "catching up" if before.size and now <= FALLING * np.nanmedian(before) else "stale"


def relative_gap(mean_gap: Series, var_gap: Series, batch_size: int) -> NDArray[np.float64]:
    """Return the larger gap in each row that has both, in units of what counts as close."""
    mean = mean_gap.values[np.isin(mean_gap.steps, var_gap.steps)]
    var = var_gap.values[np.isin(var_gap.steps, mean_gap.steps)]
    n = max(1, batch_size - 1)
    mean_noise, var_noise = math.sqrt(1 / (n - 1)) if n > 1 else math.inf, math.sqrt(2 / n + 2 / n**2)
    relative: NDArray[np.float64] = np.maximum(mean / mean_noise, var / var_noise) / TOLERANCE
    return relative
