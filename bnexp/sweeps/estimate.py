"""How long the jobs of a sweep will take, from a few steps of each, taken and thrown away."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable

import yaml

from bnexp.composition.compose import Composition, restore
from bnexp.experiment import run as experiment
from bnexp.experiment.run import Experiment
from bnexp.runs.identity import config_hash
from bnexp.runs.sweeps import Job, Sweep

WARM_UP, TIMED = 3, 7


def seconds(sweep: Sweep, jobs: Iterable[int]) -> dict[int, float]:
    """Return the seconds that the steps of each job will take; jobs that differ by seed are timed once."""
    kinds = {job: _kind(sweep.jobs[job]) for job in jobs}
    one_of_each = {kind: job for job, kind in kinds.items()}
    timed = {kind: _timed(sweep.jobs[job], sweep.plugins) for kind, job in one_of_each.items()}
    return {job: timed[kind] for job, kind in kinds.items()}


def readable(duration: float) -> str:
    """Return seconds as people say them."""
    minutes, hours = duration / 60, duration / 3600
    return (
        f"{hours:.1f} hours"
        if hours >= 2
        else f"{minutes:.0f} minutes"
        if minutes >= 2
        else f"{duration:.0f} s"
    )


def _kind(job: Job) -> str:
    return config_hash(yaml.safe_load(job.config) | {"seed": 0})


def _timed(job: Job, plugins: list[str]) -> float:
    composition = Composition(restore(job.config, plugins), [], [])
    with experiment.prepared(composition, in_sweep=True) as ready:
        steps = min(WARM_UP + TIMED, ready.parts.total_steps)
        taken = [_seconds_per_pass(ready, number) for number in range(steps)]
        return statistics.median(taken[WARM_UP:] or taken) * ready.parts.course.passes


def _seconds_per_pass(ready: Experiment, number: int) -> float:
    """Take step `number`; the last of an epoch may have fewer passes than the others."""
    start = time.perf_counter()
    learner, group = ready.parts.learner, ready.parts.batches.group(number)
    learner.compute_gradients(group).loss.item()
    learner.update()
    return (time.perf_counter() - start) / len(group)
