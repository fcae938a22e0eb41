"""Seeded batches from a split that lives on the device as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bnexp.data.augment import Shifts, draw, shift
from bnexp.data.epoch import epoch_of
from bnexp.data.pixels import Pixels
from bnexp.protocols import Batch, Split
from bnexp.seeding import stream

__all__ = ["EvalBatches", "Pixels", "TrainBatches"]


@dataclass(frozen=True)
class _Shuffled:
    """The examples of epoch `number` in its order."""

    number: int
    order: Tensor
    targets: Tensor
    shifts: Shifts | None


class TrainBatches:
    """The batches of every update, each a pure function of the seed and the update's number.

    An epoch goes through the split in the order of the stream (seed, "shuffle", epoch), which depends on
    neither `batch_size` nor `accumulate`. Steps may be asked for in any order; moving to another epoch costs
    a permutation.

    Args:
        batch_size, accumulate, drop_last: as for `epoch_of`; which examples are dropped changes with the
            epoch.
        augment: random crops after four pixels of padding; where there is colour, mirror images too (a
            mirrored 2 is no digit). Drawn from the stream (seed, "augment", epoch).
    Attributes:
        epoch: the sizes of everything in an epoch.
    Raises:
        ConfigError: drop_last is True and no batch would be left.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        accumulate: int,
        drop_last: bool | str,
        augment: bool,
        seed: int,
        device: torch.device | str,
        pixels: Pixels,
        channels_last: bool,
    ) -> None:
        self.epoch = epoch_of(len(split), batch_size=batch_size, accumulate=accumulate, drop_last=drop_last)
        self._images = split.images.to(device)
        self._labels = split.labels.to(device)
        self._augment = augment
        self._seed = seed
        self.pixels = pixels
        self._memory_format = _memory_format(channels_last)
        self._shuffled = self._begin(0)

    @property
    def steps_per_epoch(self) -> int:
        return self.epoch.steps

    def group(self, step: int) -> list[Batch]:
        """Return the batches of update number `step` (from 0)."""
        number = step // self.steps_per_epoch
        if number != self._shuffled.number:
            self._shuffled = self._begin(number)
        return [self._batch(start, stop) for start, stop in self.epoch.cuts(step)]

    def _batch(self, start: int, stop: int) -> Batch:
        shuffled = self._shuffled
        images = self._images.index_select(0, shuffled.order[start:stop])
        inputs = self.pixels(images)
        if shuffled.shifts is not None:
            inputs = shift(inputs, shuffled.shifts[start:stop])
        return Batch(inputs.contiguous(memory_format=self._memory_format), shuffled.targets[start:stop])

    # The targets outlive the call: as inference tensors they could not be trained on later.
    @torch.inference_mode(False)
    def _begin(self, number: int) -> _Shuffled:
        num, device = len(self._labels), self._labels.device
        order = torch.randperm(num, generator=stream(self._seed, "shuffle", number)).to(device)
        shifts = None
        if self._augment:
            generator = stream(self._seed, "augment", number)
            shifts = draw(num, mirror=self._images.shape[1] > 1, generator=generator, device=device)
        return _Shuffled(number, order, self._labels.index_select(0, order), shifts)


class EvalBatches:
    """A whole split in its own order, in batches of `batch_size`; may be gone through any number of times.

    Args:
        smallest: a last batch of fewer examples joins the one before.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        device: torch.device | str,
        pixels: Pixels,
        channels_last: bool,
        smallest: int = 1,
    ) -> None:
        self._images = split.images.to(device)
        self._labels = split.labels.to(device)
        self._batch_size = batch_size
        self._smallest = smallest
        self._pixels = pixels
        self._memory_format = _memory_format(channels_last)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._labels)

    def __iter__(self) -> Iterator[Batch]:
        for start, stop in self._bounds():
            part = slice(start, stop)
            inputs = self._pixels(self._images[part]).contiguous(memory_format=self._memory_format)
            yield Batch(inputs, self._labels[part])

    def _bounds(self) -> list[tuple[int, int]]:
        starts = list(range(0, len(self), self._batch_size))
        if len(starts) > 1 and len(self) - starts[-1] < self._smallest:
            starts.pop()
        return list(zip(starts, [*starts[1:], len(self)], strict=True))


def _memory_format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format
