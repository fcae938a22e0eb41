"""Layer normalization, in the three forms that papers call by that one name."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from bnexp.norms.contract import formulas
from bnexp.norms.contract.arguments import check_knobs, check_values
from bnexp.norms.contract.promises import Given, Knobs, Promises
from bnexp.norms.group import group_norm, torch_group_norm


def layer_formula(given: Given) -> Tensor:
    """Ba, Kiros & Hinton 2016, eq. 3: over all of an example, with a weight for each element."""
    y = formulas.standardized(given.x, tuple(range(1, given.x.dim())), given.knobs["eps"])
    return y * given.state["weight"] + given.state["bias"] if "weight" in given.state else y


def layer_group_formula(given: Given) -> Tensor:
    """Wu & He 2018, section 3.1: over all of an example, with a weight for each channel."""
    axes, eps = tuple(range(1, given.x.dim())), given.knobs["eps"]
    return formulas.affine(formulas.standardized(given.x, axes, eps), given.state)


def layer_pixel_formula(given: Given) -> Tensor:
    """Liu et al. 2022, section 2.6: over the channels of one position."""
    return formulas.affine(formulas.standardized(given.x, (1,), given.knobs["eps"]), given.state)


def torch_layer_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module:
    return nn.LayerNorm((num_features, *spatial), eps=knobs["eps"], elementwise_affine=knobs["affine"])


def torch_dense_layer_norm(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module | None:
    """Return torch's layer, which normalizes the last axes: the channels only where nothing follows them."""
    return None if spatial else torch_layer_norm(num_features, spatial, knobs)


@Promises(layer_formula, formulas.unmoved, torch_layer_norm)
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


@Promises(layer_group_formula, formulas.unmoved, torch_group_norm)
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


@Promises(layer_pixel_formula, formulas.unmoved, torch_dense_layer_norm)
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
