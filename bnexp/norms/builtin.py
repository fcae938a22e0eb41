"""PyTorch's own batch normalization."""

from __future__ import annotations

from torch import nn

from bnexp.errors import ConfigError
from bnexp.norms.contract.arguments import check_knobs
from bnexp.norms.contract.traits import traits
from bnexp.norms.custom import BATCH_NORM

LAYERS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@BATCH_NORM
@traits(removes_channel_mean=True, batch_statistics=True)
def batch_norm(
    num_features: int,
    spatial: tuple[int, ...],
    *,
    eps: float = 1e-5,
    momentum: float | None = 0.1,
    affine: bool = True,
    track_running_stats: bool = True,
) -> nn.Module:
    """Return torch.nn.BatchNorm1d without spatial axes or with one, 2d with two, 3d with three.

    The knobs mean what they mean in torch, and in `bnexp.norms.custom.CustomNorm`.

    Raises:
        ConfigError: num_features < 1, eps not above 0 and finite, momentum outside [0, 1], or more than three
            spatial axes.
    """
    check_knobs(num_features, eps, momentum)
    if len(spatial) >= len(LAYERS):
        raise ConfigError(f"torch has batch norms for at most 3 spatial axes, got {spatial}: flatten some")
    return LAYERS[len(spatial)](
        num_features, eps=eps, momentum=momentum, affine=affine, track_running_stats=track_running_stats
    )
