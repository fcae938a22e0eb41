"""EvoNorm B0 and S0: norm and activation in one, found by search."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from bnexp.errors import ShapeError
from bnexp.norms.arithmetic import moments
from bnexp.norms.arithmetic.example_moments import moments_NC, over_positions, pooled_var
from bnexp.norms.arithmetic.moments import across, cast, widen
from bnexp.norms.contract import formulas
from bnexp.norms.contract.arguments import check_input, check_knobs
from bnexp.norms.contract.promises import Given, Promises
from bnexp.norms.group import choose_groups, promised_groups


def b0_formula(given: Given) -> Tensor:
    """Liu et al. 2020, Table 1, B0; with one value per channel the example's variance is 0."""
    x, eps = given.x, given.knobs["eps"]
    batch_var = formulas.across(given.state["running_var"], x)
    if given.training:
        batch_var = formulas.moments(x, formulas.batch_axes(x))[1]
    example_var = formulas.moments(x, formulas.positions(x))[1] if x.dim() > 2 else torch.zeros_like(x)
    line = formulas.across(given.state["v"], x) * x + (example_var + eps).sqrt()
    return formulas.affine(x / (batch_var + eps).sqrt().maximum(line), given.state)


def s0_formula(given: Given) -> Tensor:
    """Liu et al. 2020, Table 1, S0."""
    x, eps = given.x, given.knobs["eps"]
    grouped = formulas.by_group(x, promised_groups(x.shape[1], x.shape[2:], given.knobs["num_groups"]))
    var = formulas.moments(grouped, tuple(range(2, grouped.dim())))[1].expand_as(grouped).reshape(x.shape)
    gate = 1 / (1 + (-formulas.across(given.state["v"], x) * x).exp())
    return formulas.affine(x * gate / (var + eps).sqrt(), given.state)


@Promises(b0_formula, formulas.averaged_moments)
class EvoNormB0(nn.Module):
    """Divide by the larger of the batch's standard deviation and a line in x above the example's own.

    y = weight * x / max(sqrt(batch_var + eps), v * x + sqrt(example_var + eps)) + bias, with batch_var over
    N and * and example_var over * alone, both biased. No mean is removed. Training uses the batch's variance
    and moves running_var towards the unbiased one; evaluation uses running_var in its place. Without spatial
    extent example_var is 0.

    Shape: x (N, C, *) -> same shape and dtype. weight, bias, v, running_var: (C,).
    Args:
        eps: added to both variances inside the roots, > 0.
        momentum: weight of the new batch in running_var, in [0, 1]; None weighs all batches alike.
    Raises:
        ConfigError: num_features < 1, eps not above 0 and finite, or momentum outside [0, 1].
        ShapeError: x is not floating point, has other than C channels or 2 to 5 axes, or one value per
            channel in training.
    Precision: float16 and bfloat16 are computed in float32 and cast back.
    Source: Liu et al. 2020, arXiv:2004.02967, Table 1.
    """

    replaces_activation = True
    batch_statistics = True

    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        spatial: tuple[int, ...],
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
    ) -> None:
        super().__init__()
        check_knobs(num_features, eps, momentum)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.v = nn.Parameter(torch.ones(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.num_features)
        ndim, wide = x.dim(), widen(x)
        parts_NC = moments_NC(wide)
        example_var_NC, var_C = parts_NC[2], widen(self.running_var)
        if self.training and x.numel() > 0:
            var_C = self._batch_var(x, parts_NC)
        line = torch.addcmul(
            over_positions((example_var_NC + self.eps).sqrt(), ndim), wide, across(widen(self.v), ndim)
        )
        divided = wide / torch.maximum(line, across((var_C + self.eps).sqrt(), ndim))
        y = torch.addcmul(across(widen(self.bias), ndim), divided, across(widen(self.weight), ndim))
        return cast(y, x.dtype)

    def _batch_var(self, x: Tensor, parts_NC: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Return the biased variance of the batch and move running_var towards the unbiased one."""
        n = x.numel() // self.num_features
        if n == 1:
            raise ShapeError(
                f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}: "
                "use batches of 2 or more (drop_last=auto drops a last batch of one) or another norm"
            )
        batch_var_C = pooled_var(*parts_NC, 0)
        count = self.num_batches_tracked.add_(1)
        momentum = count.to(self.running_var.dtype).reciprocal() if self.momentum is None else self.momentum
        moments.move(self.running_var, moments.unbiased(batch_var_C.detach(), n), momentum)
        return batch_var_C

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


@Promises(s0_formula, formulas.unmoved)
class EvoNormS0(nn.Module):
    """Divide a gated input by the standard deviation of its group of channels, example by example.

    y = weight * x * sigmoid(v * x) / sqrt(group_var + eps) + bias, with the biased group_var over the
    channels of a group and all positions of one example. No mean is removed. Training and evaluation do the
    same.

    Shape: x (N, C, *) -> same shape and dtype. weight, bias, v: (C,).
    Args:
        num_groups: as in `bnexp.norms.group.group_norm`.
        eps: added to the variance inside the root, > 0.
    Raises:
        ConfigError: num_groups does not divide num_features, a group would hold a single value, or eps is not
            above 0 and finite.
        ShapeError: x is not floating point, or has other than C channels or 2 to 5 axes.
    Precision: float16 and bfloat16 are computed in float32 and cast back.
    Source: Liu et al. 2020, arXiv:2004.02967, Table 1.
    """

    replaces_activation = True

    def __init__(
        self,
        num_features: int,
        spatial: tuple[int, ...],
        *,
        num_groups: int | Literal["auto"] = "auto",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        check_knobs(num_features, eps)
        self.num_features, self.eps = num_features, eps
        self.num_groups = choose_groups(num_groups, num_features, spatial)
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.v = nn.Parameter(torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.num_features)
        ndim, wide = x.dim(), widen(x)
        grouped = (len(x), self.num_groups, self.num_features // self.num_groups)
        pivot, rest, var = (part_NC.reshape(grouped) for part_NC in moments_NC(wide))
        group_var_NG = pooled_var(pivot, rest, var, 2)
        rstd_NC = moments.inverse_std(group_var_NG, self.eps).repeat_interleave(grouped[2], dim=1)
        gated = wide * torch.sigmoid(wide * across(widen(self.v), ndim))
        scale_NC = rstd_NC * widen(self.weight)
        y = torch.addcmul(across(widen(self.bias), ndim), gated, over_positions(scale_NC, ndim))
        return cast(y, x.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_features}, num_groups={self.num_groups}, eps={self.eps}"
