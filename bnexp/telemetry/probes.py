"""The probes of one run, as its telemetry settings ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from bnexp.errors import ConfigError
from bnexp.protocols import Probe
from bnexp.telemetry.activations import Activations
from bnexp.telemetry.gradients import GradientNorm, GradientProbe
from bnexp.telemetry.intervals import Intervals, histogram_bytes, histogram_interval
from bnexp.telemetry.layer_choice import picked, unmatched
from bnexp.telemetry.layer_probe import LayerProbe
from bnexp.telemetry.running_stats import RunningStatistics


def probes(
    model: nn.Module,
    norms: Mapping[str, nn.Module],
    *,
    total_steps: int,
    scalars_every: int | None,
    histograms_every: int | None,
    layers: Sequence[str],
    channels: Sequence[int],
    max_megabytes: float,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
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
    if histograms_every is not None:
        histograms_every, note = histogram_interval(
            histograms_every, total_steps, histogram_bytes(tags), max_megabytes
        )
        notes = [note] if note else []
    intervals = Intervals(scalars_every, histograms_every)
    found: list[Probe] = [
        GradientNorm(scalars_every),
        LayerProbe(norms, [activations, running], intervals, autocast, compiled),
        GradientProbe(parameters, intervals),
    ]
    return found, notes


def _impossible(channels: Sequence[int], max_megabytes: float) -> list[str]:
    found = [f"telemetry.channels must be at least 0, got {channel}" for channel in channels if channel < 0]
    if not max_megabytes > 0:
        found.append(f"telemetry.max_megabytes must be above 0, got {max_megabytes}")
    return found
