"""Which layers and parameters of a network are looked into, by the patterns of `telemetry.layers`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

SHOWN = 30
Part = TypeVar("Part")


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
