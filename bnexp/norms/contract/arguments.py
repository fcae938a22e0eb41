"""What a norm takes: the ranges of the knobs that norms share, and the shape of an input."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from bnexp.errors import ConfigError, ShapeError

RunningVar = Literal["unbiased", "biased"]


def check_knobs(num_features: int, eps: float, momentum: float | None = None) -> None:
    """Refuse values with which no norm can work.

    Raises:
        ConfigError: num_features < 1, eps not above 0 and finite, or momentum outside [0, 1] and not None.
    """
    if num_features < 1:
        raise ConfigError(f"num_features must be at least 1, got {num_features}")
    if not 0 < eps < math.inf:
        raise ConfigError(f"eps must be above 0 and finite, got {eps}")
    if momentum is not None and not 0 <= momentum <= 1:
        raise ConfigError(f"momentum is the weight of the new batch and must lie in [0, 1], got {momentum}")


def check_values(what: str, count: int) -> None:
    """Refuse to normalize a single value, of which the mean square or deviation tells nothing.

    Raises:
        ConfigError: count < 2.
    """
    if count < 2:
        raise ConfigError(
            f"each {what} must hold at least 2 values to normalize, got {count}: "
            "give this layer more channels, or take another norm here"
        )


def check_running_var(running_var: RunningVar) -> RunningVar:
    """Return it, unless there is no such variance.

    Raises:
        ConfigError: neither unbiased nor biased.
    """
    if running_var not in ("unbiased", "biased"):
        raise ConfigError(
            f"running_var must be unbiased (/(n - 1), as torch) or biased (/n, as Keras), got {running_var}"
        )
    return running_var


def check_input(x: Tensor, num_features: int) -> None:
    """Refuse what is not a batch of `num_features` channels.

    Raises:
        ShapeError: x is not floating point, or has other than num_features channels or 2 to 5 axes.
    """
    if x.dim() in (2, 3, 4, 5) and x.shape[1] == num_features and x.is_floating_point():
        return
    given = f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"
    raise ShapeError(
        f"input must be floating point of shape (N, {num_features}) or (N, {num_features}, *), * up to three "
        f"axes, got {given}: make num_features the size of axis 1"
    )
