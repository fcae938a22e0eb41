"""Filter response normalization with its thresholded linear unit."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bnexp.norms.arithmetic.example_moments import mean_square_NC, over_positions
from bnexp.norms.arithmetic.moments import across, cast, widen
from bnexp.norms.contract import formulas
from bnexp.norms.contract.arguments import check_input, check_knobs
from bnexp.norms.contract.promises import Given, Promises


def formula(given: Given) -> Tensor:
    """Singh & Krishnan 2020, eq. 1-4; where a channel is one value, with a learned eps besides."""
    mean_square = given.x**2
    if given.x.dim() > 2:  # a sum over no axes would be one over all
        axes = formulas.positions(given.x)
        mean_square = mean_square.sum(axes, keepdim=True) / math.prod(given.x.shape[2:])
    learned = given.state.get("learned_eps")
    eps = given.knobs["eps"] + (0.0 if learned is None else learned.abs())
    y = formulas.affine(given.x / (mean_square + eps).sqrt(), given.state)
    return y.maximum(formulas.across(given.state["tau"], y))


@Promises(formula, formulas.unmoved)
class FilterResponseNorm(nn.Module):
    """Divide each channel of an example by its root mean square, then cut it off at a learned threshold.

    y = max(weight * x / sqrt(mean(x^2) + eps) + bias, tau), with the mean over * alone. The mean of x stays.
    Where a channel is a single value, x / sqrt(x^2 + eps) is its sign for a small eps; there
    eps + |learned_eps| stands for eps, of which learned_eps starts at 1e-4.

    Shape: x (N, C, *) -> same shape and dtype. weight, bias, tau: (C,); learned_eps: one number.
    Args:
        eps: added to the mean square inside the root, > 0.
    Raises:
        ConfigError: num_features < 1, or eps is not above 0 and finite.
        ShapeError: x is not floating point, or has other than C channels or 2 to 5 axes.
    Precision: float16 and bfloat16 are computed in float32 and cast back.
    Source: Singh & Krishnan 2020, arXiv:1911.09737, eq. 1-4. Departs from it in: eps stays below the
        learned one, so that the root cannot reach zero.
    """

    replaces_activation = True

    def __init__(self, num_features: int, spatial: tuple[int, ...], *, eps: float = 1e-6) -> None:
        super().__init__()
        check_knobs(num_features, eps)
        self.num_features, self.eps = num_features, eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.tau = nn.Parameter(torch.zeros(num_features))
        one_value = math.prod(spatial) == 1
        self.learned_eps = nn.Parameter(torch.tensor(1e-4)) if one_value else None

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.num_features)
        ndim, wide = x.dim(), widen(x)
        eps = self.eps if self.learned_eps is None else self.eps + widen(self.learned_eps).abs()
        scale_NC = torch.rsqrt(mean_square_NC(wide) + eps) * widen(self.weight)
        y = torch.addcmul(across(widen(self.bias), ndim), wide, over_positions(scale_NC, ndim))
        return cast(torch.maximum(y, across(widen(self.tau), ndim)), x.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"
