"""Curves and histograms in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.-=+*#@"
NOT_FINITE = "×"
ASCII_NOT_FINITE = "x"


def sparkline(values: Sequence[float], width: int, *, ascii_only: bool = False) -> str:
    """Return a curve from its least value (▁) to its greatest (█), at most `width` characters long.

    Each character is the mean of the finite values in its equal share of the rows, × where there is none. A
    curve that is constant runs in the middle; one without values is empty.
    """
    count = min(width, len(values))
    means = [_mean(values[len(values) * i // count : len(values) * (i + 1) // count]) for i in range(count)]
    finite = [mean for mean in means if mean is not None]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    blocks, gap = (ASCII_BLOCKS, ASCII_NOT_FINITE) if ascii_only else (BLOCKS, NOT_FINITE)
    return "".join(gap if mean is None else blocks[_level(mean, low, high)] for mean in means)


def bars(shares: Sequence[float], *, ascii_only: bool = False) -> str:
    """Return a bar for each share from 0 (a space) to the greatest (█); whatever is above 0 shows."""
    blocks = ASCII_BLOCKS if ascii_only else BLOCKS
    high = max(shares, default=0.0)
    return "".join(
        " " if share <= 0 else blocks[math.ceil(len(blocks) * share / high) - 1] for share in shares
    )


def _mean(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return sum(value / len(finite) for value in finite) if finite else None


def _level(value: float, low: float, high: float) -> int:
    span = high / 2 - low / 2  # halves: the whole may overflow
    if span <= 0:
        return len(BLOCKS) // 2 - 1
    return min(len(BLOCKS) - 1, max(0, int(len(BLOCKS) * ((value / 2 - low / 2) / span))))
