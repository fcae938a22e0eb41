"""Percentiles of a fixed sample of a tensor's values: scalars, so that runs overlay in one chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

PERCENTILES = (15, 50, 85)
SAMPLE = 1024  # a standard error of 0.05 standard deviations at the outer two, for Gaussian values


class Sampler:
    """Takes at most SAMPLE values of a tensor, always at the same places of a tensor of its shape.

    All values where there are no more. Otherwise value i has on axis a of d axes, of size S, the coordinate
    floor(S * frac(1/2 + i g^-(a+1))), where g^(d+1) = g + 1. A plain stride through memory can fall in with
    the width or the channels and see one column or one channel only; these steps fall in with no size.
    Source: Roberts 2018, "The unreasonable effectiveness of quasirandom sequences", the sequence R_d.
    """

    def __init__(self) -> None:
        self._places: dict[tuple[torch.Size, torch.device], Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Return the sample of x, (n,), in x's dtype: a copy, which later changes of x do not reach."""
        key = (x.shape, x.device)
        if key not in self._places:
            self._places[key] = places(x.shape).to(x.device)
        return x.take(self._places[key])


def places(shape: Sequence[int]) -> Tensor:
    """Return where the sample of a tensor of `shape` is taken, counted as if it were flat, int64 (n,)."""
    if math.prod(shape) <= SAMPLE:
        return torch.arange(math.prod(shape))
    base = 1.5
    for _ in range(64):
        base = (1 + base) ** (1 / (len(shape) + 1))
    found = torch.zeros(SAMPLE, dtype=torch.int64)
    for axis, size in enumerate(shape):
        fraction = (0.5 + base ** -(axis + 1) * torch.arange(SAMPLE, dtype=torch.float64)).frac()
        found = found * size + (fraction * size).long()
    return found


def percentiles(samples: Sequence[Tensor]) -> Tensor:
    """Return the PERCENTILES of each sample without interpolation: the value of the nearest rank p (n - 1).

    Not-a-number ranks above all numbers, so it shows where more than 100 - p percent of the values are.

    Shape: L samples (n,), of any n > 0 each -> (L, 3), at least float32.
    """
    return ranked_on_host(samples) if samples[0].device.type == "cpu" else ranked_on_device(samples)


def ranked_on_host(samples: Sequence[Tensor]) -> Tensor:
    """Sort with numpy, which uses vector instructions: thirty times faster than torch."""
    ordered = torch.cat(list(samples)).float().numpy()
    runs, picked = _layout(tuple(map(len, samples)))
    for start, stop, size in runs:
        ordered[start:stop].reshape(-1, size).sort(axis=1)
    return torch.from_numpy(ordered[picked])


def ranked_on_device(samples: Sequence[Tensor]) -> Tensor:
    """Sort all samples at once, filled up with what ranks highest."""
    rows = pad_sequence(list(samples), batch_first=True, padding_value=math.nan).float()
    return rows.sort(1).values.gather(1, _ranks_on(rows.device, tuple(map(len, samples))))


@lru_cache
def _layout(sizes: tuple[int, ...]) -> tuple[list[tuple[int, int, int]], NDArray[np.int64]]:
    """Return, for samples in a row, where those of one size begin and end, and the places of the ranks."""
    runs, start = [], 0
    for size, equal in groupby(sizes):
        stop = start + size * len(list(equal))
        runs.append((start, stop, size))
        start = stop
    starts = np.cumsum([0, *sizes])[:-1]
    return runs, starts[:, None] + _ranks(sizes)


def _ranks(sizes: tuple[int, ...]) -> NDArray[np.int64]:
    return np.array([[round(p / 100 * (size - 1)) for p in PERCENTILES] for size in sizes])


@lru_cache
def _ranks_on(device: torch.device, sizes: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(_ranks(sizes)).to(device)
