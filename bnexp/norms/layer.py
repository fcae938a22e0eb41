"""Layer normalization, in the three forms that papers call by that one name."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from bnexp.norms.contract.arguments import check_knobs, check_values
from bnexp.norms.group import group_norm


def layer_norm(
    num_features: int, spatial: tuple[int, ...], *, eps: float = 1e-5, affine: bool = True
) -> nn.Module:
    """Return torch.nn.LayerNorm over all of an example, with a weight and a bias for each element.

    y = weight * (x - mean) / sqrt(var + eps) + bias, with mean and biased var over C and * of one example.

    Shape: x (N, C, *) of exactly the sizes it was made for; weight and bias are (C, *).
    Args:
        eps: added to the variance inside the root, > 0.
        affine: learn weight and bias, which start at 1 and 0.
    Raises:
        ConfigError: an example holds a single value, or eps is not above 0 and finite.
    Source: Ba, Kiros & Hinton 2016, arXiv:1607.06450, eq. 3.
    """
    check_knobs(num_features, eps)
    check_values("example", num_features * math.prod(spatial))
    return nn.LayerNorm((num_features, *spatial), eps=eps, elementwise_affine=affine)


def layer_group_norm(
    num_features: int, spatial: tuple[int, ...], *, eps: float = 1e-5, affine: bool = True
) -> nn.Module:
    """Return torch.nn.GroupNorm with one group: moments as in `layer_norm`, a weight for each channel.

    Shape: x (N, C, *) of any size; weight and bias are (C,).
    Raises:
        ConfigError: an example holds a single value, or eps is not above 0 and finite.
    Source: Wu & He 2018, arXiv:1803.08494, §3.1, which calls it layer norm.
    """
    return group_norm(num_features, spatial, num_groups=1, eps=eps, affine=affine)


class LayerNormPixel(nn.LayerNorm):
    """Normalize the channels of each position by themselves, as in ConvNeXt.

    y = weight * (x - mean) / sqrt(var + eps) + bias, with mean and biased var over the C values of one
    position of one example. Without spatial extent it is `layer_norm`.

    Shape: x (N, C, *) -> same shape and dtype; weight and bias are (C,).
    Args:
        eps: added to the variance inside the root, > 0.
        affine: learn weight and bias, which start at 1 and 0.
    Raises:
        ConfigError: one channel, or eps is not above 0 and finite.
    Source: Liu et al. 2022, arXiv:2201.03545, §2.6.
    """

    def __init__(
        self, num_features: int, spatial: tuple[int, ...], *, eps: float = 1e-5, affine: bool = True
    ) -> None:
        check_knobs(num_features, eps)
        check_values("position", num_features)
        super().__init__((num_features,), eps=eps, elementwise_affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps)
        return y.movedim(-1, 1)
