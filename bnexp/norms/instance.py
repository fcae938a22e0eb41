"""Instance normalization: moments over the positions of one channel of one example."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnexp.errors import ShapeError
from bnexp.norms.arithmetic.moments import cast, normalized_from, widen
from bnexp.norms.contract import formulas
from bnexp.norms.contract.arguments import check_knobs, check_values
from bnexp.norms.contract.promises import Given, Knobs, Promises
from bnexp.norms.contract.traits import traits
from bnexp.norms.layer import layer_formula, torch_layer_norm


def formula(given: Given) -> Tensor:
    """Ulyanov et al. 2016, eq. 4: over the positions of one channel; a layer norm where there is one."""
    if math.prod(given.x.shape[2:]) == 1:
        return layer_formula(given)
    xhat = formulas.standardized(given.x, formulas.positions(given.x), given.knobs["eps"])
    return formulas.affine(xhat, given.state)


def torch_layer(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module:
    """Return torch's layer for one to three axes, or the layer norm that stands in for it."""
    if math.prod(spatial) == 1:
        return torch_layer_norm(num_features, spatial, knobs)
    kind = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[len(spatial) - 1]
    return kind(num_features, eps=knobs["eps"], affine=knobs["affine"])


@Promises(formula, formulas.unmoved, torch_layer)
@traits(removes_channel_mean=True, needs_extent=True)
def instance_norm(
    num_features: int, spatial: tuple[int, ...], *, eps: float = 1e-5, affine: bool = True
) -> nn.Module:
    """Return instance normalization, or layer normalization where a channel is a single value.

    A single value has no variance; its place is taken by the norm over all of the example, which says so.

    Args:
        eps: added to the variance inside the root, > 0.
        affine: learn weight and bias, which start at 1 and 0; torch's own layer leaves them out by default.
    Raises:
        ConfigError: num_features < 1, an example of a single value, or eps is not above 0 and finite.
    """
    check_knobs(num_features, eps)
    if math.prod(spatial) > 1:
        return InstanceNorm(num_features, len(spatial), eps=eps, affine=affine)
    check_values("example", num_features)
    return LayerNormInstead((num_features, *spatial), eps=eps, elementwise_affine=affine)


class LayerNormInstead(nn.LayerNorm):
    """The layer norm that stands where instance normalization cannot."""

    substitute_note = (
        "instance normalization has one value per channel here, so layer normalization over the channels "
        "stands in; head_norm=NAME chooses another for the head"
    )


class InstanceNorm(nn.Module):
    """Normalize each channel of each example over its positions.

    y = weight * (x - mean) / sqrt(var + eps) + bias, with mean and biased var over * alone. Training and
    evaluation do the same.

    torch.nn.InstanceNorm1d takes (N, C) for one example (C, L) and normalizes across features; this layer
    knows how many spatial axes it was made for and refuses others. Its affine layers also fail on a batch
    without examples, of which this one returns as many.

    Shape: x (N, C, *) with `axes` axes * -> same shape and dtype; weight and bias are (C,).
    Raises:
        ShapeError: x has other axes or channels, or one value per channel.
    Precision: float16 and bfloat16 are computed in float32 and cast back.
    Source: Ulyanov et al. 2016, arXiv:1607.08022, eq. 4; computed by torch.nn.functional.instance_norm.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, num_features: int, axes: int, *, eps: float, affine: bool) -> None:
        super().__init__()
        self.num_features, self.axes, self.eps, self.affine = num_features, axes, eps, affine
        for name, start in {"weight": torch.ones, "bias": torch.zeros}.items():
            self.register_parameter(name, nn.Parameter(start(num_features)) if affine else None)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != self.axes + 2 or x.shape[1] != self.num_features or math.prod(x.shape[2:]) == 1:
            raise ShapeError(
                f"instance normalization needs input of shape (N, {self.num_features}, *) with * of "
                f"{self.axes} axes and more than one position, got {tuple(x.shape)}: make num_features and "
                "spatial the input's own"
            )
        if x.numel() == 0:
            # torch's function fails here if it has a weight; this gives gradients of zero, as batch norm does
            mean_C, rstd_C = x.new_zeros(self.num_features), x.new_ones(self.num_features)
            return normalized_from(x, mean_C, rstd_C, self.weight, self.bias)
        # torch keeps the moments in the parameters' dtype, float16 and bfloat16 too
        weight, bias = (v if v is None else widen(v) for v in (self.weight, self.bias))
        return cast(F.instance_norm(widen(x), weight=weight, bias=bias, eps=self.eps), x.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, affine={self.affine}"
