"""Counting values into buckets whose limits never depend on the data, on the device, without waiting for it.

    grid          limits, k from -30.5 to 30.5               first and last inner limit   finest bucket
    ACTIVATIONS   0.1 sinh(k / 4)                             -102, 102                   |x| < 0.0125
    GRADIENTS     2e-7 sinh(0.6 k)                            -8.9, 8.9                   |x| < 6.1e-8
    VARIANCES     10^((k - 5) / 6)                            1.2e-6, 17,800              a factor of 1.47

The signed grids are nearly linear around 0, which has a bucket to itself, and grow by a constant factor
further out: 1.28 for activations and running means, 1.82 for gradients. So they show networks whose values
have a standard deviation from 0.05 to 50, and gradients from 1e-7 to 10. What lies beyond falls into the
outermost buckets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnexp.protocols import Histogram, Measurement, Reading

BUCKETS = 63
WIDTH = BUCKETS + 5  # the counts, the non-finite values, minimum, maximum, sum, sum of squares


class Grid:
    """63 buckets (limits[i-1], limits[i]]; the first reaches down to -inf, the last up to inf.

    A limit is the nearest bfloat16 number, and where it is positive the float32 number just below that. Then
    the upper 16 bits of a float32 value say which bucket it is in, and a table lookup replaces the search;
    and a signed grid counts -x as it counts x, mirrored.

    Args:
        edges: 63 ascending numbers; the last one only closes the last bucket in pictures.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        if len(edges) != BUCKETS:
            raise ValueError(f"a grid needs {BUCKETS} edges, got {len(edges)}")
        rounded = torch.tensor(list(edges), dtype=torch.float64).bfloat16().float()
        below = torch.nextafter(rounded, torch.tensor(-math.inf))
        self.limits: list[float] = torch.where(rounded > 0, below, rounded).tolist()
        self._tables: dict[torch.device, Tensor] = {}

    def buckets(self, values: Tensor) -> Tensor:
        """Return the bucket of each float32 value, uint8, BUCKETS for the non-finite; values (n,) -> (n,)."""
        key = values.view(torch.int32).bitwise_right_shift(16).bitwise_and_(0xFFFF)
        return self._table(values.device).index_select(0, key)

    def _table(self, device: torch.device) -> Tensor:
        if device not in self._tables:
            keys = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
            starts = keys.view(torch.bfloat16).float()
            inner = torch.tensor(self.limits[:-1])
            table = torch.where(starts.isfinite(), torch.searchsorted(inner, starts), BUCKETS)
            self._tables[device] = table.to(device, torch.uint8)
        return self._tables[device]


def _signed(scale: float, step: float) -> Grid:
    return Grid([scale * math.sinh(step * (k + 0.5)) for k in range(-31, 32)])


ACTIVATIONS = _signed(0.1, 1 / 4)
GRADIENTS = _signed(2e-7, 0.6)
VARIANCES = Grid([10 ** ((k - 4.5) / 6) for k in range(-31, 32)])


@dataclass(frozen=True)
class Counted:
    """Counts in `grid` and moments, on the device: numbers (WIDTH,)."""

    numbers: Tensor
    grid: Grid


def count(values: Tensor, grid: Grid) -> Counted:
    """Count `values`, of any shape and number, in `grid`, with the moments of the finite ones.

    Precision: values are compared as float32, so float64 beyond its range counts as infinite. Numbers are
        float64 (float32 on a device that has none): the squares of 1e30 overflow float32.
    """
    flat = values.detach().float().reshape(-1)
    width = torch.float32 if flat.device.type == "mps" else torch.float64
    if flat.numel() == 0:
        return Counted(flat.new_zeros(WIDTH, dtype=width), grid)
    finite = flat.nan_to_num(0.0, 0.0, 0.0).to(width)
    moments = [
        flat.nan_to_num(math.inf, math.inf, math.inf).amin().to(width),
        flat.nan_to_num(-math.inf, -math.inf, -math.inf).amax().to(width),
        finite.sum(),
        finite.dot(finite),
    ]
    return Counted(torch.cat([tally(grid.buckets(flat)).to(width), torch.stack(moments)]), grid)


def tally(buckets: Tensor) -> Tensor:
    """Return how often each bucket occurs, int64 (BUCKETS + 1,), the non-finite last."""
    if buckets.device.type == "cpu":
        return torch.bincount(buckets, minlength=BUCKETS + 1)
    return tally_by_adding(buckets)


def tally_by_adding(buckets: Tensor) -> Tensor:
    """Return what `tally` does, for devices: there bincount waits, to know how long its result is."""
    zeros = torch.zeros(BUCKETS + 1, dtype=torch.int64, device=buckets.device)
    return zeros.index_add_(0, buckets.int(), zeros.new_ones(()).expand(len(buckets)))


def histogram(numbers: Sequence[float], grid: Grid) -> tuple[Histogram, int]:
    """Return the histogram of the finite values that `count` counted, and how many were not finite.

    Minimum and maximum are not-a-number where nothing is finite.
    """
    counts = list(numbers[:BUCKETS])
    non_finite, minimum, maximum, total, sum_squares = numbers[BUCKETS:]
    if not any(counts):
        minimum = maximum = math.nan
    return Histogram(grid.limits, counts, minimum, maximum, total, sum_squares), int(non_finite)


def histograms(counted: Mapping[str, Counted], non_finite: Mapping[str, str]) -> Reading:
    """Return the reading of one histogram for each tag.

    Args:
        counted: by tag; at least one.
        non_finite: the scalar tag under which a histogram's non-finite values are told, by its tag.
    """
    tags = list(counted)

    def decode(numbers: list[float]) -> Measurement:
        found = Measurement()
        for index, tag in enumerate(tags):
            share = numbers[index * WIDTH : (index + 1) * WIDTH]
            found.histograms[tag], left_out = histogram(share, counted[tag].grid)
            if tag in non_finite:
                found.scalars[non_finite[tag]] = left_out
        return found

    return Reading(torch.cat([one.numbers for one in counted.values()]), decode)
