"""Group normalization: moments over groups of channels of one example, so batch mates do not matter."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

from bnexp.errors import ConfigError
from bnexp.norms.contract.arguments import check_knobs

MOST_GROUPS = 32


def group_norm(
    num_features: int,
    spatial: tuple[int, ...],
    *,
    num_groups: int | Literal["auto"] = "auto",
    eps: float = 1e-5,
    affine: bool = True,
) -> nn.Module:
    """Return torch.nn.GroupNorm.

    y = weight * (x - mean) / sqrt(var + eps) + bias, with mean and biased var over the channels of a group
    and all positions of one example; weight and bias are (C,). Training and evaluation do the same.

    Args:
        num_groups: a divisor of num_features, or "auto": the largest divisor up to 32 that leaves a group at
            least 2 channels, or at least 8 where a channel is a single value (two values normalize to their
            order's sign, one to nothing); 1 group where no divisor does.
        eps: added to the variance inside the root, > 0.
        affine: learn weight and bias, which start at 1 and 0.
    Raises:
        ConfigError: num_groups does not divide num_features, a group would hold a single value, or eps <= 0.
    Source: Wu & He 2018, arXiv:1803.08494, eq. 1-7, where 32 groups is the default.
    """
    check_knobs(num_features, eps)
    groups = choose_groups(num_groups, num_features, spatial)
    return nn.GroupNorm(groups, num_features, eps=eps, affine=affine)


def choose_groups(num_groups: int | Literal["auto"], num_features: int, spatial: tuple[int, ...]) -> int:
    """Return how many groups the channels form, as `group_norm` explains.

    Raises:
        ConfigError: num_groups does not divide num_features, or a group would hold a single value.
    """
    positions = math.prod(spatial)
    groups = _auto(num_features, positions) if num_groups == "auto" else num_groups
    _check(groups, num_features, positions)
    return groups


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _auto(num_features: int, positions: int) -> int:
    least = 2 if positions > 1 else 8
    fitting = [groups for groups in _divisors(num_features) if num_features // groups >= least]
    return max([groups for groups in fitting if groups <= MOST_GROUPS], default=1)


def _check(groups: int, num_features: int, positions: int) -> None:
    if groups not in _divisors(num_features):
        raise ConfigError(
            f"num_groups must divide the layer's {num_features} channels, got {groups!r}: "
            f"give one of {', '.join(map(str, _divisors(num_features)))}, or auto"
        )
    if num_features // groups * positions < 2:
        raise ConfigError(
            f"each group must hold at least 2 values, got {groups} groups for {num_features} channels "
            "without spatial extent: give fewer groups or auto, or another norm here (head_norm=none)"
        )
