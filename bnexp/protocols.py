"""The few shapes that layers agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bnexp.statuses import Status

if TYPE_CHECKING:  # what has no tensors, such as a measurement, is made and read without waiting for torch
    from torch import Tensor, nn


class NormFactory(Protocol):
    """Makes the norm of one unit: `spatial` is () in a dense layer, (H, W) in a two-dimensional one.

    removes_channel_mean: a constant added to a channel gets no gradient (in most norms because the output
        stays as it is), so a bias right before it would be a dead parameter.
    replaces_activation: the norm brings its own nonlinearity; the unit leaves out its activation.
    batch_statistics: training normalizes by statistics over the batch, so one value a channel is too few.
    needs_extent: where a channel is a single value, a layer of another kind stands in; it does not remove the
        channel mean and says what it is in `substitute_note`.
    """

    @property
    def removes_channel_mean(self) -> bool: ...
    @property
    def replaces_activation(self) -> bool: ...
    @property
    def batch_statistics(self) -> bool: ...
    @property
    def needs_extent(self) -> bool: ...

    def __call__(self, num_features: int, spatial: tuple[int, ...]) -> nn.Module: ...


@runtime_checkable
class Scheduled(Protocol):
    """A module that changes with the share of training that is done: it is told the run's length once.

    `set_total_steps` comes before the first step, with the number of training passes forward, which is all
    that a module sees of a step (with accumulate there are several); a resumed run says the same again.
    """

    def set_total_steps(self, total_steps: int) -> None: ...


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, C, H, W) and labels int64 (N,), in a fixed order."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """What a data set's file gives: its published parts, as they are.

    val: published for validation; where there is none, a part of train is held out.
    notes, warnings: what a user should know of the data, a line each.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    val: Split | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class Batch:
    """One forward pass: inputs float (N, C, H, W), normalized, and targets int64 (N,), on the device."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


class TrainBatches(Protocol):
    """The training split as updates: `group(step)` holds the forward passes of update `step`, and nothing
    but the seed and the step decides what is in them, so any step can be asked for again.
    """

    @property
    def steps_per_epoch(self) -> int: ...
    def group(self, step: int) -> list[Batch]: ...


class EvalBatches(Protocol):
    """A split in a fixed order; iterating again starts over."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...


class Probe(Protocol):
    """Looks at one step and changes nothing.

    `watching` surrounds the step's forward and backward passes, the first of which is on `batch`: hooks live
    only there, and when it opens the buffers are those of before the step. `measure` is called after the
    backward pass, before the update, with the gradients at their true scale. `end` says that the run ended
    after so many updates: that state is then due, whatever the interval.
    """

    def due(self, step: int) -> bool: ...
    def end(self, step: int) -> None: ...
    def watching(self, model: nn.Module, batch: Batch, step: int) -> AbstractContextManager[None]: ...
    def measure(self, model: nn.Module, step: int) -> list[Reading]: ...


@dataclass(frozen=True)
class Reading:
    """Numbers that are still on the device, and what they mean once they have been read.

    values: one-dimensional. All readings of a step are read in one transfer, as float64 (float32 where the
    device has no float64); `decode` gets this reading's share of it.
    """

    values: Tensor
    decode: Callable[[list[float]], Measurement]


@dataclass(frozen=True)
class Histogram:
    """Counts between bucket limits: counts[i] values lie in (limits[i-1], limits[i]]."""

    limits: list[float]
    counts: list[float]
    minimum: float
    maximum: float
    total: float
    sum_squares: float


@dataclass
class Measurement:
    """What one probe saw at one step: scalars and histograms under their tags."""

    scalars: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)

    def update(self, other: Measurement) -> None:
        self.scalars.update(other.scalars)
        self.histograms.update(other.histograms)


class Writer(Protocol):
    """Keeps what a run logs; everything written under one step becomes one row."""

    def write(self, step: int, measurement: Measurement, *, epoch: float, examples: int) -> None: ...
    def mark(self) -> dict[str, Any]: ...
    def close(self) -> None: ...


class Progress(Protocol):
    """What a person sees while training runs: examples as they are counted, and a line after each epoch.

    note: tells of something that the person has to know of.
    """

    def note(self, line: str) -> None: ...
    def start(self, examples: int) -> None: ...
    def advance(self, examples: int, loss: float | None, latest: Mapping[str, float]) -> None: ...
    def epoch(self, epoch: float, line: str) -> None: ...


@dataclass
class Outcome:
    """How a run ended; `metrics` are flat under their tags."""

    status: Status
    step: int
    epoch: float
    examples: int
    seconds: float
    metrics: dict[str, float | None] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
