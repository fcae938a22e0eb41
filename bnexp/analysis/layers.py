"""The layers in a run's tags, and which of them there is room to show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from bnexp.errors import ConfigError
from bnexp.models.part_names import unit_of


@dataclass(frozen=True)
class Chosen:
    """Layers in the order of the network, and what is said about those that are not shown."""

    names: list[str]
    notes: list[str]


def choose(layers_of_runs: Sequence[Sequence[str]], patterns: Sequence[str], at_most: int) -> Chosen:
    """Return the layers to show: those that all runs share and a pattern names.

    Without patterns at most `at_most` are shown, evenly spaced from the first to the last. A pattern picks
    the names that it matches and what stands under them.

    Raises:
        ConfigError: no layer is left.
    """
    first = layers_of_runs[0]
    common = [name for name in first if all(name in layers for layers in layers_of_runs)]
    if not common:
        raise ConfigError("the runs must share layers to be shown together, they share none: give fewer runs")
    if patterns:
        return Chosen(_matching(common, patterns), [])
    if len(common) <= at_most:
        return Chosen(common, [])
    names = [common[index] for index in np.linspace(0, len(common) - 1, at_most).round().astype(int)]
    note = f"{at_most} of {len(common)} layers are shown, evenly spaced; --layers PATTERN shows others"
    return Chosen(names, [note])


def _matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    unmatched = [pattern for pattern in patterns if not any(_picks(pattern, name) for name in names)]
    if unmatched:
        known = ", ".join(unit_of(name) for name in names)
        raise ConfigError(
            [f"--layers must name one of the layers {known}; got {pattern!r}" for pattern in unmatched]
        )
    return [name for name in names if any(_picks(pattern, name) for pattern in patterns)]


def _picks(pattern: str, name: str) -> bool:
    """Whether a pattern matches a name or what it stands under, as in `telemetry.layers`."""
    steps = name.split(".")
    return any(fnmatchcase(".".join(steps[:depth]), pattern) for depth in range(1, len(steps) + 1))


def layers(tags: Iterable[str], prefix: str) -> list[str]:
    """Return the <layer> of each tag prefix<layer>/..., without repeats, in order."""
    return list(dict.fromkeys(tag[len(prefix) :].split("/")[0] for tag in tags if tag.startswith(prefix)))
