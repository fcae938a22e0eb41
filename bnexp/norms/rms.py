"""Root mean square normalization: a layer norm per position that leaves the mean alone."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bnexp.norms.arithmetic.moments import cast, widen
from bnexp.norms.contract import formulas
from bnexp.norms.contract.arguments import check_knobs, check_values
from bnexp.norms.contract.promises import Given, Knobs, Promises


def formula(given: Given) -> Tensor:
    """Zhang & Sennrich 2019, eq. 4: by the root mean square of the channels of one position."""
    mean_square = (given.x**2).sum(1, keepdim=True) / given.x.shape[1]
    return formulas.affine(given.x / (mean_square + given.knobs["eps"]).sqrt(), given.state)


def torch_layer(num_features: int, spatial: tuple[int, ...], knobs: Knobs) -> nn.Module | None:
    """Return torch's layer, which normalizes the last axis: the channels only where nothing follows them."""
    if spatial:
        return None
    return nn.RMSNorm(num_features, eps=knobs["eps"], elementwise_affine=knobs["affine"])


@Promises(formula, formulas.unmoved, torch_layer)
class RMSNorm(nn.RMSNorm):
    """Divide the channels of each position by their root mean square.

    y = weight * x / sqrt(mean(x^2) + eps), with the mean over the C values of one position of one example.
    There is no bias.

    Shape: x (N, C, *) -> same shape and dtype; weight is (C,).
    Args:
        eps: added to the mean square inside the root, > 0.
        affine: learn the weight, which starts at 1.
    Raises:
        ConfigError: one channel, which would be left with its sign, or eps is not above 0 and finite.
    Precision: float16 and bfloat16 are computed in float32 and cast back.
    Source: Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4; computed by torch.nn.functional.rms_norm.
    """

    def __init__(
        self, num_features: int, spatial: tuple[int, ...], *, eps: float = 1e-5, affine: bool = True
    ) -> None:
        check_knobs(num_features, eps)
        check_values("position", num_features)
        super().__init__((num_features,), eps=eps, elementwise_affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        # torch's fused kernel wants one dtype: a float32 weight over float16 warns and falls back
        weight = None if self.weight is None else widen(self.weight)
        y = F.rms_norm(widen(x).movedim(1, -1), self.normalized_shape, weight, self.eps)
        return cast(y, x.dtype).movedim(-1, 1)
