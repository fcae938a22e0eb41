"""The course of the learning rate, as pure functions of the step.

A schedule is made for a run of `total_steps` updates and then maps t, the number of completed updates, to the
factor on the base learning rate for the next update, the one from t to t + 1. From t = total_steps on it
keeps its value there. All take `warmup_steps`: update t < warmup_steps also takes the factor
(t + 1) / warmup_steps, so that the first update is small but not zero and the last of the warm-up is whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bnexp.knobs import Range, refuse

Schedule = Callable[[int], float]


def constant(*, total_steps: int, warmup_steps: int = 0) -> Schedule:
    """Return the factor 1 at every step.

    Raises:
        ConfigError: warmup_steps is negative or longer than the run.
    """
    refuse(_run_problems(total_steps, warmup_steps))
    return _warmed(lambda step: 1.0, total_steps, warmup_steps)


def step(
    *,
    total_steps: int,
    milestones: Sequence[float] = (0.5, 0.75),
    gamma: float = 0.1,
    warmup_steps: int = 0,
) -> Schedule:
    """Return the factor gamma^k after k milestones.

    Args:
        milestones: fractions of the run, in [0, 1]; the update number round(fraction x total_steps) is the
            first with the next factor.
        gamma: factor of each milestone, at least 0.
    Raises:
        ConfigError: a value outside its range, or warmup_steps longer than the run.
    Source: torch.optim.lr_scheduler.MultiStepLR, whose milestones are steps.
    """
    problems = _run_problems(total_steps, warmup_steps) + Range(0).problems("schedule.gamma", gamma)
    if not isinstance(milestones, (list, tuple)):
        problems.append(f"schedule.milestones must be a list of fractions of the run, got {milestones!r}")
    else:
        for index, fraction in enumerate(milestones):
            problems += Range(0, 1).problems(f"schedule.milestones[{index}]", fraction)
    refuse(problems)
    drops = [round(fraction * total_steps) for fraction in milestones]
    return _warmed(lambda step: _power(gamma, sum(step >= drop for drop in drops)), total_steps, warmup_steps)


def cosine(*, total_steps: int, final: float = 0.0, warmup_steps: int = 0) -> Schedule:
    """Return half a cosine from 1 down to `final`, over the steps after the warm-up.

    final + (1 - final) (1 + cos(pi (t - warmup_steps) / (total_steps - warmup_steps))) / 2. It would arrive
    at t = total_steps: the last update is still above `final`.

    Args:
        final: factor at the end, at least 0.
    Raises:
        ConfigError: final is negative, or warmup_steps is negative or longer than the run.
    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5, without restarts.
    """
    refuse(_run_problems(total_steps, warmup_steps) + Range(0).problems("schedule.final", final))
    decay_steps = max(1, total_steps - warmup_steps)

    def curve(step: int) -> float:
        return _anneal(1.0, final, max(0, step - warmup_steps) / decay_steps)

    return _warmed(curve, total_steps, warmup_steps)


def onecycle(
    *,
    total_steps: int,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 10_000.0,
    warmup_steps: int = 0,
) -> Schedule:
    """Return one rise from 1 / div_factor to 1 and one fall to 1 / (div_factor x final_div_factor).

    Both are half cosines. The peak lies at t = pct_start x total_steps - 1, the end at the last update: the
    base learning rate is the cycle's highest.

    Args:
        pct_start: the rise's part of the run, in [0, 1].
        div_factor, final_div_factor: at least 1.
    Raises:
        ConfigError: a value outside its range, or warmup_steps longer than the run.
    Source: Smith & Topin 2018, arXiv:1708.07120; torch.optim.lr_scheduler.OneCycleLR with its cosine.
        Departs from it in: the momentum stays as it is.
    """
    problems = _run_problems(total_steps, warmup_steps)
    problems += Range(0, 1).problems("schedule.pct_start", pct_start)
    problems += Range(1).problems("schedule.div_factor", div_factor)
    problems += Range(1).problems("schedule.final_div_factor", final_div_factor)
    refuse(problems)
    start, peak, last = 1 / div_factor, pct_start * total_steps - 1, total_steps - 1

    def curve(step: int) -> float:
        step = min(step, last)
        if step <= peak:
            return _anneal(start, 1.0, step / peak if peak > 0 else 1.0)
        return _anneal(1.0, start / final_div_factor, (step - peak) / (last - peak))

    return _warmed(curve, total_steps, warmup_steps)


def _warmed(curve: Schedule, total_steps: int, warmup_steps: int) -> Schedule:
    def schedule(step: int) -> float:
        warmup = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        return warmup * curve(min(step, total_steps))

    return schedule


def _power(factor: float, times: int) -> float:
    try:
        return float(factor) ** times
    except OverflowError:
        return math.inf


def _anneal(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _run_problems(total_steps: int, warmup_steps: int) -> list[str]:
    if isinstance(warmup_steps, int) and 0 <= warmup_steps <= total_steps:
        return []
    allowed = f"from 0 to the run's {total_steps} steps"
    return [f"schedule.warmup_steps must be a whole number {allowed}, got {warmup_steps!r}"]
