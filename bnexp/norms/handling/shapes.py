"""What a norm that is written out asks of its input."""

from __future__ import annotations

from torch import Tensor

from bnexp.errors import ShapeError


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
