"""The probes of one run, and the layers that they look into, as its telemetry settings ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn

from bnexp.config import KNOBS
from bnexp.errors import ConfigError
from bnexp.protocols import Probe
from bnexp.telemetry.activations import Activations
from bnexp.telemetry.gradients import GradientNorm, GradientProbe
from bnexp.telemetry.intervals import Intervals, adapted, histogram_bytes, histogram_interval
from bnexp.telemetry.layer_probe import LayerProbe
from bnexp.telemetry.running_stats import RunningStatistics

SHOWN = 30  # names in an error
Part = TypeVar("Part")


def probes(
    model: nn.Module,
    norms: Mapping[str, nn.Module],
    *,
    total_steps: int,
    scalars_every: int | str | None,
    histograms_every: int | str | None,
    layers: Sequence[str],
    channels: Sequence[int],
    max_megabytes: float,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    compiled: bool = False,
) -> tuple[list[Probe], list[str]]:
    """Return the probes to run on `model`, and notes on what they leave out.

    Args:
        model: the network as it will be trained, on its device; the probes keep its modules.
        norms: its norms' places by qualified name.
        autocast: the number format of its training passes; compiled: whether it is compiled.
        The others are `bnexp.config.Telemetry`'s.
    Raises:
        ConfigError: a pattern that picks nothing, a channel below 0, or no room at all.
    """
    parameters = dict(model.named_parameters())
    if problems := unmatched(norms, parameters, layers) + _impossible(channels, max_megabytes):
        raise ConfigError(problems)
    norms, parameters = picked(norms, layers), picked(parameters, layers)
    activations, running = Activations(list(norms)), RunningStatistics(norms, channels)
    tags = activations.histogram_tags + running.histogram_tags + [f"gradient/{name}" for name in parameters]
    notes = []
    if (every := adapted(histograms_every, total_steps, "histograms")) is not None:
        every, note = histogram_interval(every, total_steps, histogram_bytes(tags), max_megabytes)
        notes = [note] if note else []
    intervals = Intervals(adapted(scalars_every, total_steps, "scalars"), every)
    found: list[Probe] = [
        GradientNorm(intervals),
        LayerProbe(norms, [activations, running], intervals, autocast, compiled),
        GradientProbe(parameters, intervals),
    ]
    return found, notes


def _impossible(channels: Sequence[int], max_megabytes: float) -> list[str]:
    given = {"telemetry.channels": channels, "telemetry.max_megabytes": max_megabytes}
    return [line for name, value in given.items() for line in KNOBS[name].problems(name, value)]


def picked(parts: Mapping[str, Part], patterns: Sequence[str]) -> dict[str, Part]:
    """Return the parts whose qualified names a pattern picks: those it matches, and everything under these.

    `conv1` picks the layer `conv1.norm` and the parameter `conv1.linear.weight`. `*` and `?` match dots too.
    """
    return {name: part for name, part in parts.items() if _picks(patterns, name)}


def unmatched(norms: Iterable[str], parameters: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return a line, with the names that exist, for each pattern that picks no norm and no parameter."""
    norms, parameters = list(norms), list(parameters)
    names = _listed(norms, parameters)
    return [
        f"telemetry.layers must match layers of this network, got {pattern!r}: take {names}"
        for pattern in patterns
        if not any(_picks([pattern], name) for name in [*norms, *parameters])
    ]


def _picks(patterns: Iterable[str], name: str) -> bool:
    steps = name.split(".")
    above = [".".join(steps[:depth]) for depth in range(1, len(steps) + 1)]
    return any(fnmatchcase(one, pattern) for pattern in patterns for one in above)


def _listed(norms: Sequence[str], parameters: Sequence[str]) -> str:
    """Name the units, which hold a norm, and the layers outside of units, in the order of the network."""
    units = [name.rpartition(".")[0] for name in norms]
    layers = [name.rpartition(".")[0] for name in parameters]
    outside = [layer for layer in layers if not any(f"{layer}.".startswith(f"{unit}.") for unit in units)]
    names = list(dict.fromkeys([*units, *outside]))
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(names[:SHOWN] + more)
