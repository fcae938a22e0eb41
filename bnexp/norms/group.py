"""Group normalization: moments over groups of channels of one example, so batch mates do not matter."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from bnexp.errors import ConfigError
from bnexp.norms.contract import formulas
from bnexp.norms.contract.arguments import check_knobs
from bnexp.norms.contract.promises import Given, Knobs, Promises

MOST_GROUPS = 32


def formula(given: Given) -> Tensor:
    """Wu & He 2018, eq. 1-7."""
    x, eps = given.x, given.knobs["eps"]
    grouped = formulas.by_group(x, promised_groups(x.shape[1], x.shape[2:], given.knobs["num_groups"]))
    xhat = formulas.standardized(grouped, tuple(range(2, grouped.dim())), eps)
    return formulas.affine(xhat.reshape(x.shape), given.state)


def promised_groups(num_features: int, spatial: tuple[int, ...], asked: object) -> int:
    """Return the number of groups: for "auto" the largest divisor of C up to 32 that leaves a group at least
    2 channels, or 8 where a channel is one value; 1 where none does.
    """
    if isinstance(asked, int):
        return asked
    least = 8 if math.prod(spatial) == 1 else 2
    fitting = [g for g in range(1, 33) if num_features % g == 0 and num_features >= least * g]
    return max(fitting, default=1)


def torch_group_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module:
    """Return torch's layer, with one group where the norm has no such knob."""
    groups = promised_groups(num_features, spatial, knobs.get("num_groups", 1))
    return nn.GroupNorm(groups, num_features, eps=knobs["eps"], affine=knobs["affine"])


@Promises(formula, formulas.unmoved, torch_group_norm)
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
