"""Norm factories for the tests of networks: torch's own layers, and one that checks where it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from bnexp.errors import ConfigError, ShapeError
from bnexp.models.blocks import Units


@dataclass(frozen=True)
class StandIn:
    make: Callable[[int, tuple[int, ...]], nn.Module]
    removes_channel_mean: bool = False
    replaces_activation: bool = False
    batch_statistics: bool = False
    needs_extent: bool = False
    calls: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)

    def __call__(self, num_features: int, spatial: tuple[int, ...]) -> nn.Module:
        self.calls.append((num_features, spatial))
        return self.make(num_features, spatial)


class PlaceCheck(nn.Module):
    """Fails unless its input has the size it was made for."""

    def __init__(self, num_features, spatial):
        super().__init__()
        self.place = (num_features, *spatial)

    def forward(self, x):
        assert tuple(x.shape[1:]) == self.place
        return x


class SwishNorm(nn.GroupNorm):
    """A norm with a nonlinearity of its own."""

    def forward(self, x):
        y = super().forward(x)
        return y * torch.sigmoid(y)


def _batch_norm(num_features, spatial):
    return nn.BatchNorm2d(num_features) if spatial else nn.BatchNorm1d(num_features)


def _refuses_config(num_features, spatial):
    raise ConfigError([f"groups must divide {num_features} features", "eps must be positive"])


def _refuses_shape(num_features, spatial):
    raise ShapeError(f"no room in {spatial}")


def batch():
    return StandIn(_batch_norm, removes_channel_mean=True, batch_statistics=True)


def group():
    return StandIn(lambda num_features, spatial: nn.GroupNorm(1, num_features))


def instance():
    return StandIn(lambda num_features, spatial: nn.Identity(), removes_channel_mean=True, needs_extent=True)


def layer():
    return StandIn(lambda num_features, spatial: nn.LayerNorm((num_features, *spatial)))


def swish():
    return StandIn(lambda num_features, spatial: SwishNorm(1, num_features), replaces_activation=True)


def none():
    return StandIn(lambda num_features, spatial: nn.Identity())


def place_check():
    return StandIn(PlaceCheck)


def refuses_config():
    return StandIn(_refuses_config)


def refuses_shape():
    return StandIn(_refuses_shape)


def units(norm=None, head_norm=None, placement="pre", activation="relu"):
    norm = batch() if norm is None else norm
    return Units(norm, norm if head_norm is None else head_norm, placement, activation)
