"""The running statistics of norm layers, against the statistics of the batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bnexp.protocols import Measurement, Reading
from bnexp.telemetry.counting import ACTIVATIONS, VARIANCES, count, histograms
from bnexp.telemetry.intervals import Due

GRIDS = {"running_mean": ACTIVATIONS, "running_var": VARIANCES}
BATCH = ("batch_mean", "batch_var")
ROUNDING = 1e-6  # of a mean in float32, with some room
Floats = NDArray[np.float64]


class RunningStatistics:
    """Observes the buffers of before the step, and how far the batch that comes is from them.

        running_mean/<layer>, running_var/<layer>            histograms over the channels
        running_mean/<layer>/mean|min|max, running_var/...   over the channels
        running_mean/<layer>/channel_<c>, running_var/...    of each chosen channel that the layer has
        batch_mean/<layer>/mean|min|max|channel_<c>, batch_var/...   the same of the batch that comes
        running_gap/<layer>/mean   mean over channels of |running_mean - batch_mean| / sqrt(batch_var)
        running_gap/<layer>/var    mean over channels of |ln(running_var / (batch_var * n / (n - 1)))|

    batch_mean and batch_var (biased, /n) are those of the layer's whole input, with n values a channel. The
    second gap takes the unbiased variance because that is what running_var averages. A channel that is
    constant in the batch (its deviation at most 1e-6 of its mean) has no scale to compare by and is left out
    of both means, one whose running_var is 0 out of the second; a gap without any channel is not logged.

    Shape: running_mean, running_var: (C,), with C the size of axis 1 of the layer's input.
    Args:
        layers: by qualified name; those without running statistics are ignored.
        channels: each at least 0.
    """

    def __init__(self, layers: Mapping[str, nn.Module], channels: Sequence[int]) -> None:
        self._layers = {name: layer for name, layer in layers.items() if _tracks(layer)}
        self._sizes = [len(layer.get_buffer("running_mean")) for layer in self._layers.values()]
        self._widths = np.array(self._sizes)
        self._starts = np.cumsum([0, *self._sizes])[:-1]
        self.histogram_tags = [f"{buffer}/{name}" for buffer in GRIDS for name in self._layers]
        chosen = [
            (f"{name}/channel_{channel}", start + channel)
            for name, start, size in zip(self._layers, self._starts, self._sizes, strict=True)
            for channel in channels
            if channel < size
        ]
        self._chosen = np.array([place for _, place in chosen], dtype=np.int64)
        self._tags = self._named_after(GRIDS, [channel for channel, _ in chosen])
        self._batch_tags = self._named_after(BATCH, [channel for channel, _ in chosen])
        self._gap_tags = [f"running_gap/{name}/{gap}" for gap in ("mean", "var") for name in self._layers]

    def _named_after(self, quantities: Iterable[str], channels: Sequence[str]) -> list[str]:
        tags = [f"{quantity}/{name}" for quantity in quantities for name in self._layers]
        found = [f"{tag}/{how}" for how in ("mean", "min", "max") for tag in tags]
        return found + [f"{quantity}/{channel}" for quantity in quantities for channel in channels]

    def begin(self, due: Due) -> None:
        self._due = due
        self._batch: dict[str, tuple[Tensor, Tensor]] = {}
        self._values_per_channel = dict.fromkeys(self._layers, 0)
        if self._layers and (due.scalars or due.histograms):
            layers = self._layers.values()
            self._before = torch.cat([getattr(layer, buffer) for buffer in GRIDS for layer in layers])

    def enter(self, layer: str, x: Tensor) -> None:
        if self._due.scalars and layer in self._layers:
            self._batch[layer] = batch_moments(x)
            self._values_per_channel[layer] = x.numel() // x.shape[1]

    def leave(self, layer: str, y: Tensor) -> None: ...

    def readings(self) -> list[Reading]:
        if not self._layers:
            return []
        found = [self._histograms()] if self._due.histograms else []
        return [*found, self._scalars()] if self._due.scalars else found

    def _histograms(self) -> Reading:
        parts = torch.split(self._before, self._sizes * 2)
        grids = [grid for grid in GRIDS.values() for _ in self._sizes]
        tags = zip(self.histogram_tags, parts, grids, strict=True)
        return histograms({tag: count(values, grid) for tag, values, grid in tags}, {})

    def _scalars(self) -> Reading:
        for name, size in zip(self._layers, self._sizes, strict=True):
            if name not in self._batch:
                self._batch[name] = self._before.new_zeros(size), self._before.new_zeros(size)
        means, variances = zip(*(self._batch[name] for name in self._layers), strict=True)
        values_per_channel = tuple(self._values_per_channel.values())
        return Reading(
            torch.cat([self._before, *means, *variances]),
            lambda numbers: self._named(np.array(numbers).reshape(4, -1), values_per_channel),
        )

    @np.errstate(invalid="ignore")
    def _named(self, numbers: Floats, values_per_channel: tuple[int, ...]) -> Measurement:
        """Reduce on the host: so few numbers take a fraction of the time of a device's many small calls."""
        starts = self._starts
        found = self._reduced(self._tags, numbers[:2])
        of_batch = self._reduced(self._batch_tags, numbers[2:])
        unseen = [name for name, n in zip(self._layers, values_per_channel, strict=True) if n == 0]
        found |= {
            tag: value for tag, value in of_batch.items() if not unseen or tag.split("/")[1] not in unseen
        }
        gaps = _gaps(numbers, _log_unbiasing(values_per_channel, tuple(self._sizes)))
        averages = (np.add.reduceat(gaps, starts, axis=1) / self._widths).ravel()
        if np.isfinite(averages).all():
            return Measurement(found | dict(zip(self._gap_tags, averages.tolist(), strict=True)))
        return Measurement(found | self._gaps_left(gaps))

    def _reduced(self, tags: Sequence[str], of_channels: Floats) -> dict[str, float]:
        """Return means, least and greatest over the channels of each layer, and the chosen channels."""
        means = np.add.reduceat(of_channels, self._starts, axis=1) / self._widths
        lows, highs = (end.reduceat(of_channels, self._starts, axis=1) for end in (np.minimum, np.maximum))
        values = np.concatenate([means, lows, highs, of_channels.take(self._chosen, 1)], axis=None)
        return dict(zip(tags, values.tolist(), strict=True))

    def _gaps_left(self, gaps: Floats) -> dict[str, float]:
        """Average over the channels that can be compared, where some cannot."""
        compared = gaps != math.inf
        totals = np.add.reduceat(np.where(compared, gaps, 0.0), self._starts, axis=1).ravel().tolist()
        channels = np.add.reduceat(compared, self._starts, axis=1, dtype=np.int64).ravel().tolist()
        numbered = zip(self._gap_tags, totals, channels, strict=True)
        return {tag: total / number for tag, total, number in numbered if number}


def _gaps(numbers: Floats, log_unbiasing: Floats) -> Floats:
    """Return both gaps of each channel, (2, channels), infinite where there is nothing to compare with."""
    running_mean, running_var, mean, batch_var = numbers
    deviation = np.sqrt(batch_var)
    deviation[deviation <= ROUNDING * np.abs(mean)] = 0.0
    gaps = np.empty((2, len(mean)))
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(running_mean - mean, deviation, out=gaps[0])
        np.subtract(np.log(running_var / deviation**2), log_unbiasing, out=gaps[1])
    gaps[:, deviation == 0.0] = math.inf
    return np.abs(gaps, out=gaps)


@lru_cache
def _log_unbiasing(values_per_channel: tuple[int, ...], sizes: tuple[int, ...]) -> Floats:
    """Return ln(n / (n - 1)) for each channel; 0 for n of 0 and 1, where no variance is to be compared."""
    return np.repeat([math.log(n / (n - 1)) if n > 1 else 0.0 for n in values_per_channel], sizes)


def batch_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel; x (N, C, *) -> (C,), (C,), float32 or wider.

    Squares are taken of centred values: E[x^2] - E[x]^2 cancels.
    """
    wide = x if x.dtype is torch.float64 else x.float()
    others = (0, *range(2, x.dim()))
    mean_C = wide.mean(others)
    return mean_C, (wide - mean_C.view(-1, *(1,) * (x.dim() - 2))).square_().mean(others)


def _tracks(layer: nn.Module) -> bool:
    return all(isinstance(getattr(layer, buffer, None), Tensor) for buffer in GRIDS)
