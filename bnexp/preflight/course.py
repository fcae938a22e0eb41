"""How many examples a norm sees at a time, how often, and what that makes of its running averages."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bnexp.preflight.sites import NormSite


@dataclass(frozen=True)
class Course:
    """The forward passes of one run.

    steps, passes: updates and forward passes of the whole run.
    examples: of an epoch.
    full, last: examples of a full forward pass, and of the last one of an epoch.
    reaches_last: whether the run is long enough to meet that last one.
    norm_batch: examples that share statistics, at most.
    """

    steps: int
    passes: int
    examples: int
    full: int
    last: int
    reaches_last: bool
    norm_batch: int

    def values(self, site: NormSite, examples: int) -> int:
        """Return how many values a channel the norm at `site` has to measure in a pass of `examples`."""
        return site.values_per_channel(min(examples, self.norm_batch) if site.uses_batch else examples)


def course(
    num_examples: int, *, batch_size: int, accumulate: int, steps: int, norm_batch: int | None = None
) -> Course:
    """Return the course of `steps` updates over epochs of `num_examples`, in passes of `batch_size`.

    Args:
        norm_batch: examples that share statistics; None is the whole pass.
    """
    passes_per_epoch = -(-num_examples // batch_size)
    steps_per_epoch = -(-passes_per_epoch // accumulate)
    epochs, rest = divmod(steps, steps_per_epoch)
    return Course(
        steps=steps,
        passes=epochs * passes_per_epoch + min(rest * accumulate, passes_per_epoch),
        examples=num_examples,
        full=min(batch_size, num_examples),
        last=num_examples % batch_size or batch_size,
        reaches_last=epochs > 0,
        norm_batch=norm_batch or batch_size,
    )


def initial_share(momentum: float, passes: int) -> float:
    """Return the weight (1 - momentum)^passes that the start keeps in a running average."""
    return float((1 - momentum) ** passes)


def half_life(momentum: float) -> float:
    """Return after how many batches an old value weighs half: ln 2 / -ln(1 - momentum), 0 < momentum <= 1."""
    return 0.0 if momentum == 1 else -math.log(2) / math.log1p(-momentum)


@dataclass(frozen=True)
class Row:
    """One norm in numbers; None where nothing is averaged, or all batches alike, or (momentum 0) no batch.

    half_life_steps: updates after which an old value weighs half in the running averages.
    initial_share: what the start (mean 0, variance 1) weighs in them at the end.
    """

    place: str
    norm: str
    channels: int
    spatial: tuple[int, ...]
    values_per_channel: int
    values_per_channel_last: int
    parameters: int
    momentum: float | None
    half_life_steps: float | None
    initial_share: float | None


def row(site: NormSite, course: Course) -> Row:
    """Return what the run of `course` gives the norm at `site`."""
    momentum, passes_per_step = site.momentum, course.passes / course.steps
    return Row(
        place=site.name,
        norm=site.kind,
        channels=site.num_features,
        spatial=site.spatial,
        values_per_channel=course.values(site, course.full),
        values_per_channel_last=course.values(site, course.last),
        parameters=sum(parameter.numel() for parameter in site.parameters),
        momentum=momentum,
        half_life_steps=half_life(momentum) / passes_per_step if momentum else None,
        initial_share=None if momentum is None else initial_share(momentum, course.passes),
    )
