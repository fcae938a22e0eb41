"""What a norm takes: the ranges of the knobs that norms share, and the shape of an input."""

from __future__ import annotations

from torch import Tensor

from bnexp.choices import shared
from bnexp.errors import ConfigError, ShapeError
from bnexp.knobs import COUNTS, refuse


def check_knobs(num_features: int, eps: float, momentum: float | None = None, **others: object) -> None:
    """Refuse values with which no norm can work.

    Args:
        others: more of `bnexp.choices.NormKnobs`.
    Raises:
        ConfigError: num_features < 1, or a knob that is outside its range.
    """
    known, given = shared("norm"), {"eps": eps, "momentum": momentum, **others}
    found = COUNTS.problems("num_features", num_features)
    refuse(found + [line for name, value in given.items() for line in known[name].problems(name, value)])


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
