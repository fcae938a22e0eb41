"""What a run will do but should be known to go wrong: one line each, with what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from bnexp.config import TrainConfig
from bnexp.norms.frozen import FrozenNorm
from bnexp.norms.sync import SyncNorm, num_processes
from bnexp.preflight.course import Course, initial_share
from bnexp.preflight.sites import NormSite
from bnexp.preflight.variance_shift import variance_shifts

STALE_SHARE = 0.05  # of the start in a running average
FEW_VALUES = 4
KERAS_LIKE = 0.9
MANY_SIGMOIDS = 3
SMALL_SHIFT = 0.95


@dataclass(frozen=True)
class Prospect:
    """A run that is built and has not begun; `inputs` (N, C, H, W) are those of its first batch."""

    config: TrainConfig
    model: nn.Module
    sites: Sequence[NormSite]
    course: Course
    optimizer: torch.optim.Optimizer
    inputs: Tensor


def warnings(prospect: Prospect) -> list[str]:
    """Return a line for each thing in the run that is known to go wrong; takes one forward pass at most."""
    return [line for check in CHECKS for line in check(prospect)]


def stale_averages(run: Prospect) -> Iterator[str]:
    averaged = run.course.averaged
    if run.config.weights is not None:  # then they start from a trained network's
        return
    for momentum, sites in _by_momentum(run):
        share = initial_share(momentum, averaged)
        if share > STALE_SHARE:
            unit = "steps" if run.course.passes == run.course.steps else "forward passes"
            longer = "more steps"
            if averaged < run.course.passes:
                unit, longer = f"{unit} before they are frozen", "a later freeze_norm.after"
            yield (
                f"momentum {momentum:g} over {averaged:,} {unit}: running statistics of "
                f"{_names(sites, run)} keep {_percent(share)} of their initial value: take a larger "
                f"momentum, {longer}, or momentum=null, which weighs all batches alike"
            )


def keras_momentum(run: Prospect) -> Iterator[str]:
    for momentum, sites in _by_momentum(run):
        if momentum >= KERAS_LIKE:
            yield (
                f"momentum {momentum:g} is the weight of the NEW batch: the last one makes "
                f"{_percent(momentum)} of the running statistics of {_names(sites, run)}; "
                f"Keras's momentum={momentum:g} is decay={momentum:g} here"
            )


def few_values(run: Prospect) -> Iterator[str]:
    full, last = run.course.full, run.course.last
    measuring = [site for site in run.sites if site.is_batch_norm]
    yield from _few_values(run, measuring, full)
    if run.course.reaches_last:
        fewer = [site for site in measuring if site.values_per_channel(last) < site.values_per_channel(full)]
        yield from _few_values(run, fewer, last, "in the last batch of each epoch ", "drop_last=true")


def _few_values(
    run: Prospect, sites: list[NormSite], examples: int, when: str = "", remedy: str = ""
) -> Iterator[str]:
    """Return a line for the sites whose smallest batch, in a pass of `examples`, has few values."""

    def values(site: NormSite) -> int:
        return site.values_per_channel(examples)

    for n, few in _grouped([site for site in sites if 1 < values(site) < FEW_VALUES], values):
        batches = few[0].batches(examples)
        uneven = min(batches) < max(batches)
        part = when or ("in the last ghost batch of each pass " if uneven else "")
        larger = "a larger norm_batch" if len(batches) > 1 else "larger batches"
        use = remedy or (f"a norm_batch that divides {examples}" if uneven else larger)
        yield (
            f"batch norm over {n} values a channel {part}in {_names(few, run)}: (n - 2)/n = "
            f"{_percent((n - 2) / n)} of the gradient survives: use {use}, norm=group or head_norm=none"
        )


def accumulation(run: Prospect) -> Iterator[str]:
    accumulate, full = run.config.accumulate, run.course.full
    measuring = [site for site in run.sites if site.uses_batch]
    if run.course.passes > run.course.steps and measuring:
        update, batches = min(accumulate * full, run.course.examples), measuring[0].batches(full)
        yield (
            f"accumulate={accumulate} makes the optimizer's batch {update:,} examples and leaves "
            f"the norms {batches[0]:,} at a time: for statistics over more use a larger "
            f"{'norm_batch' if len(batches) > 1 else 'batch_size'}"
        )


def dropout_before_norm(run: Prospect) -> Iterator[str]:
    averaging = [site.name for site in run.sites if site.averages]
    if not averaging:
        return
    for shift in variance_shifts(run.model, averaging, run.inputs):
        if shift.ratio < SMALL_SHIFT:
            what = f"the variance behind {shift.weight}" if shift.weight else "its input's variance"
            formula = "" if shift.weight else ", v/((c^2 + v)/p - c^2)"
            yield (
                f"{shift.dropout} (p = {1 - shift.retain:g}) stands {'' if shift.weight else 'right '}before "
                f"{shift.norm}: in evaluation {what} is {shift.ratio:.2f} times training's{formula} at the "
                "weights now (variance shift): move dropout behind the last batch norm, or use norm=group"
            )


def sigmoids_without_norm(run: Prospect) -> Iterator[str]:
    count = sum(isinstance(module, nn.Sigmoid) for module in run.model.modules())
    empty = [site for site in run.sites if isinstance(site.module, FrozenNorm) and run.config.weights is None]
    plain = all(site.kind == "none" or site in empty for site in run.sites)
    if plain and count >= MANY_SIGMOIDS and isinstance(run.optimizer, torch.optim.SGD):
        norms = "frozen norms that no weights=RUN has filled" if empty else "no norm"
        yield (
            f"{count} sigmoids and {norms}: each lets at most 1/4 of the gradient through, all "
            f"{4.0**-count:.1g}, and SGD stays at chance for long: use a norm, another activation, or "
            "optimizer=adam"
        )


def signs(run: Prospect) -> Iterator[str]:
    dense = [site for site in run.sites if getattr(site.module, "learned_eps", None) is not None]
    if dense:
        yield (
            f"frn over one value a channel in {_names(dense, run)} is x / sqrt(x^2 + 1e-4), nearly its sign, "
            "whose gradient is a spike at 0: SGD is apt to stay near chance: use head_norm=group"
        )


def decayed_norms(run: Prospect) -> Iterator[str]:
    decays = {
        id(parameter): group.get("weight_decay", 0.0)
        for group in run.optimizer.param_groups
        for parameter in group["params"]
    }
    parameters = [parameter for site in run.sites for parameter in site.parameters]
    strongest = max([decays.get(id(parameter), 0.0) for parameter in parameters], default=0.0)
    if strongest > 0:
        yield (
            f"weight decay {strongest:g} also pulls weights and biases of norms towards 0: "
            "optimizer.decay_norm=false spares them"
        )


def sync_alone(run: Prospect) -> Iterator[str]:
    for kind, same in ((SyncNorm, "custom"), (nn.SyncBatchNorm, "builtin")):
        shared = [site for site in run.sites if isinstance(site.module, kind)]
        if shared and num_processes() == 1:
            yield (
                f"{_names(shared, run)}: statistics of all processes, and there is one: use norm={same}, "
                "whose result is the same"
            )


def float16_overflow(run: Prospect) -> Iterator[str]:
    averaging = [site for site in run.sites if site.averages]
    unguarded = getattr(run.config, "guard", "none") == "none"
    if run.config.precision == "float16" and unguarded and averaging:
        yield (
            "float16 ends at 65504: an activation beyond it leaves running statistics not finite for good, "
            "though the loss scaler skips the update: use precision=bfloat16"
        )


CHECKS: tuple[Callable[[Prospect], Iterable[str]], ...] = (
    stale_averages,
    keras_momentum,
    few_values,
    accumulation,
    dropout_before_norm,
    sigmoids_without_norm,
    signs,
    decayed_norms,
    sync_alone,
    float16_overflow,
)


def _by_momentum(run: Prospect) -> Iterator[tuple[float, list[NormSite]]]:
    averaging = [site for site in run.sites if site.averages and site.momentum is not None]
    return _grouped(averaging, lambda site: site.momentum or 0.0)


def _grouped(
    sites: list[NormSite], number: Callable[[NormSite], float]
) -> Iterator[tuple[float, list[NormSite]]]:
    for value, group in groupby(sorted(sites, key=number), number):
        yield value, list(group)


def _names(sites: Sequence[NormSite], run: Prospect) -> str:
    """Return which norms these are, in few words."""
    normed = [site for site in run.sites if site.kind != "none"]
    if len(sites) == len(normed) > 2:
        return f"all {len(sites)} norms"
    names = [site.name for site in sites]
    return ", ".join(names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
