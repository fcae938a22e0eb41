"""What a norm declares about itself, and how the rest of the program asks.

A class declares a trait as a class attribute, a function through `traits`; what is not declared is False.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import nn

from bnexp.errors import ConfigError

Target = TypeVar("Target", bound=Callable[..., nn.Module])


def traits(
    *,
    removes_channel_mean: bool = False,
    replaces_activation: bool = False,
    batch_statistics: bool = False,
    needs_extent: bool = False,
) -> Callable[[Target], Target]:
    """Decorate a norm written as a function with its traits, explained at `bnexp.protocols.NormFactory`."""
    declared = {
        "removes_channel_mean": removes_channel_mean,
        "replaces_activation": replaces_activation,
        "batch_statistics": batch_statistics,
        "needs_extent": needs_extent,
    }

    def declare(target: Target) -> Target:
        for name, value in declared.items():
            setattr(target, name, value)
        return target

    return declare


@dataclass(frozen=True)
class BoundNorm:
    """A norm with its knobs set: a `NormFactory`."""

    make: Callable[..., nn.Module]
    removes_channel_mean: bool
    replaces_activation: bool
    batch_statistics: bool
    needs_extent: bool

    def __call__(self, num_features: int, spatial: tuple[int, ...]) -> nn.Module:
        return self.make(num_features, spatial)


def bind(make: Callable[..., nn.Module]) -> BoundNorm:
    """Return the factory of a norm given as `functools.partial` (what hydra instantiates) or as it is.

    Raises:
        ConfigError: `make` is not callable, as when a norm's YAML forgets `_partial_: true`, or is itself
            a built layer.
    """
    if isinstance(make, nn.Module) or not callable(make):
        raise ConfigError(
            f"a norm must be made per layer, got a finished {type(make).__name__}: "
            "write `_partial_: true` in the norm's YAML"
        )
    target: Any = make.func if isinstance(make, partial) else make
    return BoundNorm(
        make,
        removes_channel_mean=bool(getattr(target, "removes_channel_mean", False)),
        replaces_activation=bool(getattr(target, "replaces_activation", False)),
        batch_statistics=bool(getattr(target, "batch_statistics", False)),
        needs_extent=bool(getattr(target, "needs_extent", False)),
    )
