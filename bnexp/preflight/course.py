"""How many examples a norm sees at a time, how often, and what that makes of its running averages."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bnexp.data.epoch import Epoch
from bnexp.preflight.sites import NormSite


@dataclass(frozen=True)
class Course:
    """The forward passes of one run.

    steps, passes: updates and forward passes of the whole run.
    averaged: those of the passes that move running averages; frozen statistics stay.
    examples: of an epoch.
    full, last: examples of a full forward pass, and of the last one of an epoch.
    reaches_last: whether the run is long enough to meet that last one.
    """

    steps: int
    passes: int
    averaged: int
    examples: int
    full: int
    last: int
    reaches_last: bool


def course(epoch: Epoch, steps: int, *, frozen_from: int | None = None) -> Course:
    """Return the course of `steps` updates.

    Args:
        frozen_from: the step from which on statistics are frozen, None for never.
    """
    return Course(
        steps=steps,
        passes=epoch.passes_in(steps),
        averaged=epoch.passes_in(steps if frozen_from is None else min(frozen_from, steps)),
        examples=epoch.num_examples,
        full=epoch.largest,
        last=epoch.last,
        reaches_last=steps >= epoch.steps,
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

    over: what the norm measures over, in words; values, values_last: how many values that is, at the fewest,
        in a full pass and in the last of an epoch.
    half_life_steps: updates after which an old value weighs half in the running averages.
    initial_share: what the start (mean 0, variance 1) weighs in them at the end.
    """

    place: str
    norm: str
    channels: int
    spatial: tuple[int, ...]
    over: str
    values: int | None
    values_last: int | None
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
        over=site.over,
        values=site.values(course.full),
        values_last=site.values(course.last),
        parameters=sum(parameter.numel() for parameter in site.parameters),
        momentum=momentum,
        half_life_steps=half_life(momentum) / passes_per_step if momentum else None,
        initial_share=None if momentum is None else initial_share(momentum, course.averaged),
    )
