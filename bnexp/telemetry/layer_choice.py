"""Which layers and parameters of a network are looked into, by the patterns of `telemetry.layers`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

SHOWN = 30


def norm_layers(model: nn.Module, patterns: Sequence[str] = ("*",)) -> dict[str, nn.Module]:
    """Return the places of norms by qualified name, `Identity` where there is none: modules named `norm`."""
    return {
        name: module
        for name, module in model.named_modules()
        if name.rpartition(".")[2] == "norm" and _picked(name, patterns)
    }


def parameters(model: nn.Module, patterns: Sequence[str] = ("*",)) -> dict[str, nn.Parameter]:
    """Return the parameters by qualified name."""
    return {name: p for name, p in model.named_parameters() if _picked(name, patterns)}


def unmatched(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return a line, with the names that exist, for each pattern that picks nothing.

    A pattern picks the name that it matches and everything under it: `conv1` the layer `conv1.norm` and the
    parameter `conv1.linear.weight`. `*` and `?` match dots too.
    """
    names = [*norm_layers(model), *parameters(model)]
    return [
        f"telemetry.layers must match layers of this network, got {pattern!r}: take {_listed(names)}"
        for pattern in patterns
        if not any(_picked(name, [pattern]) for name in names)
    ]


def _picked(name: str, patterns: Iterable[str]) -> bool:
    steps = name.split(".")
    above = [".".join(steps[:depth]) for depth in range(1, len(steps) + 1)]
    return any(fnmatchcase(one, pattern) for pattern in patterns for one in above)


def _listed(names: Sequence[str]) -> str:
    """Name the units and the layers outside of units, in the order of the network."""
    layers = [name if name.endswith(".norm") else name.rpartition(".")[0] for name in names]
    units = list(dict.fromkeys(layer.removesuffix(".norm").removesuffix(".linear") for layer in layers))
    more = [f"{len(units) - SHOWN} more"] if len(units) > SHOWN else []
    return ", ".join(units[:SHOWN] + more)
